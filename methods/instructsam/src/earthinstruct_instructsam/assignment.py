"""Assigns labels to proposals: exactly under the counts (paper, section 3.4), or without counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from earthinstruct_models.parameters import check_integer
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

STEPS = 1_000_000  # similarities are compared in steps of 1e-6


def assign_under_counts(similarities: NDArray[np.floating], counts: Sequence[int]) -> NDArray[np.int64]:
    """Assign labels to proposals so that the sum of (1 - similarity) is minimal.

    Each proposal gets at most one label. With at least as many proposals as counted objects, each label is used exactly
    as often as it was counted; otherwise every proposal gets a label, and no label is used more often than its count.
    The constraints are totally unimodular, so the assignment problem on columns repeated by their counts is exact. No
    label needs more columns than there are proposals.

    Ties: among the best assignments, one with the best-ranked proposals (smallest sum of indices) is taken. Costs are
    integers small enough for exact arithmetic, so remaining ties are broken alike on every machine.

    Args:
        similarities: (n proposals, m labels), in [-1, 1], proposals best first.
        counts: m integers >= 0.

    Returns:
        int64 (n,): the index of the label of each proposal, or -1.

    Raises:
        EarthInstructError: a count is negative, or not an integer.

    >>> assign_under_counts(np.array([[0.9, 0.8], [0.8, 0.1], [0.2, 0.3]]), [1, 1])  # 0.8 + 0.8 beats 0.9 + 0.3
    array([ 1,  0, -1])
    """
    n = len(similarities)
    columns = np.repeat(np.arange(len(counts)), [min(check_integer("count", count, least=0), n) for count in counts])
    labels = np.full(n, -1, dtype=np.int64)
    if not n or not len(columns):
        return labels
    steps = np.rint((1.0 - np.asarray(similarities, dtype=np.float64)) * STEPS)
    largest_sum_of_ranks = n * min(n, len(columns))
    cost = steps * (largest_sum_of_ranks + 1) + np.arange(n)[:, None]
    rows, chosen = linear_sum_assignment(cost[:, columns])
    labels[rows] = columns[chosen]
    return labels


def assign_nearest(similarities: NDArray[np.floating]) -> NDArray[np.int64]:
    """Assign to every proposal its most similar label (the first of equals), without counts.

    Args:
        similarities: (n proposals, m labels).

    Returns:
        int64 (n,): the index of the label, or -1 if m is 0.
    """
    if not similarities.shape[1]:
        return np.full(len(similarities), -1, dtype=np.int64)
    labels: NDArray[np.int64] = np.argmax(np.rint(similarities * STEPS), axis=1).astype(np.int64)
    return labels


def assign_above(similarities: NDArray[np.floating], threshold: float) -> NDArray[np.int64]:
    """Assign to every proposal its most similar label if the similarity reaches a threshold, without counts.

    Args:
        similarities: (n proposals, m labels).
        threshold: a similarity.

    Returns:
        int64 (n,): the index of the label of each proposal, or -1.

    >>> assign_above(np.array([[0.1, 0.3], [0.1, 0.2]]), 0.25)
    array([ 1, -1])
    """
    if not similarities.shape[1]:
        return assign_nearest(similarities)
    return np.where(similarities.max(axis=1) >= threshold, assign_nearest(similarities), -1)


def only_scored(assigned: NDArray[np.int64], similarities: NDArray[np.floating]) -> NDArray[np.int64]:
    """Take back every label that has no score for its proposal, where 0 says that the label was not found there.

    The sum of similarities stays the largest under the counts, because a label without a score adds nothing to it.

    Args:
        assigned: int64 (n proposals,), index of the label, or -1.
        similarities: (n, m labels), >= 0.

    >>> only_scored(np.array([1, 0, -1]), np.array([[0.0, 0.8], [0.0, 0.1], [0.2, 0.3]]))
    array([ 1, -1, -1])
    """
    given = np.flatnonzero(assigned >= 0)
    without = given[similarities[given, assigned[given]] <= 0]
    labels = assigned.copy()
    labels[without] = -1
    return labels
