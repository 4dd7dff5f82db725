"""Hints on valid predictions that seem to follow another convention, such as boxes by corners or other category ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import Metrics
from earthinstruct.tasks import MappedLabel

_SLACK = 0.02  # of the image: boxes of many detectors leave it by a few pixels
_MANY = 0.1  # of the boxes or points
_FEW = 0.01
_AT_ONCE = 100_000
_LEAST = 10  # fewer may lie in one corner, or miss all objects by chance
_SHOWN = 3
_LARGEST_FRACTION = 1.5  # boxes as fractions of the image may leave it a little
_FRAMES = ((_LARGEST_FRACTION, "fractions"), (100.0, "hundredths"))
_LARGEST_SCORE = 1.01  # 1, with what rounding may add
_CORNER = 0.015  # of the image
_OTHERWISE = "for others, score has --order and --frame"


def box_hints(boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> Iterator[str]:
    """Yield sentences on boxes that seem to follow another convention.

    Args:
        boxes: float64 (n, 4), as given.
        sizes: float64 (n, 2), width and height of the image of each.
    """
    total, outside, corners, fractions = len(boxes), 0, 0, 0
    far = np.zeros(total)
    for start in range(0, total, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        size, first, last = sizes[some], boxes[some, :2], boxes[some, 2:]
        slack = np.maximum(1, _SLACK * size)
        with np.errstate(over="ignore"):  # boxes are checked later
            far[some] = (first + last).max(axis=1)
            outside += int(((first < -slack) | (first + last > size + slack)).any(axis=1).sum())
        corners += int(((first < last) & (first >= -slack) & (last <= size + slack)).all(axis=1).sum())
        fractions += int((boxes[some] <= _LARGEST_FRACTION).all(axis=1).sum())
    expected = f"Expected x, y, width, height in pixels of the image; {_OTHERWISE}."
    if total and fractions == total:
        yield f"all {total} boxes lie within the first pixel: are they fractions of the image? {expected}"
    elif outside and (corners == total or outside >= _MANY * total):
        yield (
            f"{outside} of {total} boxes leave their image: are they x1, y1, x2, y2, or of an image of "
            f"another size? {expected}"
        )
    else:
        yield from _small(far, sizes, "boxes", expected)


def point_hints(points: NDArray[np.float64], sizes: NDArray[np.float64]) -> Iterator[str]:
    """Yield a sentence on points that seem to be in another frame.

    Args:
        points: float64 (n, 2), as given.
        sizes: float64 (n, 2), width and height of the image of each.
    """
    expected = f"Expected x, y in pixels of the image; {_OTHERWISE}."
    outside = int(((points < 0) | (points > sizes)).any(axis=1).sum())
    if outside and outside >= _MANY * len(points):
        yield (
            f"{outside} of {len(points)} points lie outside their image: are they thousandths of it, or of an image of "
            f"another size? {expected}"
        )
    else:
        yield from _small(points.max(axis=1, initial=-np.inf), sizes, "points", expected)


def _small(far: NDArray[np.float64], sizes: NDArray[np.float64], what: str, expected: str) -> Iterator[str]:
    """A sentence on boxes or points, of which `far` is the largest number, that all lie in the first pixels."""
    for most, name in _FRAMES:
        large = (sizes > 2 * most).all(axis=1)  # images that have many boxes farther out
        if large.sum() >= _LEAST and (far[large] <= most).all():
            yield (
                f"all {large.sum()} {what} lie within the first {most:g} x {most:g} pixels: are they {name} of the "
                f"image? {expected}"
            )
            return
    if len(far) >= _LEAST and (far <= _CORNER * sizes.min(axis=1)).all():
        yield (
            f"all {len(far)} {what} lie within the first {_CORNER:.1%} of their image: are they fractions of it, read "
            f"as hundredths or thousandths? {expected}"
        )


def score_hints(scores: NDArray[np.float64], threshold: float | None) -> Iterator[str]:
    """Yield sentences on scores above 1, and on a threshold that is beyond all scores.

    Args:
        scores: float64 (n,), finite.
        threshold: the score threshold that is given, if any.
    """
    if not len(scores):
        return
    low, high = float(scores.min()), float(scores.max())
    if low >= 0 and high > _LARGEST_SCORE:  # log-probabilities are negative
        yield f"scores are from {low:.4g} to {high:.4g}, not from 0 to 1: a threshold is on this scale too"
    if threshold is not None and not low <= threshold <= high:
        kept = f"all {len(scores)}" if threshold < low else f"none of {len(scores)}"
        yield f"the threshold {threshold:g} keeps {kept} predictions: their scores are from {low:.4g} to {high:.4g}"


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


def place_hints(metrics: Metrics) -> Iterator[str]:
    """Yield a sentence if almost nothing lies on an object, and hardly an object is found."""
    errors = None if metrics.errors is None else metrics.errors.of_instances
    if errors is None:
        return
    found, what = errors.total, "points" if metrics.geometry == "point" else "boxes"
    on_object = found.correct + found.duplicate + found.classification
    total = on_object + found.localisation + found.both + found.background
    n_found, n_lost = found.correct + found.misclassified, found.missed + found.mislocated
    if total >= _LEAST and on_object <= _FEW * total and n_lost and n_found <= _MANY * (n_found + n_lost):
        near = f", and {found.localisation + found.both} near one" if what == "boxes" else ""
        yield (
            f"{on_object} of {total} {what} lie on an object{near}: are they of other images, or in another order or "
            f"frame? {_OTHERWISE.capitalize()}."
        )


def repetition_hints(metrics: Metrics, instances: Sequence[NDArray[Any]]) -> Iterator[str]:
    """Yield a sentence if nearly every prediction is there twice.

    Args:
        metrics: the scores.
        instances: what says that two predictions are the same, each (n, ...): image, label and box.
    """
    errors = None if metrics.errors is None else metrics.errors.of_instances
    if errors is None or errors.total.duplicate < max(_LEAST, (1 - _MANY) * errors.total.correct):
        return  # nearly always, and without comparing all
    rows = np.column_stack(instances)
    copies = len(rows) - len(np.unique(rows, axis=0))
    if 2 * copies >= (1 - _MANY) * len(rows):
        yield f"{copies} of {len(rows)} predictions are copies of others in their image: is each there twice?"


def mask_hints(metrics: Metrics) -> Iterator[str]:
    """Yield a sentence if boxes are right and their masks are not."""
    errors = metrics.errors
    if errors is None or errors.box is None or errors.mask is None:
        return
    boxes, masks = errors.box.total.correct, errors.mask.total.correct
    if boxes >= _LEAST and masks <= _FEW * boxes:
        yield (
            f"{boxes} boxes are right, and {masks} masks: are masks in pixels of the image, x before y, and each in "
            "the entry of its box?"
        )


def label_hints(label_map: Mapping[str, MappedLabel]) -> Iterator[str]:
    """Yield a sentence if no label means a category."""
    if label_map and all(label.category is None for label in label_map.values()):
        names = [*label_map][:_SHOWN]
        more = ", ..." if len(label_map) > _SHOWN else ""
        yield (
            f"no label means a category; labels are {', '.join(map(repr, names))}{more}. A label map says what they "
            "mean: --label-map"
        )


def coverage_hints(n: NDArray[np.int64], has_objects: NDArray[np.bool_]) -> Iterator[str]:
    """Yield a sentence if a file has entries for few of the images with objects, which may be those that were run.

    Args:
        n: int64 (images,), the number of entries of each image.
        has_objects: bool (images,), whether it has ground truth.
    """
    n_empty, n_images = int((n[has_objects] == 0).sum()), int(has_objects.sum())
    if n.any() and n_images >= _LEAST and 2 * n_empty >= n_images:
        yield (
            f"{n_empty} of {n_images} images with objects have no entry, and count as images without any prediction: "
            "were all of them run?"
        )
