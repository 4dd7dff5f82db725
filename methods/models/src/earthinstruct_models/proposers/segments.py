"""A proposer without weights: regions of merge trees and closed contours, ranked by how much they look like objects.

Two trees, for two smoothed versions of the image, are grown from small watershed basins by merging neighbours of
similar colour (Ward's criterion); every node is a candidate. Regions inside strong contours are candidates as well,
such as a car with dark windows, which merging by colour does not keep together. The features of a candidate are sums
over its pixels; a logistic function of a few of them is its score. Candidates are filled, and duplicates are removed.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthinstruct.contract import Proposals
from earthinstruct.regions import encode_masks
from earthinstruct_models.parameters import check_integer
from earthinstruct_models.proposers.duplicates import distinct

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# brightness and two colour differences of an RGB picture; the first difference has more weight
_OPPONENT = np.array([[1 / 3, 0.75, 0.25], [1 / 3, -0.75, 0.25], [1 / 3, 0.0, -0.5]], dtype=np.float32)

_EDGES = (12.0, 20.0, 30.0, 42.0, 60.0)  # least gradient of a contour, grey levels per pixel
_CLEAR_STEP = 30.0  # least change of colour at a clear border, grey levels
_BASIN_AREA = 160.0  # mean area of the basins, from which the merge trees start, pixels
_LEAST_AREA = 40  # of a proposal, pixels
_LARGEST_SHARE = 0.4  # of the image, the largest share that a proposal may cover
_OVERLAP = 0.6  # of two proposals with a larger box IoU, the lower ranked one is dropped
_CANDIDATES_PER_IMAGE = 900  # best candidates that are filled and compared

# Logistic regression on scenes train: does a region cover an object with IoU >= 0.5? `_ALONE` uses only the region, in
# the order of `_features`; `_TOGETHER` and `_OF_COMPANY` also the number of likely regions of its shape, see `_score`.
_ALONE = np.array(
    [-5.291, 2.363, 1.32, -0.725, -0.745, 0.664, 0.421, 1.985, 0.205, -0.732, 0.112, 0.119, 0.543, 0.391, 2.219]
)
_TOGETHER = np.array(
    [-5.526, 2.12, 1.288, -0.302, -0.541, 0.416, -0.446, 0.948, 0.239, -0.29, 0.135, 0.117, 0.246, 0.385, 1.989]
)
_OF_COMPANY = np.array([0.842, -0.191, -0.001])
_COMPANY = 500  # likely regions that are counted
_SHAPE = [2, 6, 9]  # size, fill and elongation among the features
_SHAPE_SCALES = np.array([5.0, 8.0, 5.0])


class SegmentsProposer:
    """Proposes class-agnostic regions from the pixels of one image, without a trained network.

    Args:
        limit: most proposals for one image.

    Raises:
        EarthInstructError: the limit is no integer >= 1.
    """

    deterministic = True

    def __init__(self, limit: int = 200) -> None:
        self.limit = check_integer("limit", limit)

    def propose(self, image: NDArray[np.uint8]) -> Proposals:
        """Regions of one RGB image, uint8 (height, width, 3), best first, with masks and scores in (0, 1)."""
        height, width = image.shape[:2]
        candidates = self.candidates(image)
        places = [(source, i) for source in candidates for i in range(len(source))]
        score = np.concatenate([_score(source.features) for source in candidates])
        best = np.argsort(-score, kind="stable")[:_CANDIDATES_PER_IMAGE]
        cuts = [places[i][0].cut(places[i][1]) for i in best.tolist()]
        kept = distinct(np.array([cut.box for cut in cuts], dtype=np.float64), _OVERLAP, self.limit)
        masks = np.zeros((len(kept), height, width), dtype=bool)
        for mask, i in zip(masks, kept, strict=True):
            cuts[i].draw(mask)
        boxes = np.array([cuts[i].box for i in kept], dtype=np.float64).reshape(-1, 4)
        return Proposals(boxes, tuple(encode_masks(masks)), score[best][kept])

    def describe(self) -> dict[str, Any]:
        """Parameters and constants that proposals depend on. It has no weights."""
        return {
            "proposer": "segments",
            "limit": self.limit,
            "basin_area": _BASIN_AREA,
            "least_area": _LEAST_AREA,
            "largest_share": _LARGEST_SHARE,
            "overlap": _OVERLAP,
            "weights": [],
        }

    def candidates(self, image: NDArray[np.uint8]) -> list[Candidates]:
        """All regions of acceptable size, by source; many of them overlap."""
        height, width = image.shape[:2]
        most = max(2, int(height * width / _BASIN_AREA))
        closed = ndimage.grey_closing(image, (3, 3, 1))
        opened = ndimage.grey_opening(closed, (3, 3, 1))
        basins = _basins(closed.astype(np.float32) @ _OPPONENT, most)
        sources = [_tree_candidates(basins, _Pixels.of(smooth)) for smooth in (closed, opened)]
        pixels = _Pixels.of(image)
        gradient = _gradient(pixels.picture)
        sources += [_contour_candidates(gradient >= edge, pixels) for edge in _EDGES]
        largest = _LARGEST_SHARE * height * width
        for source in sources:
            source.keep((source.areas >= _LEAST_AREA) & (source.areas <= largest))
        return sources


@dataclass(frozen=True)
class _Cut:
    """One region: `inside` is bool (rows, columns), with its upper left pixel at (top, left) of the image."""

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
    """Regions from one source: each consists of the pixels whose number in `labels` is in [first, last)."""

    labels: Integers  # (height, width)
    first: Integers  # (n,)
    last: Integers  # (n,)
    bounds: Integers  # (n, 4): top, left, bottom, right
    areas: Floats  # (n,), pixels, without the holes
    features: Floats  # (n, features), see `_features`

    def __len__(self) -> int:
        return len(self.areas)

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Drop all other candidates."""
        for name in ("first", "last", "bounds", "areas", "features"):
            setattr(self, name, getattr(self, name)[which])

    def cut(self, index: int) -> _Cut:
        """One region with its holes filled."""
        top, left, bottom, right = self.bounds[index].tolist()
        part = self.labels[top:bottom, left:right]
        outside = np.ones((bottom - top + 2, right - left + 2), dtype=bool)
        outside[1:-1, 1:-1] = (part < self.first[index]) | (part >= self.last[index])
        around, pieces = ndimage.label(outside)
        inside = ~outside if pieces == 1 else around != 1  # the first piece is the one at the corner
        return _Cut(top, left, inside[1:-1, 1:-1])


def _gradient(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Length of the colour gradient, grey levels per pixel: (height, width, 3) -> (height, width)."""
    total = np.zeros(picture.shape[:2], dtype=np.float32)
    for channel in np.moveaxis(picture, -1, 0):
        for axis in (0, 1):
            total += (ndimage.sobel(channel, axis=axis) / 4) ** 2
    return np.sqrt(total)


def _basins(picture: NDArray[np.float32], most: int) -> Integers:
    """The watershed basin of each pixel, after neighbours of similar colour were merged until `most` basins remain.

    Pairs of regions that are each other's most similar neighbours are merged, the better half of the pairs at a time.
    """
    from skimage.segmentation import watershed

    gradient = _gradient(picture)
    seeds, _ = ndimage.label(ndimage.minimum_filter(gradient, 3) == gradient)
    basins: Integers = watershed(gradient, seeds).astype(np.int64) - 1  # type: ignore[no-untyped-call]
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
        size = np.bincount(renumbered, size, n).astype(np.float64)
        total = np.stack([np.bincount(renumbered, column, n) for column in total.T], axis=1)
        a, b = _distinct(renumbered[a], renumbered[b], n)
    return number[basins]


def _neighbours(labels: Integers, n: int) -> tuple[Integers, Integers]:
    """The pairs of touching labels in [0, n), each once, the smaller label first."""
    return _distinct(*_beside(labels), n)


def _beside(labels: Integers) -> tuple[Integers, Integers]:
    """The labels of each pixel and of the next one down and, after those, to the right."""
    a = np.concatenate([labels[:-1].ravel(), labels[:, :-1].ravel()])
    return a, np.concatenate([labels[1:].ravel(), labels[:, 1:].ravel()])


def _distinct(a: Integers, b: Integers, n: int) -> tuple[Integers, Integers]:
    differ = a != b
    a, b = a[differ], b[differ]
    return np.divmod(np.unique(np.minimum(a, b) * n + np.maximum(a, b)), n)


def _ward(size: Floats, mean: Floats, a: Integers, b: Integers) -> Floats:
    """Ward's cost of merging regions: the growth of the sum of squared distances to the mean colour."""
    cost: Floats = ((mean[a] - mean[b]) ** 2).sum(axis=1) * size[a] * size[b] / (size[a] + size[b])
    return cost


def _grow(size: Floats, mean: Floats, a: Integers, b: Integers) -> tuple[Integers, Floats]:
    """Merge neighbours, the cheapest pair first, until one region is left; regions `a` and `b`, (pairs,), touch.

    Returns:
        int64 (n - 1, 2), the two parts of nodes n, n + 1, ..., and float64 (n - 1,), the cost of each merge.
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
        red, green, blue = ((p * sizes[x] + q * sizes[y]) / total for p, q in zip(means[x], means[y], strict=True))
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


def _tree_candidates(basins: Integers, pixels: _Pixels) -> Candidates:
    """Every node of the merge tree of some basins, numbered from 0."""
    n = int(basins.max()) + 1
    sums, a, b, borders = pixels.sums(basins, n)
    pairs, place = np.unique(a * n + b, return_inverse=True)
    a, b = np.divmod(pairs, n)
    across = np.stack([np.bincount(place, column, len(pairs)) for column in borders.T], axis=1)
    parts, costs = _grow(sums[:, 0], sums[:, 6:9] / sums[:, :1], a, b)
    nodes = n + len(parts)
    parent = np.full(nodes, nodes - 1)
    parent[parts] = np.arange(n, nodes)[:, None]
    # a border between two basins is not a border of the nodes that contain both: subtract it where they meet
    x, y = a.copy(), b.copy()
    while len(apart := np.flatnonzero(x != y)):
        x[apart], y[apart] = np.maximum(x, y)[apart], parent[np.minimum(x, y)[apart]]
    sums = np.concatenate([sums, np.zeros((len(parts), sums.shape[1]))])
    np.subtract.at(sums[:, 11:], x, 2 * across)
    bounds = np.concatenate([_bounds(basins + 1, n), np.zeros((len(parts), 4), dtype=np.int64)])
    count = np.ones(nodes, dtype=np.int64)
    for node, (left, right) in enumerate(parts.tolist(), start=n):
        sums[node] += sums[left] + sums[right]
        bounds[node, :2] = np.minimum(bounds[left, :2], bounds[right, :2])
        bounds[node, 2:] = np.maximum(bounds[left, 2:], bounds[right, 2:])
        count[node] = count[left] + count[right]
    first = np.zeros(nodes, dtype=np.int64)
    for node, (left, right) in zip(range(nodes - 1, n - 1, -1), parts[::-1].tolist(), strict=True):
        first[left], first[right] = first[node], first[node] + count[left]
    cost = np.concatenate([np.zeros(n), costs])
    return Candidates(
        labels=first[:n][basins],
        first=first,
        last=first + count,
        bounds=bounds,
        areas=sums[:, 0],
        features=_features(sums, np.log((cost[parent] + 100) / (cost + 100)), contour=False),
    )


def _contour_candidates(contour: NDArray[np.bool_], pixels: _Pixels) -> Candidates:
    """Regions inside contours, with the contours; strips of one or two pixels are cut off."""
    filled = ndimage.binary_opening(ndimage.binary_fill_holes(contour), iterations=1)
    found, n = ndimage.label(filled)
    labels = found.astype(np.int64)
    sums = pixels.sums(labels, n + 1, skip_zero=True)[0][1:]
    return Candidates(
        labels=labels,
        first=np.arange(1, n + 1),
        last=np.arange(2, n + 2),
        bounds=_bounds(labels, n),
        areas=sums[:, 0],
        features=_features(sums, np.zeros(n), contour=True),
    )


@dataclass(frozen=True, eq=False)
class _Pixels:
    """The values that are summed over the pixels of a region."""

    picture: NDArray[np.float32]  # (height, width, 3), brightness and two colour differences
    # 11 arrays of height x width values: one; x, y, xx, yy, xy; the three colours; brightness squared; the squared
    # colour differences together
    columns: list[Floats]
    steps: Floats  # the change of colour from each pixel to the next one down and, after those, to the right

    @staticmethod
    def of(image: NDArray[np.uint8]) -> _Pixels:
        """The values for an RGB image, uint8 (height, width, 3)."""
        picture = image.astype(np.float32) @ _OPPONENT
        height, width = picture.shape[:2]
        y, x = (grid.ravel() for grid in np.mgrid[0:height, 0:width].astype(np.float64))
        light, first, second = (channel.astype(np.float64).ravel() for channel in np.moveaxis(picture, -1, 0))
        moments = [np.ones(height * width), x, y, x * x, y * y, x * y]
        columns = [*moments, light, first, second, light**2, first**2 + second**2]
        steps = [
            sum(np.abs(np.diff(channel, axis=axis)) for channel in np.moveaxis(picture, -1, 0)).ravel()
            for axis in (0, 1)
        ]
        return _Pixels(picture, columns, np.concatenate(steps).astype(np.float64))

    def sums(self, labels: Integers, n: int, *, skip_zero: bool = False) -> tuple[Floats, Integers, Integers, Floats]:
        """Sums for each label in [0, n) of an array of the image's shape.

        Returns:
            float64 (n, 14): the sums of `columns`, and for the border to other labels its length, the steps across it
            and the number of clear steps. Then, for each place where two labels meet, the smaller and the larger
            label, and float64 (places, 3), what the place adds to a border.
        """
        flat = labels.ravel()
        # 0 is most of the image, and its sums are not needed
        inside = np.flatnonzero(flat) if skip_zero else slice(None)
        sums = [np.bincount(flat[inside], column[inside], n) for column in self.columns]
        a, b = _beside(labels)
        border = np.flatnonzero(a != b)
        a, b, steps = a[border], b[border], self.steps[border]
        ends = np.concatenate([a, b])
        borders = np.stack([np.ones(len(steps)), steps, steps > _CLEAR_STEP], axis=1)
        sums += [np.bincount(ends, np.tile(column, 2), n) for column in borders.T]
        return np.stack(sums, axis=1), np.minimum(a, b), np.maximum(a, b), borders


def _bounds(labels: Integers, n: int) -> Integers:
    """Top, left, bottom and right of each label in [1, n]: int64 (n, 4)."""
    boxes = ndimage.find_objects(labels, n)
    return np.array(
        [(box[0].start, box[1].start, box[0].stop, box[1].stop) if box else (0, 0, 0, 0) for box in boxes],
        dtype=np.int64,
    ).reshape(-1, 4)


def _features(sums: Floats, stability: Floats, *, contour: bool) -> Floats:
    """The features of the score, each about within [-3, 3], from the sums of `_Pixels.sums`, (n, 14).

    `stability`, (n,), is the logarithm of the cost of the next merge over that of the last one.
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
            sums[:, 13] / border,
        ],
        axis=1,
    )


def _score(features: Floats) -> Floats:
    """The probability of each region of an image to be an object: float64 (n,) in (0, 1).

    Objects often come in groups: a region scores higher if many likely regions have its size, fill and elongation.
    """
    alone = _logistic(features @ _ALONE)
    likely = np.argsort(-alone, kind="stable")[:_COMPANY]
    shape = features[:, _SHAPE] * _SHAPE_SCALES
    square = (shape**2).sum(axis=1)
    distance = square[:, None] + square[likely] - 2 * shape @ shape[likely].T
    company = np.log1p(np.exp(-distance / 2) @ alone[likely])
    more = np.stack([company, company * features[:, 2], company**2], axis=1)
    return _logistic(features @ _TOGETHER + more @ _OF_COMPANY)


def _logistic(value: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-value))
    return result
