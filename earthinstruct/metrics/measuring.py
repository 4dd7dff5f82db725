"""Score a set of predictions: from instances to `Metrics`. Reads no files and knows no datasets.

A set is scored in chunks of images. `boxes_of_chunk` collects the data of a chunk for the sweep, `Chunk` the data for
all scores. Chunks join to the whole set, so instances and masks need not stay in memory. `measure` scores a set that
is in memory as one chunk.

Each kind of score has its own module: `counting`, `detection` (boxes and masks), `sizes`, `curves` (AP, calibration),
`average_precision`, `regions` (mIoU), `proposals`, `limits` (where counting breaks), `absent` (what is not there),
`thresholds`, `error_types`, `costs`, `suspects` and `extra` (plug-ins). `summary` turns their tallies into means over
groups and intervals.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import EarthInstructError
from earthinstruct.metrics.absent import absent_scores
from earthinstruct.metrics.catalogue import CATALOGUE, HEADLINES
from earthinstruct.metrics.costs import cost_of
from earthinstruct.metrics.counting import counted_categories, counting_scores, counting_tally
from earthinstruct.metrics.curves import AP75, Curves
from earthinstruct.metrics.detection import Detection, DetectionChunk, detection_scores, undefined_scores
from earthinstruct.metrics.error_types import counting_errors, detection_errors, judge, tally_errors
from earthinstruct.metrics.extra import ExtraMetric
from earthinstruct.metrics.inputs import Predicted, ScoreThreshold, Truth, geometries, geometries_of, reaching
from earthinstruct.metrics.limits import counting_limits, median_sizes
from earthinstruct.metrics.matching import Geometry, Pairs
from earthinstruct.metrics.proposals import ProposalChunk, proposal_scores, tally_proposals
from earthinstruct.metrics.protocols import STANDARD, Protocol
from earthinstruct.metrics.regions import tally_regions
from earthinstruct.metrics.sizes import SIZES, size_scores, tally_sizes
from earthinstruct.metrics.summary import Summary
from earthinstruct.metrics.suspects import Candidates, Suspect, SuspectChunk, candidates, suspects_of
from earthinstruct.metrics.tally import Tally, tally_of_none
from earthinstruct.metrics.thresholds import (
    Choice,
    Sweeping,
    boxes_of_chunk,
    choose_threshold,
    refuse_unscored,
    sums_without,
)
from earthinstruct.metrics.values import (
    NO_IOU,
    Costs,
    CountCosts,
    DetectionErrors,
    ErrorCosts,
    ErrorTypes,
    GeometryScores,
    Metrics,
    RareCategories,
)
from earthinstruct.regions import ImageId


def measure(
    truth: Truth,
    predicted: Predicted,
    protocol: Protocol = STANDARD,
    *,
    threshold: float | None = None,
    sweep: Sweeping = False,
    extra: Sequence[ExtraMetric] = (),
) -> Metrics:
    """Compute all scores of a set of predictions.

    Args:
        truth: the ground truth.
        predicted: the predictions.
        protocol: the rules.
        threshold: score the predictions with at least this score.
        sweep: first choose the score threshold with the largest box mF1, then score the predictions that reach it.
            `cross`: choose the threshold of each fold of images on the other folds.
        extra: metric plug-ins to score as well.

    Raises:
        EarthInstructError: `threshold` or `sweep` is set, and the predictions have no scores, or both are set; or
            `sweep` is `cross`, and there are fewer than 2 images.
        MetricError: a plug-in raised an exception or returned an invalid score.
    """
    if threshold is not None and sweep:
        raise EarthInstructError("threshold and sweep are both given; a sweep chooses the threshold itself: give one")
    if threshold is not None:
        refuse_unscored(predicted, "a threshold")
    chosen = Choice(None if threshold is None else float(threshold))
    box_pairs = None
    if sweep:
        outcomes, box_pairs = boxes_of_chunk(truth, predicted, protocol)
        chosen = choose_threshold([outcomes], truth.images, truth, protocol, cross=sweep == "cross")
    any_counts = bool(predicted.has_counts.any())
    whole = Chunk.of(
        truth,
        predicted,
        protocol,
        threshold=chosen.threshold,
        also_at=chosen.also_at,
        any_counts=any_counts,
        extra=extra,
        box_pairs=box_pairs,
    )
    reason = truth.no_masks_reason or predicted.no_masks_reason
    return metrics_of(whole, truth.groups, protocol, chosen, no_masks_reason=reason, extra=extra)


ONLY_COUNTS = "the method only counts: it names no instances"
ONLY_POINTS = "the method only points: it gives no boxes"


@dataclass(frozen=True, eq=False)
class Chunk:
    """The data of some images for all scores.

    Attributes:
        n_counted: number of images with given counts.
        mentioned: bool (c,), categories that any given count mentions.
        no_boxes_reason: why the predictions have no boxes. Then the tally of boxes holds the ground truth alone.
        no_points_reason: why the predictions have no points, although the method points.
        median_sizes: int8 (n, c), the size of the median object of each image and category, -1 without objects.
        tallies: the tallies of scores with intervals: `counting` (from given counts or instances),
            `counting_from_instances` (if counts are given for any image of the whole set), `box`, `mask`, `point`,
            `regions` (for mIoU), `proposals.box` and `proposals.mask`; the error types, `errors.box` and so on; and
            by the size of objects, `sizes.box.small` and so on. Masks, points and proposals only if present.
        again: the tallies of counting, boxes, masks and points at each threshold of `also_at`.
        detections: the other data of boxes, masks and points; empty if the method only counts.
        curves: the predictions as curves over score thresholds; empty without scores.
        suspects: places where the ground truth may be wrong, by boxes.
        proposals: the other data of proposals; empty without proposals.
        extra: the tally of each metric plug-in, or the reason why its score is undefined.
    """

    n_counted: int
    mentioned: NDArray[np.bool_]
    no_boxes_reason: str | None
    no_points_reason: str | None
    median_sizes: NDArray[np.int8]
    tallies: Mapping[str, Tally]
    again: Sequence[Mapping[str, Tally]]
    detections: Mapping[Geometry, DetectionChunk]
    curves: Mapping[Geometry, Curves]
    suspects: SuspectChunk
    proposals: Mapping[Geometry, ProposalChunk]
    extra: Mapping[str, Tally | str]

    @classmethod
    def of(
        cls,
        truth: Truth,
        predicted: Predicted,
        protocol: Protocol,
        *,
        threshold: ScoreThreshold,
        also_at: Sequence[float] = (),
        any_counts: bool,
        extra: Sequence[ExtraMetric] = (),
        box_pairs: Pairs | None = None,
    ) -> Chunk:
        """Match and tally some images.

        Predictions with a score below `threshold` are ignored. `also_at`: thresholds for the tallies in `again`.
        `any_counts`: whether counts are given for any image of the whole set. `box_pairs`: those of all boxes, if they
        were found before.
        """
        kept = reaching(truth, predicted, threshold)
        found = {
            geometry: Detection(
                truth, predicted.instances, protocol, geometry, box_pairs if geometry == "box" else None
            )
            for geometry in geometries(truth, predicted)
        }

        def at_threshold(kept: NDArray[np.bool_]) -> dict[str, Tally]:
            own = counting_tally(truth, predicted, protocol, kept, use_given=False)
            tallies = {"counting": own}
            if any_counts:
                tallies["counting"] = counting_tally(truth, predicted, protocol, kept, use_given=True)
            if any_counts and not predicted.only_counts:
                tallies["counting_from_instances"] = own
            tallies |= {geometry: detection.tally(kept) for geometry, detection in found.items()}
            if "box" not in found:
                tallies["box"] = tally_of_none(truth.instances, truth.images, truth.categories)
            return {name: tally.compact() for name, tally in tallies.items()}

        tallies = at_threshold(kept)
        again = [
            dict(tallies) if other == threshold else at_threshold(reaching(truth, predicted, other))
            for other in also_at
        ]
        if any_counts and protocol.skips_images_without_counts:  # then no threshold changes the counts
            for of_other in again:
                del of_other["counting"]
        without_intervals: dict[str, Tally] = {}
        detections: dict[Geometry, DetectionChunk] = {}
        curves: dict[Geometry, Curves] = {}
        suspects: SuspectChunk = {}
        for geometry, detection in found.items():
            detections[geometry] = DetectionChunk.of(detection, kept)
            judged = judge(detection, kept)
            without_intervals[f"errors.{geometry}"] = tally_errors(detection, judged)
            if geometry != "point":  # a wrong point has no size
                for size, tally in tally_sizes(detection, kept, judged.wrong).items():
                    without_intervals[f"sizes.{geometry}.{size}"] = tally
            if (of_scores := Curves.of(detection)) is not None:
                curves[geometry] = of_scores
            if geometry == "box":
                suspects = candidates(detection, judged)
        if "mask" in detections:
            tallies["regions"] = tally_regions(truth, predicted.instances, kept & ~found["mask"].ignored)
        proposals: dict[Geometry, ProposalChunk] = {}
        if predicted.proposals is not None:
            for geometry in geometries_of(truth.instances, predicted.proposals):
                tallies[f"proposals.{geometry}"], proposals[geometry] = tally_proposals(
                    truth, predicted.proposals, geometry, protocol
                )
        scored = predicted
        if extra and threshold is not None:
            scored = replace(predicted, instances=predicted.instances.take(kept))
        return cls(
            int(predicted.has_counts.sum()),
            predicted.mentioned,
            ONLY_COUNTS if predicted.only_counts else predicted.no_boxes_reason,
            predicted.no_points_reason,
            median_sizes(truth),
            {name: tally.compact() for name, tally in (tallies | without_intervals).items()},
            again,
            detections,
            curves,
            suspects,
            proposals,
            {metric.name: metric.tally(truth, scored) for metric in extra},
        )

    @staticmethod
    def join(chunks: Sequence[Chunk], extra: Sequence[ExtraMetric] = ()) -> Chunk:
        """Join one or more chunks, with the same `extra` as in `of`."""
        first, n_images = chunks[0], [len(chunk.tallies["box"].images) for chunk in chunks]
        return Chunk(
            sum(chunk.n_counted for chunk in chunks),
            np.any([chunk.mentioned for chunk in chunks], axis=0),
            first.no_boxes_reason,
            first.no_points_reason,
            np.concatenate([chunk.median_sizes for chunk in chunks]),
            {name: Tally.join([chunk.tallies[name] for chunk in chunks]) for name in first.tallies},
            [
                {name: Tally.join([chunk.again[i][name] for chunk in chunks]) for name in tallies}
                for i, tallies in enumerate(first.again)
            ],
            {
                geometry: DetectionChunk.join([chunk.detections[geometry] for chunk in chunks], n_images)
                for geometry in first.detections
            },
            {geometry: Curves.join([chunk.curves[geometry] for chunk in chunks]) for geometry in first.curves},
            {
                reason: Candidates.join([chunk.suspects[reason] for chunk in chunks], n_images)
                for reason in first.suspects
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

    @property
    def suspected(self) -> list[Suspect]:
        """Places where the ground truth may be wrong, once the chunk holds all images."""
        box = self.tallies["box"]
        right = self.curves["box"].right_scores() if "box" in self.curves else None
        return suspects_of(self.suspects, box.images, box.categories, box.totals, right)


def metrics_of(
    whole: Chunk,
    groups: Mapping[str, tuple[str, ...]],
    protocol: Protocol,
    chosen: Choice,
    *,
    no_masks_reason: str | None,
    extra: Sequence[ExtraMetric] = (),
) -> Metrics:
    """Compute all scores of a set.

    Args:
        whole: one chunk with all images of the set.
        groups: group -> its categories.
        protocol: the rules.
        chosen: the score threshold.
        no_masks_reason: why predictions or ground truth have no masks.
        extra: as in `measure`.
    """
    box = whole.tallies["box"]
    tallies = {name: tally for name, tally in whole.named_tallies.items() if not name.startswith(("errors.", "sizes."))}
    n_targets = box.totals["tp"] + box.totals["fn"]
    if chosen.again is None:
        summary = Summary(box.categories, groups, n_targets, tallies)
    else:  # tallies that depend on the threshold and are not in `again`, such as that of mIoU, get no intervals
        without = sums_without(whole.again, chosen.again)
        held = [name for name in tallies if name.startswith("proposals.") or name == "counting"]
        summary = Summary(box.categories, groups, n_targets, tallies, without, set(held) - without.keys())
    every = protocol.skips_images_without_counts or whole.n_counted == len(box.images)
    source = "instances" if not whole.n_counted else "counts" if every else "mixed"
    mentioned = whole.mentioned & bool(whole.n_counted)
    found: dict[Geometry, GeometryScores] = {}
    errors: dict[Geometry, DetectionErrors] = {}
    for geometry, detection in whole.detections.items():
        found[geometry] = _geometry_scores(summary, geometry, whole)
        errors[geometry] = detection_errors(whole.tallies[f"errors.{geometry}"], detection.unscored)
    reason = whole.no_boxes_reason or no_masks_reason or "no masks"
    no_points = whole.no_points_reason
    return Metrics(
        counting=counting_scores(summary, "counting", protocol, source, mentioned),
        counting_from_instances=(
            counting_scores(summary, "counting_from_instances", protocol, "instances", np.zeros_like(mentioned))
            if "counting_from_instances" in whole.tallies
            else None
        ),
        box=found.get("box") or undefined_scores("box", reason),
        mask=found.get("mask") or undefined_scores("mask", reason),
        point=found.get("point") or (None if no_points is None else undefined_scores("point", no_points)),
        proposals=proposal_scores(summary, whole.proposals, protocol) if whole.proposals else None,
        threshold=chosen.threshold if chosen.sweep is None and isinstance(chosen.threshold, float) else None,
        sweep=chosen.sweep,
        errors=ErrorTypes(
            counting=counting_errors(whole.tallies["counting"]),
            box=errors.get("box"),
            mask=errors.get("mask"),
            point=errors.get("point"),
        ),
        costs=Costs(
            counting=cost_of(CountCosts, summary, whole.tallies["counting"]),
            **{
                geometry: cost_of(ErrorCosts, summary, whole.tallies[f"errors.{geometry}"])
                for geometry in whole.detections
            },
        ),
        counting_limits=counting_limits(summary, _of_images(whole, tallies["counting"].images)),
        absent=absent_scores(summary, next(iter(whole.detections), None)),
        rare=_rare_categories(
            summary,
            protocol,
            counted_categories(summary, "counting", protocol, mentioned),
            ["counting", *whole.detections],
        ),
        extra={metric.name: metric.scores(summary, whole.extra[metric.name]) for metric in extra},
    )


def _of_images(whole: Chunk, images: Sequence[ImageId]) -> NDArray[np.int8]:
    """The median sizes of some images: protocol `paper` counts only in some."""
    row = {image: i for i, image in enumerate(whole.tallies["box"].images)}
    return whole.median_sizes[[row[image] for image in images]]


def _geometry_scores(summary: Summary, geometry: Geometry, whole: Chunk) -> GeometryScores:
    """Compute the scores of boxes, masks or points, by size too, and the calibration of methods with scores."""
    ap: dict[str, NDArray[np.float64]] = {}
    ap_by_size, calibration = {}, None
    if (curves := whole.curves.get(geometry)) is not None:
        every, *by_size = curves.average_precision()
        ap = {"ap50": every[0]}
        if geometry != "point":
            ap |= {"ap75": every[AP75], "ap": every.mean(axis=0)}
        ap_by_size = {size: at_iou.mean(axis=0) for size, at_iou in zip(SIZES, by_size, strict=True)}
        calibration = curves.calibration()
    found = detection_scores(summary, geometry, whole.detections[geometry], ap)
    if geometry == "point":
        return msgspec.structs.replace(found, ap75=NO_IOU, ap=NO_IOU, calibration=calibration)
    tallies = {size: whole.tallies[f"sizes.{geometry}.{size}"] for size in SIZES}
    return msgspec.structs.replace(found, by_size=size_scores(summary, tallies, ap_by_size), calibration=calibration)


def _rare_categories(
    summary: Summary, protocol: Protocol, counted: NDArray[np.bool_], sections: Collection[str]
) -> RareCategories | None:
    """The rare categories and the headline scores without them.

    `counted`: bool (c,), the categories that counting averages. `sections`: those with scores.
    """
    names = [name for name, rare in zip(summary.categories, summary.rare, strict=True) if rare]
    if not names:
        return None
    without = {}
    for score in (CATALOGUE[path] for path in HEADLINES):
        other_ap = score.path.endswith(".ap_nc50") and protocol.constant_score_ap is not None
        if score.function is not None and score.section in sections and not other_ap:
            over = counted if score.section == "counting" else summary.has_truth
            value = summary.without_rare(score.function, score.tally, over)
            if value is not None:
                without[score.path] = value
    return RareCategories(sorted(names), without)
