"""Differences of two runs: intervals, and the paired sign-flip test by hand, in plain Python and in a simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.intervals import Method, Population, equal_f1, paired_tests
from earthinstruct.metrics import Difference, Paired, Tally, compare, paired
from earthinstruct.metrics.compare import holm
from earthinstruct.metrics.scores import Score, f1, recall


def run(found: np.ndarray) -> Tally:
    """One object an image, found or not."""
    tp = found.astype(np.int64)[:, None]
    return Tally(tuple(range(len(found))), ("a",), {"tp": tp, "fp": 0 * tp, "fn": 1 - tp})


def pair(first: Tally, second: Tally) -> Paired:
    return paired({"box": first}, {"box": second})["box"]


def difference(first: Tally, second: Tally, score: Score = recall) -> Difference:
    return pair(first, second).of_mean(score, {"all": first.categories})["all"]


def random_pair(seed: int, images: int = 6, categories: int = 2) -> tuple[Tally, Tally]:
    generator = np.random.default_rng(seed)
    objects = generator.poisson(1.5, (images, categories))
    objects[0] = 1
    runs = []
    for _ in range(2):
        tp = generator.binomial(objects, 0.5)
        columns = {"tp": tp, "fp": generator.poisson(1, objects.shape), "fn": objects - tp}
        runs.append(Tally(tuple(range(images)), tuple("abcdef"[:categories]), columns).compact())
    return runs[0], runs[1]


def plain_p(first: Tally, second: Tally, score: Score) -> float:
    """The share of all 2^n swaps with a difference at least as large, one by one."""
    there = (first.columns["tp"] + first.columns["fn"]).sum(axis=0) > 0

    def off(swapped: tuple[bool, ...]) -> float:
        rows = np.array(swapped)[:, None]
        means = []
        for one, other in ((first, second), (second, first)):
            sums = {
                name: np.where(rows, other.columns[name], one.columns[name]).astype(np.int64).sum(axis=0)
                for name in one.columns
            }
            means.append(score(sums)[there].mean())
        return means[1] - means[0]

    every = [off(swapped) for swapped in product((False, True), repeat=len(first.images))]
    return float(np.mean([abs(one) >= abs(every[0]) - 1e-12 for one in every]))


def test_equal_runs_do_not_differ() -> None:
    half = run(np.arange(100) % 2)
    found = difference(half, half)
    assert (found.first, found.second) == (0.5, 0.5)
    # that no image differs does not show that none would: 0 to 0 would claim it
    assert (found.value, found.ci95, found.p, found.p_is_bound) == (0, None, 1, False)
    assert found.reason == "no interval: no image differs, or all images differ by the same"
    objects = pair(half, half).of_sum("fn", {"all": "a"})["all"]
    assert (objects.value, objects.ci95, objects.reason) == (0, None, found.reason)


@pytest.mark.parametrize("images", [2, 5, 10, 20, 50])
def test_intervals_of_methods_that_seldom_differ_hold_the_true_difference(images: int) -> None:
    generator, held = np.random.default_rng(0), []
    for _ in range(300):
        # one object an image, found with a probability of 0.97 or 0.90
        found = difference(*(run(generator.random(images) < recall) for recall in (0.97, 0.90)))
        if found.ci95 is not None:
            held.append(found.ci95[0] <= -0.07 <= found.ci95[1])
    assert len(held) > 50
    assert np.mean(held) >= 0.9  # of 3,000 pairs: 92.0 % with 20 images, 94.7 % with 50, more with fewer


def test_four_equal_wins_are_two_of_sixteen_flips() -> None:
    first, second = run(np.zeros(4)), run(np.ones(4))
    found = difference(first, second)
    assert (found.value, found.p) == (1, 2 / 16)
    assert (found.ci95, found.reason) == (None, "no interval: no image differs, or all images differ by the same")
    objects = pair(first, second).of_sum("fn", {"all": "a"})["all"]
    assert (objects.value, objects.p, objects.ci95) == (-4, 2 / 16, None)


def test_one_image_has_no_p_value() -> None:
    found = difference(run(np.zeros(1)), run(np.ones(1)))
    assert (found.value, found.p, found.ci95) == (1, None, None)
    assert found.reason == "one image: no p-value and no interval can be given"
    assert found.p_texts() == ("-", "-")


def test_only_images_that_differ_are_flipped() -> None:
    # 100 images, of which 3 differ, to one side: 2 of 8 flips
    first, second = np.arange(100) % 2, np.arange(100) % 2
    second[[0, 2, 4]] = 1
    assert difference(run(first), run(second)).p == 2 / 8
    second[1] = 0  # one to the other side: 3 of the 16 flips have a sum of 4 or -4, or 2: (1 + 4) x 2
    assert difference(run(first), run(second)).p == 10 / 16


@given(seed=st.integers(0, 10**6))
@pytest.mark.parametrize("score", [f1, recall])
def test_p_is_the_share_of_all_swaps(score, seed) -> None:
    first, second = random_pair(seed)
    assert difference(first, second, score).p == pytest.approx(plain_p(first, second, score))


def test_sums_of_objects_have_the_sign_flip_test_of_scipy() -> None:
    first, second = random_pair(8, images=12)
    off = (second.columns["fp"] - first.columns["fp"]).sum(axis=1).astype(float)
    expected = stats.permutation_test(
        (off,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    found = pair(first, second).of_sum("fp", {"all": "ab", "a": "a"})
    assert found["all"].p == pytest.approx(expected.pvalue)
    # n x mean ± t x n x standard error of the mean, over the images that differ
    n, differing = len(off), int((off != 0).sum())
    half = stats.t.ppf(0.975, differing - 1) * np.sqrt(n) * off.std(ddof=1)
    assert found["all"].ci95 == pytest.approx((off.sum() - half, off.sum() + half), rel=1e-3)
    assert found["a"].value == off.sum() - (second.columns["fp"] - first.columns["fp"])[:, 1].sum()


def test_random_flips_come_close_to_all_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = random_pair(3, images=10)
    exact = difference(first, second, f1)
    monkeypatch.setattr(compare, "EXACT_IMAGES", 5)
    drawn = difference(first, second, f1)
    assert 0.1 < exact.p < 0.9
    assert drawn.p == pytest.approx(exact.p, abs=0.02)  # 4 standard errors of 9,999 flips
    assert drawn.ci95 == exact.ci95


def test_a_difference_that_no_random_flip_reaches_has_a_bound() -> None:
    # 50 of 100 found, then 90: a difference of 0.4
    first, second = run(np.arange(100) % 2), run(np.arange(100) >= 10)
    found = difference(first, second)
    assert found.value == pytest.approx(0.4)
    assert found.ci95[0] < 0.4 < found.ci95[1]
    assert (found.p, found.p_is_bound) == (1 / 10_000, True)
    assert found.p_texts()[0] == "<= 0.0001"
    assert difference(second, first).value == pytest.approx(-0.4)


def test_runs_that_err_on_the_same_images_differ_more_surely_than_runs_that_do_not() -> None:
    half = np.arange(200) % 2
    nested, apart = half.copy(), half[::-1].copy()
    nested[:20] = 1
    apart[:20] = 1  # ten more found than `half`, both
    related, unrelated = difference(run(half), run(nested)), difference(run(half), run(apart))
    assert related.value == unrelated.value == pytest.approx(0.05)
    assert related.p < 0.05 < unrelated.p
    assert related.ci95[0] > 0 > unrelated.ci95[0]


def test_how_the_work_is_cut_changes_no_p(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = random_pair(5, images=40, categories=3)
    before = difference(first, second, f1)
    monkeypatch.setattr(compare, "_FACTORS_AT_ONCE", 60_000)
    monkeypatch.setattr(compare, "_SCORED_AT_ONCE", 3_000)
    monkeypatch.setattr(compare, "_SUMS_AT_ONCE", 1)  # of one tally at a time
    assert difference(first, second, f1) == before
    runs = {"box": first, "mask": second}, {"box": second, "mask": first}
    found = {name: pair.of_mean(f1, {"all": "abc"}, bounded=True)["all"] for name, pair in paired(*runs).items()}
    assert found["box"] == before
    assert found["mask"].p == before.p


def test_the_order_of_the_images_has_no_say() -> None:
    first, second = random_pair(4, images=30)
    backwards = Tally(second.images[::-1], second.categories, {n: c[::-1] for n, c in second.columns.items()})
    turned = Tally(first.images[::-1], first.categories, {n: c[::-1] for n, c in first.columns.items()})
    assert difference(first, second, f1) == difference(first, backwards, f1) == difference(turned, backwards, f1)


def test_single_categories_and_groups_are_compared_together() -> None:
    first, second = random_pair(2, images=20, categories=3)
    for columns in (first.columns, second.columns):
        for column in columns.values():
            column[:, 2] = 0  # c has no objects
    found = pair(first, second).of_mean(f1, {"all": "abc", "a": "a", "b": "b", "c": "c"})
    assert list(found) == ["all", "a", "b"]
    assert found["all"].value == pytest.approx((found["a"].value + found["b"].value) / 2)
    assert found["a"] == pair(first, second).of_mean(f1, {"a": "a"})["a"]


def test_error_types_are_compared_in_objects(build) -> None:
    targets = build.instances([(i, 0, 0, 0, 10, 10) for i in range(3)] + [(0, 1, 20, 20, 10, 10)])
    truth = build.truth(targets)
    empty = build.tallies(truth, build.predicted(build.instances([]), truth))["errors.box"]
    beside = build.instances([(i, 0, 6, 0, 10, 10) for i in range(2)])
    placed = build.tallies(truth, build.predicted(beside, truth))["errors.box"]
    errors = pair(empty, placed)
    missed = errors.of_sum("missed", {"all": truth.categories})["all"]
    assert (missed.first, missed.second, missed.value) == (4, 2, -2)
    # -1, -1 and 0 in three images: 3 x standard error root(1 / 3 / 3) of the mean, and 2 images that differ, t = 12.706
    assert missed.ci95 == pytest.approx((-2 - 12.706, -2 + 12.706), abs=1e-3)
    assert missed.p == 2 / 4
    by_category = errors.of_sum("localisation", {"a": "a", "b": "b"})
    assert (by_category["a"].value, by_category["b"].value, by_category["b"].p) == (2, 0, 1)


def test_a_run_that_differs_in_one_image_has_no_interval_of_objects() -> None:
    first, second = run(np.zeros(5)), run(np.arange(5) == 0)
    found = pair(first, second).of_sum("tp", {"all": "a"})["all"]
    assert (found.ci95, found.p, found.reason) == (None, 1, "no interval: the runs differ in one image")


def test_only_the_same_images_and_ground_truth_compare() -> None:
    with pytest.raises(ValueError, match="same images"):
        pair(run(np.ones(3)), run(np.ones(4)))
    other = run(np.ones(3))
    other.columns["fn"][0] = 5
    with pytest.raises(ValueError, match="different ground truth"):
        pair(run(np.ones(3)), other)


def test_no_ground_truth() -> None:
    nothing = Tally((0,), ("a",), {name: np.zeros((1, 1), dtype=np.int64) for name in ("tp", "fp", "fn")})
    assert pair(nothing, nothing).of_mean(f1, {"all": "a"}) == {}


def test_tallies_with_fewer_images_are_compared_with_the_others() -> None:
    # protocol `paper` counts in some images only
    half, most, few = run(np.arange(40) % 2), run(np.arange(40) >= 4), run(np.arange(7) % 2)
    together = paired({"box": half, "counting": few, "alone": half}, {"counting": run(np.ones(7)), "box": most})
    assert list(together) == ["box", "counting"]
    assert together["box"].of_mean(recall, {"all": "a"})["all"] == difference(half, most)
    # the four even ones of 7 differ, to one side; other images are flipped too, at random
    assert together["counting"].of_mean(recall, {"all": "a"})["all"].p == pytest.approx(2 / 16, abs=0.02)


@given(st.lists(st.one_of(st.none(), st.floats(0.0001, 1)), max_size=8))
def test_holm_is_that_of_its_definition(p) -> None:
    known = [value for value in p if value is not None]
    for value, corrected in zip(p, holm(p), strict=True):
        if value is None:
            assert corrected is None
            continue
        # the largest of (n - number of smaller ones) x p over all p up to this one
        up_to = [min(1.0, sum(other >= one for other in known) * one) for one in known if one <= value]
        assert corrected == pytest.approx(max(up_to))
        assert value <= corrected <= 1


@pytest.mark.parametrize(("tail", "images"), [(False, 1), (False, 2), (False, 4), (False, 8), (True, 16)])
def test_two_equal_methods_seldom_differ(tail, images) -> None:
    # at most 5 %: with 200 pairs of runs up to 9 % (three standard errors). The seeds are fixed
    tested = paired_tests(Population(10, tail=tail), images, 200, Method())
    assert max(tested.rejected.values()) <= 0.09
    assert max(tested.rejected.values()) == 0 or images > 5  # 2 of 16 flips are more than 5 %
    if images > 2:
        assert min(held.share for held in tested.intervals.values()) >= 0.92


def test_methods_with_other_errors_and_an_equal_score_seldom_differ() -> None:
    population = Population(10, tail=False)
    other = equal_f1(population)
    assert other.false > 1.5
    assert paired_tests(population, 12, 200, other).rejected["mF1"] <= 0.09
