"""Semantic overlap: intersection and union, in pixels, of the united masks of a category in an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.inputs import Truth
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.regions import Instances

_IMAGES_AT_ONCE = 100


def tally_regions(truth: Truth, predictions: Instances) -> Tally:
    """Count the pixels in the intersection and in the union of the united masks, for mIoU.

    Both sides have masks of the same sizes. The column `targets` counts the ground truths, because means are
    over the categories that have ground truth.
    """
    shape, targets = truth.shape, truth.instances
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
    return Tally(truth.images, truth.categories, {**columns, "targets": count_per_image(targets, *shape)})


_Edges = tuple[NDArray[np.int64], NDArray[np.int64]]


def _edges(instances: Instances, first_image: int, n_categories: int) -> _Edges:
    """The edges of all runs, first the starts, then the ends: cell (image and category) and pixel position."""
    masks = instances.masks
    if masks is None:
        raise ValueError("regions need masks")
    owner = masks.owners
    counted = instances.category[owner] >= 0
    owner = owner[counted]
    cell = (instances.image[owner] - first_image) * n_categories + instances.category[owner]
    return np.tile(cell, 2), np.concatenate([masks.starts[counted], masks.ends[counted]])


def _pixels(sides: list[_Edges], n_cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of each cell in the intersection and in the union of both sides (predictions, targets).

    A sweep over the sorted edges keeps the depth of each side: how many of its masks cover the pixels up to the next
    edge. No mask is drawn.
    """
    span = 1 + max(int(position.max(initial=0)) for _, position in sides)
    # pack each edge into one number for a single sort: cell, position, then two bits: side, and start (1) or end (0)
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
    # a side covers pixels where its depth is above 0; every run ends in its cell, so the depth is 0 between two cells
    covered = [np.cumsum(np.where(of_targets == which, step, 0)) > 0 for which in (False, True)]
    length = np.append(np.diff(position), 0)  # pixels up to the next edge

    def total(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(cell[inside], weights=length[inside], minlength=n_cells).astype(np.int64)

    return total(covered[0] & covered[1]), total(covered[0] | covered[1])
