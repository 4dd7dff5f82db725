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
    cell, position, side, step = (
        np.concatenate(parts)
        for parts in zip(_edges(predictions, shape[1], 0), _edges(targets, shape[1], 1), strict=True)
    )
    order = np.lexsort((position, cell))
    cell, position, side, step = cell[order], position[order], side[order], step[order]
    # depth of each side after an edge: every mask opens and closes within its cell, so the sums return to 0
    depth = [np.cumsum(np.where(side == which, step, 0)) > 0 for which in (0, 1)]
    length = np.append(np.diff(position), 0)  # to the next edge; between two cells both depths are 0
    pixels = {"intersection": depth[0] & depth[1], "union": depth[0] | depth[1]}
    columns = {
        name: np.bincount(cell[inside], weights=length[inside], minlength=shape[0] * shape[1])
        .astype(np.int64)
        .reshape(shape)
        for name, inside in pixels.items()
    }
    columns["targets"] = count_per_image(targets, *shape)
    return Tally(tuple(images), tuple(categories), columns)


def _edges(instances: Instances, n_categories: int, side: int) -> tuple[NDArray[np.int64], ...]:
    """The starts (+1) and ends (-1) of all runs: cell, position, side, step."""
    masks = instances.masks
    if masks is None:
        raise ValueError("regions need masks")
    counted = instances.category[masks.owners] >= 0
    owner = masks.owners[counted]
    cell = instances.image[owner] * n_categories + instances.category[owner]
    position = np.concatenate([masks.starts[counted], masks.ends[counted]])
    step = np.repeat(np.array([1, -1]), len(owner))
    return np.tile(cell, 2), position, np.full(len(position), side), step
