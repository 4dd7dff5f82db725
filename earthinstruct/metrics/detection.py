"""Match boxes, masks or points to the ground truth, and compute their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from earthinstruct.metrics import scores
from earthinstruct.metrics.average_precision import InFileOrder
from earthinstruct.metrics.inputs import Truth, lie_on_ignored
from earthinstruct.metrics.matching import Geometry, Pairs, enlarges_greedy, find_pairs, match, sizes_at
from earthinstruct.metrics.outcomes import Outcomes
from earthinstruct.metrics.protocols import Protocol
from earthinstruct.metrics.summary import PRECISION_RECALL_F1, Summary
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.values import GeometryScores, Value
from earthinstruct.regions import Instances

IOU_THRESHOLDS = np.arange(50, 100, 5) / 100  # 0.50, 0.55, ..., 0.95


@dataclass(frozen=True, eq=False)
class Detection:
    """Predictions paired with the ground truth by one geometry; `known`: the pairs, if they were found before."""

    truth: Truth
    predictions: Instances
    protocol: Protocol
    geometry: Geometry
    known: Pairs | None = None

    @cached_property
    def pairs(self) -> Pairs:
        """The predictions and ground truths that overlap enough."""
        if self.known is not None:
            return self.known
        return find_pairs(self.predictions, self.truth.instances, self.geometry)

    @cached_property
    def on_ignored(self) -> NDArray[np.bool_]:
        """Which predictions lie on an ignored object: right if they match another object, and never wrong."""
        return lie_on_ignored(self.truth, self.predictions, self.geometry)

    @cached_property
    def order(self) -> NDArray[np.int64] | None:
        """The predictions by descending score, so that those above any threshold are a prefix; None: file order."""
        if self.protocol.rule == "greedy" or self.predictions.scores is None:
            return None
        return np.argsort(-self.predictions.scores, kind="stable")

    def matched(self, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The matched ground truth of each kept prediction, or -1."""
        if self.protocol.rule == "maximum":  # `kept` is a prefix, and its matching does not depend on what follows
            return np.where(kept, self.matched_all, -1)
        return match(self.pairs.where(kept[self.pairs.prediction]), self.protocol.rule, self.order)

    @cached_property
    def matched_all(self) -> NDArray[np.int64]:
        """The matched ground truth of each prediction, or -1, with all predictions kept."""
        return match(self.pairs, self.protocol.rule, self.order)

    def tally(self, kept: NDArray[np.bool_]) -> Tally:
        """Tally the kept predictions: tp = matched predictions, fp = the others, fn = unmatched ground truths."""
        return self._tally(self.matched(kept), kept)

    def totals_at_iou(
        self, kept: NDArray[np.bool_], thresholds: NDArray[np.float64] = IOU_THRESHOLDS
    ) -> dict[str, NDArray[np.int64]]:
        """Sum tp, fp, fn of the kept predictions at increasing IoU thresholds of 0.5 or more: int64 (t, c)."""
        category, n = self.truth.instances.category, self.truth.shape[1]

        def matched(pairs: Pairs) -> NDArray[np.int64]:
            return sizes_at(pairs, self.protocol.rule, thresholds, category, n)

        pairs = self.pairs.where(kept[self.pairs.prediction])
        tp, actual = matched(pairs), np.bincount(category, minlength=n)
        alone = matched(self._of_others(pairs)) if self.on_ignored.any() else tp  # as in `_tally`
        counted = self.predictions.category[kept & ~self.on_ignored & (self.predictions.category >= 0)]
        return {
            "tp": tp,
            "fp": np.bincount(counted, minlength=n) - alone,
            "fn": actual - tp,
        }

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """Which predictions lie on an ignored object, and pair with no other: bool (predictions,)."""
        ignored = self.on_ignored.copy()
        ignored[self.pairs.prediction] = False
        return ignored

    def outcomes(self) -> Outcomes | None:
        """The true positives as predictions are added one by one, best score first; None without scores."""
        predictions, rule = self.predictions, self.protocol.rule
        if predictions.scores is None:
            return None
        best_first = np.argsort(-predictions.scores, kind="stable")

        def enlarging(pairs: Pairs) -> NDArray[np.bool_]:
            return match(pairs, "maximum", best_first) >= 0 if rule == "maximum" else enlarges_greedy(pairs, best_first)

        matched = self.matched_all >= 0 if rule == "maximum" else enlarging(self.pairs)
        category = predictions.category.astype(np.int32)
        if self.on_ignored.any():
            neither = ~matched & (self.on_ignored | enlarging(self._of_others(self.pairs)))
            category[neither] = -1
        targets = count_per_image(self.truth.instances, *self.truth.shape)
        return Outcomes(predictions.scores, category, matched, predictions.image.astype(np.int32), targets)

    def _of_others(self, pairs: Pairs) -> Pairs:
        return pairs.where(~self.on_ignored[pairs.prediction])

    def _tally(self, matched: NDArray[np.int64], kept: NDArray[np.bool_]) -> Tally:
        truth, predictions, alone = self.truth, self.predictions, matched
        if self.on_ignored.any():
            # if a prediction on an ignored object can give way to another one, the other one is not wrong
            others = self._of_others(self.pairs.where(kept[self.pairs.prediction]))
            alone = match(others, self.protocol.rule, self.order)
        tp = count_per_image(predictions, *truth.shape, matched >= 0)
        columns = {
            "tp": tp,
            "fp": count_per_image(predictions, *truth.shape, kept & ~self.on_ignored & (alone < 0)),
            "fn": count_per_image(truth.instances, *truth.shape) - tp,
        }
        return Tally(truth.images, truth.categories, columns)


@dataclass(frozen=True, eq=False)
class DetectionChunk:
    """Data of one chunk for the scores of boxes, masks or points, in addition to its tallies.

    Attributes:
        at_iou: column -> int64 (10, c), sums of tp, fp, fn at `IOU_THRESHOLDS`; empty for points.
        in_file_order: the predictions of a constant-score AP; None unless the protocol uses it for AP_nc50.
        unscored: number of kept predictions without a scored category.
    """

    at_iou: dict[str, NDArray[np.int64]]
    in_file_order: InFileOrder | None
    unscored: int

    @classmethod
    def of(cls, detection: Detection, kept: NDArray[np.bool_]) -> DetectionChunk:
        """Collect the data; `kept`: bool (predictions,), predictions that reach the score threshold."""
        truth, predictions, cap = detection.truth, detection.predictions, detection.protocol.constant_score_ap
        return cls(
            {} if detection.geometry == "point" else detection.totals_at_iou(kept),
            None
            if cap is None
            else InFileOrder.of(predictions, detection.pairs, detection.on_ignored, kept, truth.shape[1], cap),
            int((kept & (predictions.category < 0)).sum()),
        )

    @staticmethod
    def join(chunks: Sequence[DetectionChunk], n_images: Sequence[int]) -> DetectionChunk:
        """Join one or more chunks; `n_images` holds the number of images of each."""
        ordered = [chunk.in_file_order for chunk in chunks if chunk.in_file_order is not None]
        return DetectionChunk(
            {name: np.sum([chunk.at_iou[name] for chunk in chunks], axis=0) for name in chunks[0].at_iou},
            InFileOrder.join(ordered, n_images) if ordered else None,
            sum(chunk.unscored for chunk in chunks),
        )


def detection_scores(
    summary: Summary, geometry: Geometry, chunk: DetectionChunk, ap: Mapping[str, NDArray[np.float64]]
) -> GeometryScores:
    """Compute the scores of boxes, masks or points.

    `chunk` holds all images, `ap` the scores from curves: name -> (c,).
    """
    functions = dict(PRECISION_RECALL_F1)
    fixed = dict(ap)
    if chunk.in_file_order is None:
        functions["ap_nc50"] = scores.ap_nc
    else:
        fixed["ap_nc50"] = chunk.in_file_order.average_precision(summary.tallies[geometry].images, summary.n_targets)
    at_iou = scores.f1(chunk.at_iou) if chunk.at_iou else None
    if at_iou is not None:
        fixed["f1_5095"] = at_iou.mean(axis=0)
    regions = "regions" if geometry == "mask" else None
    found = summary.of_geometry(geometry, functions, summary.has_truth, fixed=fixed, regions=regions)
    if at_iou is None:
        return found
    means = [summary.mean(value, summary.groups["all"], summary.has_truth) for value in at_iou]
    return replace(found, f1_at_iou={f"{at:.2f}": mean for at, mean in zip(IOU_THRESHOLDS, means, strict=True)})


def undefined_scores(geometry: Geometry, reason: str) -> GeometryScores:
    """Scores of boxes, masks or points, all undefined, such as those of masks without masks on either side."""
    missing = Value(None, reason=reason)
    return GeometryScores(
        *(missing, missing, missing),
        *({}, {}, {}),
        micro_f1=missing,
        hallucinated=missing,
        ap_nc50=missing,
        ap50=missing,
        ap75=missing,
        ap=missing,
        miou=missing if geometry == "mask" else None,
    )
