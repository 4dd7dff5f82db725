"""Scores from sums, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from earthinstruct.metrics import scores

COLUMNS = {"tp": np.array([3, 0, 0]), "fp": np.array([1, 2, 0]), "fn": np.array([2, 0, 4])}


def test_by_hand() -> None:
    np.testing.assert_allclose(scores.precision(COLUMNS), [3 / 4, 0, 0])
    np.testing.assert_allclose(scores.recall(COLUMNS), [3 / 5, 0, 0])
    np.testing.assert_allclose(scores.f1(COLUMNS), [6 / 9, 0, 0])
    # recall 0.6 reaches r = 0.00 ... 0.60: 61 of 101 points
    np.testing.assert_allclose(scores.ap_nc(COLUMNS), [0.75 * 61 / 101, 0, 0])


@pytest.mark.parametrize("hundredths", range(1, 101))
def test_ap_nc_counts_a_recall_of_whole_hundredths_without_rounding(hundredths: int) -> None:
    columns = {"tp": np.array([hundredths]), "fp": np.array([0]), "fn": np.array([100 - hundredths])}
    assert scores.ap_nc(columns)[0] == pytest.approx((hundredths + 1) / 101)


def test_average_precision_by_hand() -> None:
    # hit, miss, hit of 2: recall 1/2 at precision 1 (51 points: r <= 0.5), recall 1 at 2/3 (50 points)
    matched = np.array([True, False, True])
    assert scores.average_precision(matched, 2) == pytest.approx((51 + 50 * 2 / 3) / 101)
    # with the last two tied they enter together: the same points
    assert scores.average_precision(matched, 2, np.array([0.9, 0.5, 0.5])) == pytest.approx((51 + 50 * 2 / 3) / 101)
    # all tied: one point, precision 2/3 at recall 1
    assert scores.average_precision(matched, 2, np.ones(3)) == pytest.approx(2 / 3)
    assert scores.average_precision(np.zeros(0, dtype=bool), 2, np.zeros(0)) == 0
