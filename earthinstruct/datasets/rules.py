"""The rules that every annotated object must meet, whatever its format: an object that nobody can find is refused.

A perfect method would still miss such an object, so it would lower every score. With `skip_invalid` it is left out and
counted. Values that are no box at all are refused by the readers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.regions import MaskRuns, are_read_otherwise

Form = Literal["xywh", "corners", "centre"]  # how a format writes boxes

SKIP = "--skip-invalid"
_LEAST_INSIDE = 0.5  # of the area of a box: of less, no box inside the image reaches IoU 0.5
_LEAST_AGREEMENT = 0.1  # IoU of a box with the bounding box of its mask; 0.5 if another reading of the numbers fits
_FITS = 0.8  # IoU above which another reading of the numbers fits the mask
_LEAST_LEAVING = 10  # boxes: fewer may leave their image by mistake
_LEAST_NEAR, _NEAR = 10, 100.0  # objects, and pixels: so many all in one corner may be in percent
_CORNERS = "x1, y1, x2, y2"
_TURNED_PLACE = "y before x"
_SWAPPED = "with swapped corners: the second one is not below and to the right of the first"
SCORE_WORDS = ("score", "scores", "confidence", "conf", "probability", "prob")  # of predictions
TURNED = "with a rotation, whose box is that before they are turned (export polygons)"
_NO_PIXEL = "whose mask has no pixel"
_FORMS = {
    "xywh": "x, y, width, height in pixels",
    "corners": "the corners xmin, ymin, xmax, ymax in pixels",
    "centre": "centre x, centre y, width, height as shares of the image",
}


@dataclass
class Rules:
    """Checks the objects of one dataset, some at a time, and remembers what was wrong.

    Attributes:
        source: the file or folder, for errors.
        form: how the format writes boxes.
        skip_invalid: leave invalid objects out, instead of refusing the dataset.
        n_objects: number of checked objects.
        problems: what is wrong -> number of objects, and the first one.
    """

    source: str
    form: Form
    skip_invalid: bool
    n_objects: int = 0
    problems: dict[str, tuple[int, str]] = field(default_factory=dict)
    _farthest: float = 0.0
    _n_large: int = 0  # objects in images in which the corner above is small
    _leaving: int = 0
    _first_leaving: str = ""
    _fitting: dict[str, int] = field(default_factory=dict)  # another reading of the numbers -> boxes that fit then
    _repaired: dict[str, int] = field(default_factory=dict)  # the same, among the invalid objects

    def check(
        self,
        boxes: NDArray[np.float64],
        sizes: NDArray[np.float64],
        masks: MaskRuns | None,
        masked: NDArray[np.bool_],
        place: Callable[[int], str],
        known: dict[int, str],
    ) -> NDArray[np.bool_]:
        """Find the valid objects among some objects.

        Args:
            boxes: float64 (n, 4), xywh in pixels; sides may be negative.
            sizes: float64 (n, 2), width and height of the image of each object.
            masks: n masks; None: no object has one.
            masked: bool (n,), which objects have a mask.
            place: a function from the index of an object to its place in the file.
            known: index of an object -> what its reader found wrong with it.

        Returns:
            bool (n,).
        """
        n = len(boxes)
        wrong = np.full(n, "", dtype=object)
        for i, problem in known.items():
            wrong[i] = problem
        shares = _share_inside(boxes, sizes)
        rest, reading = np.zeros(n, dtype=bool), np.full(n, "", dtype=object)
        if masks is not None:
            empty = masked & (masks.areas == 0)
            rest, reading = _contradictions(boxes, sizes, masks.boxes, masked & ~empty, self.form)
        for what, bad in (
            (_SWAPPED, (boxes[:, 2:] < 0).any(axis=1)),
            ("without area", (boxes[:, 2:] == 0).any(axis=1)),
            ("normalised to 0..1, where pixels belong", _normalised(boxes, sizes)),
            ("outside their image", shares <= 0),
            ("with less than half of their area inside their image", shares < _LEAST_INSIDE),
            *(((_NO_PIXEL, empty), ("in contradiction to their own mask", rest)) if masks is not None else ()),
        ):
            if bad.any():
                wrong[bad & (wrong == "")] = what
        misread = (wrong != "") & (wrong != _NO_PIXEL) & (wrong != TURNED)
        for i in np.flatnonzero(wrong != "").tolist():
            width, height = sizes[i].tolist()
            shown = f"{place(i)}, {_listed(boxes[i])} in an image of {width:g}x{height:g} pixels"
            count, first = self.problems.get(wrong[i], (0, shown))
            self.problems[wrong[i]] = (count + 1, first)
        self.n_objects += n
        large = (sizes > 2 * _NEAR).all(axis=1)
        self._n_large += int(large.sum())
        self._farthest = max(self._farthest, (boxes[large, :2] + boxes[large, 2:]).max(initial=0.0))
        leaving = ((boxes[:, :2] < -1) | (boxes[:, :2] + boxes[:, 2:] > sizes + 1)).any(axis=1)
        if leaving.any() and not self._leaving:
            i = int(np.argmax(leaving))
            self._first_leaving = f"{place(i)}, {_listed(boxes[i])}"
        self._leaving += int(leaving.sum())
        for name, other in _readings(boxes, sizes, self.form).items():
            fits = np.asarray((other[:, 2:] > 0).all(axis=1) & (other >= -1).all(axis=1))
            fits &= (other[:, :2] + other[:, 2:] <= sizes + 1).all(axis=1)
            fits[rest] = reading[rest] == name
            for counts, counted in ((self._fitting, fits), (self._repaired, fits & misread)):
                counts[name] = counts.get(name, 0) + int(counted.sum())
        return np.asarray(wrong == "")

    def conclude(self) -> tuple[str, ...]:
        """Refuse the dataset if an object is invalid, or say how many were left out.

        Raises:
            DataError: an object is invalid and `skip_invalid` is false, or all boxes are in another form.
        """
        n, leaving = self.n_objects, self._leaving
        for name, fitting in self._fitting.items():
            least = 1 if name == _CORNERS else _LEAST_LEAVING  # corners fit by chance less often than the others
            if leaving >= least and are_read_otherwise(leaving, fitting, n):
                raise DataError(
                    f"{self.source}: {leaving} of {n} boxes leave their image (first: {self._first_leaving}), and "
                    f"{fitting} fit if the numbers are {name}. Expected: {_FORMS[self.form]}; convert them"
                )
        near: tuple[str, ...] = ()
        if self._n_large >= _LEAST_NEAR and self._farthest <= _NEAR:
            near = (
                f"all {self._n_large} objects in larger images lie within the first {_NEAR:g} x {_NEAR:g} pixels: are "
                f"they in percent? Expected: {_FORMS[self.form]}",
            )
        if not self.problems:
            return near
        bad = sum(count for count, _ in self.problems.values())
        what = "; ".join(f"{count} {problem} (first: {first})" for problem, (count, first) in self.problems.items())
        if self.skip_invalid and bad < n:
            return (f"{bad} of {n} objects were left out ({SKIP}): {what}", *near)
        likely = [name for name, count in self._repaired.items() if 2 * count >= bad]
        or_turned = ", or width and height of their image swapped" if likely[:1] == [_TURNED_PLACE] else ""
        hint = f" Are they {likely[0]}{or_turned}? Expected: {_FORMS[self.form]}." if likely else ""
        raise DataError(
            f"{self.source}: {bad} of {n} objects cannot be found by any method: {what}.{hint} Correct them"
            + (f", or leave them out with {SKIP}" if bad < n else "")
        )


def is_turn(angle: object) -> bool:
    """Whether a rotation in degrees, as tools write it, changes a box.

    >>> [is_turn(angle) for angle in (30, "44.5", 0, "0.00", "", 180, "360", "clockwise", None)]
    [True, True, False, False, False, False, False, False, False]
    """
    if isinstance(angle, bool) or not isinstance(angle, int | float | str):
        return False
    try:
        turn = float(angle) % 180
    except (ValueError, OverflowError):
        return False
    return math.isfinite(turn) and turn != 0


def _share_inside(boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of the area of each box that lies in its image; 1 for a box without area."""
    low, high = np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, :2] + boxes[:, 2:], sizes)
    inside, area = np.maximum(high - low, 0).prod(axis=1), boxes[:, 2:].prod(axis=1)
    return np.asarray(np.divide(inside, area, out=np.ones(len(boxes)), where=(boxes[:, 2:] > 0).all(axis=1)))


def _normalised(boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    within = ((boxes >= 0) & (boxes <= 1)).all(axis=1)
    return np.asarray(within & (boxes[:, 2:].prod(axis=1) < 1) & (sizes > 2).all(axis=1))


def _readings(boxes: NDArray[np.float64], sizes: NDArray[np.float64], form: Form) -> dict[str, NDArray[np.float64]]:
    """What boxes (n, 4), xywh in pixels, would be if their numbers meant something else: reading -> (n, 4)."""
    x, y, width, height = boxes.T
    if form == "corners":
        other = {"x, y, width, height": (x, y, x + width, y + height)}
    elif form == "xywh":
        other = {
            _CORNERS: (x, y, width - x, height - y),
            "centre x, centre y, width, height": (x - width / 2, y - height / 2, width, height),
        }
    else:
        across, down = x + width / 2, y + height / 2
        other = {
            _CORNERS: (across, down, width - across, height - down),
            "x, y, width, height": (across, down, width, height),
        }
    stacked = {name: np.stack(columns, axis=1) for name, columns in other.items()}
    if form != "centre":
        stacked["shares of the image"] = boxes * np.tile(sizes, 2)
        stacked[_TURNED_PLACE] = boxes[:, [1, 0, 3, 2]]
    return stacked


def _contradictions(
    boxes: NDArray[np.float64],
    sizes: NDArray[np.float64],
    of_masks: NDArray[np.float64],
    masked: NDArray[np.bool_],
    form: Form,
) -> tuple[NDArray[np.bool_], NDArray[np.object_]]:
    """Which boxes contradict the bounding boxes of their masks, and the reading of their numbers that would agree."""
    agreement = _agreement(boxes, of_masks)
    bad = masked & (agreement < _LEAST_AGREEMENT)
    reading = np.full(len(boxes), "", dtype=object)
    off = np.flatnonzero(masked & (agreement < _LEAST_INSIDE))
    for name, other in _readings(boxes[off], sizes[off], form).items():
        agrees = off[_agreement(other, of_masks[off]) >= _FITS]
        reading[agrees] = name
        bad[agrees] = True
    return bad, reading


def _listed(box: NDArray[np.float64]) -> str:
    return f"[{', '.join(f'{value:g}' for value in box.tolist())}]"


def _agreement(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of box pairs grown by half a pixel on each side, because masks are made of whole pixels."""
    low = np.maximum(a[:, :2], b[:, :2]) - 0.5
    high = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]) + 0.5
    shared = np.maximum(high - low, 0).prod(axis=1)
    areas = [(np.maximum(box[:, 2:], 0) + 1).prod(axis=1) for box in (a, b)]
    return np.asarray(shared / (areas[0] + areas[1] - shared))
