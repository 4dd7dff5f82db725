"""Scores one set of predictions: instances in, `Metrics` out. Reads no files and knows no datasets.

A set is scored in parts of some images: `boxes_of_part` is what the sweep needs of a part, `Part` what the scores need;
both add up, so that instances and masks need not stay in memory. `measure` does all of it for a set that is small.

Each kind of score has a module of its own: `counting`, `detection` (boxes and masks), `average_precision`, `regions`
(mIoU), `proposals`, `sweep`, `extra` (plug-ins); `summary` turns their tallies into means, groups and intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.bootstrap import RESAMPLES
from earthinstruct.metrics.counting import counting_scores, counting_tally
from earthinstruct.metrics.detection import Detection, DetectionPart, detection_scores, no_mask_scores
from earthinstruct.metrics.error_types import ErrorSums, counting_errors, detection_errors, tally_errors
from earthinstruct.metrics.extra import ExtraMetric
from earthinstruct.metrics.inputs import Predicted, Truth, geometries, proposal_geometries
from earthinstruct.metrics.matching import Geometry
from earthinstruct.metrics.outcomes import Outcomes
from earthinstruct.metrics.proposals import ProposalPart, proposal_scores
from earthinstruct.metrics.protocols import STANDARD, Protocol
from earthinstruct.metrics.summary import Summary
from earthinstruct.metrics.sweep import sweep_thresholds
from earthinstruct.metrics.tally import Tally
from earthinstruct.metrics.values import ErrorTypes, Metrics, Sweep


def measure(
    truth: Truth,
    predicted: Predicted,
    protocol: Protocol = STANDARD,
    *,
    sweep: bool = False,
    resamples: int = RESAMPLES,
    extra: Sequence[ExtraMetric] = (),
) -> Metrics:
    """All scores of a set of predictions.

    Args:
        truth: the ground truth.
        predicted: the predictions.
        protocol: the rules.
        sweep: choose the score threshold with the largest box mF1 first, and score what reaches it.
        resamples: bootstrap resamples for the 95 % intervals; 0: no intervals.
        extra: also these metric plug-ins.

    Raises:
        ValueError: a sweep of predictions without scores.
        MetricError: a plug-in raised, or returned what cannot be a score.
    """
    chosen = choose_threshold([boxes_of_part(truth, predicted, protocol)], truth, protocol) if sweep else None
    threshold = None if chosen is None else chosen.threshold
    any_counts = bool(predicted.has_counts.any())
    part = Part.of(truth, predicted, protocol, threshold=threshold, any_counts=any_counts, extra=extra)
    reason = truth.no_masks_reason or predicted.no_masks_reason
    return metrics_of([part], truth.groups, protocol, chosen, resamples=resamples, no_masks_reason=reason, extra=extra)


def boxes_of_part(truth: Truth, predicted: Predicted, protocol: Protocol) -> Outcomes:
    """What the sweep needs of some images.

    Raises:
        ValueError: the predictions have no scores.
    """
    found = Detection.of(truth, predicted, protocol, "box").outcomes(protocol.rule)
    if found is None:
        raise ValueError("a score sweep needs scores, and these predictions have none")
    return found


def choose_threshold(parts: Sequence[Outcomes], truth: Truth, protocol: Protocol) -> Sweep:
    """The threshold with the largest box mF1 of all parts; `truth` is that of any part."""
    outcomes = Outcomes.join(parts)
    summary = Summary(truth.categories, truth.groups, outcomes.n_targets, 0)
    return sweep_thresholds(summary, outcomes, exact=protocol.rule == "maximum")


@dataclass(frozen=True, eq=False)
class Part:
    """What every score needs of some images.

    Attributes:
        counting: tally of the counts, given or of instances.
        counting_from_instances: tally of the instances alone; None where the whole set has no counts given.
        n_images: how many there are.
        n_counted: how many of them have counts given.
        mentioned: bool (c,), categories that the counts given mention.
        detections: of boxes and, where both sides have them, of masks.
        errors: likewise.
        proposals: likewise; empty where there are none.
        extra: of each metric plug-in, or why its score is undefined.
    """

    counting: Tally
    counting_from_instances: Tally | None
    n_images: int
    n_counted: int
    mentioned: NDArray[np.bool_]
    detections: Mapping[Geometry, DetectionPart]
    errors: Mapping[Geometry, ErrorSums]
    proposals: Mapping[Geometry, ProposalPart]
    extra: Mapping[str, Tally | str]

    @classmethod
    def of(
        cls,
        truth: Truth,
        predicted: Predicted,
        protocol: Protocol,
        *,
        threshold: float | None,
        any_counts: bool,
        extra: Sequence[ExtraMetric] = (),
    ) -> Part:
        """Match and tally some images.

        Args:
            truth: their ground truth.
            predicted: their predictions.
            protocol: the rules.
            threshold: the least score of a prediction that is there; None: all are.
            any_counts: whether any image of the whole set has counts given.
            extra: also these metric plug-ins.
        """
        kept, given = predicted.reaching(threshold), predicted.has_counts
        detections, error_sums = {}, {}
        for geometry in geometries(truth, predicted):
            detection = Detection.of(truth, predicted, protocol, geometry)
            detections[geometry] = DetectionPart.of(detection, kept)
            error_sums[geometry] = ErrorSums.of(detection, kept)
        proposals: dict[Geometry, ProposalPart] = {}
        if predicted.proposals is not None:
            for geometry in proposal_geometries(truth, predicted.proposals):
                proposals[geometry] = ProposalPart.of(truth, predicted.proposals, geometry, protocol)
        nothing = np.zeros_like(given)
        own = counting_tally(truth, predicted, protocol, kept, nothing, any_given=False).compact()
        return cls(
            counting_tally(truth, predicted, protocol, kept, given, any_given=True).compact() if any_counts else own,
            own if any_counts else None,
            len(truth.images),
            int(given.sum()),
            predicted.mentioned,
            detections,
            error_sums,
            proposals,
            extra_tallies(truth, predicted, extra, threshold=threshold),
        )


def metrics_of(
    parts: Sequence[Part],
    groups: Mapping[str, tuple[str, ...]],
    protocol: Protocol,
    sweep: Sweep | None,
    *,
    resamples: int,
    no_masks_reason: str | None,
    extra: Sequence[ExtraMetric] = (),
) -> Metrics:
    """All scores of a set from its parts; at least one.

    Args:
        parts: disjoint sets of images.
        groups: group -> its categories, as in `Truth`.
        protocol: the rules of the parts.
        sweep: how their threshold was chosen, or None.
        resamples: bootstrap resamples for the 95 % intervals; 0: no intervals.
        no_masks_reason: why there are no masks, where there are none.
        extra: the metric plug-ins of the parts.
    """
    first = parts[0]
    counting = Tally.join([part.counting for part in parts])
    detections = {
        geometry: DetectionPart.join([part.detections[geometry] for part in parts]) for geometry in first.detections
    }
    proposals = {
        geometry: ProposalPart.join([part.proposals[geometry] for part in parts]) for geometry in first.proposals
    }
    errors = {
        geometry: detection_errors(counting.categories, ErrorSums.join([part.errors[geometry] for part in parts]))
        for geometry in first.errors
    }
    box = detections["box"]
    summary = Summary(counting.categories, groups, box.tally.totals["tp"] + box.tally.totals["fn"], resamples)
    n_counted = sum(part.n_counted for part in parts)
    every = protocol.skips_images_without_counts or n_counted == sum(part.n_images for part in parts)
    source = "instances" if not n_counted else "counts" if every else "mixed"
    mentioned = np.any([part.mentioned for part in parts], axis=0) & bool(n_counted)
    from_instances = [part.counting_from_instances for part in parts if part.counting_from_instances is not None]
    return Metrics(
        counting=counting_scores(summary, counting, protocol, source, mentioned),
        counting_from_instances=(
            counting_scores(summary, Tally.join(from_instances), protocol, "instances", np.zeros_like(mentioned))
            if from_instances
            else None
        ),
        box=detection_scores(summary, box),
        mask=(
            detection_scores(summary, detections["mask"])
            if "mask" in detections
            else no_mask_scores(no_masks_reason or "no masks")
        ),
        proposals=(proposal_scores(summary, proposals["box"], proposals.get("mask"), protocol) if proposals else None),
        sweep=sweep,
        errors=(
            ErrorTypes(counting=counting_errors(counting), box=errors["box"], mask=errors.get("mask"))
            if errors
            else None
        ),
        extra={
            metric.name: metric.scores(summary, metric.join([part.extra[metric.name] for part in parts]))
            for metric in extra
        },
    )


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
    kept = predicted.reaching(threshold)
    found = {
        "counting": counting_tally(
            truth, predicted, protocol, kept, predicted.has_counts, any_given=bool(predicted.has_counts.any())
        )
    }
    for geometry in geometries(truth, predicted):
        found[geometry] = Detection.of(truth, predicted, protocol, geometry).tally(kept)
    return found


def error_tallies(
    truth: Truth, predicted: Predicted, protocol: Protocol = STANDARD, *, threshold: float | None = None
) -> dict[str, Tally]:
    """The tallies behind the error types: `box` and, where both sides have masks, `mask`.

    The columns are the fields of `ErrorCounts`; the arguments are those of `tallies`.
    """
    kept = predicted.reaching(threshold)
    return {
        geometry: tally_errors(Detection.of(truth, predicted, protocol, geometry), kept)
        for geometry in geometries(truth, predicted)
    }


def extra_tallies(
    truth: Truth, predicted: Predicted, extra: Sequence[ExtraMetric], *, threshold: float | None = None
) -> dict[str, Tally | str]:
    """The tallies of metric plug-ins by name, or why a score is undefined; the arguments are those of `tallies`.

    Raises:
        MetricError: a plug-in raised, or returned no tally.
    """
    if threshold is not None:
        predicted = replace(predicted, instances=predicted.instances.take(predicted.reaching(threshold)))
    return {metric.name: metric.tally(truth, predicted) for metric in extra}
