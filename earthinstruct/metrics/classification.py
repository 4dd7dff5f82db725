"""Scores of a classifier of known objects: how many got their category, and how true its confidence is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.curves import calibrate
from earthinstruct.metrics.intervals import n_targets, spread, within_0_and_1
from earthinstruct.metrics.scores import recall
from earthinstruct.metrics.summary import value_of
from earthinstruct.metrics.tally import Tally, by_name
from earthinstruct.metrics.values import Calibration, Value
from earthinstruct.regions import ImageId


class Classification(msgspec.Struct, frozen=True):
    """How well objects were classified.

    Attributes:
        n_objects: number of objects.
        accuracy: the share of all objects that got their category.
        mean_accuracy: the mean of this share over the categories with objects.
        per_category: category with objects -> its objects, and how many of them got it.
        calibration: the confidence against the share that is right.
    """

    n_objects: int
    accuracy: Value
    mean_accuracy: Value
    per_category: dict[str, tuple[int, int]]
    calibration: Calibration


def classification_scores(
    images: Sequence[ImageId],
    categories: Sequence[str],
    image: NDArray[np.int64],
    actual: NDArray[np.int64],
    given: NDArray[np.int64],
    confidence: NDArray[np.float64] | None,
) -> Classification:
    """Score the categories that a classifier gave to n known objects, with 95 % intervals over images.

    Args:
        images: the ids of the images.
        categories: the names of the categories.
        image: (n,), index into `images`.
        actual: (n,), the category of each object, index into `categories`.
        given: (n,), the category that it got.
        confidence: (n,), the probability of the given category, in [0, 1]; None if the classifier has none.

    >>> found = classification_scores(
    ...     ["a", "b"], ["ship", "plane"], np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), None
    ... )
    >>> found.accuracy.value, round(found.mean_accuracy, 4), found.per_category  # 3 / 4; (2 / 3 + 1 / 1) / 2
    (0.75, 0.8333, {'ship': (3, 2), 'plane': (1, 1)})
    """
    right = actual == given
    cells = len(images) * len(categories)
    of_each = [
        np.bincount(image[some] * len(categories) + actual[some], minlength=cells).reshape(len(images), len(categories))
        for some in (right, ~right)
    ]
    tally = Tally(tuple(images), tuple(categories), dict(zip(("tp", "fn"), of_each, strict=True)))
    pooled = Tally(tally.images, ("all",), {name: of.sum(axis=1, keepdims=True) for name, of in tally.columns.items()})
    n_of, n_right = n_targets(tally.totals).tolist(), tally.totals["tp"].tolist()
    return Classification(
        len(actual),
        _mean(pooled),
        _mean(tally),
        {name: (n, ok) for name, n, ok in zip(categories, n_of, n_right, strict=True) if n},
        Calibration(Value(None, reason="the classifier has no confidence"), [])
        if confidence is None
        else calibrate(confidence, right),
    )


def _mean(tally: Tally) -> Value:
    """The mean share that is right, over the categories of a tally with objects."""
    over = n_targets(tally.totals) > 0
    if not over.any():
        return value_of(None, None)
    order = by_name(tally.categories)  # so that the last digit does not depend on the order of the categories
    mean = float(recall(tally.totals)[order][over[order]].mean())
    (interval,) = spread(tally, recall, over[None]).intervals(np.array([mean]), within_0_and_1)
    return value_of(mean, interval)
