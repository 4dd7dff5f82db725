"""The score threshold with the largest box mF1, and the curve over thresholds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import scores
from earthinstruct.metrics.detection import Detection
from earthinstruct.metrics.matching import enlarges_greedy
from earthinstruct.metrics.summary import Summary
from earthinstruct.metrics.tally import totals_at_thresholds
from earthinstruct.metrics.values import Sweep, SweepPoint

SWEEP_THRESHOLDS = np.arange(50) / 50  # 0.00, 0.02, ..., 0.98


def sweep_thresholds(summary: Summary, detection: Detection) -> Sweep:
    """Try every threshold on the scored images themselves: an oracle.

    Raises:
        ValueError: the predictions have no scores.
    """
    values = detection.predictions.scores
    if values is None:
        raise ValueError("a score sweep needs scores, and these predictions have none")
    totals = _totals_at(summary, detection, SWEEP_THRESHOLDS)
    over = summary.groups["all"][summary.has_truth[summary.groups["all"]]]
    if not len(over):
        return Sweep(0.0, [SweepPoint(float(threshold), None, None, None) for threshold in SWEEP_THRESHOLDS])
    means = [score(totals)[:, over].mean(axis=1) for score in (scores.precision, scores.recall, scores.f1)]
    curve = [SweepPoint(*map(float, point)) for point in zip(SWEEP_THRESHOLDS, *means, strict=True)]
    threshold = float(SWEEP_THRESHOLDS[np.argmax(means[-1])])
    distinct = np.unique(values)
    if detection.protocol.rule != "maximum" or not len(distinct):
        return Sweep(threshold, curve)
    exact = scores.f1(_totals_at(summary, detection, distinct))[:, over].mean(axis=1)
    best = int(np.argmax(exact))
    return Sweep(threshold, curve, float(distinct[best]), float(exact[best]))


def _totals_at(summary: Summary, detection: Detection, thresholds: NDArray[np.float64]) -> dict[str, NDArray[np.int64]]:
    if detection.protocol.rule == "maximum":
        matched = detection.matched_all >= 0
    else:
        matched = enlarges_greedy(detection.pairs, np.argsort(-detection.predictions.scores, kind="stable"))  # type: ignore[operator]
    return totals_at_thresholds(detection.predictions, matched, summary.actual.sum(axis=0), thresholds)
