"""Controls: methods that see the ground truth and whose scores are known in advance. They catch wrong metrics.

They use the targets and the size of the image (`constant` uses neither). The pixels only seed random choices, which
therefore do not depend on the order or the names of the images.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Instruction, Prediction
from earthinstruct.errors import EarthInstructError
from earthinstruct.regions import decode_mask, decode_rles, encode_masks
from earthinstruct.tasks import Task


class _Control:
    """What the controls share.

    Args:
        points: answer with points alone, without boxes, masks and counts, and be named `<name>-points`.
    """

    name: str
    _deterministic: ClassVar[bool | None] = True

    def __init__(self, points: bool = False) -> None:
        self.points = points
        if points:
            self.name = f"{self.name}-points"

    def describe(self) -> dict[str, Any]:
        """Version and parameters."""
        known = {name: value for name, value in vars(self).items() if name != "name" and not name.startswith("_")}
        parameters = {name: value for name, value in known.items() if name != "points" or value}
        return {"version": version("earthinstruct"), "parameters": parameters, "deterministic": self._deterministic}

    def answer(self, prediction: Prediction) -> Prediction:
        """The prediction, or points in its objects."""
        if not self.points:
            return prediction
        return Prediction(prediction.labels, points=points_in(prediction))


def points_in(prediction: Prediction) -> NDArray[np.float64]:
    """A point in each instance: float64 (n, 2), x and y in pixels.

    The centre of its box; if its mask does not hold the centre, that of the longest column of pixels of the mask. An
    empty mask keeps the centre of the box.
    """
    boxes = np.zeros((0, 4)) if prediction.boxes is None else prediction.boxes
    points = boxes[:, :2] + boxes[:, 2:] / 2
    if prediction.masks is not None:
        masks = decode_rles(prediction.masks)
        for i in np.flatnonzero(~masks.hold(np.arange(len(points)), points) & (masks.areas > 0)).tolist():
            runs = slice(masks.offsets[i], masks.offsets[i + 1])
            longest = int(np.argmax(masks.ends[runs] - masks.starts[runs]))
            middle = int(masks.starts[runs][longest] + masks.ends[runs][longest] - 1) // 2
            x, y = divmod(middle, int(masks.heights[i]))
            points[i] = x + 0.5, y + 0.5
    return points


class Oracle(_Control):
    """Control: predicts the ground truth. Every F1 must be 1.

    Args:
        points: answer with a point in each object alone.
    """

    name = "oracle"

    def predict_with_targets(
        self, image: NDArray[np.uint8], instruction: Instruction, targets: Prediction, /
    ) -> Prediction:
        """Return the targets and their counts."""
        return self.answer(Prediction(targets.labels, targets.boxes, targets.masks, counts=Counter(targets.labels)))


class JitteredOracle(_Control):
    """Control: predicts the ground truth, with boxes and masks moved by a share of their size. Counting F1 must be 1.

    Args:
        shift: largest move, as a share of the box's width and height. A move by 1/3 of one side gives an IoU of 0.5.
        seed: seed of the moves, combined with the pixels of each image.
        points: answer with the centres of the moved objects alone.
    """

    name = "oracle-jittered"

    def __init__(self, shift: float = 0.25, seed: int = 0, points: bool = False) -> None:
        super().__init__(points)
        if not 0 <= shift <= 10:
            raise EarthInstructError(f"shift must be between 0 and 10, got {shift!r}")
        self.shift = shift
        self.seed = seed

    def predict_with_targets(
        self, image: NDArray[np.uint8], instruction: Instruction, targets: Prediction, /
    ) -> Prediction:
        """Return the targets, moved."""
        generator = _generator(image, self.seed)
        share = generator.uniform(-self.shift, self.shift, (len(targets), 2))
        boxes = np.zeros((0, 4)) if targets.boxes is None else targets.boxes.copy()
        move = np.rint(share * boxes[:, 2:])
        boxes[:, :2] += move
        masks = None
        if targets.masks is not None:
            moved = [_moved(decode_mask(rle), *step) for rle, step in zip(targets.masks, move.astype(int), strict=True)]
            masks = tuple(encode_masks(np.stack(moved))) if moved else ()
        return self.answer(Prediction(targets.labels, boxes, masks, counts=Counter(targets.labels)))


def _moved(mask: NDArray[np.bool_], dx: int, dy: int) -> NDArray[np.bool_]:
    """A mask moved by whole pixels; what leaves the image is cut off. Faster than `scipy.ndimage.shift`."""
    moved = np.zeros_like(mask)
    height, width = mask.shape
    if abs(dx) < width and abs(dy) < height:
        part = mask[max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)]
        moved[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = part
    return moved


class Empty(_Control):
    """Control: finds nothing. Every F1 must be 0.

    Args:
        points: answer with no point, instead of no box.
    """

    name = "empty"

    def predict_with_targets(
        self, image: NDArray[np.uint8], instruction: Instruction, targets: Prediction, /
    ) -> Prediction:
        """Return an empty prediction."""
        return self.answer(Prediction(masks=(), counts={}))


class Random(_Control):
    """Control: predicts the right number of boxes of each label in random places.

    Counting F1 must be 1, box F1 near 0. Each repeat has other places, and the same counts.

    Args:
        seed: seed of the places, combined with the pixels of each image and the number of the repeat.
        points: answer with the centres of the boxes alone.
    """

    name = "random"
    _deterministic = None  # it has other places in each repeat

    def __init__(self, seed: int = 0, points: bool = False) -> None:
        super().__init__(points)
        self.seed = seed
        self._repeat = 0

    def repeat(self, number: int, /) -> None:
        """Take other places."""
        self._repeat = number

    def predict_with_targets(
        self, image: NDArray[np.uint8], instruction: Instruction, targets: Prediction, /
    ) -> Prediction:
        """Return random boxes, with masks that fill them."""
        generator = _generator(image, self.seed, *([self._repeat] if self._repeat else []))
        height, width = image.shape[:2]
        corners = np.sort(generator.random((len(targets), 2, 2)), axis=1) * [width, height]
        low = np.floor(corners[:, 0]).astype(int)
        high = np.maximum(np.ceil(corners[:, 1]).astype(int), low + 1)
        masks = np.zeros((len(targets), height, width), dtype=bool)
        for mask, (x0, y0), (x1, y1) in zip(masks, low, high, strict=True):
            mask[y0:y1, x0:x1] = True
        boxes = np.hstack([low, high - low])
        return self.answer(
            Prediction(targets.labels, boxes, tuple(encode_masks(masks)), counts=Counter(targets.labels))
        )


class Constant(_Control):
    """Control: gives every image the same counts, and looks at nothing. Blind or not, it scores the same.

    Args:
        count: the number of objects of each category that is asked for.
        counts: category of the dataset -> another number.
    """

    name = "constant"

    def __init__(self, count: int = 1, counts: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.count = count
        self.counts = dict(counts or {})

    def skip(self, task: Task) -> str | None:
        """The reason to decline a task that names no categories."""
        return _needs_categories(task)

    def predict_with_targets(
        self, image: NDArray[np.uint8], instruction: Instruction, targets: Prediction, /
    ) -> Prediction:
        """Return the constant counts."""
        return Prediction(counts={name: self.counts.get(name, self.count) for name in instruction.categories})


class FirstCategory(_Control):
    """Control: finds all objects of the first category that is asked for, and none of the others.

    Which one is first is a matter of wording, so its counts change with the order of the names.
    """

    name = "first-category"

    def skip(self, task: Task) -> str | None:
        """The reason to decline a task that names no categories."""
        return _needs_categories(task)

    def predict_with_targets(
        self, image: NDArray[np.uint8], instruction: Instruction, targets: Prediction, /
    ) -> Prediction:
        """Return the targets of the first category."""
        first = instruction.categories[0]
        kept = [i for i, label in enumerate(targets.labels) if label == first]
        boxes = None if targets.boxes is None else targets.boxes[kept]
        masks = None if targets.masks is None else tuple(targets.masks[i] for i in kept)
        return self.answer(Prediction((first,) * len(kept), boxes, masks, counts={first: len(kept)}))


def _needs_categories(task: Task) -> str | None:
    return (
        None
        if task.setting == "open_vocabulary"
        else "it needs the names of categories, which only open_vocabulary has"
    )


def _generator(image: NDArray[np.uint8], *seeds: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([*seeds, zlib.crc32(np.ascontiguousarray(image).tobytes())]))
