"""Controls: methods that see the ground truth and whose scores are known in advance. They catch wrong metrics.

They use the targets and the size of the image. The pixels only seed random choices, which therefore do not depend on
the order or the names of the images.
"""

from __future__ import annotations

import zlib
from collections import Counter
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Instruction, Prediction
from earthinstruct.errors import EarthInstructError
from earthinstruct.regions import decode_mask, encode_masks


class _Described:
    def describe(self) -> dict[str, Any]:
        """Version and parameters."""
        return {"version": version("earthinstruct"), "parameters": dict(vars(self))}


class Oracle(_Described):
    """Control: predicts the ground truth. Every F1 must be 1."""

    name = "oracle"

    def predict_with_targets(
        self, image: NDArray[np.uint8], instruction: Instruction, targets: Prediction, /
    ) -> Prediction:
        """Return the targets and their counts."""
        return Prediction(targets.labels, targets.boxes, targets.masks, counts=Counter(targets.labels))


class JitteredOracle(_Described):
    """Control: predicts the ground truth, with boxes and masks moved by a share of their size. Counting F1 must be 1.

    Args:
        shift: largest move, as a share of the box's width and height. A move by 1/3 of one side gives an IoU of 0.5.
        seed: seed of the moves, combined with the pixels of each image.
    """

    name = "oracle-jittered"

    def __init__(self, shift: float = 0.25, seed: int = 0) -> None:
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
        return Prediction(targets.labels, boxes, masks, counts=Counter(targets.labels))


def _moved(mask: NDArray[np.bool_], dx: int, dy: int) -> NDArray[np.bool_]:
    """A mask moved by whole pixels; what leaves the image is cut off. Faster than `scipy.ndimage.shift`."""
    moved = np.zeros_like(mask)
    height, width = mask.shape
    if abs(dx) < width and abs(dy) < height:
        part = mask[max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)]
        moved[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = part
    return moved


class Empty(_Described):
    """Control: finds nothing. Every F1 must be 0."""

    name = "empty"

    def predict_with_targets(
        self, image: NDArray[np.uint8], instruction: Instruction, targets: Prediction, /
    ) -> Prediction:
        """Return an empty prediction."""
        return Prediction(masks=(), counts={})


class Random(_Described):
    """Control: predicts the right number of boxes of each label in random places.

    Counting F1 must be 1, box F1 near 0.

    Args:
        seed: seed of the places, combined with the pixels of each image.
    """

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def predict_with_targets(
        self, image: NDArray[np.uint8], instruction: Instruction, targets: Prediction, /
    ) -> Prediction:
        """Return random boxes, with masks that fill them."""
        generator = _generator(image, self.seed)
        height, width = image.shape[:2]
        corners = np.sort(generator.random((len(targets), 2, 2)), axis=1) * [width, height]
        low = np.floor(corners[:, 0]).astype(int)
        high = np.maximum(np.ceil(corners[:, 1]).astype(int), low + 1)
        masks = np.zeros((len(targets), height, width), dtype=bool)
        for mask, (x0, y0), (x1, y1) in zip(masks, low, high, strict=True):
            mask[y0:y1, x0:x1] = True
        return Prediction(
            targets.labels, np.hstack([low, high - low]), tuple(encode_masks(masks)), counts=Counter(targets.labels)
        )


def _generator(image: NDArray[np.uint8], seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(np.ascontiguousarray(image).tobytes())]))
