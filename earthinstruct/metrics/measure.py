"""Scores one set of predictions: instances in, `Metrics` out. Reads no files and knows no datasets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from earthinstruct.instances import ImageId, Instances
from earthinstruct.metrics import scores
from earthinstruct.metrics.bootstrap import RESAMPLES, image_weights, interval, resampled_totals
from earthinstruct.metrics.matching import Geometry, Pairs, find_pairs, match
from earthinstruct.metrics.protocols import STANDARD, Protocol
from earthinstruct.metrics.regions import tally_regions
from earthinstruct.metrics.scores import Columns
from earthinstruct.metrics.tally import Tally, count_per_image, tally_counts, tally_matches, totals_at_thresholds
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
IOU_THRESHOLDS = np.arange(50, 100, 5) / 100  # 0.50, 0.55, ..., 0.95
PROPOSALS_AT = (10, 50, 100, 200)
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}  # COCO, box area in pixels


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


def tallies(
    truth: Truth, predicted: Predicted, protocol: Protocol = STANDARD, *, threshold: float | None = None
) -> dict[str, Tally]:
    """The tallies behind the F1 scores: `counting`, `box` and, where both sides have masks, `mask`.

    Args:
        truth: the ground truth.
        predicted: the predictions.
        protocol: the rules.
        threshold: the least score of a prediction that is there, as a sweep chose it; None: all are.
    """
    measurement = _Measurement(truth, predicted, protocol, 0)
    kept = np.ones(len(predicted.instances), dtype=bool)
    if threshold is not None and predicted.instances.scores is not None:
        kept = predicted.instances.scores >= threshold
    found = {
        "counting": measurement.counting_tally(kept, predicted.has_counts),
        "box": measurement.detection("box").tally(kept),
    }
    if truth.instances.masks is not None and predicted.instances.masks is not None:
        found["mask"] = measurement.detection("mask").tally(kept)
    return found


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

    def f1_at_iou(self, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        """F1 at `IOU_THRESHOLDS`: float64 (10, c)."""
        pairs = self.pairs.where(kept[self.pairs.prediction])
        at = []
        for threshold in IOU_THRESHOLDS:
            matched = match(pairs.where(pairs.iou >= threshold), self.protocol.rule, self.order)
            at.append(
                tally_matches(
                    self.truth.images, self.truth.categories, self.predictions, self.truth.instances, matched, kept
                ).totals
            )
        return np.array([scores.f1(totals) for totals in at])

    def matched(self, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The ground truth of each kept prediction, or -1."""
        if self.protocol.rule == "maximum":  # what a prefix matches does not depend on what follows
            return np.where(kept, self.matched_all, -1)
        return match(self.pairs.where(kept[self.pairs.prediction]), self.protocol.rule, self.order)

    @cached_property
    def matched_all(self) -> NDArray[np.int64]:
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
            counting=self.counting(kept, self.predicted.has_counts),
            counting_from_instances=(
                self.counting(kept, np.zeros_like(self.predicted.has_counts))
                if self.predicted.has_counts.any()
                else None
            ),
            box=self.detected(boxes, kept),
            mask=self.masks(kept),
            proposals=self.proposals(),
            sweep=chosen,
        )

    def detection(self, geometry: Geometry) -> _Detection:
        pairs = find_pairs(self.predicted.instances, self.targets, geometry)
        return _Detection(self.truth, self.predicted.instances, pairs, self.protocol)

    def counting_tally(self, kept: NDArray[np.bool_], given: NDArray[np.bool_]) -> Tally:
        """The images where `given` is true are counted by their counts, the others by their instances."""
        instances = self.predicted.instances
        counted = kept.copy()
        if self.protocol.least_counted_score is not None and instances.scores is not None:
            counted &= instances.scores >= self.protocol.least_counted_score
        from_instances = count_per_image(instances, *self.truth.shape, counted)
        counts = np.where(given[:, None], self.predicted.counts, from_instances)
        entering = given if self.protocol.skips_images_without_counts and given.any() else np.ones_like(given)
        images = [image for image, enters in zip(self.truth.images, entering, strict=True) if enters]
        return tally_counts(images, self.truth.categories, counts[entering], self.actual[entering])

    def counting(self, kept: NDArray[np.bool_], given: NDArray[np.bool_]) -> PartScores:
        tally = self.counting_tally(kept, given)
        over = self.has_truth
        if self.protocol.counting_over_mentioned:
            mentioned = self.predicted.mentioned if given.any() else np.zeros_like(self.has_truth)
            over = mentioned | np.stack(list(tally.columns.values())).any(axis=(0, 1))
        every = given.all() or (self.protocol.skips_images_without_counts and given.any())
        source = "counts" if every else "mixed" if given.any() else "instances"
        functions = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}
        fixed = {}
        if len(tally.images):
            off = tally.columns["fp"] + tally.columns["fn"]  # |predicted - actual|: one of the two is 0
            fixed = {"mae": off.mean(axis=0), "rmse": np.sqrt((off**2).mean(axis=0))}
        return self.part(tally, functions, over, fixed=fixed, source=source)

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
        at_iou = detection.f1_at_iou(kept)
        fixed["f1_5095"] = at_iou.mean(axis=0)
        part = self.part(tally, functions, self.has_truth, fixed=fixed, regions=regions)
        means = [self.mean(value, self.groups["all"], self.has_truth) for value in at_iou]
        return replace(
            part, f1_at_iou={f"{at:.2f}": mean for at, mean in zip(IOU_THRESHOLDS.tolist(), means, strict=True)}
        )

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
        matched = match(detection.pairs.where(entering[detection.pairs.prediction]), "coco") >= 0
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
        found = self.covered(pairs)
        tp = count_per_image(self.targets, *self.truth.shape, found)
        tally = Tally(
            self.truth.images, self.truth.categories, {"tp": tp, "fp": np.zeros_like(tp), "fn": self.actual - tp}
        )
        over = np.ones_like(self.has_truth) if shared else self.has_truth
        values = scores.recall(tally.totals)
        groups, intervals = self.means({"recall": values}, {"recall": scores.recall}, tally, over)
        area = self.targets.boxes[:, 2] * self.targets.boxes[:, 3]
        by_image = np.argsort(proposals.image, kind="stable")
        ordered = proposals.image[by_image]
        rank = np.empty(len(proposals), dtype=np.int64)
        rank[by_image] = np.arange(len(ordered)) - np.searchsorted(ordered, ordered, side="left")
        return ProposalScores(
            recall=self.value(groups["all"]["recall"], intervals.get("recall")),
            per_category={
                name: float(value) if there else None
                for name, value, there in zip(self.truth.categories, values, over, strict=True)
            },
            groups=groups,
            n_proposals=len(proposals),
            at={str(n): self.mean_recall(self.covered(pairs.where(rank[pairs.prediction] < n))) for n in PROPOSALS_AT},
            by_size={
                size: self.mean_recall(found, (area >= low) & (area < high)) for size, (low, high) in SIZES.items()
            },
        )

    def covered(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which ground truths a one-to-one matching of proposals covers: bool (targets,)."""
        found = np.zeros(len(self.targets), dtype=bool)
        of_category = self.targets.category[pairs.target]
        if self.protocol.proposals_shared_by_categories:
            parts = [pairs]
        else:
            parts = [pairs.where(of_category == c) for c in range(self.truth.shape[1])]
        for part in parts:
            matched = match(part, self.protocol.rule)
            found[matched[matched >= 0]] = True
        return found

    def mean_recall(self, found: NDArray[np.bool_], counted: NDArray[np.bool_] | None = None) -> float | None:
        """Mean recall over the categories of `all`, of the `counted` ground truths (None: all)."""
        there = np.ones_like(found) if counted is None else counted
        actual = count_per_image(self.targets, *self.truth.shape, there).sum(axis=0)
        tp = count_per_image(self.targets, *self.truth.shape, there & found).sum(axis=0)
        over = np.ones_like(self.has_truth) if self.protocol.proposals_shared_by_categories else actual > 0
        return self.mean(scores.recall({"tp": tp, "fn": actual - tp}), self.groups["all"], over)

    def sweep(self, detection: _Detection) -> Sweep:
        values = detection.predictions.scores
        if values is None:
            raise ValueError("a score sweep needs scores, and these predictions have none")
        if self.protocol.rule == "maximum":
            totals = self.totals_at(detection, SWEEP_THRESHOLDS)
        else:
            each = [detection.tally(values >= threshold).totals for threshold in SWEEP_THRESHOLDS]
            totals = {name: np.stack([row[name] for row in each]) for name in ("tp", "fp", "fn")}
        over = self.groups["all"][self.has_truth[self.groups["all"]]]
        if not len(over):
            return Sweep(0.0, [SweepPoint(float(threshold), None, None, None) for threshold in SWEEP_THRESHOLDS])
        means = [score(totals)[:, over].mean(axis=1) for score in (scores.precision, scores.recall, scores.f1)]
        curve = [SweepPoint(*map(float, point)) for point in zip(SWEEP_THRESHOLDS, *means, strict=True)]
        threshold = float(SWEEP_THRESHOLDS[np.argmax(means[-1])])
        distinct = np.unique(values)
        if self.protocol.rule != "maximum" or not len(distinct):
            return Sweep(threshold, curve)
        exact = scores.f1(self.totals_at(detection, distinct))[:, over].mean(axis=1)
        best = int(np.argmax(exact))
        return Sweep(threshold, curve, float(distinct[best]), float(exact[best]))

    def totals_at(self, detection: _Detection, thresholds: NDArray[np.float64]) -> dict[str, NDArray[np.int64]]:
        matched = detection.matched_all >= 0
        return totals_at_thresholds(detection.predictions, matched, self.actual.sum(axis=0), thresholds)

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
            per_category[name] = CategoryScores(
                *(int(totals[column][c]) for column in ("tp", "fp", "fn")),
                **here,  # type: ignore[arg-type]
            )
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
        totals = resampled_totals(tally, image_weights(tally.images, self.resamples))
        fixed_set = over & ~self.has_truth  # mentioned without ground truth: in every resample

        def present(columns: Columns) -> NDArray[np.bool_]:
            if "intersection" in columns:
                return np.asarray(over & (columns["targets"] > 0))
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
