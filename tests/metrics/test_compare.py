"""Paired differences of two runs."""

from __future__ import annotations

import numpy as np
import pytest

from earthinstruct.metrics import Paired, Tally, paired
from earthinstruct.metrics.scores import f1, recall


def run(found: np.ndarray) -> Tally:
    """One object an image, found or not."""
    tp = found.astype(np.int64)[:, None]
    return Tally(tuple(range(len(found))), ("a",), {"tp": tp, "fp": 0 * tp, "fn": 1 - tp})


def pair(first: Tally, second: Tally, resamples: int = 1_000) -> Paired:
    return paired({"box": first}, {"box": second}, resamples)["box"]


def test_equal_runs_do_not_differ() -> None:
    half = run(np.arange(100) % 2)
    difference = pair(half, half).of_mean(recall, ["a"])
    assert (difference.first, difference.second) == (0.5, 0.5)
    assert (difference.value, difference.ci95, difference.p) == (0, (0, 0), 1)


def test_a_run_that_finds_more_in_every_resample() -> None:
    # 50 of 100 found, then 90: a difference of 0.4
    first, second = run(np.arange(100) % 2), run(np.arange(100) >= 10)
    difference = pair(first, second).of_mean(recall, ["a"])
    assert difference.value == pytest.approx(0.4)
    assert 0 < difference.ci95[0] < 0.4 < difference.ci95[1]
    assert difference.p == pytest.approx(2 / 1001)  # no resample of 1,000 on the other side
    assert pair(second, first).of_mean(recall, ["a"]).value == pytest.approx(-0.4)


def test_runs_that_err_on_the_same_images_differ_more_surely_than_runs_that_do_not() -> None:
    half = np.arange(200) % 2
    nested, apart = half.copy(), half[::-1].copy()
    nested[:20] = 1
    apart[:20] = 1  # ten more found than `half`, both
    related = pair(run(half), run(nested)).of_mean(recall, ["a"])
    unrelated = pair(run(half), run(apart)).of_mean(recall, ["a"])
    assert related.value == unrelated.value == pytest.approx(0.05)
    assert related.p < 0.05 < unrelated.p


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    # 200 pairs of runs of equal recall over 100 images: about 5 % of the intervals leave 0 out
    generator = np.random.default_rng(3)
    outside = 0
    for _ in range(200):
        low, high = (
            pair(run(generator.random(100) < 0.6), run(generator.random(100) < 0.6), 300).of_mean(recall, ["a"]).ci95
        )
        outside += not low <= 0 <= high
    assert 2 <= outside <= 20


def test_the_order_of_the_images_has_no_say() -> None:
    first, second = run(np.arange(30) % 2), run(np.arange(30) >= 7)
    backwards = Tally(second.images[::-1], ("a",), {n: c[::-1] for n, c in second.columns.items()})
    assert pair(first, second).of_mean(recall, ["a"]) == pair(first, backwards).of_mean(recall, ["a"])


def test_error_types_are_compared_in_objects(build) -> None:
    targets = build.instances([(i, 0, 0, 0, 10, 10) for i in range(3)] + [(0, 1, 20, 20, 10, 10)])
    truth = build.truth(targets)
    empty = build.tallies(truth, build.predicted(build.instances([]), truth))["errors.box"]
    beside = build.instances([(i, 0, 6, 0, 10, 10) for i in range(3)])
    placed = build.tallies(truth, build.predicted(beside, truth))["errors.box"]
    errors = pair(empty, placed)
    missed = errors.of_sum("missed", truth.categories)
    assert (missed.first, missed.second, missed.value) == (4, 1, -3)
    assert missed.ci95 == (-3, -3)  # one less in each image, whichever are drawn
    assert errors.of_sum("localisation", ["a"]).value == 3
    assert errors.of_sum("localisation", ["b"]).value == 0


def test_only_the_same_images_and_ground_truth_compare() -> None:
    with pytest.raises(ValueError, match="same images"):
        pair(run(np.ones(3)), run(np.ones(4)))
    other = run(np.ones(3))
    other.columns["fn"][0] = 5
    with pytest.raises(ValueError, match="different ground truth"):
        pair(run(np.ones(3)), other)


def test_no_ground_truth() -> None:
    nothing = Tally((0,), ("a",), {name: np.zeros((1, 1), dtype=np.int64) for name in ("tp", "fp", "fn")})
    assert pair(nothing, nothing).of_mean(f1, ["a"]) is None


def test_tallies_of_the_same_images_share_their_resamples() -> None:
    half, most = run(np.arange(40) % 2), run(np.arange(40) >= 4)
    together = paired({"box": half, "mask": most, "alone": half}, {"mask": most, "box": most}, 50)
    assert list(together) == ["box", "mask"]
    assert together["box"].of_mean(recall, ["a"]) == pair(half, most, 50).of_mean(recall, ["a"])
