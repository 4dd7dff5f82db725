"""The forms in which tools write a box as numbers, and their conversion to that of this project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from earthinstruct.errors import UnknownNameError

FRAMES: Mapping[str, int | None] = {"pixels": None, "fractions": 1, "hundredths": 100, "thousandths": 1000}
ORDERS: Mapping[str, int] = {"xywh": 4, "xyxy": 4, "yxyx": 4, "cxcywh": 4, "corners": 8}
_RADIANS: Mapping[str, float] = {"radians": 1, "degrees": np.pi / 180}
_ANGLED = [f"{order}+{angle}" for order, n in ORDERS.items() if n == 4 for angle in _RADIANS]
_BEYOND = 1.5  # of the frame: boxes may leave their image a little
_TURN = 6.3  # radians
_SUSPECT, _PLAUSIBLE = 0.25, 0.95  # shares of all boxes that leave their image, and that fit if read in another way


def are_read_otherwise(leaving: int, fitting: int, total: int) -> bool:
    """Whether boxes most likely have another form, because many leave their image and nearly all fit in that form.

    Args:
        leaving: the number of boxes that leave their image.
        fitting: the number of boxes that lie in their image if read in the other form.
        total: the number of boxes.
    """
    return leaving >= max(_SUSPECT * total, 1) and fitting >= _PLAUSIBLE * total


@dataclass(frozen=True)
class BoxForm:
    """What the numbers of a box mean.

    Attributes:
        order: `xywh`, `xyxy`, `yxyx`, `cxcywh` (centre and size) or `corners` (x and y of four). The first four may
            have an angle as fifth number, `cxcywh+radians`: the box is turned about its centre, within the frame.
        frame: `pixels` of the image, or `fractions`, `hundredths` or `thousandths` of its width and height.

    Raises:
        UnknownNameError: no such order or frame.
    """

    order: str = "xywh"
    frame: str = "pixels"

    def __post_init__(self) -> None:
        if self.order not in (*ORDERS, *_ANGLED):
            raise UnknownNameError("order of a box", self.order, (*ORDERS, *_ANGLED))
        if self.frame not in FRAMES:
            raise UnknownNameError("frame of a box", self.frame, FRAMES)

    @property
    def has_angle(self) -> bool:
        """Whether the last number is an angle."""
        return "+" in self.order

    @property
    def n_numbers(self) -> int:
        """How many numbers a box has."""
        return ORDERS[self.order.partition("+")[0]] + self.has_angle

    @property
    def side(self) -> int | None:
        """The width and height of the image in units of the frame; None: its own, in pixels."""
        return FRAMES[self.frame]

    def boxes(self, numbers: ArrayLike, sizes: ArrayLike) -> NDArray[np.float64]:
        """Convert boxes to COCO xywh in pixels. A turned box becomes the upright one around it.

        Args:
            numbers: (n, `n_numbers`).
            sizes: width and height of the image of each box in pixels, (n, 2).

        Returns:
            float64 (n, 4); width or height is negative where corners are given in the wrong order.

        >>> BoxForm("xyxy", "thousandths").boxes([[100, 200, 300, 600]], [[400, 200]]).tolist()
        [[40.0, 40.0, 80.0, 80.0]]
        >>> BoxForm("cxcywh+degrees", "hundredths").boxes([[50, 50, 20, 10, 90]], [[400, 200]]).round(6).tolist()
        [[180.0, 80.0, 40.0, 40.0]]
        """
        given = np.asarray(numbers, dtype=np.float64).reshape(-1, self.n_numbers)
        low, high = self._corners(given)
        if self.has_angle:
            low, high = _turned(low, high, given[:, 4] * _RADIANS[self.order.partition("+")[2]])
        if self.side is not None:
            scale = np.asarray(sizes, dtype=np.float64).reshape(-1, 2) / self.side
            low, high = low * scale, high * scale
        return np.hstack([low, high - low])

    def misfit(self, numbers: ArrayLike) -> str | None:
        """Why boxes (n, `n_numbers`) are most likely not of this form; None: they may be.

        >>> BoxForm("xyxy", "fractions").misfit([[40, 40, 120, 120]])
        '1 of 1 boxes reach beyond 1, as far as 120, and are no fractions of the image: give another --frame'
        >>> BoxForm("cxcywh+radians").misfit([[40, 40, 8, 8, 45]])
        '1 of 1 angles, up to 45, are more than a whole turn in radians: give --order cxcywh+degrees'
        """
        given = np.asarray(numbers, dtype=np.float64).reshape(-1, self.n_numbers)
        if self.has_angle and (problem := self._misfit_of_angles(given[:, 4])):
            return problem
        return self.misfit_of_places(np.maximum(*self._corners(given)), "boxes")

    def misfit_of_places(self, places: NDArray[np.float64], what: str) -> str | None:
        """Why points, or the far corners of boxes, most likely have another frame; None: they may have this one.

        Args:
            places: their x and y, (n, 2).
            what: what they are, for the sentence.
        """
        if self.side is None or not len(places):
            return None
        farthest, n = places.max(axis=1), len(places)
        beyond = int((farthest > _BEYOND * self.side).sum())
        if 2 * beyond >= n:
            return (
                f"{beyond} of {n} {what} reach beyond {self.side}, as far as {farthest.max():g}, and are no "
                f"{self.frame} of the image: give another --frame"
            )
        if self.side > 1 and farthest.max() <= _BEYOND:
            return (
                f"all {n} {what} lie within the first {farthest.max() / self.side:.1%} of their image: are they "
                "fractions? Give another --frame"
            )
        return None

    def _misfit_of_angles(self, angles: NDArray[np.float64]) -> str | None:
        order, _, unit = self.order.partition("+")
        beyond, n = int((np.abs(angles) > _TURN).sum()), len(angles)
        if unit == "radians" and 2 * beyond >= n > 0:
            farthest = angles[np.argmax(np.abs(angles))]
            return (
                f"{beyond} of {n} angles, up to {farthest:g}, are more than a whole turn in radians: give --order "
                f"{order}+degrees"
            )
        return None

    def _corners(self, given: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        first, second = given[:, :2], given[:, 2:4]
        match self.order.partition("+")[0]:
            case "xywh":
                return first, first + second
            case "cxcywh":
                return first - second / 2, first + second / 2
            case "yxyx":
                return first[:, ::-1], second[:, ::-1]
            case "corners":
                points = given.reshape(-1, 4, 2)
                return points.min(axis=1), points.max(axis=1)
        return first, second


def _turned(
    low: NDArray[np.float64], high: NDArray[np.float64], angle: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The corners of the upright boxes around turned ones; those of boxes without a size stay as they are."""
    centre, half = (low + high) / 2, (high - low) / 2
    cos, sin = np.abs(np.cos(angle))[:, None], np.abs(np.sin(angle))[:, None]
    around = np.where((half < 0).any(axis=1, keepdims=True), half, half * cos + half[:, ::-1] * sin)
    return centre - around, centre + around
