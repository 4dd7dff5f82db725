"""Count the pixels that masks share. No mask is drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthinstruct.regions.masks import MaskRuns, spans

_RUNS_AT_ONCE = 25_000  # small enough for the arrays to stay in the cache of a core
_OF_B = 1 << 32  # the depth of `b` is counted in multiples of this, beside that of `a`
_STEPS = np.array([-1, 1, -_OF_B, _OF_B])  # what an edge adds to the depths, by its two bits


def intersections(
    a: MaskRuns, b: MaskRuns, a_index: NDArray[np.int64], b_index: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count the foreground pixels shared by pairs of masks.

    Args:
        a: n masks.
        b: m masks.
        a_index: int64 (pairs,), index into `a`.
        b_index: int64 (pairs,), index into `b`; both masks of a pair have the same size.

    Returns:
        int64 (pairs,), pixels.
    """
    shared = np.zeros(len(a_index), dtype=np.int64)
    runs = np.diff(a.offsets)[a_index] + np.diff(b.offsets)[b_index]
    by_column = a.by_column[a_index] & b.by_column[b_index]
    for chosen, count in ((by_column, _by_column), (~by_column, _by_edges)):
        pairs = np.flatnonzero(chosen)
        for some in np.split(pairs, np.flatnonzero(np.diff(np.cumsum(runs[pairs]) // _RUNS_AT_ONCE)) + 1):
            if len(some):
                shared[some] = count(a, b, a_index[some], b_index[some])
    return shared


def _by_column(a: MaskRuns, b: MaskRuns, a_index: NDArray[np.int64], b_index: NDArray[np.int64]) -> NDArray[np.int64]:
    """`intersections` of masks with one run in each column: the runs of equal columns are compared."""
    sides = ((a, a.offsets[a_index], a.offsets[a_index + 1]), (b, b.offsets[b_index], b.offsets[b_index + 1]))
    height = a.heights[a_index]
    left = [masks.starts[first] // height for masks, first, _ in sides]
    right = [column + last - first for column, (_, first, last) in zip(left, sides, strict=True)]
    n_columns = np.maximum(np.minimum(*right) - np.maximum(*left), 0)
    run = [
        spans(first + np.maximum(*left) - column, n_columns) for column, (_, first, _) in zip(left, sides, strict=True)
    ]
    pixels = np.minimum(a.ends[run[0]], b.ends[run[1]]) - np.maximum(a.starts[run[0]], b.starts[run[1]])
    shared = np.zeros(len(a_index), dtype=np.int64)
    meet = np.flatnonzero(n_columns)
    if len(meet):
        at = (np.cumsum(n_columns) - n_columns)[meet]
        shared[meet] = np.add.reduceat(np.maximum(pixels, 0), at, dtype=np.int64)
    return shared


def _by_edges(a: MaskRuns, b: MaskRuns, a_index: NDArray[np.int64], b_index: NDArray[np.int64]) -> NDArray[np.int64]:
    """`intersections` of any masks."""
    pair = np.arange(len(a_index))
    return union_overlaps(a.take(a_index), b.take(b_index), pair, pair)[1]


def union_overlaps(
    a: MaskRuns, b: MaskRuns, a_cell: NDArray[np.int64], b_cell: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Compare the union of masks of `a` with the union of masks of `b`, cell by cell.

    A sweep over the sorted edges of all runs keeps the depth of each side: how many of its masks cover the pixels up to
    the next edge.

    Args:
        a: n masks.
        b: m masks.
        a_cell: int64 (n,), the cell of each mask. All masks of a cell have the same size.
        b_cell: int64 (m,).

    Returns:
        Three int64 (k,): the cells, the pixels of each that both sides cover, and those that any side covers.
    """
    cells, of_mask = np.unique(np.concatenate([a_cell, b_cell]), return_inverse=True)
    span = np.zeros(len(cells), dtype=np.int64)
    span[of_mask] = np.concatenate([a.heights * a.widths, b.heights * b.widths]) + 1
    runs = np.concatenate([np.diff(a.offsets), np.diff(b.offsets)])
    # an edge in one number: the position, with the cells one after another, then two bits: side, and start (1) or end
    kind = np.int32 if span.sum() < 1 << 29 else np.int64
    base = ((np.cumsum(span) - span)[of_mask] << 2) + 2 * (np.arange(len(runs)) >= len(a))
    pairs = np.empty((runs.sum(), 2), dtype=kind)
    for side, masks in ((slice(len(a.starts)), a), (slice(len(a.starts), None), b)):
        pairs[side, 0], pairs[side, 1] = masks.starts, masks.ends
    pairs <<= 2
    pairs += np.repeat(base.astype(kind), runs)[:, None]
    pairs[:, 0] += 1
    edges = np.sort(pairs.ravel(), kind="stable")  # it merges sorted parts, and each mask is one
    of_cell = 2 * np.bincount(of_mask, weights=runs, minlength=len(cells)).astype(np.int64)
    filled = np.flatnonzero(of_cell)
    start = (np.cumsum(of_cell) - of_cell)[filled]
    shared, united = np.zeros((2, len(cells)), dtype=np.int64)
    depth = 0  # after each edge; every run ends in its cell, so it is 0 between two cells
    for low in range(0, len(edges) - 1, 2 * _RUNS_AT_ONCE):
        some = edges[low : low + 2 * _RUNS_AT_ONCE + 1]
        depths = np.cumsum(_STEPS.take(some[:-1] & 3))
        depths += depth
        depth = depths[-1]
        length = np.diff(some >> 2)
        here = slice(np.searchsorted(start, low, side="right") - 1, np.searchsorted(start, low + len(length)))
        at = np.maximum(start[here] - low, 0)
        united[filled[here]] += np.add.reduceat(length * (depths > 0), at)
        both = (depths >= _OF_B) & (depths & (_OF_B - 1) > 0)
        shared[filled[here]] += np.add.reduceat(length * both, at)
    return cells, shared, united
