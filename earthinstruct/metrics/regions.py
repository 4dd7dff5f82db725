"""Semantic overlap: all masks of a category in an image united, on both sides, in pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from earthinstruct.instances import ImageId, Instances
from earthinstruct.metrics.tally import Tally, count_per_image


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
    sides = [_edges(instances, shape[1]) for instances in (predictions, targets)]
    span = 1 + max(int(position.max(initial=0)) for _, position in sides)
    # one number an edge, so that one sort puts them in order: cell, position, and in two bits the side and the step
    keys = [
        ((cell * span + position) << 2) + (side << 1) + np.repeat(np.array([1, 0]), len(cell) // 2)
        for side, (cell, position) in enumerate(sides)
    ]
    edges = np.sort(np.concatenate(keys))
    cell, position = np.divmod(edges >> 2, span)
    step = ((edges & 1) << 1) - 1
    of_targets = edges & 2 != 0
    # depth of each side after an edge: every mask opens and closes within its cell, so the sums return to 0
    inside = [np.cumsum(np.where(of_targets == which, step, 0)) > 0 for which in (False, True)]
    length = np.append(np.diff(position), 0)  # to the next edge; between two cells both depths are 0
    pixels = {"intersection": inside[0] & inside[1], "union": inside[0] | inside[1]}
    columns = {
        name: np.bincount(cell[chosen], weights=length[chosen], minlength=shape[0] * shape[1])
        .astype(np.int64)
        .reshape(shape)
        for name, chosen in pixels.items()
    }
    columns["targets"] = count_per_image(targets, *shape)
    return Tally(tuple(images), tuple(categories), columns)


def _edges(instances: Instances, n_categories: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The starts of all runs, then their ends: cell and position."""
    masks = instances.masks
    if masks is None:
        raise ValueError("regions need masks")
    counted = instances.category[masks.owners] >= 0
    owner = masks.owners[counted]
    cell = instances.image[owner] * n_categories + instances.category[owner]
    return np.tile(cell, 2), np.concatenate([masks.starts[counted], masks.ends[counted]])
