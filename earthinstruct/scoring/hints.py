"""Hints on valid predictions that seem to follow another convention: boxes by corners, other category ids."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import Metrics

_SLACK = 0.02  # of the image: boxes of many detectors leave it by a few pixels
_MANY = 0.1  # of the boxes
_BOXES_AT_ONCE = 100_000
_PERCENT = 100.0
_LEAST_POINTS = 10  # fewer may lie in one corner
_LARGEST_FRACTION = 1.5  # boxes as fractions of the image may leave it a little


def box_hints(boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> Iterator[str]:
    """Yield sentences on boxes that seem to follow another convention.

    Args:
        boxes: float64 (n, 4), as given.
        sizes: float64 (n, 2), width and height of the image of each.
    """
    total, outside, corners, fractions = len(boxes), 0, 0, 0
    for start in range(0, total, _BOXES_AT_ONCE):
        some = slice(start, start + _BOXES_AT_ONCE)
        size, first, last = sizes[some], boxes[some, :2], boxes[some, 2:]
        slack = np.maximum(1, _SLACK * size)
        with np.errstate(over="ignore"):  # boxes are checked later
            outside += int(((first < -slack) | (first + last > size + slack)).any(axis=1).sum())
        corners += int(((first < last) & (first >= -slack) & (last <= size + slack)).all(axis=1).sum())
        fractions += int((boxes[some] <= _LARGEST_FRACTION).all(axis=1).sum())
    expected = "Expected x, y, width, height in pixels of the image; for others, score has --order and --frame."
    if total and fractions == total:
        yield f"all {total} boxes lie within the first pixel: are they fractions of the image? {expected}"
    elif outside and (corners == total or outside >= _MANY * total):
        yield (
            f"{outside} of {total} boxes leave their image: are they x1, y1, x2, y2, or of an image of "
            f"another size? {expected}"
        )


def point_hints(points: NDArray[np.float64], sizes: NDArray[np.float64]) -> Iterator[str]:
    """Yield a sentence on points that seem to be fractions or percent of the image.

    Args:
        points: float64 (n, 2), as given.
        sizes: float64 (n, 2), width and height of the image of each.
    """
    for most, name in ((_LARGEST_FRACTION, "fractions"), (_PERCENT, "percent")):
        far = (sizes > 2 * most).all(axis=1)  # images that have many points farther out
        if far.sum() >= _LEAST_POINTS and (points[far] <= most).all():
            yield (
                f"all {far.sum()} points lie within the first {most:g} x {most:g} pixels: are they {name} of the "
                "image? Expected x, y in pixels of the image."
            )
            return


def category_hints(metrics: Metrics) -> Iterator[str]:
    """Yield a sentence if boxes or points are right, but none has the right category."""
    errors = None if metrics.errors is None else metrics.errors.of_instances
    if errors is None:
        return
    found, what = errors.total, "points" if metrics.geometry == "point" else "boxes"
    boxes = found.correct + found.duplicate + found.classification + found.localisation + found.both + found.background
    if not found.correct and boxes and 2 * found.classification >= boxes:
        yield (
            f"{found.classification} of {boxes} {what} lie on an object of another category, none on one of its own: "
            "are the category ids those of another list, or counted from another number? score has --classes for that"
        )
