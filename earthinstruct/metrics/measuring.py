"""Score a set of predictions: from instances to `Metrics`. Reads no files and knows no datasets.

A set is scored in chunks of images. `boxes_of_chunk` collects the data of a chunk for the sweep, `Chunk` the data for
all scores. Chunks join to the whole set, so instances and masks need not stay in memory. `measure` scores a set that
is in memory as one chunk.

Each kind of score has its own module: `counting`, `detection` (boxes and masks), `average_precision`, `regions` (mIoU),
`proposals`, `sweep`, `extra` (plug-ins). `summary` turns their tallies into means over groups and intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.catalogue import CATALOGUE, HEADLINES
from earthinstruct.metrics.counting import counted_categories, counting_scores, counting_tally
from earthinstruct.metrics.detection import Detection, DetectionChunk, detection_scores, no_mask_scores
from earthinstruct.metrics.error_types import counting_errors, detection_errors, tally_errors
from earthinstruct.metrics.extra import ExtraMetric
from earthinstruct.metrics.inputs import Predicted, Truth, geometries, geometries_of
from earthinstruct.metrics.matching import Geometry
from earthinstruct.metrics.proposals import ProposalChunk, proposal_scores, tally_proposals
from earthinstruct.metrics.protocols import STANDARD, Protocol
from earthinstruct.metrics.regions import tally_regions
from earthinstruct.metrics.summary import Summary
from earthinstruct.metrics.sweep import boxes_of_chunk, choose_threshold
from earthinstruct.metrics.tally import Tally
from earthinstruct.metrics.values import ErrorTypes, Metrics, RareCategories, Sweep


def measure(
    truth: Truth,
    predicted: Predicted,
    protocol: Protocol = STANDARD,
    *,
    sweep: bool = False,
    extra: Sequence[ExtraMetric] = (),
) -> Metrics:
    """Compute all scores of a set of predictions.

    Args:
        truth: the ground truth.
        predicted: the predictions.
        protocol: the rules.
        sweep: first choose the score threshold with the largest box mF1, then score the predictions that reach it.
        extra: metric plug-ins to score as well.

    Raises:
        ValueError: `sweep` is set, and the predictions have no scores.
        MetricError: a plug-in raised an exception or returned an invalid score.
    """
    chosen = choose_threshold([boxes_of_chunk(truth, predicted, protocol)], truth, protocol) if sweep else None
    threshold = None if chosen is None else chosen.threshold
    any_counts = bool(predicted.has_counts.any())
    whole = Chunk.of(truth, predicted, protocol, threshold=threshold, any_counts=any_counts, extra=extra)
    reason = truth.no_masks_reason or predicted.no_masks_reason
    return metrics_of(whole, truth.groups, protocol, chosen, no_masks_reason=reason, extra=extra)


@dataclass(frozen=True, eq=False)
class Chunk:
    """The data of some images for all scores.

    Attributes:
        n_counted: number of images with given counts.
        mentioned: bool (c,), categories that any given count mentions.
        tallies: the tallies of scores with intervals: `counting` (from given counts or instances),
            `counting_from_instances` (if counts are given for any image of the whole set), `box`, `mask`, `regions`
            (for mIoU), `proposals.box` and `proposals.mask`; and the error types, `errors.box` and `errors.mask`. Masks
            and proposals only if present.
        detections: the other data of boxes and masks.
        proposals: the other data of proposals; empty without proposals.
        extra: the tally of each metric plug-in, or the reason why its score is undefined.
    """

    n_counted: int
    mentioned: NDArray[np.bool_]
    tallies: Mapping[str, Tally]
    detections: Mapping[Geometry, DetectionChunk]
    proposals: Mapping[Geometry, ProposalChunk]
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
    ) -> Chunk:
        """Match and tally some images.

        Predictions with a score below `threshold` are ignored. `any_counts`: whether counts are given for any image of
        the whole set.
        """
        kept = predicted.reaching(threshold)
        reaching = predicted if threshold is None else replace(predicted, instances=predicted.instances.take(kept))
        own = counting_tally(truth, predicted, protocol, kept, use_given=False)
        tallies = {"counting": own}
        if any_counts:
            tallies["counting"] = counting_tally(truth, predicted, protocol, kept, use_given=True)
            tallies["counting_from_instances"] = own
        errors: dict[str, Tally] = {}
        detections: dict[Geometry, DetectionChunk] = {}
        for geometry in geometries(truth, predicted):
            detection = Detection(truth, predicted.instances, protocol, geometry)
            tallies[geometry] = detection.tally(kept)
            errors[f"errors.{geometry}"] = tally_errors(detection, kept)
            detections[geometry] = DetectionChunk.of(detection, kept)
        if "mask" in detections:
            there = reaching.instances
            if detection.on_ignored.any():
                there = predicted.instances.take(kept & ~detection.ignored)
            tallies["regions"] = tally_regions(truth, there)
        proposals: dict[Geometry, ProposalChunk] = {}
        if predicted.proposals is not None:
            for geometry in geometries_of(truth.instances, predicted.proposals):
                tallies[f"proposals.{geometry}"], proposals[geometry] = tally_proposals(
                    truth, predicted.proposals, geometry, protocol
                )
        return cls(
            int(predicted.has_counts.sum()),
            predicted.mentioned,
            {name: tally.compact() for name, tally in (tallies | errors).items()},
            detections,
            proposals,
            {metric.name: metric.tally(truth, reaching) for metric in extra},
        )

    @staticmethod
    def join(chunks: Sequence[Chunk], extra: Sequence[ExtraMetric] = ()) -> Chunk:
        """Join one or more chunks, with the same `extra` as in `of`."""
        first, n_images = chunks[0], [len(chunk.tallies["box"].images) for chunk in chunks]
        return Chunk(
            sum(chunk.n_counted for chunk in chunks),
            np.any([chunk.mentioned for chunk in chunks], axis=0),
            {name: Tally.join([chunk.tallies[name] for chunk in chunks]) for name in first.tallies},
            {
                geometry: DetectionChunk.join([chunk.detections[geometry] for chunk in chunks], n_images)
                for geometry in first.detections
            },
            {
                geometry: ProposalChunk.join([chunk.proposals[geometry] for chunk in chunks])
                for geometry in first.proposals
            },
            {metric.name: metric.join([chunk.extra[metric.name] for chunk in chunks]) for metric in extra},
        )

    @property
    def named_tallies(self) -> dict[str, Tally]:
        """All tallies by name: the entries of `tallies`, and `extra.<metric>`."""
        extra = {f"extra.{name}": tally for name, tally in self.extra.items() if isinstance(tally, Tally)}
        return {**self.tallies, **extra}


def metrics_of(
    whole: Chunk,
    groups: Mapping[str, tuple[str, ...]],
    protocol: Protocol,
    sweep: Sweep | None,
    *,
    no_masks_reason: str | None,
    extra: Sequence[ExtraMetric] = (),
) -> Metrics:
    """Compute all scores of a set; `whole` is one chunk with all its images, other arguments are as in `measure`."""
    box = whole.tallies["box"]
    tallies = {name: tally for name, tally in whole.named_tallies.items() if not name.startswith("errors.")}
    summary = Summary(box.categories, groups, box.totals["tp"] + box.totals["fn"], tallies)
    every = protocol.skips_images_without_counts or whole.n_counted == len(box.images)
    source = "instances" if not whole.n_counted else "counts" if every else "mixed"
    mentioned = whole.mentioned & bool(whole.n_counted)
    errors = {
        geometry: detection_errors(whole.tallies[f"errors.{geometry}"], detection.unscored)
        for geometry, detection in whole.detections.items()
    }
    return Metrics(
        counting=counting_scores(summary, "counting", protocol, source, mentioned),
        counting_from_instances=(
            counting_scores(summary, "counting_from_instances", protocol, "instances", np.zeros_like(mentioned))
            if "counting_from_instances" in whole.tallies
            else None
        ),
        box=detection_scores(summary, "box", whole.detections["box"]),
        mask=(
            detection_scores(summary, "mask", whole.detections["mask"])
            if "mask" in whole.detections
            else no_mask_scores(no_masks_reason or "no masks")
        ),
        proposals=proposal_scores(summary, whole.proposals, protocol) if whole.proposals else None,
        sweep=sweep,
        errors=ErrorTypes(
            counting=counting_errors(whole.tallies["counting"]),
            box=errors["box"],
            mask=errors.get("mask"),
        ),
        rare=_rare_categories(summary, protocol, counted_categories(summary, "counting", protocol, mentioned)),
        extra={metric.name: metric.scores(summary, whole.extra[metric.name]) for metric in extra},
    )


def _rare_categories(summary: Summary, protocol: Protocol, counted: NDArray[np.bool_]) -> RareCategories | None:
    """The rare categories and the headline scores without them; `counted` are the categories that counting averages."""
    names = [name for name, rare in zip(summary.categories, summary.rare, strict=True) if rare]
    if not names:
        return None
    without = {}
    for score in (CATALOGUE[path] for path in HEADLINES):
        other_ap = score.path.endswith(".ap_nc50") and protocol.constant_score_ap is not None
        if score.function is not None and score.tally in summary.tallies and not other_ap:
            over = counted if score.section == "counting" else summary.has_truth
            value = summary.without_rare(score.function, score.tally, over)
            if value is not None:
                without[score.path] = value
    return RareCategories(sorted(names), without)
