"""Match predictions to ground truth: find the pairs that overlap enough, then choose among them one-to-one."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import filterfalse, pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import points
from earthinstruct.regions import Instances, intersections, pixels_of, spans

Geometry = Literal["box", "mask", "point"]
Rule = Literal["maximum", "greedy", "coco"]

Indices = NDArray[np.int64] | NDArray[np.int32]

_CANDIDATES_AT_ONCE = 200_000
_PAIRS_AT_ONCE = 1_000_000
_DENSE = 10  # pairs for each prediction and ground truth, from which they are matched by distances
_LARGE_CELL = 64  # targets; below, all of them are closer together than groups would be
_OCTAVES = 32  # of width, in pixels; the first holds all below 1
_ROUNDING = 1e-12  # of a coordinate; sums of two are rounded to 2e-16 of it
_MARGIN = 1e-9  # of a box's numbers; for the limits that follow from an IoU, which is a quotient


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a prediction and a ground truth of the same image and category whose IoU reaches the threshold.

    The IoU of a point is its closeness: 1 in the object (see `earthinstruct.metrics.points`).

    Attributes:
        prediction: int32 or int64 (pairs,), index of the prediction.
        target: int32 or int64 (pairs,), index of the ground truth.
        iou: float64 (pairs,), in [threshold, 1].
        n_predictions: number of all predictions, paired or not.
        n_targets: number of all ground truths, paired or not.
    """

    prediction: Indices
    target: Indices
    iou: NDArray[np.float64]
    n_predictions: int
    n_targets: int

    def __len__(self) -> int:
        return len(self.iou)

    def where(self, kept: NDArray[np.bool_] | NDArray[np.int64]) -> Pairs:
        """Select the pairs where `kept` is true, or those of these indices, in their order."""
        if kept.dtype == bool and kept.all():  # there may be very many
            return self
        return Pairs(self.prediction[kept], self.target[kept], self.iou[kept], self.n_predictions, self.n_targets)

    def in_turn(self) -> Iterator[tuple[Indices, Indices, NDArray[np.float64]]]:
        """Yield prediction, target, IoU of some predictions at a time, each with all its pairs, if they are sorted."""
        cuts = np.searchsorted(self.prediction, self.prediction[_PAIRS_AT_ONCE::_PAIRS_AT_ONCE])
        columns = (np.split(column, cuts) for column in (self.prediction, self.target, self.iou))
        yield from zip(*columns, strict=True)

    @cached_property
    def several(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Two bool (pairs,): whether the prediction has other pairs, and whether the ground truth has."""
        return (
            (np.bincount(self.prediction, minlength=self.n_predictions) > 1)[self.prediction],
            (np.bincount(self.target, minlength=self.n_targets) > 1)[self.target],
        )


def find_pairs(
    predictions: Instances,
    targets: Instances,
    geometry: Geometry,
    *,
    iou_threshold: float = 0.5,
    agnostic: bool = False,
) -> Pairs:
    """Find all pairs of the same image and category with IoU >= `iou_threshold`.

    Mask pixels are compared only if the bounding boxes and areas of the two masks allow an IoU at the threshold.

    Args:
        predictions: n predictions.
        targets: m ground truths.
        geometry: `box`, `mask` (both sides have masks), or `point` (the predictions have points).
        iou_threshold: in (0, 1].
        agnostic: ignore categories.
    """
    turns = pairs_in_turn(predictions, targets, geometry, iou_threshold=iou_threshold, agnostic=agnostic)
    columns: list[list[NDArray[Any]]] = [[np.zeros(0, dtype=kind)] for kind in (np.int32, np.int32, np.float64)]
    for turn in turns:
        for column, piece in zip(columns, turn, strict=True):
            column.append(piece.astype(column[0].dtype, copy=False))
    prediction, target, iou = (np.concatenate(columns.pop(0)) for _ in range(3))  # there may be very many pieces
    return Pairs(prediction, target, iou, len(predictions), len(targets))


def pairs_in_turn(
    predictions: Instances,
    targets: Instances,
    geometry: Geometry,
    *,
    iou_threshold: float,
    agnostic: bool,
    among: NDArray[np.bool_] | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """`find_pairs`, some predictions at a time, each with all its pairs: yields prediction, target, IoU.

    `among`: bool (predictions,), the predictions to pair; None: all.
    """
    cells = _cells(predictions, targets, agnostic)
    if among is not None:
        cells = np.where(among, cells[0], -1), cells[1]
    if geometry == "box":
        for prediction, target in _overlapping_boxes(*cells, predictions.boxes, targets.boxes, iou_threshold):
            iou = box_iou(predictions.boxes[prediction], targets.boxes[target])
            kept = iou >= iou_threshold
            yield prediction[kept], target[kept], iou[kept]
        return
    if geometry == "point":
        places, near = _places(predictions), points.regions_of(targets)
        if iou_threshold <= points.NEAREST:
            near = points.doubled(near)
        for prediction, target in _overlapping_boxes(*cells, pixels_of(places), near):
            close = points.closeness(places, targets, prediction, target)
            kept = close >= iou_threshold
            yield prediction[kept], target[kept], close[kept]
        return
    if predictions.masks is None or targets.masks is None:
        raise ValueError("mask pairs need masks on both sides")
    for prediction, target in _overlapping_boxes(*cells, predictions.masks.boxes, targets.masks.boxes):
        # upper bound of the intersection: that of the bounding boxes, and the area of the smaller mask
        area_p, area_t = predictions.masks.areas[prediction], targets.masks.areas[target]
        shared = np.minimum(
            box_intersection(predictions.masks.boxes[prediction], targets.masks.boxes[target]),
            np.minimum(area_p, area_t),
        )
        possible = shared >= iou_threshold * (area_p + area_t - shared)
        prediction, target = prediction[possible], target[possible]
        shared_pixels = intersections(predictions.masks, targets.masks, prediction, target)
        iou = shared_pixels / (area_p[possible] + area_t[possible] - shared_pixels)
        kept = iou >= iou_threshold
        yield prediction[kept], target[kept], iou[kept]


def _cells(predictions: Instances, targets: Instances, agnostic: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the cell (image, category) of each instance: int64 (predictions,), (targets,)."""
    if agnostic:
        return predictions.image, targets.image
    span = int(max(predictions.category.max(initial=0), targets.category.max(initial=0))) + 1
    # -1 and -2 differ, so an instance without a category pairs with nothing
    of_predictions = np.where(predictions.category < 0, -1, predictions.image * span + predictions.category)
    of_targets = np.where(targets.category < 0, -2, targets.image * span + targets.category)
    return of_predictions, of_targets


def _overlapping_boxes(
    of_predictions: NDArray[np.int64],
    of_targets: NDArray[np.int64],
    prediction_boxes: NDArray[np.float64],
    target_boxes: NDArray[np.float64],
    iou_threshold: float = 0.0,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Find every (prediction, target) of equal cell whose boxes overlap; `of_...` are the cells.

    Pairs of boxes whose IoU is below the threshold may be left out: at an IoU of t, the overlap is at least t times as
    wide and as high as either box, so it reaches past t times the prediction's width from each of its sides.

    Yields some predictions at a time, in order and each with all its targets, to bound the memory. The targets of a
    cell are sorted by x, so that those that overlap a prediction in x lie close together. Targets of large cells are
    first grouped by width: otherwise one wide target would lengthen the search among all others.
    """
    cells, cell, size = np.unique(of_targets, return_inverse=True, return_counts=True)
    octave = np.where(size[cell] > _LARGE_CELL, np.clip(np.frexp(target_boxes[:, 2])[1], 0, _OCTAVES - 1), 0)
    groups, group = np.unique(cell * _OCTAVES + octave, return_inverse=True)
    widest = np.zeros(len(groups))
    np.maximum.at(widest, group, target_boxes[:, 2])

    # every prediction asks each group of its cell for the targets from `low` to `high`
    place = np.minimum(np.searchsorted(cells, of_predictions), max(len(cells) - 1, 0))
    known = np.flatnonzero(cells[place] == of_predictions) if len(cells) else np.zeros(0, dtype=np.int64)
    first = np.searchsorted(groups, place[known] * _OCTAVES)
    n_groups = np.searchsorted(groups, (place[known] + 1) * _OCTAVES) - first
    asking, asked = np.repeat(known, n_groups), spans(first, n_groups)
    least = iou_threshold * prediction_boxes[:, 2:]
    if iou_threshold:
        least -= _MARGIN * np.abs(prediction_boxes).sum(axis=1, keepdims=True)
    (left, top), (right, bottom) = (
        ends[asking].T for ends in (prediction_boxes[:, :2] + least, _far_ends(prediction_boxes) - least)
    )
    xs = np.sort(target_boxes[:, 0])
    by_x = np.lexsort((target_boxes[:, 0], group))
    keys = group[by_x] * (len(xs) + 1) + np.searchsorted(xs, target_boxes[by_x, 0])
    reach = left - widest[asked]
    reach -= _ROUNDING * (np.abs(left) + widest[asked])
    low = np.searchsorted(keys, asked * (len(xs) + 1) + np.searchsorted(xs, reach))
    high = np.searchsorted(keys, asked * (len(xs) + 1) + np.searchsorted(xs, right))
    count = np.maximum(high - low, 0)

    ends = _far_ends(target_boxes)[by_x]
    sides = ((ends[:, 1].copy(), top), (-target_boxes[by_x, 1], -bottom), (ends[:, 0].copy(), left))
    piece = (np.cumsum(np.bincount(asking, count)) // _CANDIDATES_AT_ONCE)[asking]
    for some in np.split(np.arange(len(asking)), np.flatnonzero(np.diff(piece)) + 1):
        query, target = np.repeat(some, count[some]), spans(low[some], count[some])
        for side, limit in sides:  # the first leaves half of them, and the last few
            overlap = side[target] > limit[query]
            query, target = query[overlap], target[overlap]
        yield asking[query], by_x[target]


def lie_on(
    predictions: Instances, regions: Instances, geometry: Geometry, crowd: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which predictions lie on a region of the same image and category: bool (predictions,).

    A prediction lies on a region if their IoU is at least 0.5, and on a crowd if at least half of its own area does. A
    point lies on a region if it lies in it.

    Args:
        predictions: n predictions.
        regions: m regions.
        geometry: `box`, `mask` (both sides have masks), or `point` (the predictions have points).
        crowd: bool (m,), regions that are crowds.
    """
    found = np.zeros(len(predictions), dtype=bool)
    if geometry == "point":
        found[find_pairs(predictions, regions, geometry).prediction] = True
        return found
    sides = (predictions, regions)
    a, b = (side.boxes if geometry == "box" or side.masks is None else side.masks.boxes for side in sides)
    for prediction, region in _overlapping_boxes(*_cells(predictions, regions, agnostic=False), a, b):
        shared, areas = _shared(predictions, regions, geometry, prediction, region)
        whole = np.where(crowd[region], areas[0], areas[0] + areas[1] - shared)
        found[prediction[(shared > 0) & (shared >= 0.5 * whole)]] = True
    return found


def _places(predictions: Instances) -> NDArray[np.float64]:
    if predictions.points is None:
        raise ValueError("point pairs need predictions with points")
    return predictions.points


def _shared(
    a: Instances, b: Instances, geometry: Geometry, a_index: NDArray[np.int64], b_index: NDArray[np.int64]
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """The shared area of pairs, and the areas of both sides."""
    if geometry == "box":
        boxes = a.boxes[a_index], b.boxes[b_index]
        return box_intersection(*boxes), [side[:, 2] * side[:, 3] for side in boxes]
    if a.masks is None or b.masks is None:
        raise ValueError("mask pairs need masks on both sides")
    pixels = intersections(a.masks, b.masks, a_index, b_index).astype(np.float64)
    return pixels, [a.masks.areas[a_index].astype(np.float64), b.masks.areas[b_index].astype(np.float64)]


def box_intersection(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection area of box pairs: float64 (n, 4) and (n, 4), xywh -> (n,)."""
    width = np.minimum(a[:, 0] + a[:, 2], b[:, 0] + b[:, 2]) - np.maximum(a[:, 0], b[:, 0])
    height = np.minimum(a[:, 1] + a[:, 3], b[:, 1] + b[:, 3]) - np.maximum(a[:, 1], b[:, 1])
    area: NDArray[np.float64] = np.maximum(width, 0) * np.maximum(height, 0)
    return area


def _far_ends(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The right and the bottom ends of boxes (n, 4), xywh -> (n, 2)."""
    return boxes[:, :2] + boxes[:, 2:]


def box_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of box pairs: float64 (n, 4) and (n, 4), xywh -> (n,) in [0, 1]; 0 if both boxes have no area.

    >>> box_iou(np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 10, 10]])).round(4).tolist()
    [0.3333]
    """
    shared = box_intersection(a, b)
    union = a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def match(pairs: Pairs, rule: Rule, order: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Choose pairs so that each prediction and each ground truth is used at most once.

    `maximum` takes the predictions in turn. It keeps a prediction if it can be matched together with all predictions
    kept so far, which may be re-paired for this. After each prediction, the number kept is the size of a maximum
    one-to-one matching of the predictions so far. So one pass serves every score threshold, and the final number does
    not depend on the order. `greedy` gives each prediction in turn the free ground truth of largest IoU, and the first
    one among equals. `coco` takes the last one among equals, like pycocotools.

    Args:
        pairs: the pairs to choose from.
        rule: `maximum`, `greedy` or `coco`.
        order: int64, the order in which predictions are taken; None: by index. Predictions that are alone with their
            ground truth may be left out.

    Returns:
        int64 (n_predictions,): the index of the matched ground truth, or -1.
    """
    if rule == "maximum" and _is_dense(pairs):
        return _match_by_distance(pairs, order)
    matched = np.full(pairs.n_predictions, -1, dtype=np.int64)
    if not len(pairs):
        return matched
    rank = _rank(order, pairs.n_predictions)[pairs.prediction]
    preference = -pairs.target if rule == "coco" else pairs.target  # among equal IoUs
    keys = (preference, -pairs.iou, rank)
    star = stars(pairs)
    best = _first_of_each(pairs, star, keys)
    matched[pairs.prediction[best]] = pairs.target[best]
    resolve = _augment if rule == "maximum" else _take_best
    for target, prediction in resolve(_options(pairs, star < 0, keys)).items():
        matched[prediction] = target
    return matched


def sizes_at(
    pairs: Pairs,
    rule: Rule,
    thresholds: NDArray[np.float64],
    group: NDArray[np.int64],
    n_groups: int,
) -> NDArray[np.int64]:
    """Count the pairs that `match` chooses, in file order, among those that reach each of t increasing IoU thresholds.

    Args:
        pairs: the pairs to choose from.
        rule: as in `match`.
        thresholds: float64 (t,).
        group: int64 (n_targets,), in which of `n_groups` groups the pairs of each ground truth are counted.
        n_groups: number of groups.

    Returns:
        int64 (t, n_groups).
    """
    star = stars(pairs)
    # fewer pairs leave a star a star: one of its pairs is chosen as long as its best one is there
    chosen = star >= 0
    best, of_star = (
        np.zeros(pairs.n_targets + pairs.n_predictions),
        np.zeros(pairs.n_targets + pairs.n_predictions, int),
    )
    np.maximum.at(best, star[chosen], pairs.iou[chosen])
    of_star[star[chosen]] = group[pairs.target[chosen]]
    those = np.flatnonzero(best)
    reached = np.searchsorted(thresholds, best[those], side="right")  # number of thresholds
    shape = (len(thresholds) + 1, n_groups)
    histogram = np.bincount(reached * n_groups + of_star[those], minlength=shape[0] * n_groups).reshape(shape)
    sizes: NDArray[np.int64] = np.cumsum(histogram[::-1], axis=0)[-2::-1]
    matched = match_at_each(pairs.where(~chosen), rule, thresholds)
    level, prediction = np.nonzero(matched >= 0)
    cell = level * n_groups + group[matched[level, prediction]]
    return sizes + np.bincount(cell, minlength=sizes.size).reshape(sizes.shape)


def match_at_each(
    pairs: Pairs, rule: Rule, thresholds: NDArray[np.float64], order: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """`match` among the pairs that reach each of t increasing IoU thresholds: int64 (t, n_predictions).

    Thresholds are matched together, with a copy of the pairs for each, unless there are many pairs.
    """
    found = []
    step = max(1, _PAIRS_AT_ONCE // max(len(pairs), 1))
    for some in np.split(thresholds, range(step, len(thresholds), step)):
        if len(some) == 1:
            pairs = pairs.where(pairs.iou >= some[0])
            found.append(match(pairs, rule, order)[None])
            continue
        copy, pair = np.nonzero(pairs.iou >= some[:, None])
        copies = Pairs(
            copy * pairs.n_predictions + pairs.prediction[pair],
            copy * pairs.n_targets + pairs.target[pair],
            pairs.iou[pair],
            len(some) * pairs.n_predictions,
            len(some) * pairs.n_targets,
        )
        turn = None if order is None else np.add.outer(np.arange(len(some)) * pairs.n_predictions, order).ravel()
        matched = match(copies, rule, turn).reshape(len(some), pairs.n_predictions)
        first = np.arange(len(some))[:, None] * pairs.n_targets
        found.append(np.where(matched >= 0, matched - first, -1))
    return np.concatenate(found)


def enlarges_greedy(pairs: Pairs, entering: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which predictions enlarge a `greedy` matching by index, as predictions are added one by one.

    In any prefix of `entering`, the number of these predictions is the size of the greedy matching of that prefix, so
    one pass serves every score threshold. This works because one more prediction never frees a ground truth that was
    taken, and takes at most one more ground truth.

    Args:
        pairs: the pairs to choose from.
        entering: int64 (n_predictions,), the predictions in the order in which they are added, best score first.

    Returns:
        bool (n_predictions,).
    """
    larger = np.zeros(pairs.n_predictions, dtype=bool)
    if not len(pairs.prediction):
        return larger
    rank = _rank(entering, pairs.n_predictions)[pairs.prediction]
    star = stars(pairs)
    larger[pairs.prediction[_first_of_each(pairs, star, (rank,))]] = True
    larger[_displace(_options(pairs, star < 0, (pairs.target, -pairs.iou, rank)))] = True
    return larger


def _rank(order: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    """The place of each prediction in the order."""
    rank = np.arange(n)
    if order is not None:
        rank[order] = np.arange(len(order))
    return rank


def stars(pairs: Pairs) -> NDArray[np.int64]:
    """Find the star of each pair: int64 (pairs,), or -1.

    A star is a connected component around one ground truth whose predictions pair with nothing else, or around one
    prediction whose ground truths pair with nothing else. Only one of its pairs can be matched, so every rule takes the
    first one by its sort keys. Only the other pairs need a search.
    """
    tied_target, tied_prediction = np.zeros(pairs.n_targets, dtype=bool), np.zeros(pairs.n_predictions, dtype=bool)
    tied_target[pairs.target[pairs.several[0]]] = True  # one of its predictions has another ground truth
    tied_prediction[pairs.prediction[pairs.several[1]]] = True
    around_prediction = np.where(tied_prediction[pairs.prediction], -1, pairs.n_targets + pairs.prediction)
    return np.where(tied_target[pairs.target], around_prediction, pairs.target)


def _first_of_each(pairs: Pairs, star: NDArray[np.int64], keys: tuple[NDArray[Any], ...]) -> NDArray[np.int64]:
    """The best pair of each star. The last sort key is the primary one, as in `numpy.lexsort`."""
    several = np.logical_or(*pairs.several)
    pair = np.flatnonzero(several & (star >= 0))
    pair = pair[np.lexsort([*(key[pair] for key in keys), star[pair]])]
    first = np.append(True, np.diff(star[pair]) != 0)[: len(pair)]
    return np.concatenate([np.flatnonzero(~several), pair[first]])


def _options(pairs: Pairs, chosen: NDArray[np.bool_], keys: tuple[NDArray[Any], ...]) -> Mapping[int, array[int]]:
    """Prediction -> its ground truths among the `chosen` pairs, both sorted by the keys (the last is the primary)."""
    pair = np.flatnonzero(chosen)
    pair = pair[np.lexsort([key[pair] for key in keys])]
    prediction, targets = pairs.prediction[pair], array("q", pairs.target[pair].astype(np.int64).tobytes())
    bounds = [*np.flatnonzero(np.diff(prediction, prepend=-1)).tolist(), len(pair)]
    return {
        number: targets[low:high]
        for number, (low, high) in zip(prediction[bounds[:-1]].tolist(), pairwise(bounds), strict=True)
    }


def _take_best(options: Mapping[int, array[int]]) -> dict[int, int]:
    """Ground truth -> prediction. Each prediction in turn takes the first of its options that is free."""
    taken: dict[int, int] = {}
    for prediction, targets in options.items():
        free = next((target for target in targets if target not in taken), None)
        if free is not None:
            taken[free] = prediction
    return taken


def _displace(options: Mapping[int, array[int]]) -> list[int]:
    """The predictions whose entry leads to one more taken ground truth (deferred acceptance).

    Of the predictions that ask for a ground truth, the one of smallest index gets it. A prediction that loses its
    ground truth asks for the next of its options.
    """
    holder: dict[int, int] = {}
    left = {prediction: iter(targets) for prediction, targets in options.items()}
    larger = []
    for start in options:
        asking = start
        while (target := next(left[asking], None)) is not None:
            held = holder.get(target)
            if held is None:
                holder[target] = asking
                larger.append(start)
                break
            if asking < held:
                holder[target], asking = asking, held
    return larger


def _is_dense(pairs: Pairs) -> bool:
    return len(pairs) > _DENSE * (pairs.n_predictions + pairs.n_targets)


def _match_by_distance(pairs: Pairs, order: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """`match` by the rule `maximum`, where a search through all options would take too long (push-relabel).

    Each ground truth has a lower bound of its distance to a free one: the number of predictions that must be re-paired
    to free it. A prediction takes its nearest ground truth; the prediction that held it then does the same. Distances
    only grow. A distance that no ground truth has is never crossed: whatever is farther is a dead end for ever.
    """
    prediction, targets = pairs.prediction, pairs.target
    turn = np.argsort(_rank(order, pairs.n_predictions), kind="stable")
    if (prediction[1:] < prediction[:-1]).any():
        by_prediction = np.argsort(prediction, kind="stable")
        prediction, targets = prediction[by_prediction], targets[by_prediction]
    first = np.append(0, np.cumsum(np.bincount(prediction, minlength=pairs.n_predictions))).tolist()
    dead = pairs.n_targets + 1  # no distance is as large
    distance = np.zeros(pairs.n_targets, dtype=np.int32)
    n_at = Counter({0: np.count_nonzero(np.bincount(targets))})  # how many ground truths have each distance
    holder = [-1] * pairs.n_targets
    for start in turn.tolist():
        asking = start
        moved: list[tuple[int, int]] = []  # ground truth, who held it before
        while asking >= 0:
            options = targets[first[asking] : first[asking + 1]]
            to_free = distance[options]
            nearest = int(to_free.argmin()) if len(options) else 0
            if not len(options) or (least := int(to_free[nearest])) >= dead:  # in vain: all is as before
                for target, before in reversed(moved):
                    holder[target] = before
                    n_at[int(distance[target])] -= 1
                    distance[target] = dead
                break
            target = int(options[nearest])
            to_free[nearest] = dead
            distance[target] = farther = min(int(to_free.min()) + 1, dead)
            n_at[farther] += 1
            n_at[least] -= 1
            moved.append((target, holder[target]))
            asking, holder[target] = holder[target], asking
            if not n_at[least]:
                beyond = np.flatnonzero((distance > least) & (distance < dead))
                n_at.subtract(distance[beyond].tolist())
                distance[beyond] = dead
    held = np.array(holder, dtype=np.int64)
    matched = np.full(pairs.n_predictions, -1, dtype=np.int64)
    matched[held[held >= 0]] = np.flatnonzero(held >= 0)
    return matched


def _augment(options: Mapping[int, array[int]]) -> dict[int, int]:
    """Ground truth -> prediction: a maximum matching by augmenting paths (Kuhn), each prediction in turn.

    Searches breadth-first without recursion, because a path may be longer than Python's recursion limit.
    """
    holder: dict[int, int] = {}
    # the options that may be free: a ground truth that is held stays held, so each is looked at once
    left = {prediction: filterfalse(holder.__contains__, targets) for prediction, targets in options.items()}
    dead_ends: set[int] = set()  # ground truths from which a search found no free one: no later search can
    for start in options:
        free = next(left[start], None)
        # ground truth -> (the prediction that asks for it, the ground truth that this prediction holds)
        came_from: dict[int, tuple[int, int | None]] = {} if free is None else {free: (start, None)}
        front: deque[tuple[int, int | None]] = deque([(start, None)])  # predictions without a free option
        while front and free is None:
            prediction, own = front.popleft()
            unseen = filterfalse(came_from.__contains__, options[prediction])
            for target in filterfalse(dead_ends.__contains__, unseen):
                came_from[target] = (prediction, own)
                asked = holder[target]
                free = next(left[asked], None)
                if free is not None:
                    came_from[free] = (asked, target)
                    break
                front.append((asked, target))
        if free is None:
            dead_ends.update(came_from)
        while free is not None:  # walk the path back, and give each prediction what it asked for
            prediction, previous = came_from[free]
            holder[free] = prediction
            free = previous
    return holder
