"""Scores one set of predictions: instances in, `Metrics` out. Reads no files and knows no datasets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from earthinstruct.instances import ImageId, Instances
from earthinstruct.metrics import scores
from earthinstruct.metrics.bootstrap import RESAMPLES, image_weights, interval, resampled_totals
from earthinstruct.metrics.matching import Geometry, Pairs, find_pairs, match
from earthinstruct.metrics.protocols import STANDARD, Protocol
from earthinstruct.metrics.regions import tally_regions
from earthinstruct.metrics.scores import Columns
from earthinstruct.metrics.tally import Tally, count_per_image, tally_counts, tally_matches
from earthinstruct.metrics.values import (
    CategoryScores,
    Count,
    Metrics,
    PartScores,
    ProposalScores,
    Sweep,
    SweepPoint,
    Value,
)

SWEEP_THRESHOLDS = np.arange(50) / 50  # 0.00, 0.02, ..., 0.98


@dataclass(frozen=True, eq=False)
class Truth:
    """What is there.

    Attributes:
        images: ids of n images.
        categories: names of the c scored categories.
        groups: group -> its categories; `all` is the group behind the headline numbers.
        instances: ground truth, its categories indexing `categories`.
        no_masks_reason: why `instances` has no masks.
    """

    images: tuple[ImageId, ...]
    categories: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    instances: Instances
    no_masks_reason: str | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(images, categories)."""
        return len(self.images), len(self.categories)


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a method says is there.

    Attributes:
        instances: its categories index the truth's; -1 where the label maps to nothing that is scored.
        counts: int64 (n, c), the counts it gave; rows of images where `has_counts` is false are ignored.
        has_counts: bool (n,), images for which it gave counts.
        mentioned: bool (c,), categories that any of its counts mention, a zero included.
        proposals: class-agnostic regions in the method's order (categories are ignored), or None.
        no_masks_reason: why `instances` has no masks.
    """

    instances: Instances
    counts: NDArray[np.int64]
    has_counts: NDArray[np.bool_]
    mentioned: NDArray[np.bool_]
    proposals: Instances | None = None
    no_masks_reason: str | None = None


def measure(
    truth: Truth,
    predicted: Predicted,
    protocol: Protocol = STANDARD,
    *,
    sweep: bool = False,
    resamples: int = RESAMPLES,
) -> Metrics:
    """All scores of a set of predictions.

    Args:
        truth: the ground truth.
        predicted: the predictions.
        protocol: the rules.
        sweep: choose the score threshold with the largest box mF1 first, and score what reaches it.
        resamples: bootstrap resamples for the 95 % intervals; 0: no intervals.

    Raises:
        ValueError: a sweep of predictions without scores.
    """
    return _Measurement(truth, predicted, protocol, resamples).metrics(sweep)


@dataclass(frozen=True, eq=False)
class _Detection:
    """Boxes or masks, matched: the predictions are kept best score first, so that any threshold is a prefix."""

    truth: Truth
    predictions: Instances
    pairs: Pairs
    protocol: Protocol
    order: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.predictions)
        in_file_order = self.protocol.rule == "greedy" or self.predictions.scores is None
        order = np.arange(n) if in_file_order else np.argsort(-self.predictions.scores, kind="stable")  # type: ignore[operator]
        object.__setattr__(self, "order", order)

    def matched(self, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The ground truth of each kept prediction, or -1."""
        if self.protocol.rule == "maximum":  # what a prefix matches does not depend on what follows
            return np.where(kept, self._matched_all, -1)
        return match(self.pairs.where(kept[self.pairs.prediction]), self.protocol.rule, self.order)

    @cached_property
    def _matched_all(self) -> NDArray[np.int64]:
        return match(self.pairs, self.protocol.rule, self.order)

    def tally(self, kept: NDArray[np.bool_]) -> Tally:
        return tally_matches(
            self.truth.images, self.truth.categories, self.predictions, self.truth.instances, self.matched(kept), kept
        )


class _Measurement:
    """One call of `measure`: holds what several scores share."""

    def __init__(self, truth: Truth, predicted: Predicted, protocol: Protocol, resamples: int) -> None:
        self.truth = truth
        self.predicted = predicted
        self.protocol = protocol
        self.targets = truth.instances
        self.actual = count_per_image(self.targets, *truth.shape)
        self.has_truth = self.actual.sum(axis=0) > 0
        index = {name: i for i, name in enumerate(truth.categories)}
        # sorted by name, so that sums do not depend on the order of the categories
        self.groups = {
            group: np.array([index[name] for name in sorted(members)], dtype=np.int64)
            for group, members in truth.groups.items()
        }
        self.resamples = resamples

    def metrics(self, sweep: bool) -> Metrics:
        boxes = self.detection("box")
        chosen = self.sweep(boxes) if sweep else None
        kept = np.ones(len(self.predicted.instances), dtype=bool)
        if chosen is not None and self.predicted.instances.scores is not None:
            kept = self.predicted.instances.scores >= chosen.threshold
        return Metrics(
            counting=self.counting(kept),
            box=self.detected(boxes, kept),
            mask=self.masks(kept),
            proposals=self.proposals(),
            sweep=chosen,
        )

    def detection(self, geometry: Geometry) -> _Detection:
        pairs = find_pairs(self.predicted.instances, self.targets, geometry)
        return _Detection(self.truth, self.predicted.instances, pairs, self.protocol)

    def counting(self, kept: NDArray[np.bool_]) -> PartScores:
        instances, given = self.predicted.instances, self.predicted.has_counts
        counted = kept.copy()
        if self.protocol.least_counted_score is not None and instances.scores is not None:
            counted &= instances.scores >= self.protocol.least_counted_score
        from_instances = count_per_image(instances, *self.truth.shape, counted)
        counts = np.where(given[:, None], self.predicted.counts, from_instances)
        entering = given if self.protocol.skips_images_without_counts and given.any() else np.ones_like(given)
        images = [image for image, enters in zip(self.truth.images, entering, strict=True) if enters]
        tally = tally_counts(images, self.truth.categories, counts[entering], self.actual[entering])
        over = self.has_truth
        if self.protocol.counting_over_mentioned:
            over = self.predicted.mentioned | (counts[entering] + self.actual[entering]).any(axis=0)
        source = "counts" if given[entering].all() else "mixed" if given.any() else "instances"
        return self.part(
            tally, {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}, over, source=source
        )

    def detected(self, detection: _Detection, kept: NDArray[np.bool_], regions: Tally | None = None) -> PartScores:
        functions = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
        tally = detection.tally(kept)
        fixed: dict[str, NDArray[np.float64]] = {}
        if self.protocol.constant_score_ap is None:
            functions["ap_nc50"] = scores.ap_nc
        else:
            fixed["ap_nc50"] = self.constant_score_ap(detection, kept, self.protocol.constant_score_ap)
        if detection.predictions.scores is not None:
            fixed["ap50"] = self.average_precisions(detection)
        return self.part(tally, functions, self.has_truth, fixed=fixed, regions=regions)

    def masks(self, kept: NDArray[np.bool_]) -> PartScores:
        instances = self.predicted.instances
        reason = self.truth.no_masks_reason or self.predicted.no_masks_reason
        if reason is not None or instances.masks is None or self.targets.masks is None:
            missing = Value(None, reason=reason or "no masks")
            return PartScores(missing, missing, missing, {}, {}, {}, ap_nc50=missing, miou=missing)
        regions = tally_regions(self.truth.images, self.truth.categories, instances.take(kept), self.targets)
        return self.detected(self.detection("mask"), kept, regions)

    def constant_score_ap(self, detection: _Detection, kept: NDArray[np.bool_], cap: int) -> NDArray[np.float64]:
        """COCO AP with every score 1: predictions in file order, images in the order of their ids, `cap` an image."""
        predictions = detection.predictions
        images = self.truth.images
        by_id = np.empty(len(images), dtype=np.int64)
        by_id[sorted(range(len(images)), key=lambda i: (str(type(images[i])), images[i]))] = np.arange(len(images))
        cell = predictions.image * len(self.truth.categories) + predictions.category
        order = np.argsort(by_id[predictions.image], kind="stable")
        order = order[(kept & (predictions.category >= 0))[order]]
        first_in_cell = np.zeros(len(order), dtype=np.int64)
        within = np.argsort(cell[order], kind="stable")
        ordered = cell[order][within]
        first_in_cell[within] = np.arange(len(order)) - np.searchsorted(ordered, ordered, side="left")
        order = order[first_in_cell < cap]
        entering = np.zeros(len(predictions), dtype=bool)
        entering[order] = True
        matched = detection.matched(entering) >= 0
        return self.per_category_ap(predictions.category[order], matched[order], None)

    def average_precisions(self, detection: _Detection) -> NDArray[np.float64]:
        """COCO AP over scores, without a cap; equal scores enter together, so the order of the file has no say."""
        predictions = detection.predictions
        if predictions.scores is None:
            raise ValueError("average precision needs scores")
        everything = np.ones(len(predictions), dtype=bool)
        order = np.argsort(-predictions.scores, kind="stable")
        matched = _Detection(self.truth, predictions, detection.pairs, STANDARD).matched(everything) >= 0
        return self.per_category_ap(predictions.category[order], matched[order], predictions.scores[order])

    def per_category_ap(
        self, category: NDArray[np.int64], matched: NDArray[np.bool_], values: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        n_targets = self.actual.sum(axis=0)
        return np.array(
            [
                scores.average_precision(
                    matched[category == c], int(n_targets[c]), None if values is None else values[category == c]
                )
                if n_targets[c]
                else 0.0
                for c in range(len(n_targets))
            ]
        )

    def proposals(self) -> ProposalScores | None:
        proposals = self.predicted.proposals
        if proposals is None:
            return None
        shared = self.protocol.proposals_shared_by_categories
        pairs = find_pairs(proposals, self.targets, "box", agnostic=True)
        found = np.zeros(len(self.targets), dtype=bool)
        of_category = self.targets.category[pairs.target]
        for part in (
            (np.ones(len(of_category), dtype=bool),)
            if shared
            else (of_category == c for c in range(self.truth.shape[1]))
        ):
            matched = match(pairs.where(part), self.protocol.rule)
            found[matched[matched >= 0]] = True
        tp = count_per_image(self.targets, *self.truth.shape, found)
        tally = Tally(
            self.truth.images, self.truth.categories, {"tp": tp, "fp": np.zeros_like(tp), "fn": self.actual - tp}
        )
        over = np.ones_like(self.has_truth) if shared else self.has_truth
        values = scores.recall(tally.totals)
        groups, intervals = self.means({"recall": values}, {"recall": scores.recall}, tally, over)
        return ProposalScores(
            recall=self.value(groups["all"]["recall"], intervals.get("recall")),
            per_category={
                name: float(value) if there else None
                for name, value, there in zip(self.truth.categories, values, over, strict=True)
            },
            groups=groups,
            n_proposals=len(proposals),
        )

    def sweep(self, detection: _Detection) -> Sweep:
        values = detection.predictions.scores
        if values is None:
            raise ValueError("a score sweep needs scores, and these predictions have none")
        curve = []
        for threshold in SWEEP_THRESHOLDS:
            totals = detection.tally(values >= threshold).totals
            point = [
                self.mean(score(totals), self.groups["all"], self.has_truth)
                for score in (scores.precision, scores.recall, scores.f1)
            ]
            curve.append(SweepPoint(float(threshold), *point))
        best = max(curve, key=lambda point: (point.f1 or 0.0, -point.threshold))
        return Sweep(best.threshold, curve)

    def part(
        self,
        tally: Tally,
        functions: Mapping[str, Callable[[Columns], NDArray[np.float64]]],
        over: NDArray[np.bool_],
        *,
        fixed: Mapping[str, NDArray[np.float64]] | None = None,
        regions: Tally | None = None,
        source: str | None = None,
    ) -> PartScores:
        """Scores of one tally: per category, means over groups, intervals.

        Args:
            tally: tp, fp, fn.
            functions: score name -> function of the sums of the tally.
            over: bool (c,), the categories that means are over.
            fixed: score name -> float64 (c,), scores that are no function of the tally (and get no interval).
            regions: intersection and union, for mIoU.
            source: where counts came from.
        """
        totals = tally.totals
        values = {name: function(totals) for name, function in functions.items()} | dict(fixed or {})
        groups, intervals = self.means(values, functions, tally, over)
        if regions is not None:
            values["miou"] = scores.iou(regions.totals)
            more, more_intervals = self.means({"miou": values["miou"]}, {"miou": scores.iou}, regions, over)
            intervals |= more_intervals
            for group, means in more.items():
                groups[group] |= means
        per_category = {}
        for c, name in enumerate(self.truth.categories):
            here = {score: float(value[c]) if over[c] else None for score, value in values.items()}
            per_category[name] = CategoryScores(*(int(totals[column][c]) for column in ("tp", "fp", "fn")), **here)
        headline = {name: self.value(groups["all"][name], intervals.get(name)) for name in values}
        return PartScores(
            tally={name: Count(row.tp, row.fp, row.fn) for name, row in per_category.items()},
            per_category=per_category,
            groups=groups,
            source=source,
            **headline,  # type: ignore[arg-type]
        )

    def means(
        self,
        values: Mapping[str, NDArray[np.float64]],
        functions: Mapping[str, Callable[[Columns], NDArray[np.float64]]],
        tally: Tally,
        over: NDArray[np.bool_],
    ) -> tuple[dict[str, dict[str, float | None]], dict[str, tuple[float, float] | None]]:
        groups = {
            group: {name: self.mean(value, members, over) for name, value in values.items()}
            for group, members in self.groups.items()
        }
        if not self.resamples or not len(tally.images):
            return groups, {}
        totals = resampled_totals(tally, image_weights(tally, self.resamples))
        fixed_set = over & ~self.has_truth  # mentioned without ground truth: in every resample

        def present(columns: Columns) -> NDArray[np.bool_]:
            if "intersection" in columns:
                return np.asarray(over & (columns["union"] > 0))
            return np.asarray(over & ((columns["tp"] + columns["fn"] > 0) | fixed_set))

        members = self.groups["all"]
        return groups, {name: interval(totals, function, present, members) for name, function in functions.items()}

    def mean(self, value: NDArray[np.float64], members: NDArray[np.int64], over: NDArray[np.bool_]) -> float | None:
        chosen = members[over[members]]
        return float(value[chosen].mean()) if len(chosen) else None

    def value(self, value: float | None, ci95: tuple[float, float] | None) -> Value:
        return Value(
            value, ci95 if value is not None else None, None if value is not None else "no ground truth in any category"
        )
