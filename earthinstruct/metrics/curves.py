"""Curves over score thresholds: average precision at every IoU and object size, and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import scores
from earthinstruct.metrics.detection import IOU_THRESHOLDS, Detection
from earthinstruct.metrics.error_types import in_turn
from earthinstruct.metrics.intervals import NOT_COMPUTED
from earthinstruct.metrics.matching import Pairs, match_at_each, stars
from earthinstruct.metrics.sizes import SIZES, by_target_size, sizes_of
from earthinstruct.metrics.tally import compact
from earthinstruct.metrics.values import Calibration, CalibrationBin, Value

_BINS = 10  # of a reliability curve, over scores from 0 to 1
_EVERY_IOU = np.uint16((1 << len(IOU_THRESHOLDS)) - 1)
AP75 = IOU_THRESHOLDS.tolist().index(0.75)


@dataclass(frozen=True, eq=False)
class Curves:
    """The predictions of some images with scores and a category, in any order.

    Bit i of a column of bits is about IoU threshold i of `IOU_THRESHOLDS`. Above any score, the number of predictions
    with a bit is that of the predictions above this score.

    Attributes:
        scores: float64 (n,).
        category: int32 (n,).
        size: int8 (n,), index into `SIZES`.
        right: bits (n, 1 + sizes): matched to an object of any size, and of each size.
        wrong: bits (n,): matched to no object of any size, and not excused by an ignored one.
        n_targets: int64 (1 + sizes, c), number of ground truths of any size, and of each size.
    """

    scores: NDArray[np.float64]
    category: NDArray[np.int32]
    size: NDArray[np.int8]
    right: NDArray[np.uint16]
    wrong: NDArray[np.uint16]
    n_targets: NDArray[np.int64]

    @classmethod
    def of(cls, detection: Detection) -> Curves | None:
        """Match all predictions anew at each IoU, as they are added one by one, best score first; None without scores.

        Predictions of equal score are added in the order of the error types, so that no file order matters.
        """
        predictions, targets, geometry = detection.predictions, detection.truth.instances, detection.geometry
        if predictions.scores is None:
            return None
        n_categories = detection.truth.shape[1]
        target_size = sizes_of(targets, geometry)
        pairs, on_ignored = detection.pairs, detection.on_ignored
        place = _best_first(detection)
        right = np.zeros((len(predictions), 1 + len(SIZES)), dtype=np.uint16)
        right[:, 0] = _matched(pairs, place)
        by_size = _matched(by_target_size(pairs, target_size), np.tile(place, len(SIZES)))
        right[:, 1:] = by_size.reshape(len(SIZES), -1).T
        wrong = ~right[:, 0] & _EVERY_IOU
        if on_ignored.any():
            # if a prediction on an ignored object can give way to another one, the other one is not wrong
            wrong[on_ignored] = 0
            wrong &= ~_matched(pairs.where(~on_ignored[pairs.prediction]), place)
        kept = np.flatnonzero(predictions.category >= 0)
        return cls(
            predictions.scores[kept],
            predictions.category[kept].astype(np.int32),
            sizes_of(predictions, geometry)[kept].astype(np.int8),
            right[kept],
            wrong[kept],
            np.array(
                [
                    np.bincount(targets.category[chosen], minlength=n_categories)
                    for chosen in (slice(None), *(target_size == s for s in range(len(SIZES))))
                ]
            ),
        )

    @staticmethod
    def join(chunks: Sequence[Curves]) -> Curves:
        """Join the curves of one or more chunks."""
        return Curves(
            np.concatenate([chunk.scores for chunk in chunks]),
            np.concatenate([chunk.category for chunk in chunks]),
            np.concatenate([chunk.size for chunk in chunks]),
            np.concatenate([chunk.right for chunk in chunks]),
            np.concatenate([chunk.wrong for chunk in chunks]),
            np.sum([chunk.n_targets for chunk in chunks], axis=0),
        )

    def average_precision(self) -> NDArray[np.float64]:
        """COCO AP without a cap: float64 (1 + sizes, IoUs, c), 0 for categories without such ground truth.

        Predictions of equal score enter a curve together, so the AP does not depend on their order.
        """
        found = np.zeros((1 + len(SIZES), len(IOU_THRESHOLDS), self.n_targets.shape[1]))
        order = np.argsort(-self.scores)
        order = order[np.argsort(compact(self.category)[order], kind="stable")]  # of small numbers, a radix sort
        bounds = np.searchsorted(self.category[order], np.arange(found.shape[2] + 1))
        for c in np.flatnonzero(self.n_targets[0]).tolist():
            own = order[bounds[c] : bounds[c + 1]]
            if not len(own):
                continue
            right, wrong, size = self.right[own], self.wrong[own], self.size[own]
            end = scores.last_of_equals(self.scores[own])
            for which in np.flatnonzero(self.n_targets[:, c]).tolist():
                hits, misses = right[:, which], wrong if which == 0 else np.where(size == which - 1, wrong, 0)
                counted = np.flatnonzero(hits | misses)
                hits, misses = hits[counted], misses[counted]
                last = np.searchsorted(counted, end[counted], side="right") - 1
                for i in range(len(IOU_THRESHOLDS)):
                    found[which, i, c] = scores.area_under_curve(
                        (hits & 1 << i) > 0, (misses & 1 << i) > 0, last, int(self.n_targets[which, c])
                    )
        return found

    def right_scores(self) -> NDArray[np.float64]:
        """The scores of the predictions that are right at IoU 0.5, in increasing order."""
        return np.sort(self.scores[self.right[:, 0] & 1 > 0])

    def calibration(self) -> Calibration:
        """Compare the scores with the share of predictions that are right at IoU 0.5, in ten equal bins from 0 to 1."""
        right = self.right[:, 0] & 1
        counted = (right | self.wrong & 1) > 0
        return calibrate(self.scores[counted], right[counted])


def calibrate(values: NDArray[np.float64], right: NDArray[Any]) -> Calibration:
    """Compare scores (n,) with the share of predictions that are right, (n,), in ten equal bins from 0 to 1."""
    if not len(values):
        return Calibration(Value(None, reason="no predictions"), [])
    low, high = values.min(), values.max()
    if low < 0 or high > 1:
        return Calibration(Value(None, reason=f"scores are from {low:.4g} to {high:.4g}, not within 0 and 1"), [])
    order = np.argsort(values)  # so that sums do not depend on the order of the predictions
    edges = np.arange(_BINS + 1) / _BINS
    bounds = np.searchsorted(values[order], edges[1:-1], side="left")
    bins, off = [], 0.0
    for i, some in enumerate(np.split(order, bounds)):
        score, precision = (float(of[some].mean()) if len(some) else None for of in (values, right))
        bins.append(CalibrationBin(float(edges[i]), float(edges[i + 1]), len(some), score, precision))
        off += 0.0 if score is None or precision is None else len(some) * abs(score - precision)
    return Calibration(Value(off / len(values), reason=NOT_COMPUTED), bins)


def _best_first(detection: Detection) -> NDArray[np.int64]:
    """The place of each paired prediction by descending score; equal scores in the order of the error types."""
    predictions, pairs = detection.predictions, detection.pairs
    if predictions.scores is None:
        raise ValueError("the order needs scores")
    paired = np.flatnonzero(np.bincount(pairs.prediction, minlength=len(predictions)))
    score = predictions.scores[paired]
    cell = predictions.image[paired] * detection.truth.shape[1] + predictions.category[paired]
    order = np.lexsort((cell, -score))
    same = (np.diff(score[order]) == 0) & (np.diff(cell[order]) == 0)
    if same.any():
        best = np.zeros(len(predictions))
        np.maximum.at(best, pairs.prediction, pairs.iou)
        turn = np.zeros(len(predictions), dtype=np.int64)
        tied = np.sort(paired[order[np.append(same, False) | np.append(False, same)]])
        turn[in_turn(predictions, tied, best)] = np.arange(len(tied))
        order = np.lexsort((turn[paired], -score))
    place = np.zeros(len(predictions), dtype=np.int64)
    place[paired[order]] = np.arange(len(paired))
    return place


def _matched(pairs: Pairs, place: NDArray[np.int64]) -> NDArray[np.uint16]:
    """The bits of the predictions that a maximum matching gains at each IoU, as they are added in the order of `place`.

    A star stays a star at a higher IoU: its first prediction that reaches an IoU is matched. All other pairs are
    matched at each IoU.
    """
    star = stars(pairs)
    pair = np.flatnonzero(star >= 0)
    pair = pair[np.lexsort((place[pairs.prediction[pair]], star[pair]))]
    level = np.searchsorted(IOU_THRESHOLDS, pairs.iou[pair], side="right")  # number of IoU thresholds that it reaches
    new = np.append(True, np.diff(star[pair]) != 0)[: len(pair)]
    highest = np.maximum.accumulate((np.cumsum(new) << 4) + level) & 15  # so far in the star
    before = np.where(new, 0, np.append(0, highest)[: len(pair)])
    found = np.bincount(pairs.prediction[pair], (1 << highest) - (1 << before), pairs.n_predictions).astype(np.uint16)

    rest = pairs.where(star < 0)
    paired = np.flatnonzero(np.bincount(rest.prediction))
    index = np.zeros(rest.n_predictions, dtype=np.int32)
    index[paired] = np.arange(len(paired))
    ordered = Pairs(index[rest.prediction], rest.target, rest.iou, len(paired), rest.n_targets)
    matched = match_at_each(ordered, "maximum", IOU_THRESHOLDS, np.argsort(place[paired])) >= 0
    bits = matched << np.arange(len(IOU_THRESHOLDS), dtype=np.uint16)[:, None]
    found[paired] = bits.sum(axis=0)
    return found
