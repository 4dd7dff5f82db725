"""Paired differences of two runs."""

from __future__ import annotations

import numpy as np
import pytest

from earthinstruct.metrics.compare import paired_difference
from earthinstruct.metrics.scores import recall
from earthinstruct.metrics.tally import Tally


def run(found: np.ndarray) -> Tally:
    """One object an image, found or not."""
    tp = found.astype(np.int64)[:, None]
    return Tally(tuple(range(len(found))), ("a",), {"tp": tp, "fp": 0 * tp, "fn": 1 - tp})


def test_equal_runs_do_not_differ() -> None:
    half = run(np.arange(100) % 2)
    difference = paired_difference(half, half, recall, ["a"])
    assert (difference.value, difference.ci95, difference.p) == (0, (0, 0), 1)


def test_a_run_that_finds_more_in_every_resample() -> None:
    # 50 of 100 found, then 90: a difference of 0.4
    first, second = run(np.arange(100) % 2), run(np.arange(100) >= 10)
    difference = paired_difference(first, second, recall, ["a"])
    assert difference.value == pytest.approx(0.4)
    assert 0 < difference.ci95[0] < 0.4 < difference.ci95[1]
    assert difference.p < 0.01
    assert paired_difference(second, first, recall, ["a"]).value == pytest.approx(-0.4)


def test_the_order_of_the_images_has_no_say() -> None:
    first, second = run(np.arange(30) % 2), run(np.arange(30) >= 7)
    backwards = Tally(second.images[::-1], ("a",), {n: c[::-1] for n, c in second.columns.items()})
    assert paired_difference(first, second, recall, ["a"]) == paired_difference(first, backwards, recall, ["a"])


def test_only_the_same_images_and_ground_truth_compare() -> None:
    with pytest.raises(ValueError, match="same images"):
        paired_difference(run(np.ones(3)), run(np.ones(4)), recall, ["a"])
    other = run(np.ones(3))
    other.columns["fn"][0] = 5
    with pytest.raises(ValueError, match="different ground truth"):
        paired_difference(run(np.ones(3)), other, recall, ["a"])


def test_no_ground_truth() -> None:
    nothing = Tally((0,), ("a",), {name: np.zeros((1, 1), dtype=np.int64) for name in ("tp", "fp", "fn")})
    assert paired_difference(nothing, nothing, recall, ["a"]) is None
