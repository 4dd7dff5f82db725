"""The score threshold with the largest box mF1, and the curve over thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earthinstruct.metrics import scores
from earthinstruct.metrics.detection import Detection
from earthinstruct.metrics.inputs import Predicted, Truth
from earthinstruct.metrics.outcomes import Outcomes
from earthinstruct.metrics.protocols import Protocol
from earthinstruct.metrics.summary import Summary
from earthinstruct.metrics.values import Sweep, SweepPoint

SWEEP_THRESHOLDS = np.arange(50) / 50  # 0.00, 0.02, ..., 0.98


def boxes_of_chunk(truth: Truth, predicted: Predicted, protocol: Protocol) -> Outcomes:
    """Collect the data of a chunk for the sweep: the outcomes of its boxes.

    Raises:
        ValueError: the predictions have no scores.
    """
    found = Detection(truth, predicted.instances, protocol, "box").outcomes(protocol.rule)
    if found is None:
        raise ValueError("a score sweep needs scores, and these predictions have none")
    return found


def choose_threshold(chunks: Sequence[Outcomes], truth: Truth, protocol: Protocol) -> Sweep:
    """Choose the threshold on the scored images themselves: an oracle. `truth`: the ground truth of any chunk."""
    outcomes = Outcomes.join(chunks)
    totals = outcomes.totals_at(SWEEP_THRESHOLDS)
    summary = Summary(truth.categories, truth.groups, outcomes.n_targets)
    over = summary.groups["all"][summary.has_truth[summary.groups["all"]]]
    if not len(over):
        return Sweep(0.0, [SweepPoint(float(threshold), None, None, None) for threshold in SWEEP_THRESHOLDS])
    means = [score(totals)[:, over].mean(axis=1) for score in (scores.precision, scores.recall, scores.f1)]
    curve = [SweepPoint(*map(float, point)) for point in zip(SWEEP_THRESHOLDS, *means, strict=True)]
    threshold = float(SWEEP_THRESHOLDS[np.argmax(means[-1])])
    if protocol.rule != "maximum" or not len(outcomes.scores):
        return Sweep(threshold, curve)
    best_f1, best_threshold = -1.0, 0.0
    for distinct, totals in outcomes.at_distinct_scores():
        f1 = scores.f1(totals)[:, over].mean(axis=1)
        best = int(np.argmax(f1))
        if f1[best] > best_f1:  # thresholds increase, so of equal F1 the lowest threshold is kept
            best_f1, best_threshold = float(f1[best]), float(distinct[best])
    return Sweep(threshold, curve, best_threshold, best_f1)
