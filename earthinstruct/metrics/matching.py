"""Match predictions to ground truth: find the pairs that overlap enough, then choose among them one-to-one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from earthinstruct.regions import Instances, intersections

Geometry = Literal["box", "mask"]
Rule = Literal["maximum", "greedy", "coco"]

_PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a prediction and a ground truth of the same image and category whose IoU reaches the threshold.

    Attributes:
        prediction: int64 (pairs,), index of the prediction.
        target: int64 (pairs,), index of the ground truth.
        iou: float64 (pairs,), in [threshold, 1].
        n_predictions: number of all predictions, paired or not.
        n_targets: number of all ground truths, paired or not.
    """

    prediction: NDArray[np.int64]
    target: NDArray[np.int64]
    iou: NDArray[np.float64]
    n_predictions: int
    n_targets: int

    def where(self, kept: NDArray[np.bool_]) -> Pairs:
        """Select the pairs where `kept` is true."""
        return Pairs(self.prediction[kept], self.target[kept], self.iou[kept], self.n_predictions, self.n_targets)


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
        geometry: `box`, or `mask` (both sides have masks).
        iou_threshold: in (0, 1].
        agnostic: ignore categories.
    """
    found = [
        _overlapping(predictions, targets, geometry, iou_threshold, prediction, target)
        for prediction, target in _candidates(*_cells(predictions, targets, agnostic))
    ]
    empty = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    prediction, target, iou = (np.concatenate(column) for column in zip(empty, *found, strict=True))
    return Pairs(prediction, target, iou, len(predictions), len(targets))


def _cells(predictions: Instances, targets: Instances, agnostic: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the cell (image, category) of each instance: int64 (predictions,), (targets,)."""
    if agnostic:
        return predictions.image, targets.image
    span = int(max(predictions.category.max(initial=0), targets.category.max(initial=0))) + 1
    # -1 and -2 differ, so an instance without a category pairs with nothing
    of_predictions = np.where(predictions.category < 0, -1, predictions.image * span + predictions.category)
    of_targets = np.where(targets.category < 0, -2, targets.image * span + targets.category)
    return of_predictions, of_targets


def _candidates(
    of_predictions: NDArray[np.int64], of_targets: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """List every (prediction, target) of equal cell, in groups of bounded size to bound the memory."""
    by_cell = np.argsort(of_targets, kind="stable")
    ordered = of_targets[by_cell]
    # the targets of a prediction's cell lie side by side in `by_cell`, from `low` on
    low = np.searchsorted(ordered, of_predictions, side="left")
    count = np.searchsorted(ordered, of_predictions, side="right") - low
    paired = np.flatnonzero(count)
    group = np.cumsum(count[paired]) // _PAIRS_AT_ONCE
    groups = []
    for some in np.split(paired, np.flatnonzero(np.diff(group)) + 1):
        repeated = count[some]
        first = np.cumsum(repeated) - repeated
        target = by_cell[np.repeat(low[some] - first, repeated) + np.arange(repeated.sum())]
        groups.append((np.repeat(some, repeated), target))
    return groups


def _overlapping(
    predictions: Instances,
    targets: Instances,
    geometry: Geometry,
    iou_threshold: float,
    prediction: NDArray[np.int64],
    target: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Keep the candidate pairs that reach the IoU threshold: prediction, target, IoU."""
    if geometry == "box":
        iou = box_iou(predictions.boxes[prediction], targets.boxes[target])
    else:
        if predictions.masks is None or targets.masks is None:
            raise ValueError("mask pairs need masks on both sides")
        # upper bound of the intersection: that of the bounding boxes, and the area of the smaller mask
        area_p, area_t = predictions.masks.areas[prediction], targets.masks.areas[target]
        shared = np.minimum(
            box_intersection(predictions.masks.boxes[prediction], targets.masks.boxes[target]),
            np.minimum(area_p, area_t),
        )
        possible = shared >= iou_threshold * (area_p + area_t - shared)
        possible &= shared > 0
        prediction, target = prediction[possible], target[possible]
        shared_pixels = intersections(predictions.masks, targets.masks, prediction, target)
        iou = shared_pixels / (area_p[possible] + area_t[possible] - shared_pixels)
    kept = iou >= iou_threshold
    return prediction[kept], target[kept], iou[kept]


def lie_on(
    predictions: Instances, regions: Instances, geometry: Geometry, crowd: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which predictions lie on a region of the same image and category: bool (predictions,).

    A prediction lies on a region if their IoU is at least 0.5, and on a crowd if at least half of its own area does.

    Args:
        predictions: n predictions.
        regions: m regions.
        geometry: `box`, or `mask` (both sides have masks).
        crowd: bool (m,), regions that are crowds.
    """
    found = np.zeros(len(predictions), dtype=bool)
    for prediction, region in _candidates(*_cells(predictions, regions, agnostic=False)):
        shared, areas = _shared(predictions, regions, geometry, prediction, region)
        whole = np.where(crowd[region], areas[0], areas[0] + areas[1] - shared)
        found[prediction[(shared > 0) & (shared >= 0.5 * whole)]] = True
    return found


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
        order: int64 (n_predictions,), the order in which predictions are taken; None: by index.

    Returns:
        int64 (n_predictions,): the index of the matched ground truth, or -1.
    """
    matched = np.full(pairs.n_predictions, -1, dtype=np.int64)
    if not len(pairs.prediction):
        return matched
    rank = _rank(order, pairs.n_predictions)[pairs.prediction]
    preference = -pairs.target if rule == "coco" else pairs.target  # among equal IoUs
    keys = (preference, -pairs.iou, rank)
    star = stars(pairs)
    best = _first_of_each(star, keys)
    matched[pairs.prediction[best]] = pairs.target[best]
    resolve = _augment if rule == "maximum" else _take_best
    for target, prediction in resolve(_options(pairs, star < 0, keys)).items():
        matched[prediction] = target
    return matched


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
    larger[pairs.prediction[_first_of_each(star, (rank,))]] = True
    larger[_displace(_options(pairs, star < 0, (pairs.target, -pairs.iou, rank)))] = True
    return larger


def _rank(order: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    """The place of each prediction in the order."""
    rank = np.arange(n)
    if order is not None:
        rank[order] = np.arange(n)
    return rank


def stars(pairs: Pairs) -> NDArray[np.int64]:
    """Find the star of each pair: int64 (pairs,), or -1.

    A star is a connected component around one ground truth whose predictions pair with nothing else, or around one
    prediction whose ground truths pair with nothing else. Only one of its pairs can be matched, so every rule takes the
    first one by its sort keys. Only the other pairs need a search.
    """
    several = [
        np.bincount(index, minlength=n)[index] > 1
        for index, n in ((pairs.prediction, pairs.n_predictions), (pairs.target, pairs.n_targets))
    ]
    tied_target, tied_prediction = np.zeros(pairs.n_targets, dtype=bool), np.zeros(pairs.n_predictions, dtype=bool)
    tied_target[pairs.target[several[0]]] = True  # one of its predictions has another ground truth
    tied_prediction[pairs.prediction[several[1]]] = True
    around_prediction = np.where(tied_prediction[pairs.prediction], -1, pairs.n_targets + pairs.prediction)
    return np.where(tied_target[pairs.target], around_prediction, pairs.target)


def _first_of_each(star: NDArray[np.int64], keys: tuple[NDArray[Any], ...]) -> NDArray[np.int64]:
    """The best pair of each star. The last sort key is the primary one, as in `numpy.lexsort`."""
    pair = np.flatnonzero(star >= 0)
    pair = pair[np.lexsort([*(key[pair] for key in keys), star[pair]])]
    first: NDArray[np.int64] = pair[np.append(True, np.diff(star[pair]) != 0)[: len(pair)]]
    return first


def _options(pairs: Pairs, chosen: NDArray[np.bool_], keys: tuple[NDArray[Any], ...]) -> dict[int, list[int]]:
    """Prediction -> its ground truths among the `chosen` pairs, both sorted by the keys (the last is the primary)."""
    pair = np.flatnonzero(chosen)
    pair = pair[np.lexsort([key[pair] for key in keys])]
    options: dict[int, list[int]] = {}
    for prediction, target in zip(pairs.prediction[pair].tolist(), pairs.target[pair].tolist(), strict=True):
        options.setdefault(prediction, []).append(target)
    return options


def _take_best(options: dict[int, list[int]]) -> dict[int, int]:
    """Ground truth -> prediction. Each prediction in turn takes the first of its options that is free."""
    taken: dict[int, int] = {}
    for prediction, targets in options.items():
        free = next((target for target in targets if target not in taken), None)
        if free is not None:
            taken[free] = prediction
    return taken


def _displace(options: dict[int, list[int]]) -> list[int]:
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


def _augment(options: dict[int, list[int]]) -> dict[int, int]:
    """Ground truth -> prediction: a maximum matching by augmenting paths (Kuhn), each prediction in turn.

    Searches breadth-first without recursion, because a path may be longer than Python's recursion limit.
    """
    holder: dict[int, int] = {}
    for start in options:
        # ground truth -> (the prediction that asks for it, the ground truth that this prediction holds)
        came_from: dict[int, tuple[int, int | None]] = {}
        front: list[tuple[int, int | None]] = [(start, None)]
        while front:
            prediction, own = front.pop(0)
            for target in options[prediction]:
                if target in came_from:
                    continue
                came_from[target] = (prediction, own)
                if target not in holder:  # free: walk the path back, and give each prediction what it asked for
                    at: int | None = target
                    while at is not None:
                        prediction, previous = came_from[at]
                        holder[at] = prediction
                        at = previous
                    front = []
                    break
                front.append((holder[target], target))
    return holder
