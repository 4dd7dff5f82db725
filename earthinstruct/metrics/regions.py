"""Semantic overlap: intersection and union, in pixels, of the united masks of a category in an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.inputs import Truth
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.regions import Instances, MaskRuns

_EDGES_AT_ONCE = 50_000  # small enough for the arrays to stay in the cache of a core
_OF_TARGETS = 1 << 32  # the depth of the targets is counted in multiples of this, beside that of the predictions
_STEPS = np.array([-1, 1, -_OF_TARGETS, _OF_TARGETS])  # what an edge adds to the depths, by its two bits


def tally_regions(truth: Truth, predictions: Instances, kept: NDArray[np.bool_]) -> Tally:
    """Count the pixels in the intersection and in the union of the united masks, for mIoU.

    Both sides have masks of the same sizes. The column `targets` counts the ground truths, because means are
    over the categories that have ground truth. `kept`: bool (predictions,), which predictions count.
    """
    shape, targets = truth.shape, truth.instances
    if predictions.masks is None or targets.masks is None:
        raise ValueError("regions need masks")
    masks = MaskRuns.join([predictions.masks, targets.masks])
    category = np.concatenate([predictions.category, targets.category])
    cell = np.concatenate([predictions.image, targets.image]) * shape[1] + category
    there = (category >= 0) & (np.diff(masks.offsets) > 0)
    there[: len(kept)] &= kept
    by_cell = np.flatnonzero(there)
    by_cell = by_cell[np.argsort(cell[by_cell], kind="stable")]
    # whole cells together, of few edges
    new = np.flatnonzero(np.diff(cell[by_cell], prepend=-1))
    edges = np.cumsum(2 * np.diff(masks.offsets)[by_cell])[new] // _EDGES_AT_ONCE
    shared, united = np.zeros((2, shape[0] * shape[1]), dtype=np.int64)
    for some in np.split(by_cell, new[1:][np.diff(edges) > 0]):
        if len(some):
            cells, shared_here, united_here = _pixels(masks.take(some), cell[some], some >= len(kept))
            shared[cells], united[cells] = shared_here, united_here
    columns = {"intersection": shared.reshape(shape), "union": united.reshape(shape)}
    return Tally(truth.images, truth.categories, {**columns, "targets": count_per_image(targets, *shape)})


def _pixels(
    masks: MaskRuns, cell: NDArray[np.int64], of_targets: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The cells of masks, which are sorted by cell, and the pixels of each in the intersection and in the union.

    A sweep over the sorted edges keeps the depth of each side: how many of its masks cover the pixels up to the next
    edge. No mask is drawn.
    """
    cells, first, of_mask = np.unique(cell, return_index=True, return_inverse=True)
    span = masks.heights[first] * masks.widths[first] + 1
    # an edge in one number: the position, with the cells one after another, then two bits: side, and start (1) or end
    base = ((np.cumsum(span) - span)[of_mask] << 2) + (of_targets << 1)
    runs = np.diff(masks.offsets)
    pairs = np.stack([masks.starts, masks.ends], axis=1, dtype=np.int64) << 2
    pairs += np.repeat(base, runs)[:, None]
    pairs[:, 0] += 1
    edges = np.sort(pairs.ravel(), kind="stable")  # merges the masks, each of which is sorted
    start = 2 * masks.offsets[first]  # of each cell
    shared, united = np.zeros((2, len(cells)), dtype=np.int64)
    depth = 0  # after each edge; every run ends in its cell, so it is 0 between two cells
    for low in range(0, len(edges) - 1, _EDGES_AT_ONCE):
        some = edges[low : low + _EDGES_AT_ONCE + 1]
        depths = np.cumsum(_STEPS[some[:-1] & 3])
        depths += depth
        depth = depths[-1]
        length = np.diff(some >> 2)
        here = slice(np.searchsorted(start, low, side="right") - 1, np.searchsorted(start, low + len(length)))
        at = np.maximum(start[here] - low, 0)
        united[here] += np.add.reduceat(length * (depths > 0), at)
        both = (depths >= _OF_TARGETS) & (depths & (_OF_TARGETS - 1) > 0)
        shared[here] += np.add.reduceat(length * both, at)
    return cells, shared, united
