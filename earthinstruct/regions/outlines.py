"""Trace the outlines of masks along pixel edges, as closed rings, polygons and SVG paths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from earthinstruct.regions.masks import MaskRuns

Point = tuple[int, int]  # (column, row) of a corner of a pixel


def mask_path(masks: MaskRuns, index: int, tolerance: float = 0.0) -> str:
    """Outline one mask as the `d` attribute of an SVG path, in image pixels, for `fill-rule: evenodd`.

    Args:
        masks: the masks.
        index: index of the mask.
        tolerance: largest distance of the outline from the pixel edges, in pixels.

    Returns:
        The path; empty for an empty mask.
    """
    drawn, x, y = masks.drawn(index)
    return "".join(_path(simplified(ring + np.array([x, y]), tolerance)) for ring in rings(drawn))


def rings(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Trace the closed outlines of a mask and its holes: int64 (points, 2), column and row, first point repeated last.

    >>> rings(np.array([[True, True]]))[0].tolist()
    [[0, 0], [2, 0], [2, 1], [0, 1], [0, 0]]
    """
    following = _edges(mask)
    touching = {point for point, onward in following.items() if len(onward) == 2}  # two pixels meet at a corner only
    found = []
    for start in sorted(following):
        at, ring = start, [start]
        heading: Point | None = None
        while at in following:
            onward = following[at]
            if len(onward) == 2 and heading is not None:
                to = (at[0] - heading[1], at[1] + heading[0])  # turn right: stay on the same pixel
                onward.remove(to)
            else:
                (to,) = following.pop(at)
            step = (to[0] - at[0], to[1] - at[1])
            if step == heading:
                ring[-1] = to  # straight on
            else:
                ring.append(to)
            at, heading = to, step
            if at in touching and at in ring[:-1]:  # split off a ring, so that none touches itself
                found.append(ring[ring.index(at) :])
                ring, heading = ring[: ring.index(at) + 1], None
        if len(ring) > 1:
            found.append(ring)
    return [np.array(ring, dtype=np.int64) for ring in found]


def polygons(mask: NDArray[np.bool_]) -> Iterator[list[NDArray[np.int64]]]:
    """Outline each 4-connected component of a mask: the outer ring first, then its holes."""
    from scipy import ndimage  # every process of a method imports this module

    labelled, _ = ndimage.label(mask)
    for number, (rows, columns) in enumerate(ndimage.find_objects(labelled), start=1):
        found = rings(labelled[rows, columns] == number)
        outer_first = sorted(found, key=signed_area, reverse=True)
        yield [ring + np.array([columns.start, rows.start]) for ring in outer_first]


def signed_area(ring: NDArray[np.int64]) -> int:
    """Area enclosed by a ring in pixels; negative for a hole.

    >>> signed_area(np.array([[0, 0], [2, 0], [2, 1], [0, 1], [0, 0]]))
    2
    """
    (x, y), (to_x, to_y) = ring[:-1].T, ring[1:].T
    return int((x * to_y - to_x * y).sum()) // 2


def _edges(mask: NDArray[np.bool_]) -> dict[Point, list[Point]]:
    """Map the start of each edge between inside and outside to its ends. The inside is on the right of the edge."""
    padded = np.pad(mask, 1)
    above, left = padded[:-1, 1:-1], padded[1:-1, :-1]
    below, right = padded[1:, 1:-1], padded[1:-1, 1:]
    following: dict[Point, list[Point]] = defaultdict(list)
    for where, begin, end in (
        (below & ~above, (0, 0), (1, 0)),
        (above & ~below, (1, 0), (0, 0)),
        (left & ~right, (0, 0), (0, 1)),
        (right & ~left, (0, 1), (0, 0)),
    ):
        for row, column in np.argwhere(where).tolist():
            following[column + begin[0], row + begin[1]].append((column + end[0], row + end[1]))
    return dict(following)


def simplified(points: NDArray[np.int64], tolerance: float) -> NDArray[np.int64]:
    """Simplify a line to a subset of its points, within `tolerance` pixels (Douglas and Peucker)."""
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    spans = [(0, len(points) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        chord, offset = points[last] - points[first], points[first + 1 : last] - points[first]
        length = float(np.hypot(*chord))
        across = np.abs(chord[0] * offset[:, 1] - chord[1] * offset[:, 0]) / length if length else np.hypot(*offset.T)
        middle = int(np.argmax(across))
        if across[middle] > tolerance:
            middle += first + 1
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    return points[keep]


def _path(ring: NDArray[np.int64]) -> str:
    if len(ring) < 4:  # too few points for an area
        return ""
    steps = np.diff(ring[:-1], axis=0).tolist()
    return f"M{ring[0][0]} {ring[0][1]}l" + " ".join(f"{x} {y}" for x, y in steps) + "z"
