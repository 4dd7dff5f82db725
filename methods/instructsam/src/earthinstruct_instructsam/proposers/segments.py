"""A proposer without weights: regions of a merge tree and of closed contours, ranked by how much they look like objects.

Two trees, of two smoothed versions of the image, are grown from small watershed basins by merging neighbours of like
colour (Ward's criterion); every node is a candidate. What strong contours enclose is a candidate as well: a car with
its dark windows, which no merging by colour would keep together. Candidates are described by sums over their pixels,
scored by a logistic function of a few of them, filled, and freed of duplicates.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthinstruct.contract import Proposals
from earthinstruct.masks import encode_masks

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# brightness and two colour differences of an RGB picture; the first difference counts more
_OPPONENT = np.array([[1 / 3, 0.75, 0.25], [1 / 3, -0.75, 0.25], [1 / 3, 0.0, -0.5]], dtype=np.float32)

_EDGES = (12.0, 20.0, 30.0, 42.0, 60.0)  # gradient, grey levels per pixel, from which a pixel is part of a contour
_CANDIDATES_PER_IMAGE = 900  # the best go on to be filled and compared

# Logistic regression on scenes train: does a region cover an object with IoU >= 0.5? See `_features` for the order.
_WEIGHTS = np.array(
    [-6.087, 2.019, 0.559, -0.645, -0.068, 1.009, 0.534, 2.116, 0.672, -1.241, 0.262, 0.07, 0.731, 0.24]
)


class SegmentsProposer:
    """Class-agnostic regions from the pixels of one image alone.

    Args:
        limit: most proposals for one image.
        basin_area: mean area of the regions that the merge trees start from, pixels.
        least_area: smallest proposal, pixels.
        largest_share: largest proposal, share of the image.
        overlap: of two proposals whose masks have a larger IoU the lower one is dropped.
    """

    def __init__(
        self,
        limit: int = 200,
        basin_area: float = 160.0,
        least_area: int = 40,
        largest_share: float = 0.4,
        overlap: float = 0.6,
    ) -> None:
        self.limit = limit
        self.basin_area = basin_area
        self.least_area = least_area
        self.largest_share = largest_share
        self.overlap = overlap

    def propose(self, image: NDArray[np.uint8]) -> Proposals:
        """Regions of one RGB image, uint8 (height, width, 3), best first, with masks and scores in (0, 1)."""
        height, width = image.shape[:2]
        candidates = self.candidates(image)
        chosen = np.concatenate([source.chosen for source in candidates])
        owner = np.repeat(np.arange(len(candidates)), [len(source.chosen) for source in candidates])
        score = np.concatenate([_score(source.features)[source.chosen] for source in candidates])
        best = np.argsort(-score, kind="stable")[:_CANDIDATES_PER_IMAGE]
        cuts = [candidates[owner[i]].cut(int(chosen[i])) for i in best.tolist()]
        kept = _without_duplicates(cuts, self.overlap, self.limit)
        masks = np.zeros((len(kept), height, width), dtype=bool)
        for mask, i in zip(masks, kept, strict=True):
            cuts[i].draw(mask)
        boxes = np.array([cuts[i].box for i in kept], dtype=np.float64).reshape(-1, 4)
        return Proposals(boxes, tuple(encode_masks(masks)), score[best][kept])

    def describe(self) -> dict[str, Any]:
        """Parameters; there are no weights."""
        return {"proposer": "segments", **vars(self), "weights": []}

    def candidates(self, image: NDArray[np.uint8]) -> list[Candidates]:
        """All regions that are neither too small nor too large, by source; many of them overlap."""
        closed = ndimage.grey_closing(image, (3, 3, 1))
        opened = ndimage.grey_opening(closed, (3, 3, 1))
        sources = []
        for smooth in (closed, opened):
            picture = smooth.astype(np.float32) @ _OPPONENT
            basins = _basins(picture, _gradient(picture), max(2, int(picture[..., 0].size / self.basin_area)))
            sources.append(_tree_candidates(basins, picture))
        picture = image.astype(np.float32) @ _OPPONENT
        gradient = _gradient(picture)
        sources += [_contour_candidates(gradient >= edge, picture) for edge in _EDGES]
        largest = self.largest_share * image.shape[0] * image.shape[1]
        for source in sources:
            source.chosen = np.flatnonzero((source.areas >= self.least_area) & (source.areas <= largest))
        return sources


@dataclass(frozen=True)
class _Cut:
    """One region: `inside` is bool (rows, columns), its upper left pixel at (top, left) of the image."""

    top: int
    left: int
    inside: NDArray[np.bool_]

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.left, self.top, self.inside.shape[1], self.inside.shape[0]

    def draw(self, mask: NDArray[np.bool_]) -> None:
        rows, columns = self.inside.shape
        mask[self.top : self.top + rows, self.left : self.left + columns] |= self.inside


@dataclass(eq=False)
class Candidates:
    """Regions from one source: each is the pixels whose number in `labels` is in [first, last).

    Attributes:
        labels: int64 (height, width).
        first: int64 (n,).
        last: int64 (n,).
        areas: float64 (n,), pixels.
        bounds: int64 (n, 4): top, left, bottom, right.
        features: float64 (n, features), see `_features`.
        chosen: indices of those that are to be scored.
    """

    labels: Integers
    first: Integers
    last: Integers
    areas: Floats
    bounds: Integers
    features: Floats
    chosen: Integers

    def cut(self, index: int) -> _Cut:
        """One region with its holes filled."""
        top, left, bottom, right = self.bounds[index].tolist()
        part = self.labels[top:bottom, left:right]
        inside = (part >= self.first[index]) & (part < self.last[index])
        return _Cut(top, left, ndimage.binary_fill_holes(inside))


def _gradient(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Length of the colour gradient, grey levels per pixel: (height, width, 3) -> (height, width)."""
    total = np.zeros(picture.shape[:2], dtype=np.float32)
    for channel in np.moveaxis(picture, -1, 0):
        for axis in (0, 1):
            total += (ndimage.sobel(channel, axis=axis) / 4) ** 2
    return np.sqrt(total)


def _basins(picture: NDArray[np.float32], gradient: NDArray[np.float32], most: int) -> Integers:
    """Number of the watershed basin of each pixel, after neighbours of like colour were merged until `most` are left.

    Pairs of regions that are each other's most similar neighbour are merged, the better half of them at a time.
    """
    from skimage.segmentation import watershed

    seeds, _ = ndimage.label(ndimage.minimum_filter(gradient, 3) == gradient)
    basins: Integers = watershed(gradient, seeds).astype(np.int64) - 1
    n = int(basins.max()) + 1
    flat = basins.ravel()
    size = np.bincount(flat, minlength=n).astype(np.float64)
    total = np.stack([np.bincount(flat, c.ravel(), n) for c in np.moveaxis(picture, -1, 0)], axis=1)
    a, b = _neighbours(basins, n)
    number = np.arange(n)
    while n > most and len(a):
        cost = _ward(size, total / size[:, None], a, b)
        lowest = np.full(n, np.inf)
        np.minimum.at(lowest, a, cost)
        np.minimum.at(lowest, b, cost)
        mutual = np.flatnonzero((cost == lowest[a]) & (cost == lowest[b]))
        merged = mutual[cost[mutual] <= np.median(cost[mutual])][: n - most]
        into = np.arange(n)
        into[b[merged]] = a[merged]
        while (into[into] != into).any():  # ties make chains
            into = into[into]
        left, renumbered = np.unique(into, return_inverse=True)
        number, n = renumbered[number], len(left)
        size = np.bincount(renumbered, size, n)
        total = np.stack([np.bincount(renumbered, column, n) for column in total.T], axis=1)
        a, b = _distinct(renumbered[a], renumbered[b], n)
    return number[basins]


def _neighbours(labels: Integers, n: int) -> tuple[Integers, Integers]:
    """The pairs of labels in [0, n) that touch, each once, the smaller first."""
    a = np.concatenate([labels[:-1].ravel(), labels[:, :-1].ravel()])
    b = np.concatenate([labels[1:].ravel(), labels[:, 1:].ravel()])
    return _distinct(a, b, n)


def _distinct(a: Integers, b: Integers, n: int) -> tuple[Integers, Integers]:
    differ = a != b
    a, b = a[differ], b[differ]
    return np.divmod(np.unique(np.minimum(a, b) * n + np.maximum(a, b)), n)


def _ward(size: Floats, mean: Floats, a: Integers, b: Integers) -> Floats:
    """Ward's cost of merging regions: the growth of the sum of squared distances to the mean colour."""
    cost: Floats = ((mean[a] - mean[b]) ** 2).sum(axis=1) * size[a] * size[b] / (size[a] + size[b])
    return cost


def _grow(size: Floats, mean: Floats, a: Integers, b: Integers) -> tuple[Integers, Floats]:
    """Merge neighbours, the cheapest pair first, until one region is left.

    Args:
        size: float64 (n,), pixels.
        mean: float64 (n, 3), colours.
        a: int64 (pairs,), with `b` the regions that touch.
        b: int64 (pairs,).

    Returns:
        int64 (n - 1, 2), the two parts of node n, n + 1, ..., and float64 (n - 1,), what each merge cost.
    """
    n = len(size)
    sizes = size.tolist() + [0.0] * (n - 1)
    means = mean.tolist() + [[0.0, 0.0, 0.0]] * (n - 1)
    touching: list[set[int]] = [set() for _ in range(2 * n - 1)]
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        touching[x].add(y)
        touching[y].add(x)
    queue = list(zip(_ward(size, mean, a, b).tolist(), a.tolist(), b.tolist(), strict=True))
    heapq.heapify(queue)
    gone = [False] * (2 * n - 1)
    parts, costs = [], []
    for new in range(n, 2 * n - 1):
        cost, x, y = heapq.heappop(queue)
        while gone[x] or gone[y]:
            cost, x, y = heapq.heappop(queue)
        gone[x] = gone[y] = True
        parts.append((x, y))
        costs.append(cost)
        total = sizes[x] + sizes[y]
        red, green, blue = (
            (p * sizes[x] + q * sizes[y]) / total for p, q in zip(means[x], means[y], strict=True)
        )
        sizes[new], means[new] = total, [red, green, blue]
        around = (touching[x] | touching[y]) - {x, y}
        touching[new] = around
        for z in around:
            touching[z] -= {x, y}
            touching[z].add(new)
            other = means[z]
            distance = (red - other[0]) ** 2 + (green - other[1]) ** 2 + (blue - other[2]) ** 2
            heapq.heappush(queue, (distance * total * sizes[z] / (total + sizes[z]), new, z))
    return np.array(parts, dtype=np.int64).reshape(-1, 2), np.array(costs)


def _tree_candidates(basins: Integers, picture: NDArray[np.float32]) -> Candidates:
    """Every node of the merge tree of some basins."""
    sums, bounds, (a, b), across = _sums(basins, picture)
    n = len(sums)
    parts, costs = _grow(sums[:, 0], sums[:, 6:9] / sums[:, :1], a, b)
    nodes = n + len(parts)
    parent = np.full(nodes, nodes - 1)
    count = np.ones(nodes, dtype=np.int64)
    sums = np.concatenate([sums, np.zeros((len(parts), sums.shape[1]))])
    bounds = np.concatenate([bounds, np.zeros((len(parts), 4), dtype=np.int64)])
    for node, (x, y) in enumerate(parts.tolist(), start=n):
        parent[[x, y]] = node
        count[node] = count[x] + count[y]
    # a border between two basins is no border of the nodes that hold both: take it away where they meet
    x, y = a.copy(), b.copy()
    while (apart := x != y).any():
        lower = np.minimum(x, y)[apart]
        up = parent[lower]
        x[apart], y[apart] = np.maximum(x, y)[apart], up
    np.subtract.at(sums, (x, 11), 2 * across[:, 0])
    np.subtract.at(sums, (x, 12), 2 * across[:, 1])
    for node, (x_, y_) in enumerate(parts.tolist(), start=n):
        sums[node] += sums[x_] + sums[y_]
        bounds[node, :2] = np.minimum(bounds[x_, :2], bounds[y_, :2])
        bounds[node, 2:] = np.maximum(bounds[x_, 2:], bounds[y_, 2:])
    first = np.zeros(nodes, dtype=np.int64)
    for node, (x_, y_) in reversed(list(enumerate(parts.tolist(), start=n))):
        first[x_], first[y_] = first[node], first[node] + count[x_]
    height = np.concatenate([np.zeros(n), costs])
    stability = np.log((height[parent] + 100) / (height + 100))
    return Candidates(
        labels=first[:n][basins],
        first=first,
        last=first + count,
        areas=sums[:, 0],
        bounds=bounds,
        features=_features(sums, stability, contour=False),
        chosen=np.arange(nodes),
    )


def _contour_candidates(contour: NDArray[np.bool_], picture: NDArray[np.float32]) -> Candidates:
    """What contours enclose, the contours included; threads of a pixel or two are cut."""
    filled = ndimage.binary_opening(ndimage.binary_fill_holes(contour), iterations=1)
    labels = ndimage.label(filled)[0].astype(np.int64)
    sums, bounds, _, _ = _sums(labels, picture)
    n = len(sums)
    return Candidates(
        labels=labels,
        first=np.arange(1, n),
        last=np.arange(2, n + 1),
        areas=sums[1:, 0],
        bounds=bounds[1:],
        features=_features(sums[1:], np.zeros(n - 1), contour=True),
        chosen=np.arange(n - 1),
    )


def _sums(
    labels: Integers, picture: NDArray[np.float32]
) -> tuple[Floats, Integers, tuple[Integers, Integers], Floats]:
    """Sums over the pixels of each label, from 0.

    Returns:
        float64 (n, 13): pixels; x, y, xx, yy, xy; three colours and two squares (brightness; colour differences
        together); length of the border to other labels; colour step across it; then int64 (n, 4) bounds; the pairs
        of labels that touch; and for each pair the length of their border and the sum of steps across it.
    """
    height, width = labels.shape
    n = int(labels.max()) + 1
    flat = labels.ravel()
    y, x = (grid.ravel() for grid in np.mgrid[0:height, 0:width].astype(np.float64))
    colours = picture.reshape(-1, 3)
    squares = (colours[:, 0] ** 2, (colours[:, 1:] ** 2).sum(axis=1))
    columns = [np.bincount(flat, minlength=n)]
    columns += [np.bincount(flat, values, n) for values in (x, y, x * x, y * y, x * y, *colours.T, *squares)]
    a = np.concatenate([labels[:-1].ravel(), labels[:, :-1].ravel()])
    b = np.concatenate([labels[1:].ravel(), labels[:, 1:].ravel()])
    steps = np.concatenate([np.abs(np.diff(picture, axis=axis)).sum(axis=2).ravel() for axis in (0, 1)])
    border = a != b
    a, b, steps = a[border], b[border], steps[border]
    pairs, place = np.unique(np.minimum(a, b) * n + np.maximum(a, b), return_inverse=True)
    across = np.stack([np.bincount(place, minlength=len(pairs)), np.bincount(place, steps, len(pairs))], axis=1)
    first, second = np.divmod(pairs, n)
    columns += [np.bincount(first, values, n) + np.bincount(second, values, n) for values in across.T]
    bounds = np.zeros((n, 4), dtype=np.int64)
    for label, box in enumerate(ndimage.find_objects(labels + 1)):
        if box is not None:
            bounds[label] = box[0].start, box[1].start, box[0].stop, box[1].stop
    return np.stack(columns, axis=1).astype(np.float64), bounds, (first, second), across


def _features(sums: Floats, stability: Floats, *, contour: bool) -> Floats:
    """What the score is made of, each about within [-3, 3].

    Args:
        sums: float64 (n, 13), see `_sums`.
        stability: float64 (n,), how much more the next merge costs than the last one, logarithmic.
        contour: whether the regions come from contours.
    """
    area = np.maximum(sums[:, 0], 1)
    mean = sums[:, 1:3] / area[:, None]
    xx = np.maximum(sums[:, 3] / area - mean[:, 0] ** 2, 0) + 1 / 12
    yy = np.maximum(sums[:, 4] / area - mean[:, 1] ** 2, 0) + 1 / 12
    xy = sums[:, 5] / area - mean[:, 0] * mean[:, 1]
    determinant = np.maximum(xx * yy - xy**2, 1e-3)
    half, spread = (xx + yy) / 2, np.sqrt(np.maximum(((xx - yy) / 2) ** 2 + xy**2, 0))
    elongation = np.log((half + spread) / np.maximum(half - spread, 1 / 12)) / 2
    fill = area / (4 * np.pi * np.sqrt(determinant))  # 1 for an ellipse, 0.95 for a rectangle, less for ragged shapes
    border = np.maximum(sums[:, 11], 1)
    round_ = 4 * np.pi * area / (border * np.pi / 4) ** 2
    contrast = np.log1p(sums[:, 12] / border / 10)
    colours = sums[:, 6:9] / area[:, None]
    spread_light = np.sqrt(np.maximum(sums[:, 9] / area - colours[:, 0] ** 2, 0)) / 30
    spread_hue = np.sqrt(np.maximum(sums[:, 10] / area - (colours[:, 1:] ** 2).sum(axis=1), 0)) / 30
    size = np.log(area / 1000) / 2
    return np.stack(
        [
            np.ones(len(area)),
            np.full(len(area), float(contour)),
            size,
            size**2,
            contrast,
            contrast**2,
            np.minimum(fill, 1.2),
            np.minimum(fill, 1.2) ** 2,
            np.minimum(round_, 1.5),
            elongation,
            elongation**2,
            np.minimum(stability, 4.0),
            np.minimum(spread_light, 3.0),
            np.minimum(spread_hue, 3.0),
        ],
        axis=1,
    )


def _score(features: Floats) -> Floats:
    """How likely a region is an object: float64 (n,) in (0, 1)."""
    score: Floats = 1 / (1 + np.exp(-features @ _WEIGHTS))
    return score


def _without_duplicates(cuts: list[_Cut], overlap: float, limit: int) -> list[int]:
    """Indices of the first `limit` regions that have no mask IoU above `overlap` with an earlier one."""
    boxes = np.array([cut.box for cut in cuts], dtype=np.float64).reshape(-1, 4)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    area = np.array([np.count_nonzero(cut.inside) for cut in cuts], dtype=np.float64)
    kept: list[int] = []
    for i, cut in enumerate(cuts):
        if len(kept) == limit:
            break
        others = np.array(kept, dtype=np.int64)
        sides = np.minimum(high[others], high[i]) - np.maximum(low[others], low[i])
        most = np.minimum(np.prod(np.maximum(sides, 0), axis=1), np.minimum(area[others], area[i]))
        near = others[most > overlap * np.maximum(area[others], area[i])]
        if all(_shared(cut, cuts[j]) <= overlap / (1 + overlap) * (area[i] + area[j]) for j in near.tolist()):
            kept.append(i)
    return kept


def _shared(a: _Cut, b: _Cut) -> int:
    """Pixels that two regions share."""
    top, left = max(a.top, b.top), max(a.left, b.left)
    bottom = min(a.top + a.inside.shape[0], b.top + b.inside.shape[0])
    right = min(a.left + a.inside.shape[1], b.left + b.inside.shape[1])
    return int(
        np.count_nonzero(
            a.inside[top - a.top : bottom - a.top, left - a.left : right - a.left]
            & b.inside[top - b.top : bottom - b.top, left - b.left : right - b.left]
        )
    )
