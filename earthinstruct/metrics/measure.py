"""Scores one set of predictions: instances in, `Metrics` out. Reads no files and knows no datasets.

Each kind of score has a module of its own: `counting`, `detection` (boxes and masks), `average_precision`, `regions`
(mIoU), `proposals`, `sweep`; `summary` turns their tallies into means, groups and intervals.
"""

from __future__ import annotations

import numpy as np

from earthinstruct.metrics.bootstrap import RESAMPLES
from earthinstruct.metrics.counting import counting_scores, counting_tally
from earthinstruct.metrics.detection import Detection, detection_scores, mask_scores
from earthinstruct.metrics.error_types import counting_errors, detection_errors, tally_errors
from earthinstruct.metrics.inputs import Predicted, Truth, geometries
from earthinstruct.metrics.proposals import proposal_scores
from earthinstruct.metrics.protocols import STANDARD, Protocol
from earthinstruct.metrics.summary import Summary
from earthinstruct.metrics.sweep import sweep_thresholds
from earthinstruct.metrics.tally import Tally
from earthinstruct.metrics.values import ErrorTypes, Metrics


def measure(
    truth: Truth,
    predicted: Predicted,
    protocol: Protocol = STANDARD,
    *,
    sweep: bool = False,
    resamples: int = RESAMPLES,
    errors: bool = True,
) -> Metrics:
    """All scores of a set of predictions.

    Args:
        truth: the ground truth.
        predicted: the predictions.
        protocol: the rules.
        sweep: choose the score threshold with the largest box mF1 first, and score what reaches it.
        resamples: bootstrap resamples for the 95 % intervals; 0: no intervals.
        errors: also the error types.

    Raises:
        ValueError: a sweep of predictions without scores.
    """
    summary = Summary(truth, resamples)
    boxes = Detection.of(truth, predicted, protocol, "box")
    chosen = sweep_thresholds(summary, boxes) if sweep else None
    kept = predicted.reaching(None if chosen is None else chosen.threshold)
    given = predicted.has_counts
    nothing_given = np.zeros_like(given)
    masks = Detection.of(truth, predicted, protocol, "mask") if "mask" in geometries(truth, predicted) else None
    return Metrics(
        counting=counting_scores(summary, predicted, protocol, kept, given),
        counting_from_instances=(
            counting_scores(summary, predicted, protocol, kept, nothing_given) if given.any() else None
        ),
        box=detection_scores(summary, boxes, kept),
        mask=mask_scores(summary, masks, kept, truth.no_masks_reason or predicted.no_masks_reason),
        proposals=proposal_scores(summary, predicted, protocol),
        sweep=chosen,
        errors=(
            ErrorTypes(
                counting=counting_errors(counting_tally(truth, predicted, protocol, kept, given)),
                box=detection_errors(boxes, kept),
                mask=None if masks is None else detection_errors(masks, kept),
            )
            if errors
            else None
        ),
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
    found = {"counting": counting_tally(truth, predicted, protocol, kept, predicted.has_counts)}
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
