"""Semantic overlap: all masks of a category in an image united, on both sides, in pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.regions import ImageId, Instances

_IMAGES_AT_ONCE = 100


def tally_regions(
    images: Sequence[ImageId], categories: Sequence[str], predictions: Instances, targets: Instances
) -> Tally:
    """Pixels in the intersection and in the union of the united masks, per image and category, for mIoU.

    The column `targets` counts the ground truths: a resample's mean is over the categories that have some.

    Args:
        images: n ids.
        categories: c names.
        predictions: with masks.
        targets: with masks of the same sizes.
    """
    shape = (len(images), len(categories))
    columns = {name: np.zeros(shape, dtype=np.int64) for name in ("intersection", "union")}
    by_image = [(instances, np.argsort(instances.image, kind="stable")) for instances in (predictions, targets)]
    for first in range(0, shape[0], _IMAGES_AT_ONCE):
        last = min(first + _IMAGES_AT_ONCE, shape[0])
        sides = []
        for instances, order in by_image:
            low, high = np.searchsorted(instances.image, (first, last), sorter=order)
            sides.append(_edges(instances.take(order[low:high]), first, shape[1]))
        for name, pixels in zip(columns, _pixels(sides, (last - first) * shape[1]), strict=True):
            columns[name][first:last] = pixels.reshape(last - first, shape[1])
    return Tally(tuple(images), tuple(categories), {**columns, "targets": count_per_image(targets, *shape)})


_Edges = tuple[NDArray[np.int64], NDArray[np.int64]]


def _edges(instances: Instances, first_image: int, n_categories: int) -> _Edges:
    """The starts of all runs, then their ends: cell and position."""
    masks = instances.masks
    if masks is None:
        raise ValueError("regions need masks")
    owner = masks.owners
    counted = instances.category[owner] >= 0
    owner = owner[counted]
    cell = (instances.image[owner] - first_image) * n_categories + instances.category[owner]
    return np.tile(cell, 2), np.concatenate([masks.starts[counted], masks.ends[counted]])


def _pixels(sides: list[_Edges], n_cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pixels that both sides (predictions, targets) cover, and those that any covers, of each cell."""
    span = 1 + max(int(position.max(initial=0)) for _, position in sides)
    # one number an edge, so that one sort puts them in order: cell, position, and in two bits the side and the step
    edges = np.sort(
        np.concatenate(
            [
                ((cell * span + position) << 2) + (side << 1) + np.repeat(np.array([1, 0]), len(cell) // 2)
                for side, (cell, position) in enumerate(sides)
            ]
        )
    )
    cell, position = np.divmod(edges >> 2, span)
    step = ((edges & 1) << 1) - 1
    of_targets = edges & 2 != 0
    # depth of each side after an edge: every mask opens and closes within its cell, so the sums return to 0
    covered = [np.cumsum(np.where(of_targets == which, step, 0)) > 0 for which in (False, True)]
    length = np.append(np.diff(position), 0)  # to the next edge; between two cells both depths are 0

    def total(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(cell[inside], weights=length[inside], minlength=n_cells).astype(np.int64)

    return total(covered[0] & covered[1]), total(covered[0] | covered[1])
