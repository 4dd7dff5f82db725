"""Bright spots: every connected bright region is an object."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthinstruct import Instruction, Prediction
from earthinstruct.regions import encode_masks


class BrightSpots:
    """Finds what is brighter than the rest; under open_vocabulary it is of the first category.

    Args:
        deviations: how many standard deviations above the mean brightness an object is.
        least_pixels: the size of the smallest object.
    """

    name = "bright-spots"

    def __init__(self, deviations: float = 1.5, least_pixels: int = 9) -> None:
        self.deviations = deviations
        self.least_pixels = least_pixels

    def predict(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Prediction:
        """Answer for one RGB image, uint8 (height, width, 3)."""
        brightness = image.mean(axis=2)
        regions, n = ndimage.label(brightness > brightness.mean() + self.deviations * brightness.std())
        masks = [mask for mask in (regions == i for i in range(1, n + 1)) if mask.sum() >= self.least_pixels]
        label = instruction.categories[0] if instruction.categories else "bright spot"
        return Prediction(
            labels=[label] * len(masks),
            boxes=[_box(mask) for mask in masks],
            masks=encode_masks(np.stack(masks)) if masks else (),
        )

    def describe(self) -> dict[str, Any]:
        """What goes into a result file."""
        return {
            "version": version("bright-spots"),
            "parameters": {"deviations": self.deviations, "least_pixels": self.least_pixels},
        }


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    (rows, columns), *_ = ndimage.find_objects(mask.astype(int))
    return columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
