"""`Tally`: numbers per image and category, from which every score is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.regions import ImageId, Instances


@dataclass(frozen=True, eq=False)
class Tally:
    """Numbers per image and category. Tallies of disjoint sets of images add up to the tally of the whole.

    Attributes:
        images: the ids of n images.
        categories: the names of c categories.
        columns: name -> integers >= 0 (n, c); `tp`, `fp`, `fn` for what is matched, `intersection`, `union` (pixels)
            and `targets` for mIoU. Those of a metric plug-in may be any finite numbers.
    """

    images: tuple[ImageId, ...]
    categories: tuple[str, ...]
    columns: Mapping[str, NDArray[Any]]

    @staticmethod
    def join(chunks: Sequence[Tally]) -> Tally:
        """The tally of the whole; at least one chunk.

        Raises:
            ValueError: the chunks differ in categories or columns, or two have an image in common.
        """
        first = chunks[0]
        if any(
            chunk.categories != first.categories or chunk.columns.keys() != first.columns.keys() for chunk in chunks
        ):
            raise ValueError("only tallies of the same categories and columns add up")
        images = tuple(image for chunk in chunks for image in chunk.images)
        if len(set(images)) < len(images):
            twice = next(image for image, n in Counter(images).items() if n > 1)
            raise ValueError(f"image {twice!r} is in two tallies; chunks must be disjoint sets of images")
        columns = {name: np.concatenate([chunk.columns[name] for chunk in chunks]) for name in first.columns}
        return Tally(images, first.categories, columns)

    def compact(self) -> Tally:
        """The same numbers, integers in the smallest type that holds each column, for keeping."""
        return replace(self, columns={name: compact(column) for name, column in self.columns.items()})

    @property
    def totals(self) -> dict[str, NDArray[Any]]:
        """Sums over the images: name -> int64 (c,), or float64 of fractions."""
        return {
            name: column.sum(axis=0, dtype=np.result_type(column, np.int64)) for name, column in self.columns.items()
        }


def compact(column: NDArray[Any]) -> NDArray[Any]:
    """The same integers in the smallest signed type that holds them; fractions as they are."""
    if column.dtype.kind == "f":
        return column
    return column.astype(np.min_scalar_type(min(int(column.min(initial=0)), -1 - int(column.max(initial=0)))))


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
