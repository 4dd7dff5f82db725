"""Compute scores from the sums of a tally: pure functions over arrays whose last axis is the category."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[np.int64]] | Mapping[str, NDArray[np.float64]]
Score = Callable[[Columns], NDArray[np.float64]]  # from sums (..., c) to the score of each category, (..., c)
RECALL_POINTS = 101
_RECALLS = np.linspace(0, 1, RECALL_POINTS)


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    """Divide; 0 where the denominator is 0."""
    ratio: NDArray[np.float64] = np.divide(
        numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator > 0
    )
    return ratio


def precision(columns: Columns) -> NDArray[np.float64]:
    """Precision: tp / (tp + fp); 0 where nothing was predicted."""
    return _ratio(columns["tp"], columns["tp"] + columns["fp"])


def recall(columns: Columns) -> NDArray[np.float64]:
    """Recall: tp / (tp + fn); 0 without ground truth."""
    return _ratio(columns["tp"], columns["tp"] + columns["fn"])


def f1(columns: Columns) -> NDArray[np.float64]:
    """2 tp / (2 tp + fp + fn), the harmonic mean of precision and recall.

    >>> f1({"tp": np.array([15]), "fp": np.array([7]), "fn": np.array([10])}).round(4).tolist()  # 30 / 47
    [0.6383]
    """
    twice = 2.0 * columns["tp"]
    return _ratio(twice, twice + columns["fp"] + columns["fn"])


def hallucinated(columns: Columns) -> NDArray[np.float64]:
    """The share of the predictions that are in categories without ground truth, from pooled sums (see `pooled`).

    >>> one = {"tp": np.array([[3, 0]]), "fp": np.array([[0, 100]]), "fn": np.array([[0, 0]])}
    >>> over_all = pooled(one, np.array([0, 1]), np.array([True, False]))
    >>> hallucinated(over_all).round(4).tolist(), f1(over_all).round(4).tolist()  # 100 / 103, 6 / 106
    ([[0.9709]], [[0.0566]])
    """
    return _ratio(columns["absent"], columns["tp"] + columns["fp"])


def relative_error(columns: Columns) -> NDArray[np.float64]:
    """The objects counted too many or too few, over the objects: (fp + fn) / (tp + fn); 0 without objects.

    >>> relative_error({"tp": np.array([8]), "fp": np.array([3]), "fn": np.array([2])}).tolist()  # 5 / 10
    [0.5]
    """
    return _ratio(columns["fp"] + columns["fn"], columns["tp"] + columns["fn"])


def pooled(columns: Columns, members: NDArray[np.int64], has_truth: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Sum over categories, so that predictions of an absent category count against all.

    Args:
        columns: tp, fp, fn (..., c).
        members: the categories to sum.
        has_truth: bool (c,), the categories with ground truth.

    Returns:
        tp, fp, fn and `absent`, the predictions in categories without ground truth: (..., 1).
    """
    absent = members[~has_truth[members]]
    found = {name: columns[name][..., members].sum(axis=-1, keepdims=True) for name in ("tp", "fp", "fn")}
    return found | {"absent": sum(columns[name][..., absent].sum(axis=-1, keepdims=True) for name in ("tp", "fp"))}


def ap_nc(columns: Columns) -> NDArray[np.float64]:
    """Average precision without confidence: precision P at every recall up to the one operating point (P, R).

    AP_nc = P x (number of r in 0, 0.01, ..., 1 with r <= R) / 101.

    >>> ap_nc({"tp": np.array([1]), "fp": np.array([1]), "fn": np.array([1])}).round(4).tolist()  # 0.5 x 51 / 101
    [0.2525]
    """
    tp, positives = columns["tp"], columns["tp"] + columns["fn"]
    # count the r <= R in integers, free of rounding errors: k / 100 <= tp / (tp + fn) means k (tp + fn) <= 100 tp
    reached = np.floor_divide(100 * tp, np.maximum(positives, 1)) + 1
    return np.where(tp > 0, precision(columns) * reached / RECALL_POINTS, 0.0)


def _ap_nc_unrounded(columns: Columns) -> NDArray[np.float64]:
    """AP_nc with 100 R + 1 recall points, not rounded down."""
    return np.where(columns["tp"] > 0, precision(columns) * (100 * recall(columns) + 1) / RECALL_POINTS, 0.0)


def unrounded(score: Score) -> Score:
    """A score without its steps: what one image adds moves it a little, and never by a whole step or not at all."""
    return _ap_nc_unrounded if score is ap_nc else score


def iou(columns: Columns) -> NDArray[np.float64]:
    """Intersection / union, in pixels; 0 where both are empty."""
    return _ratio(columns["intersection"], columns["union"])


def average_precision(matched: NDArray[np.bool_], n_targets: int, scores: NDArray[np.float64] | None = None) -> float:
    """COCO average precision of one category: 101 recall points, precision made non-increasing in recall.

    Args:
        matched: bool (n,), true positives, best score first.
        n_targets: number of ground truths, > 0.
        scores: float64 (n,), in descending order; predictions of equal score enter the curve together. None:
            predictions enter one by one, as in COCO.

    Returns:
        In [0, 1].
    """
    end = np.arange(len(matched)) if scores is None else last_of_equals(scores)
    return area_under_curve(matched, ~matched, end, n_targets)


def last_of_equals(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The index of the last of the equal values of each of n ordered values: int64 (n,)."""
    ends = np.flatnonzero(np.append(np.diff(values) != 0, True)[: len(values)])
    return ends[np.searchsorted(ends, np.arange(len(values)))]


def area_under_curve(
    right: NDArray[np.bool_], wrong: NDArray[np.bool_], end: NDArray[np.int64], n_targets: int
) -> float:
    """COCO average precision, where a prediction may be right, wrong, or neither. Arguments as for the curve."""
    return float(precision_at_recalls(right, wrong, end, n_targets).mean())


def precision_at_recalls(
    right: NDArray[np.bool_], wrong: NDArray[np.bool_], end: NDArray[np.int64], n_targets: int
) -> NDArray[np.float64]:
    """The COCO precision-recall curve of one category: precision at recall 0, 0.01, ..., 1, non-increasing.

    Args:
        right: bool (n,), true positives, best score first.
        wrong: bool (n,), false positives.
        end: int64 (n,), index of the last prediction that enters the curve together with each.
        n_targets: number of ground truths, > 0.

    Returns:
        float64 (101,), in [0, 1]; 0 beyond the largest recall.
    """
    hits = np.flatnonzero(right)
    if not len(hits):
        return np.zeros(RECALL_POINTS)
    # the curve rises at true positives alone, so that no other point of it matters
    ends = end[hits]
    last = np.flatnonzero(np.append(np.diff(ends) != 0, True))
    tp = last + 1
    curve_precision = tp / (tp + np.cumsum(wrong, dtype=np.int32)[ends[last]])
    curve_precision = np.maximum.accumulate(curve_precision[::-1])[::-1]
    at = np.searchsorted(tp / n_targets, _RECALLS, side="left")
    return np.append(curve_precision, 0.0)[at]
