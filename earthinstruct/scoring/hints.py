"""Hints on valid predictions that seem to follow another convention: boxes by corners, other category ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from earthinstruct.datasets import ImageRecord
from earthinstruct.metrics import Metrics
from earthinstruct.predictions import Record

_SLACK = 0.02  # of the image: boxes of many detectors leave it by a few pixels
_MANY = 0.1  # of the boxes
_LARGEST_FRACTION = 1.5  # boxes as fractions of the image may leave it a little


@dataclass
class BoxSurvey:
    """Counts the boxes that fit each convention, image by image.

    Attributes:
        total: number of boxes.
        outside: boxes that leave their image.
        corners: boxes that lie within their image if they are read as x1, y1, x2, y2.
        fractions: boxes whose numbers are all about 1 or less.
    """

    total: int = 0
    outside: int = 0
    corners: int = 0
    fractions: int = 0

    def add(self, image: ImageRecord, record: Record | None) -> None:
        """Count the boxes of one image."""
        if record is None or not record.boxes:
            return
        boxes = np.array(record.boxes, dtype=np.float64)
        size = np.array([image.width, image.height])
        slack = np.maximum(1, _SLACK * size)
        first, last = boxes[:, :2], boxes[:, 2:]
        with np.errstate(over="ignore"):  # boxes are checked later
            self.outside += int(((first < -slack) | (first + last > size + slack)).any(axis=1).sum())
        self.corners += int(((first < last) & (first >= -slack) & (last <= size + slack)).all(axis=1).sum())
        self.fractions += int((boxes <= _LARGEST_FRACTION).all(axis=1).sum())
        self.total += len(boxes)

    def hints(self) -> Iterator[str]:
        """Yield sentences on boxes that seem to follow another convention."""
        expected = "Expected x, y, width, height in pixels of the image."
        if self.total and self.fractions == self.total:
            yield f"all {self.total} boxes lie within the first pixel: are they fractions of the image? {expected}"
        elif self.outside and (self.corners == self.total or self.outside >= _MANY * self.total):
            yield (
                f"{self.outside} of {self.total} boxes leave their image: are they x1, y1, x2, y2, or of an image of "
                f"another size? {expected}"
            )


def category_hints(metrics: Metrics) -> Iterator[str]:
    """Yield a sentence if boxes are right, but none has the right category."""
    if metrics.errors is None or metrics.errors.box is None:
        return
    found = metrics.errors.box.total
    boxes = found.correct + found.duplicate + found.classification + found.localisation + found.both + found.background
    if not found.correct and boxes and 2 * found.classification >= boxes:
        yield (
            f"{found.classification} of {boxes} boxes lie on an object of another category, none on one of its own: "
            "are the category ids those of another list, or counted from another number?"
        )
