"""The one matcher: pairs of predictions and ground truth that overlap enough, and the rules that choose among them."""

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
        n_predictions: how many predictions there are, in a pair or not.
        n_targets: how many ground truths there are.
    """

    prediction: NDArray[np.int64]
    target: NDArray[np.int64]
    iou: NDArray[np.float64]
    n_predictions: int
    n_targets: int

    def where(self, kept: NDArray[np.bool_]) -> Pairs:
        """The pairs where `kept` is true."""
        return Pairs(self.prediction[kept], self.target[kept], self.iou[kept], self.n_predictions, self.n_targets)


def find_pairs(
    predictions: Instances,
    targets: Instances,
    geometry: Geometry,
    *,
    iou_threshold: float = 0.5,
    agnostic: bool = False,
) -> Pairs:
    """All pairs of the same image and category with IoU >= `iou_threshold`.

    IoU is computed only where boxes overlap; a mask pair only where the bounding boxes and areas of the two masks
    leave an IoU at the threshold possible.

    Args:
        predictions: n predictions.
        targets: m ground truths.
        geometry: `box`, or `mask` (both sides have masks).
        iou_threshold: in (0, 1].
        agnostic: pair regardless of the category.
    """
    group = _groups(predictions, targets, agnostic)
    found = [
        _chunk_pairs(predictions, targets, geometry, iou_threshold, prediction, target)
        for prediction, target in _same_group(*group)
    ]
    empty = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    prediction, target, iou = (np.concatenate(column) for column in zip(empty, *found, strict=True))
    return Pairs(prediction, target, iou, len(predictions), len(targets))


def _groups(predictions: Instances, targets: Instances, agnostic: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if agnostic:
        return predictions.image, targets.image
    span = int(max(predictions.category.max(initial=0), targets.category.max(initial=0))) + 1
    # an instance without a category pairs with nothing
    of_predictions = np.where(predictions.category < 0, -1, predictions.image * span + predictions.category)
    of_targets = np.where(targets.category < 0, -2, targets.image * span + targets.category)
    return of_predictions, of_targets


def _same_group(
    of_predictions: NDArray[np.int64], of_targets: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Every (prediction, target) of equal group, in chunks of bounded size."""
    by_group = np.argsort(of_targets, kind="stable")
    ordered = of_targets[by_group]
    low = np.searchsorted(ordered, of_predictions, side="left")
    count = np.searchsorted(ordered, of_predictions, side="right") - low
    candidates = np.flatnonzero(count)
    chunk = np.cumsum(count[candidates]) // _PAIRS_AT_ONCE
    chunks = []
    for some in np.split(candidates, np.flatnonzero(np.diff(chunk)) + 1):
        repeated = count[some]
        first = np.cumsum(repeated) - repeated
        target = by_group[np.repeat(low[some] - first, repeated) + np.arange(repeated.sum())]
        chunks.append((np.repeat(some, repeated), target))
    return chunks


def _chunk_pairs(
    predictions: Instances,
    targets: Instances,
    geometry: Geometry,
    iou_threshold: float,
    prediction: NDArray[np.int64],
    target: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    if geometry == "box":
        iou = box_iou(predictions.boxes[prediction], targets.boxes[target])
    else:
        if predictions.masks is None or targets.masks is None:
            raise ValueError("mask pairs need masks on both sides")
        # what two masks share lies within both their bounding boxes and within the smaller of them
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


def box_intersection(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shared area of box pairs: float64 (n, 4) and (n, 4), xywh -> (n,)."""
    width = np.minimum(a[:, 0] + a[:, 2], b[:, 0] + b[:, 2]) - np.maximum(a[:, 0], b[:, 0])
    height = np.minimum(a[:, 1] + a[:, 3], b[:, 1] + b[:, 3]) - np.maximum(a[:, 1], b[:, 1])
    area: NDArray[np.float64] = np.maximum(width, 0) * np.maximum(height, 0)
    return area


def box_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of box pairs: float64 (n, 4) and (n, 4), xywh -> (n,) in [0, 1]; 0 for two boxes without area.

    >>> box_iou(np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 10, 10]])).round(4).tolist()
    [0.3333]
    """
    shared = box_intersection(a, b)
    union = a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def match(pairs: Pairs, rule: Rule, order: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Choose pairs so that each prediction and each ground truth is used at most once.

    `maximum` takes the predictions in turn and keeps each one that can be matched together with all kept before it
    (re-pairing those where needed). At every point of the order the number kept is the size of a maximum one-to-one
    matching of the predictions so far: one pass answers for every score threshold, and the total does not depend on
    the order. `greedy` gives each prediction in turn the free ground truth of largest IoU (the first of equals);
    `coco` is the same with the last of equals, as pycocotools does.

    Args:
        pairs: the pairs to choose from.
        rule: `maximum`, `greedy` or `coco`.
        order: int64 (n_predictions,), the predictions in the order in which they are taken; None: by index.

    Returns:
        int64 (n_predictions,): the index of the matched ground truth, or -1.
    """
    matched = np.full(pairs.n_predictions, -1, dtype=np.int64)
    if not len(pairs.prediction):
        return matched
    rank = _rank(order, pairs.n_predictions)[pairs.prediction]
    preference = -pairs.target if rule == "coco" else pairs.target  # among equal IoUs
    keys = (preference, -pairs.iou, rank)
    star = _stars(pairs)
    best = _first_of_each(star, keys)
    matched[pairs.prediction[best]] = pairs.target[best]
    resolve = _augment if rule == "maximum" else _take_best
    for target, prediction in resolve(_options(pairs, star < 0, keys)).items():
        matched[prediction] = target
    return matched


def enlarges_greedy(pairs: Pairs, entering: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which predictions make a `greedy` matching by index one larger when they come to be there, one after another.

    The number of them in any prefix of `entering` is the size of the greedy matching of that prefix alone, so one
    pass answers for every score threshold. It rests on this: one prediction more never frees a ground truth that was
    taken, and takes at most one more.

    Args:
        pairs: the pairs to choose from.
        entering: int64 (n_predictions,), the predictions, best score first.

    Returns:
        bool (n_predictions,).
    """
    larger = np.zeros(pairs.n_predictions, dtype=bool)
    if not len(pairs.prediction):
        return larger
    rank = _rank(entering, pairs.n_predictions)[pairs.prediction]
    star = _stars(pairs)
    larger[pairs.prediction[_first_of_each(star, (rank,))]] = True
    larger[_displace(_options(pairs, star < 0, (pairs.target, -pairs.iou, rank)))] = True
    return larger


def _rank(order: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    """The place of each prediction in the order."""
    rank = np.arange(n)
    if order is not None:
        rank[order] = np.arange(n)
    return rank


def _stars(pairs: Pairs) -> NDArray[np.int64]:
    """The star that each pair belongs to, or -1.

    A star is a ground truth whose predictions have no other, or a prediction whose ground truths have no other: the
    best of its pairs is its whole matching, whatever the rule.
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
    """Of each star, the pair that the keys (the last one first) put first."""
    pair = np.flatnonzero(star >= 0)
    pair = pair[np.lexsort([*(key[pair] for key in keys), star[pair]])]
    first: NDArray[np.int64] = pair[np.append(True, np.diff(star[pair]) != 0)[: len(pair)]]
    return first


def _options(pairs: Pairs, chosen: NDArray[np.bool_], keys: tuple[NDArray[Any], ...]) -> dict[int, list[int]]:
    """Prediction -> its ground truths among the `chosen` pairs, both in the order of the keys (the last one first)."""
    pair = np.flatnonzero(chosen)
    pair = pair[np.lexsort([key[pair] for key in keys])]
    options: dict[int, list[int]] = {}
    for prediction, target in zip(pairs.prediction[pair].tolist(), pairs.target[pair].tolist(), strict=True):
        options.setdefault(prediction, []).append(target)
    return options


def _take_best(options: dict[int, list[int]]) -> dict[int, int]:
    """Ground truth -> prediction, each prediction in turn taking the first free of its options."""
    taken: dict[int, int] = {}
    for prediction, targets in options.items():
        free = next((target for target in targets if target not in taken), None)
        if free is not None:
            taken[free] = prediction
    return taken


def _displace(options: dict[int, list[int]]) -> list[int]:
    """The predictions that take one more ground truth when they enter in turn (deferred acceptance).

    A ground truth goes to the prediction of the smallest index; who loses one asks for the next of its options.
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
    """Ground truth -> prediction, by augmenting paths (Kuhn), each prediction in turn; without recursion."""
    holder: dict[int, int] = {}
    for start in options:
        came_from: dict[int, tuple[int, int | None]] = {}  # ground truth -> (prediction that wants it, its own so far)
        front: list[tuple[int, int | None]] = [(start, None)]
        while front:
            prediction, own = front.pop(0)
            for target in options[prediction]:
                if target in came_from:
                    continue
                came_from[target] = (prediction, own)
                if target not in holder:
                    at: int | None = target
                    while at is not None:
                        prediction, previous = came_from[at]
                        holder[at] = prediction
                        at = previous
                    front = []
                    break
                front.append((holder[target], target))
    return holder
