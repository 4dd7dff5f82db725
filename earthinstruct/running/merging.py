"""Merges the predictions of overlapping tiles into one for their image.

Two instances with the same label, from two overlapping tiles, are one object where their parts inside the overlap
coincide (IoU at least 0.5, of masks where present, else of boxes). Pairs are joined in order of decreasing IoU. A pair
that would join two instances of one tile, directly or through other tiles, is skipped: these are two objects. The
merged instance is the union of its parts, with the largest score; it comes from the tile that has its largest part.
Points without boxes are one object where they are at most 1/64 of the tile's longer side apart, the closest pairs
first; the merged instance keeps the point of its first tile, as a merged box does.
Counts of a label are summed over the tiles, minus one for every instance that was merged into another, and are never
below 0. An object that two tiles count but only one draws is therefore counted twice. Proposals of tiles are not kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Prediction, Usage
from earthinstruct.errors import ContractError
from earthinstruct.images import Window
from earthinstruct.regions import RLE, decode_rles, encode_part, pixels_of

_SAME = 0.5  # IoU
_APART = 1 / 64  # of the longer side of a tile, between two points on one object


def merge_tiles(predictions: Sequence[Prediction], windows: Sequence[Window], height: int, width: int) -> Prediction:
    """Merge the predictions of tiles into one for the image; the module's docstring has the rules.

    Args:
        predictions: one for each window, in pixels of its tile.
        windows: the tiles, in pixels of the image.
        height: of the image, pixels.
        width: of the image, pixels.

    Raises:
        ContractError: some tiles have boxes without points, and others points without boxes.
    """
    if all(p.boxes is None and p.points is None for p in predictions):  # they only count
        return Prediction(counts=_added_counts(predictions, {}), usage=Usage.join(p.usage for p in predictions))
    with_boxes, with_points = (
        any(of is not None for _, of in found) and all(of is not None for n, of in found if n)
        for found in ([(len(p), p.boxes) for p in predictions], [(len(p), p.points) for p in predictions])
    )
    if not with_boxes and not with_points:
        raise ContractError("some tiles have boxes without points, and others points without boxes; expected one kind")
    with_masks = all(p.masks is not None for p in predictions if len(p))
    with_scores = all(p.scores is not None for p in predictions if len(p))
    parts = [_parts(prediction, window, with_masks) for prediction, window in zip(predictions, windows, strict=True)]
    pairs = [
        (iou, (a, i), (b, j))
        for a, b, shared in overlapping(windows)
        for iou, i, j in (
            _same_objects(parts[a], parts[b], shared) if with_boxes else _same_points(parts[a], parts[b], windows[a])
        )
    ]
    groups = _Groups(parts)
    for _, one, other in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:])):
        groups.join(one, other)
    merged = [_union([parts[a][i] for a, i in group.items()]) for group in groups.all()]
    drawn, kept = Counter(part.label for tile in parts for part in tile), Counter(part.label for part in merged)
    largest = []
    for group in groups.all():
        sizes = {a: parts[a][i].box[2:].prod() for a, i in sorted(group.items())}
        largest.append(max(sizes, key=sizes.__getitem__))
    return Prediction(
        labels=tuple(part.label for part in merged),
        boxes=np.array([part.box for part in merged]).reshape(-1, 4) if with_boxes else None,
        points=np.array([part.point for part in merged]).reshape(-1, 2) if with_points else None,
        masks=tuple(_placed(part, height, width) for part in merged) if with_masks else None,
        scores=np.array([part.score for part in merged]) if with_scores else None,
        counts=_added_counts(predictions, {label: drawn[label] - kept[label] for label in drawn}),
        usage=Usage.join(prediction.usage for prediction in predictions),
        tiles=tuple((x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in (windows[a] for a in largest)),
    )


@dataclass(frozen=True, eq=False)
class _Part:
    """The part of an object that one tile found, in pixels of the whole image.

    Attributes:
        label: its label.
        box: float64 (4,), xywh; of a point alone, its pixel.
        score: its score; 0 without scores.
        mask: bool (height, width) of the pixels from `corner` on, or None.
        corner: x, y of the first pixel of `mask`.
        point: float64 (2,), x and y, or None.
    """

    label: str
    box: NDArray[np.float64]
    score: float
    mask: NDArray[np.bool_] | None
    corner: tuple[int, int]
    point: NDArray[np.float64] | None = None


def _parts(prediction: Prediction, window: Window, with_masks: bool) -> list[_Part]:
    x0, y0 = window[:2]
    runs = decode_rles(prediction.masks) if with_masks and prediction.masks is not None else None
    parts: list[_Part] = []
    boxes, points = prediction.boxes, prediction.points
    if boxes is None:
        boxes = np.zeros((0, 4)) if points is None else pixels_of(points)
    for i, label in enumerate(prediction.labels):
        mask, corner = None, (x0, y0)
        if runs is not None:
            mask, x, y = runs.drawn(i)
            corner = (x0 + x, y0 + y)
        score = 0.0 if prediction.scores is None else float(prediction.scores[i])
        point = None if points is None else points[i] + np.array([x0, y0])
        parts.append(_Part(label, boxes[i] + np.array([x0, y0, 0, 0]), score, mask, corner, point))
    return parts


def _intersection(a: Window, b: Window) -> Window | None:
    x0, y0, x1, y1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def overlapping(windows: Sequence[Window]) -> Iterator[tuple[int, int, Window]]:
    """Each pair of overlapping windows, as indices, with their overlap."""
    from scipy.spatial import KDTree

    corners = np.array(windows, dtype=np.float64)
    largest = (corners[:, 2:] - corners[:, :2]).max(axis=0)
    near = KDTree(corners[:, :2] / largest)  # windows whose grid places differ by more than 1 do not overlap
    for a, b in near.query_pairs(1, p=np.inf, output_type="ndarray").tolist():
        shared = _intersection(windows[a], windows[b])
        if shared is not None:
            yield a, b, shared


def _same_objects(a: Sequence[_Part], b: Sequence[_Part], shared: Window) -> list[tuple[float, int, int]]:
    """Pairs of instances of two tiles that may be one object: the IoU inside the overlap, and their indices."""
    inside_a = [(i, part) for i, part in enumerate(a) if _touches(part, shared)]
    inside_b = [(j, part) for j, part in enumerate(b) if _touches(part, shared)]
    return [
        (iou, i, j)
        for i, part in inside_a
        for j, other in inside_b
        if part.label == other.label
        and _touches(part, _corners(other))
        and (iou := _shared_iou(part, other, shared)) >= _SAME
    ]


def _same_points(a: Sequence[_Part], b: Sequence[_Part], tile: Window) -> list[tuple[float, int, int]]:
    """Pairs of points of two tiles that may be on one object: closeness, and their indices. `tile`: either of them."""
    from scipy.spatial import KDTree

    apart = _APART * max(tile[2] - tile[0], tile[3] - tile[1])
    places = [np.array([part.point for part in parts], dtype=np.float64).reshape(-1, 2) for parts in (a, b)]
    near = KDTree(places[0]).query_ball_tree(KDTree(places[1]), apart)
    return [
        (-float(np.hypot(*(places[0][i] - places[1][j]))), i, j)
        for i, others in enumerate(near)
        for j in sorted(others)
        if a[i].label == b[j].label
    ]


def _corners(part: _Part) -> tuple[float, float, float, float]:
    x, y, width, height = part.box.tolist()
    return x, y, x + width, y + height


def _touches(part: _Part, window: tuple[float, float, float, float]) -> bool:
    x0, y0, x1, y1 = _corners(part)
    return x0 < window[2] and y0 < window[3] and x1 > window[0] and y1 > window[1]


def _shared_iou(a: _Part, b: _Part, window: Window) -> float:
    """IoU of the parts of two instances inside a window."""
    if a.mask is not None and b.mask is not None:
        both = _hull([(a.mask, a.corner), (b.mask, b.corner)])
        looked_at = _intersection(window, both)
        if looked_at is None:
            return 0.0
        drawn_a, drawn_b = _cut(a.mask, a.corner, looked_at), _cut(b.mask, b.corner, looked_at)
        union = np.count_nonzero(drawn_a | drawn_b)
        return float(np.count_nonzero(drawn_a & drawn_b) / union) if union else 0.0
    boxes = [
        (max(x0, window[0]), max(y0, window[1]), min(x1, window[2]), min(y1, window[3]))
        for x0, y0, x1, y1 in (_corners(a), _corners(b))
    ]
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes]
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = boxes
    shared = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    union_area = sum(areas) - shared
    return float(shared / union_area) if union_area > 0 else 0.0


def _hull(drawn: Sequence[tuple[NDArray[np.bool_], tuple[int, int]]]) -> Window:
    """The smallest window that contains all masks, which are given with their first pixels."""
    return (
        min(corner[0] for _, corner in drawn),
        min(corner[1] for _, corner in drawn),
        max(corner[0] + mask.shape[1] for mask, corner in drawn),
        max(corner[1] + mask.shape[0] for mask, corner in drawn),
    )


def _cut(mask: NDArray[np.bool_], corner: tuple[int, int], window: Window) -> NDArray[np.bool_]:
    """The mask inside a window: bool of the window's size."""
    x0, y0, x1, y1 = window
    drawn = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    _draw(mask, corner, drawn, (x0, y0))
    return drawn


def _draw(
    mask: NDArray[np.bool_], corner: tuple[int, int], canvas: NDArray[np.bool_], canvas_corner: tuple[int, int]
) -> None:
    """Add a mask to a canvas, given the first pixel of both. Pixels outside the canvas are dropped."""
    height, width = mask.shape
    x, y = corner[0] - canvas_corner[0], corner[1] - canvas_corner[1]
    left, top = max(0, -x), max(0, -y)
    right, bottom = min(width, canvas.shape[1] - x), min(height, canvas.shape[0] - y)
    if left < right and top < bottom:
        canvas[y + top : y + bottom, x + left : x + right] |= mask[top:bottom, left:right]


class _Groups:
    """Groups of parts, one for each object: tile -> its part in that tile."""

    def __init__(self, parts: Sequence[Sequence[_Part]]) -> None:
        self._group = {(a, i): {a: i} for a, tile in enumerate(parts) for i in range(len(tile))}

    def join(self, one: tuple[int, int], other: tuple[int, int]) -> None:
        """Join the groups of two parts, unless both groups have a part of the same tile."""
        large, small = sorted((self._group[one], self._group[other]), key=len, reverse=True)
        if large.keys().isdisjoint(small):
            large |= small
            for member in small.items():
                self._group[member] = large

    def all(self) -> list[dict[int, int]]:
        """The groups, in the order of their first parts."""
        return list({id(group): group for group in self._group.values()}.values())


def _union(parts: Sequence[_Part]) -> _Part:
    """One instance from the parts of one object."""
    if len(parts) == 1:
        return parts[0]
    boxes = np.array([part.box for part in parts])
    first, last = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    box = np.concatenate([first, last - first])
    score = max(part.score for part in parts)
    drawn = [(part.mask, part.corner) for part in parts if part.mask is not None and part.mask.size]
    if not drawn:
        return _Part(parts[0].label, box, score, parts[0].mask, parts[0].corner, parts[0].point)
    x0, y0, x1, y1 = _hull(drawn)
    canvas = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for mask, corner in drawn:
        _draw(mask, corner, canvas, (x0, y0))
    return _Part(parts[0].label, box, score, canvas, (x0, y0), parts[0].point)


def _placed(part: _Part, height: int, width: int) -> RLE:
    """The mask in the whole image, encoded without drawing the image."""
    mask = part.mask if part.mask is not None else np.zeros((0, 0), dtype=bool)
    return encode_part(mask, *part.corner, (height, width))


def _added_counts(predictions: Sequence[Prediction], duplicates: dict[str, int]) -> dict[str, int] | None:
    """Counts summed over tiles, minus the merged instances; None if no tile has counts."""
    if all(prediction.counts is None for prediction in predictions):
        return None
    total: Counter[str] = Counter()
    for prediction in predictions:
        counts = Counter(prediction.labels) if prediction.counts is None else prediction.counts
        for label, count in counts.items():
            total[label] += count
    return {label: max(0, count - duplicates.get(label, 0)) for label, count in total.items()}
