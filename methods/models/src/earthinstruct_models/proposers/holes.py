"""Fills the holes of masks on their runs, for all masks of an image at once and without drawing a mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from earthinstruct.regions import MaskRuns

Integers = NDArray[np.int64]


def column_masks(owners: Integers, starts: Integers, ends: Integers, n: int, size: tuple[int, int]) -> MaskRuns:
    """Masks from foreground runs. Runs that touch, as at the end of one column and the start of the next, are joined.

    Args:
        owners: int64 (runs,), the index in [0, n) of the mask of each run.
        starts: int64 (runs,), first pixel, in column-major order.
        ends: int64 (runs,), one past the last pixel; the runs of a mask do not overlap.
        n: number of masks.
        size: (height, width) of the image, pixels.
    """
    order = np.lexsort((starts, owners))
    owners, starts, ends = owners[order], starts[order], ends[order]
    apart = np.ones(len(starts) + 1, dtype=bool)  # whether a run does not touch the one before it
    apart[1:-1] = (owners[1:] != owners[:-1]) | (starts[1:] != ends[:-1])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners[apart[:-1]], minlength=n))])
    heights, widths = (np.full(n, side, dtype=np.int64) for side in size)
    return MaskRuns(heights, widths, offsets, starts[apart[:-1]], ends[apart[1:]])


def fill_holes(masks: MaskRuns) -> MaskRuns:
    """Fill the holes of the masks of one image. A hole is background that is not 4-connected to the border.

    >>> from earthinstruct.regions import decode_rles, encode_mask
    >>> ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
    >>> fill_holes(decode_rles([encode_mask(ring)])).areas.tolist()
    [9]
    """
    n = len(masks)
    if n == 0:
        return masks
    height, width = int(masks.heights[0]), int(masks.widths[0])
    owners, starts, ends = _by_column(masks, height)
    # Every image is padded with one row and column of background, and the padded images are laid side by side.
    tall, columns = height + 2, width + 2
    column, row = np.divmod(starts, height)
    above = (owners * columns + column + 1) * tall + row + 1
    edges = np.arange(n * columns + 1) * tall
    first = np.sort(np.concatenate([above + ends - starts, edges[:-1]]))  # background runs, inside one column each
    last = np.sort(np.concatenate([above, edges[1:]]))
    first, last = first[first < last], last[first < last]
    component = _components(first, last, tall)
    owner = first // (tall * columns)
    around = component[np.searchsorted(first, edges[:-1:columns])]  # the first column of each image
    hole = component != around[owner]
    column, row = np.divmod(first[hole] - owner[hole] * tall * columns, tall)
    begin = (column - 1) * height + row - 1
    return column_masks(
        np.concatenate([owners, owner[hole]]),
        np.concatenate([starts, begin]),
        np.concatenate([ends, begin + last[hole] - first[hole]]),
        n,
        (height, width),
    )


def _by_column(masks: MaskRuns, height: int) -> tuple[Integers, Integers, Integers]:
    """Owner, start and end of the runs, cut where a column ends."""
    first, last = masks.starts // height, (masks.ends - 1) // height
    run, place = _spread(last - first + 1)
    column = first[run] + place
    starts = np.maximum(masks.starts[run], column * height)
    return masks.owners[run], starts, np.minimum(masks.ends[run], (column + 1) * height)


def _components(first: Integers, last: Integers, tall: int) -> Integers:
    """The connected component of each run; runs of adjacent columns touch where their rows overlap."""
    low = np.searchsorted(last, first + tall, side="right")
    high = np.searchsorted(first, last + tall, side="left")
    run, place = _spread(np.maximum(high - low, 0))
    graph = coo_array((np.ones(len(run), dtype=np.int8), (run, low[run] + place)), shape=(len(first), len(first)))
    component: Integers = connected_components(graph, directed=False)[1].astype(np.int64)
    return component


def _spread(numbers: Integers) -> tuple[Integers, Integers]:
    """Indices repeated by numbers, and the place of each among its own: [2, 0, 1] -> [0, 0, 2] and [0, 1, 0]."""
    index = np.repeat(np.arange(len(numbers)), numbers)
    return index, np.arange(len(index)) - (np.cumsum(numbers) - numbers)[index]
