"""Instances of many images, stored in columns. Ground truth and predictions are scored in this form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthinstruct.regions.masks import MaskRuns

ImageId = int | str


def by_id(images: Sequence[ImageId]) -> list[int]:
    """Indices that sort the images by id, numbers before text."""
    return sorted(range(len(images)), key=lambda i: (isinstance(images[i], str), images[i]))


def pixels_of(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pixel that each point lies in, as a box: float64 (n, 2) -> (n, 4), xywh.

    >>> pixels_of(np.array([[3.7, 5.0]])).tolist()
    [[3.0, 5.0, 1.0, 1.0]]
    """
    return np.hstack([np.floor(points), np.ones_like(points)])


@dataclass(frozen=True, eq=False)
class Instances:
    """n instances.

    Attributes:
        image: int64 (n,), index into a list of images.
        category: int64 (n,), index into a list of categories; -1 means no category.
        boxes: float64 (n, 4), COCO xywh, absolute pixels; of instances that are points alone, the pixel of each.
        masks: n masks, or None.
        scores: float64 (n,), or None.
        points: float64 (n, 2), x and y in absolute pixels, or None.
    """

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    boxes: NDArray[np.float64]
    masks: MaskRuns | None = None
    scores: NDArray[np.float64] | None = None
    points: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.image)

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Instances:
        """Select instances by index, in the given order, or by a boolean mask."""
        indices = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        return Instances(
            self.image[indices],
            self.category[indices],
            self.boxes[indices],
            None if self.masks is None else self.masks.take(indices),
            None if self.scores is None else self.scores[indices],
            None if self.points is None else self.points[indices],
        )
