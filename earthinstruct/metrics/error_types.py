"""Error types: why a prediction is wrong, and why a ground truth was not found.

Follows TIDE (Bolya et al. 2020), for predictions without confidence. Every prediction and every ground truth gets
exactly one verdict. Verdicts do not depend on the order of predictions, images or categories, unless the protocol
matches in file order. Identical objects are interchangeable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.detection import Detection
from earthinstruct.metrics.inputs import Predicted, ScoreThreshold, Truth, reaching
from earthinstruct.metrics.matching import Geometry, Pairs, Rule, find_pairs, match
from earthinstruct.metrics.protocols import STANDARD, Protocol
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.values import CountErrors, CountingErrors, DetectionErrors, ErrorCounts
from earthinstruct.regions import Instances

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
        geometry: `box` or `mask`.
        threshold: ignore predictions with a lower score, for example after a sweep; None: use all.

    Raises:
        ValueError: `geometry` is `mask`, and predictions or ground truth have no masks.
    """
    return judge(Detection(truth, predicted.instances, protocol, geometry), reaching(truth, predicted, threshold))


def judge(detection: Detection, kept: NDArray[np.bool_]) -> Verdicts:
    """`verdicts` of paired predictions; `kept`: bool (predictions,), those that reach the score threshold."""
    predictions, targets = detection.predictions, detection.truth.instances
    pairs = detection.pairs.where(kept[detection.pairs.prediction])
    on_ignored = detection.on_ignored
    because_of = _paired(predictions, targets, pairs, detection.protocol.rule, on_ignored)
    matched = because_of >= 0
    scored = kept & (predictions.category >= 0) & ~on_ignored
    verdict = np.where(matched, _CORRECT, np.where(scored, _BACKGROUND, _UNSCORED))
    of_target = np.full(len(targets), _MISSED)
    of_target[because_of[matched]] = _CORRECT

    # unmatched, with an object of their category at IoU >= 0.5
    again = pairs.where(~(matched | on_ignored)[pairs.prediction])
    verdict[again.prediction] = _DUPLICATE
    rest = np.flatnonzero(verdict == _BACKGROUND)
    near = find_pairs(predictions.take(rest), targets, detection.geometry, iou_threshold=BACKGROUND_IOU, agnostic=True)
    prediction = np.concatenate([again.prediction, rest[near.prediction]])
    target, overlap = np.concatenate([again.target, near.target]), np.concatenate([again.iou, near.iou])
    same = predictions.category[prediction] == targets.category[target]
    code = np.where(
        overlap >= FOREGROUND_IOU,
        np.where(same, _DUPLICATE, _CLASSIFICATION),
        np.where(same, _LOCALISATION, _BOTH),
    )
    np.minimum.at(verdict, prediction, code)
    decides = code == verdict[prediction]
    for cause, effect in ((_CLASSIFICATION, _MISCLASSIFIED), (_LOCALISATION, _MISLOCATED)):
        explained = target[decides & (code == cause)]
        of_target[explained] = np.minimum(of_target[explained], effect)

    iou = np.zeros(len(predictions))
    own = because_of[pairs.prediction] == pairs.target
    iou[pairs.prediction[own]] = pairs.iou[own]
    rank = np.empty(len(targets), dtype=np.int64)
    rank[_in_turn(targets, target, overlap)] = np.arange(len(targets))
    last = np.lexsort((-rank[target[decides]], overlap[decides], prediction[decides]))  # the largest IoU comes last
    because_of[prediction[decides][last]] = target[decides][last]
    iou[prediction[decides][last]] = overlap[decides][last]
    return Verdicts(verdict, of_target, because_of, iou)


def _paired(
    predictions: Instances, targets: Instances, pairs: Pairs, rule: Rule, on_ignored: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The matched ground truth of each prediction, or -1; unique for `maximum` (see `verdicts`)."""
    if rule != "maximum":
        return match(pairs, rule)
    turned = Pairs(pairs.target, pairs.prediction, pairs.iou, pairs.n_targets, pairs.n_predictions)
    turn = _in_turn(predictions, pairs.prediction, pairs.iou)
    turn = turn[np.argsort(on_ignored[turn], kind="stable")]  # those on ignored objects last, as they are never wrong
    of_predictions = match(pairs, "maximum", turn) >= 0
    of_targets = match(turned, "maximum", _in_turn(targets, pairs.target, pairs.iou)) >= 0
    return match(pairs.where(of_predictions[pairs.prediction] & of_targets[pairs.target]), "maximum")


def _in_turn(instances: Instances, paired: NDArray[np.int64], iou: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order the instances by score, best IoU, box and mask, so that the order does not depend on file order."""
    best = np.zeros(len(instances))
    np.maximum.at(best, paired, iou)
    keys = [*instances.boxes.T[::-1], -best]
    if instances.masks is not None:
        # hash each mask by a sum over its runs; equal masks get equal hashes
        masks = instances.masks
        run = masks.starts.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        run ^= masks.ends.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
        total = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(run)])
        keys.insert(0, total[masks.offsets[1:]] - total[masks.offsets[:-1]])
    if instances.scores is not None:
        keys.append(-instances.scores)
    return np.lexsort(keys)


def tally_errors(detection: Detection, kept: NDArray[np.bool_]) -> Tally:
    """Count the verdicts per image and category. The columns are the fields of `ErrorCounts`.

    Predictions count in the predicted category, ground truths in their own.
    """
    truth, judged = detection.truth, judge(detection, kept)
    columns = {}
    for code, name in enumerate(PREDICTION_VERDICTS[:_UNSCORED]):
        columns[name] = count_per_image(detection.predictions, *truth.shape, judged.predictions == code)
    for code, name in enumerate(TARGET_VERDICTS[1:], start=1):  # correct ones: as many as predictions
        columns[name] = count_per_image(truth.instances, *truth.shape, judged.targets == code)
    return Tally(truth.images, truth.categories, columns)


def detection_errors(tally: Tally, unscored: int) -> DetectionErrors:
    """Sum the error types of boxes or masks over all images."""
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
