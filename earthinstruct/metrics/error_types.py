"""Error types: why a prediction is wrong, and why a ground truth was not found.

Follows TIDE (Bolya et al. 2020), for predictions without confidence. Every prediction and every ground truth gets
exactly one verdict. Verdicts do not depend on the order of predictions, images or categories, unless the protocol
matches in file order. Identical objects are interchangeable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.detection import Detection
from earthinstruct.metrics.inputs import Predicted, ScoreThreshold, Truth, reaching
from earthinstruct.metrics.matching import Geometry, Pairs, Rule, match, pairs_in_turn
from earthinstruct.metrics.protocols import STANDARD, Protocol
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.values import CountErrors, CountingErrors, DetectionErrors, ErrorCounts
from earthinstruct.regions import Instances, MaskRuns

# ordered by priority: if several verdicts apply, the first one is given
PREDICTION_VERDICTS = ("correct", "duplicate", "classification", "localisation", "both", "background", "unscored")
TARGET_VERDICTS = ("correct", "misclassified", "mislocated", "missed")
COUNTING_ERRORS = {"over": "fp", "under": "fn"}  # name -> column of the tally of the counts
FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1

_CORRECT, _DUPLICATE, _CLASSIFICATION, _LOCALISATION, _BOTH, _BACKGROUND, _UNSCORED = range(7)
_MISCLASSIFIED, _MISLOCATED, _MISSED = range(1, 4)
_Errors = TypeVar("_Errors", ErrorCounts, CountErrors)


@dataclass(frozen=True, eq=False)
class Verdicts:
    """One verdict for each prediction and each ground truth.

    Attributes:
        predictions: int64 (predictions,), index into `PREDICTION_VERDICTS`.
        targets: int64 (ground truths,), index into `TARGET_VERDICTS`.
        because_of: int64 (predictions,), the ground truth that explains the verdict: the match of a correct prediction,
            otherwise the ground truth of largest IoU among those that give the verdict. -1 for `background` and
            `unscored`.
        iou: float64 (predictions,), IoU with `because_of`, in [0.1, 1]; 0 where `because_of` is -1.
    """

    predictions: NDArray[np.int64]
    targets: NDArray[np.int64]
    because_of: NDArray[np.int64]
    iou: NDArray[np.float64]


def verdicts(
    truth: Truth,
    predicted: Predicted,
    protocol: Protocol = STANDARD,
    geometry: Geometry = "box",
    *,
    threshold: ScoreThreshold = None,
) -> Verdicts:
    """Give a verdict to each prediction and each ground truth.

    The verdict of a prediction is the first of these that holds, within its image:
      1. `unscored`: its label maps to no scored category, its score is below the threshold, or it lies on an ignored
         object and is not matched;
      2. `correct`: it is matched to a ground truth, as for F1;
      3. `duplicate`: IoU >= 0.5 with a ground truth of its category (which is matched to another prediction);
      4. `classification`: IoU >= 0.5 with a ground truth of another category;
      5. `localisation`: IoU >= 0.1 with a ground truth of its category;
      6. `both`: IoU >= 0.1 with a ground truth of another category;
      7. `background`.
    For points, IoU >= 0.5 means that the point lies in the ground truth, and IoU >= 0.1 that it lies near it (see
    `earthinstruct.metrics.points`).
    The verdict of a ground truth is the first of these that holds:
      1. `correct`: a prediction is matched to it;
      2. `misclassified`: a prediction of verdict `classification` has IoU >= 0.5 with it, in another category;
      3. `mislocated`: a prediction of verdict `localisation` has IoU >= 0.1 with it, in its category;
      4. `missed`.
    One prediction may explain the verdicts of several ground truths (a box around two ships).

    A maximum matching is not unique, so the matched predictions are made unique: predictions are taken in turn (by
    score, then best IoU, then box and mask) and kept if they can be matched together with those kept so far. The
    matched ground truths are chosen the same way. One matching that covers both sets exists (Mendelsohn and Dulmage
    1958).

    Args:
        truth: the ground truth.
        predicted: the predictions.
        protocol: the rules; under greedy matching, verdicts depend on file order, like its F1.
        geometry: `box`, `mask` or `point`.
        threshold: ignore predictions with a lower score, for example after a sweep; None: use all.

    Raises:
        ValueError: `geometry` is `mask`, and predictions or ground truth have no masks; or it is `point`, and the
            predictions have no points.
    """
    detection = Detection(truth, predicted.instances, protocol, geometry)
    judged = judge(detection, reaching(truth, predicted, threshold))
    pairs = judged.correct
    because_of = match(pairs, protocol.rule)
    own = because_of[pairs.prediction] == pairs.target
    iou = np.zeros(len(detection.predictions))
    iou[pairs.prediction[own]] = pairs.iou[own]
    prediction, target, overlap = judged.deciding
    rank = np.empty(len(truth.instances), dtype=np.int64)
    rank[in_turn(truth.instances, np.arange(len(rank)), judged.best)] = np.arange(len(rank))
    last = np.lexsort((-rank[target], overlap, prediction))  # the largest IoU comes last
    because_of[prediction[last]], iou[prediction[last]] = target[last], overlap[last]
    return Verdicts(judged.predictions, judged.targets, because_of, iou)


@dataclass(frozen=True, eq=False)
class Judgement:
    """The verdicts, and the pairs that explain them.

    Attributes:
        predictions: as in `Verdicts`.
        targets: as in `Verdicts`.
        correct: the pairs of correct predictions and correct ground truths; every maximum matching of them covers all.
        deciding: prediction, target and IoU of the pairs that give the verdict of a wrong prediction with the largest
            IoU.
        best: float64 (ground truths,), the largest IoU of each with any prediction that is not correct.
    """

    predictions: NDArray[np.int64]
    targets: NDArray[np.int64]
    correct: Pairs
    deciding: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
    best: NDArray[np.float64]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Which predictions are false positives: bool (predictions,)."""
        return ~np.isin(self.predictions, (_CORRECT, _UNSCORED))


def judge(detection: Detection, kept: NDArray[np.bool_]) -> Judgement:
    """Give the verdicts of paired predictions; `kept`: bool (predictions,), those that reach the score threshold."""
    predictions, targets, on_ignored = detection.predictions, detection.truth.instances, detection.on_ignored
    pairs = detection.pairs.where(kept[detection.pairs.prediction])
    matched, found = _matched(predictions, targets, pairs, detection.protocol.rule, on_ignored)
    scored = kept & (predictions.category >= 0) & ~on_ignored
    verdict = np.where(matched, _CORRECT, np.where(scored, _BACKGROUND, _UNSCORED))
    of_target = np.where(found, _CORRECT, _MISSED)

    # unmatched, with an object of their category at IoU >= 0.5
    again = pairs.where(~(matched | on_ignored)[pairs.prediction])
    verdict[again.prediction] = _DUPLICATE
    near = pairs_in_turn(
        predictions,
        targets,
        detection.geometry,
        iou_threshold=BACKGROUND_IOU,
        agnostic=True,
        among=verdict == _BACKGROUND,
    )
    best, deciding = np.zeros(len(targets)), []
    for prediction, target, overlap in chain(again.in_turn(), near):
        same = predictions.category[prediction] == targets.category[target]
        code = np.where(
            overlap >= FOREGROUND_IOU,
            np.where(same, _DUPLICATE, _CLASSIFICATION),
            np.where(same, _LOCALISATION, _BOTH),
        )
        np.minimum.at(verdict, prediction, code)
        np.maximum.at(best, target, overlap)
        decides = code == verdict[prediction]
        for cause, effect in ((_CLASSIFICATION, _MISCLASSIFIED), (_LOCALISATION, _MISLOCATED)):
            explained = target[decides & (code == cause)]
            of_target[explained] = np.minimum(of_target[explained], effect)
        largest = np.zeros(len(predictions))
        np.maximum.at(largest, prediction[decides], overlap[decides])
        decides &= overlap == largest[prediction]
        deciding.append((prediction[decides], target[decides], overlap[decides]))
    correct = pairs.where(matched[pairs.prediction] & found[pairs.target])
    whole = tuple(np.concatenate(column) for column in zip(*deciding, strict=True))
    return Judgement(verdict, of_target, correct, whole, best)  # type: ignore[arg-type]


def _matched(
    predictions: Instances, targets: Instances, pairs: Pairs, rule: Rule, on_ignored: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which predictions and which ground truths are matched; unique for `maximum` (see `verdicts`)."""
    found = np.zeros(len(targets), dtype=bool)
    if rule != "maximum":
        matched = match(pairs, rule)
        found[matched[matched >= 0]] = True
        return matched >= 0, found
    turned = Pairs(pairs.target, pairs.prediction, pairs.iou, pairs.n_targets, pairs.n_predictions)
    several = np.logical_or(*pairs.several)  # where the order decides
    sides = []
    for instances, side in ((predictions, pairs), (targets, turned)):
        best = np.zeros(len(instances))
        np.maximum.at(best, side.prediction, side.iou)
        sides.append(in_turn(instances, np.flatnonzero(np.bincount(side.prediction[several])), best))
    turn = sides[0][np.argsort(on_ignored[sides[0]], kind="stable")]  # last, as they are never wrong
    return match(pairs, "maximum", turn) >= 0, match(turned, "maximum", sides[1]) >= 0


def in_turn(instances: Instances, some: NDArray[np.int64], best: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order some instances by score, best IoU, box, point and mask, so that the order does not depend on file order.

    Args:
        instances: n instances.
        some: the indices to order, increasing.
        best: float64 (n,), the best IoU of each instance.
    """
    keys = [*instances.boxes[some].T[::-1], -best[some]]
    if instances.points is not None:
        keys = [*instances.points[some].T[::-1], *keys]
    if instances.scores is not None:
        keys.append(-instances.scores[some])
    order = np.lexsort(keys)
    equal = np.all([key[order[1:]] == key[order[:-1]] for key in keys], axis=0)
    if instances.masks is not None and equal.any():
        tied = order[np.append(equal, False) | np.append(False, equal)]
        hashes = np.zeros(len(some), dtype=np.uint64)
        hashes[tied] = _hashed(instances.masks.take(some[tied]))
        order = np.lexsort([hashes, *keys])
    return some[order]


def _hashed(masks: MaskRuns) -> NDArray[np.uint64]:
    """A hash of each mask: a sum over its runs, equal for equal masks."""
    run = masks.starts.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    run ^= masks.ends.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    total: NDArray[np.uint64] = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(run)])
    return total[masks.offsets[1:]] - total[masks.offsets[:-1]]


def tally_errors(detection: Detection, judged: Judgement) -> Tally:
    """Count the verdicts per image and category. The columns are the fields of `ErrorCounts`.

    Predictions count in the predicted category, ground truths in their own.
    """
    truth, columns = detection.truth, {}
    for code, name in enumerate(PREDICTION_VERDICTS[:_UNSCORED]):
        columns[name] = count_per_image(detection.predictions, *truth.shape, judged.predictions == code)
    for code, name in enumerate(TARGET_VERDICTS[1:], start=1):  # correct ones: as many as predictions
        columns[name] = count_per_image(truth.instances, *truth.shape, judged.targets == code)
    return Tally(truth.images, truth.categories, columns)


def detection_errors(tally: Tally, unscored: int) -> DetectionErrors:
    """Sum the error types of boxes, masks or points over all images."""
    return DetectionErrors(*_summed(ErrorCounts, tally.categories, tally.totals), unscored)


def counting_errors(tally: Tally) -> CountingErrors:
    """Sum the objects counted too many and too few, from the tally of the counts."""
    totals = {error: tally.totals[column] for error, column in COUNTING_ERRORS.items()}
    return CountingErrors(*_summed(CountErrors, tally.categories, totals))


def _summed(
    kind: type[_Errors], categories: tuple[str, ...], totals: Mapping[str, NDArray[np.int64]]
) -> tuple[_Errors, dict[str, _Errors]]:
    """The errors of all categories together, and of each."""
    return kind(**{name: int(total.sum()) for name, total in totals.items()}), {
        category: kind(**{name: int(total[c]) for name, total in totals.items()})
        for c, category in enumerate(categories)
    }
