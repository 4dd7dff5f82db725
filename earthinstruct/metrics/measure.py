"""Scores one set of predictions: instances in, `Metrics` out. Reads no files and knows no datasets.

Each kind of score has a module of its own: `counting`, `detection` (boxes and masks), `average_precision`, `regions`
(mIoU), `proposals`, `sweep`; `summary` turns their tallies into means, groups and intervals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.bootstrap import RESAMPLES
from earthinstruct.metrics.counting import counting_scores, counting_tally
from earthinstruct.metrics.detection import Detection, detection_scores, mask_scores
from earthinstruct.metrics.inputs import Predicted, Truth
from earthinstruct.metrics.proposals import proposal_scores
from earthinstruct.metrics.protocols import STANDARD, Protocol
from earthinstruct.metrics.summary import Summary
from earthinstruct.metrics.sweep import sweep_thresholds
from earthinstruct.metrics.tally import Tally
from earthinstruct.metrics.values import Metrics


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
    summary = Summary(truth, resamples)
    boxes = Detection.of(truth, predicted, protocol, "box")
    chosen = sweep_thresholds(summary, boxes) if sweep else None
    kept = _kept(predicted, None if chosen is None else chosen.threshold)
    given = predicted.has_counts
    nothing_given = np.zeros_like(given)
    return Metrics(
        counting=counting_scores(summary, predicted, protocol, kept, given),
        counting_from_instances=(
            counting_scores(summary, predicted, protocol, kept, nothing_given) if given.any() else None
        ),
        box=detection_scores(summary, boxes, kept),
        mask=mask_scores(summary, predicted, protocol, kept),
        proposals=proposal_scores(summary, predicted, protocol),
        sweep=chosen,
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
    kept = _kept(predicted, threshold)
    found = {
        "counting": counting_tally(truth, predicted, protocol, kept, predicted.has_counts),
        "box": Detection.of(truth, predicted, protocol, "box").tally(kept),
    }
    if truth.instances.masks is not None and predicted.instances.masks is not None:
        found["mask"] = Detection.of(truth, predicted, protocol, "mask").tally(kept)
    return found


def _kept(predicted: Predicted, threshold: float | None) -> NDArray[np.bool_]:
    """Which predictions are there: bool (predictions,); without scores or a threshold all are."""
    scores = predicted.instances.scores
    if threshold is None or scores is None:
        return np.ones(len(predicted.instances), dtype=bool)
    return np.asarray(scores >= threshold)
