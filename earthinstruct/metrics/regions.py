"""Semantic overlap: intersection and union, in pixels, of the united masks of a category in an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.inputs import Truth
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.regions import Instances, union_overlaps

_RUNS_AT_ONCE = 25_000


def tally_regions(truth: Truth, predictions: Instances, kept: NDArray[np.bool_]) -> Tally:
    """Count the pixels in the intersection and in the union of the united masks, for mIoU.

    Both sides have masks of the same sizes. The column `targets` counts the ground truths, because means are
    over the categories that have ground truth. `kept`: bool (predictions,), which predictions count.
    """
    shape, targets = truth.shape, truth.instances
    if predictions.masks is None or targets.masks is None:
        raise ValueError("regions need masks")
    category = np.concatenate([predictions.category, targets.category])
    cell = np.concatenate([predictions.image, targets.image]) * shape[1] + category
    runs = np.concatenate([np.diff(masks.offsets) for masks in (predictions.masks, targets.masks)])
    there = (category >= 0) & (runs > 0)
    there[: len(kept)] &= kept
    by_cell = np.flatnonzero(there)
    by_cell = by_cell[np.argsort(cell[by_cell], kind="stable")]
    # whole cells together, of few runs
    new = np.flatnonzero(np.diff(cell[by_cell], prepend=-1))
    group = np.cumsum(runs[by_cell])[new] // _RUNS_AT_ONCE
    shared, united = np.zeros((2, shape[0] * shape[1]), dtype=np.int64)
    for some in np.split(by_cell, new[1:][np.diff(group) > 0]):
        a, b = some[some < len(kept)], some[some >= len(kept)]
        cells, shared_here, united_here = union_overlaps(
            predictions.masks.take(a), targets.masks.take(b - len(kept)), cell[a], cell[b]
        )
        shared[cells], united[cells] = shared_here, united_here
    columns = {"intersection": shared.reshape(shape), "union": united.reshape(shape)}
    return Tally(truth.images, truth.categories, {**columns, "targets": count_per_image(targets, *shape)})
