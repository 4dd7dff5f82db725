"""`Tally`: counts per image and category, from which every score is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.regions import ImageId, Instances


@dataclass(frozen=True, eq=False)
class Tally:
    """Counts per image and category. Tallies of disjoint sets of images join to the tally of the whole set.

    Attributes:
        images: the ids of n images.
        categories: the names of c categories.
        columns: name -> integers >= 0 (n, c): `tp`, `fp`, `fn` of a matching; `intersection`, `union` (pixels) and
            `targets` of mIoU. The columns of a metric plug-in may be any finite numbers.
    """

    images: tuple[ImageId, ...]
    categories: tuple[str, ...]
    columns: Mapping[str, NDArray[Any]]

    @staticmethod
    def join(chunks: Sequence[Tally]) -> Tally:
        """Join the tallies of one or more chunks.

        Raises:
            ValueError: the chunks differ in categories or columns, or share an image.
        """
        first = chunks[0]
        if any(
            chunk.categories != first.categories or chunk.columns.keys() != first.columns.keys() for chunk in chunks
        ):
            raise ValueError("only tallies of the same categories and columns can be joined")
        images = tuple(image for chunk in chunks for image in chunk.images)
        if len(set(images)) < len(images):
            twice = next(image for image, n in Counter(images).items() if n > 1)
            raise ValueError(f"image {twice!r} is in two tallies; chunks must be disjoint sets of images")
        columns = {name: np.concatenate([chunk.columns[name] for chunk in chunks]) for name in first.columns}
        return Tally(images, first.categories, columns)

    def of_images(self, images: Collection[ImageId]) -> Tally:
        """Select the rows of some images; those without a row are left out."""
        wanted = set(images)
        rows = [i for i, image in enumerate(self.images) if image in wanted]
        columns = {name: column[rows] for name, column in self.columns.items()}
        return Tally(tuple(self.images[i] for i in rows), self.categories, columns)

    def in_order(self, images: Sequence[ImageId]) -> Tally:
        """The rows of these images, in this order; zeros for those without a row."""
        place = {image: i for i, image in enumerate(self.images)}
        rows = np.array([place.get(image, -1) for image in images], dtype=np.int64)
        columns = {name: np.where(rows[:, None] >= 0, column[rows], 0) for name, column in self.columns.items()}
        return Tally(tuple(images), self.categories, columns)

    def compact(self) -> Tally:
        """Convert each integer column to the smallest type that holds it, for storage."""
        return replace(self, columns={name: compact(column) for name, column in self.columns.items()})

    @property
    def totals(self) -> dict[str, NDArray[Any]]:
        """Sums over the images: name -> int64 (c,), or float64 (c,) for a column of fractions."""
        return {
            name: column.sum(axis=0, dtype=np.result_type(column, np.int64)) for name, column in self.columns.items()
        }


def by_name(categories: Sequence[str]) -> NDArray[np.int64]:
    """Indices that sort categories by name: sums of fractions in this order do not depend on the order of a file."""
    return np.array(sorted(range(len(categories)), key=categories.__getitem__), dtype=np.int64)


def compact(column: NDArray[Any]) -> NDArray[Any]:
    """Convert integers to the smallest signed type that holds them; fractions are kept."""
    if column.dtype.kind == "f":
        return column
    return column.astype(np.min_scalar_type(min(int(column.min(initial=0)), -1 - int(column.max(initial=0)))))


def count_per_image(
    instances: Instances, n_images: int, n_categories: int, weights: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Count the instances per image and category: int64 (n_images, n_categories).

    Args:
        instances: the instances; those without a category (-1) are not counted.
        n_images: number of images.
        n_categories: number of categories.
        weights: bool (n,), which instances to count; None counts all.
    """
    counted = instances.category >= 0
    if weights is not None:
        counted &= weights
    cell = instances.image[counted] * n_categories + instances.category[counted]
    return np.bincount(cell, minlength=n_images * n_categories).reshape(n_images, n_categories)


def tally_of_none(instances: Instances, images: Sequence[ImageId], categories: Sequence[str]) -> Tally:
    """The tally of no predictions: every ground truth is missed."""
    fn = count_per_image(instances, len(images), len(categories))
    columns = {"tp": np.zeros_like(fn), "fp": np.zeros_like(fn), "fn": fn}
    return Tally(tuple(images), tuple(categories), columns)


def tally_counts(
    images: Sequence[ImageId],
    categories: Sequence[str],
    predicted: NDArray[np.int64],
    actual: NDArray[np.int64],
    allowed: NDArray[np.int64] | int = 0,
) -> Tally:
    """Tally counts, two int64 (images, categories): tp = min(actual, predicted), fp and fn = what either has more.

    `allowed`: by how much a count may exceed the actual number without a false positive.
    """
    columns = {
        "tp": np.minimum(actual, predicted),
        "fp": np.maximum(predicted - actual - allowed, 0),
        "fn": np.maximum(actual - predicted, 0),
    }
    return Tally(tuple(images), tuple(categories), columns)
