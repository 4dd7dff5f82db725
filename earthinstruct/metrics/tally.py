"""`Tally`: integers per image and category, from which every score is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthinstruct.instances import ImageId, Instances


@dataclass(frozen=True, eq=False)
class Tally:
    """Integers per image and category. Tallies of disjoint sets of images add up to the tally of the whole.

    Attributes:
        images: the ids of n images.
        categories: the names of c categories.
        columns: name -> int64 (n, c); `tp`, `fp`, `fn` for what is matched, `intersection`, `union` (pixels) and
            `targets` for mIoU.
    """

    images: tuple[ImageId, ...]
    categories: tuple[str, ...]
    columns: Mapping[str, NDArray[np.int64]]

    def __add__(self, other: Tally) -> Tally:
        if self.categories != other.categories or self.columns.keys() != other.columns.keys():
            raise ValueError("only tallies of the same categories and columns add up")
        twice = set(self.images) & set(other.images)
        if twice:
            raise ValueError(f"image {min(twice, key=str)!r} is in both tallies; parts must be disjoint sets of images")
        columns = {name: np.concatenate([column, other.columns[name]]) for name, column in self.columns.items()}
        return Tally(self.images + other.images, self.categories, columns)

    @property
    def totals(self) -> dict[str, NDArray[np.int64]]:
        """Sums over the images: name -> int64 (c,)."""
        return {name: column.sum(axis=0) for name, column in self.columns.items()}


def count_per_image(
    instances: Instances, n_images: int, n_categories: int, weights: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """How many instances each image has of each category: int64 (n_images, n_categories).

    Args:
        instances: those without a category (-1) are not counted.
        n_images: number of images.
        n_categories: number of categories.
        weights: bool (n,), which instances count; None: all.
    """
    counted = instances.category >= 0
    if weights is not None:
        counted &= weights
    cell = instances.image[counted] * n_categories + instances.category[counted]
    return np.bincount(cell, minlength=n_images * n_categories).reshape(n_images, n_categories)


def totals_at_thresholds(
    predictions: Instances,
    matched: NDArray[np.bool_],
    n_targets: NDArray[np.int64],
    thresholds: NDArray[np.float64],
) -> dict[str, NDArray[np.int64]]:
    """The sums over all images of the predictions whose score reaches a threshold, for all thresholds in one pass.

    Args:
        predictions: n predictions with scores.
        matched: bool (n,), true positives of a matching in which every prefix by score is itself a maximum.
        n_targets: int64 (c,), ground truths of each category.
        thresholds: float64 (t,), increasing.

    Returns:
        `tp`, `fp`, `fn`: int64 (t, c).

    Raises:
        ValueError: the predictions have no scores.
    """
    if predictions.scores is None:
        raise ValueError("score thresholds need scores")
    shape = (len(thresholds) + 1, len(n_targets))
    reached = np.searchsorted(thresholds, predictions.scores, side="right")  # how many thresholds a score reaches

    def at_least(counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        cell = (reached * shape[1] + predictions.category)[counted]
        histogram = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
        return np.cumsum(histogram[::-1], axis=0)[-2::-1]

    labelled = predictions.category >= 0
    tp = at_least(labelled & matched)
    return {"tp": tp, "fp": at_least(labelled) - tp, "fn": n_targets - tp}


def tally_counts(
    images: Sequence[ImageId], categories: Sequence[str], predicted: NDArray[np.int64], actual: NDArray[np.int64]
) -> Tally:
    """Counting: tp = min(actual, predicted), fp = max(0, predicted - actual), fn = max(0, actual - predicted).

    Args:
        images: n ids.
        categories: c names.
        predicted: int64 (n, c), objects a method says there are.
        actual: int64 (n, c), objects there are.
    """
    return Tally(
        tuple(images),
        tuple(categories),
        {
            "tp": np.minimum(actual, predicted),
            "fp": np.maximum(predicted - actual, 0),
            "fn": np.maximum(actual - predicted, 0),
        },
    )


def tally_matches(
    images: Sequence[ImageId],
    categories: Sequence[str],
    predictions: Instances,
    targets: Instances,
    matched: NDArray[np.int64],
    kept: NDArray[np.bool_] | None = None,
) -> Tally:
    """Detection: a matched prediction is a tp, another one an fp, a ground truth nobody matched an fn.

    Args:
        images: n ids.
        categories: c names.
        predictions: the predictions.
        targets: the ground truth.
        matched: int64 (predictions,), what `match` returned.
        kept: bool (predictions,), which predictions are there at all (a score threshold); None: all.
    """
    shape = (len(images), len(categories))
    kept = np.ones(len(predictions), dtype=bool) if kept is None else kept
    tp = count_per_image(predictions, *shape, kept & (matched >= 0))
    columns = {
        "tp": tp,
        "fp": count_per_image(predictions, *shape, kept) - tp,
        "fn": count_per_image(targets, *shape) - tp,
    }
    return Tally(tuple(images), tuple(categories), columns)
