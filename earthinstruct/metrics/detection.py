"""Boxes or masks matched to the ground truth, and the scores of one operating point."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from earthinstruct.instances import Instances
from earthinstruct.metrics import scores
from earthinstruct.metrics.average_precision import ap_of_constant_scores, ap_over_scores
from earthinstruct.metrics.inputs import Predicted, Truth
from earthinstruct.metrics.matching import Geometry, Pairs, find_pairs, match
from earthinstruct.metrics.protocols import Protocol
from earthinstruct.metrics.regions import tally_regions
from earthinstruct.metrics.summary import F1_AND_PARTS, Summary
from earthinstruct.metrics.tally import Tally, tally_matches
from earthinstruct.metrics.values import PartScores, Value

IOU_THRESHOLDS = np.arange(50, 100, 5) / 100  # 0.50, 0.55, ..., 0.95


@dataclass(frozen=True, eq=False)
class Detection:
    """Boxes or masks, matched: the predictions are kept best score first, so that any threshold is a prefix."""

    truth: Truth
    predictions: Instances
    pairs: Pairs
    geometry: Geometry
    protocol: Protocol
    order: NDArray[np.int64] = field(init=False)

    @classmethod
    def of(cls, truth: Truth, predicted: Predicted, protocol: Protocol, geometry: Geometry) -> Detection:
        """Pair the predictions with the ground truth by boxes or by masks."""
        pairs = find_pairs(predicted.instances, truth.instances, geometry)
        return cls(truth, predicted.instances, pairs, geometry, protocol)

    def __post_init__(self) -> None:
        n = len(self.predictions)
        in_file_order = self.protocol.rule == "greedy" or self.predictions.scores is None
        order = np.arange(n) if in_file_order else np.argsort(-self.predictions.scores, kind="stable")  # type: ignore[operator]
        object.__setattr__(self, "order", order)

    def f1_at_iou(self, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        """F1 at `IOU_THRESHOLDS`: float64 (10, c)."""
        pairs = self.pairs.where(kept[self.pairs.prediction])
        at = []
        for threshold in IOU_THRESHOLDS:
            matched = match(pairs.where(pairs.iou >= threshold), self.protocol.rule, self.order)
            at.append(self._tally(matched, kept).totals)
        return np.array([scores.f1(totals) for totals in at])

    def matched(self, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The ground truth of each kept prediction, or -1."""
        if self.protocol.rule == "maximum":  # what a prefix matches does not depend on what follows
            return np.where(kept, self.matched_all, -1)
        return match(self.pairs.where(kept[self.pairs.prediction]), self.protocol.rule, self.order)

    @cached_property
    def matched_all(self) -> NDArray[np.int64]:
        """The ground truth of each prediction, or -1, when all are there."""
        return match(self.pairs, self.protocol.rule, self.order)

    def tally(self, kept: NDArray[np.bool_]) -> Tally:
        """TP, FP, FN of the kept predictions."""
        return self._tally(self.matched(kept), kept)

    def _tally(self, matched: NDArray[np.int64], kept: NDArray[np.bool_]) -> Tally:
        truth = self.truth
        return tally_matches(truth.images, truth.categories, self.predictions, truth.instances, matched, kept)


def detection_scores(
    summary: Summary, detection: Detection, kept: NDArray[np.bool_], regions: Tally | None = None
) -> PartScores:
    """Every score of boxes or masks.

    Args:
        summary: of the same ground truth.
        detection: the matched predictions.
        kept: bool (predictions,), which predictions are there (a score threshold).
        regions: intersection and union of masks, for mIoU.
    """
    functions = dict(F1_AND_PARTS)
    fixed: dict[str, NDArray[np.float64]] = {}
    n_targets = summary.actual.sum(axis=0)
    cap = detection.protocol.constant_score_ap
    if cap is None:
        functions["ap_nc50"] = scores.ap_nc
    else:
        fixed["ap_nc50"] = ap_of_constant_scores(
            detection.predictions, detection.pairs, n_targets, detection.truth.images, kept, cap
        )
    if detection.predictions.scores is not None:
        fixed["ap50"] = ap_over_scores(detection.predictions, detection.pairs, n_targets)
    at_iou = detection.f1_at_iou(kept)
    fixed["f1_5095"] = at_iou.mean(axis=0)
    part = summary.part(detection.tally(kept), functions, summary.has_truth, fixed=fixed, regions=regions)
    means = [summary.mean(value, summary.groups["all"], summary.has_truth) for value in at_iou]
    return replace(part, f1_at_iou={f"{at:.2f}": mean for at, mean in zip(IOU_THRESHOLDS.tolist(), means, strict=True)})


def mask_scores(
    summary: Summary, detection: Detection | None, kept: NDArray[np.bool_], no_masks_reason: str | None
) -> PartScores:
    """The scores of masks; all undefined, with the reason, where a side has none (`detection` is None)."""
    if detection is None:
        missing = Value(None, reason=no_masks_reason or "no masks")
        return PartScores(missing, missing, missing, {}, {}, {}, ap_nc50=missing, miou=missing)
    truth = detection.truth
    regions = tally_regions(truth.images, truth.categories, detection.predictions.take(kept), truth.instances)
    return detection_scores(summary, detection, kept, regions)
