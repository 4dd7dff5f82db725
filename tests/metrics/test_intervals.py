"""Intervals by leaving out one image at a time: by hand, against plain Python, and in a small simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.intervals import Population, coverage
from earthinstruct.metrics import Tally, intervals
from earthinstruct.metrics.intervals import around, spread, t_quantile, within_0_and_1
from earthinstruct.metrics.scores import ap_nc, f1, iou, precision, recall


def tally(tp: list[list[int]], fn: list[list[int]], fp: list[list[int]] | None = None) -> Tally:
    """Rows are images."""
    columns = {"tp": np.array(tp), "fp": np.array(fp or np.zeros_like(tp)), "fn": np.array(fn)}
    return Tally(tuple(range(len(tp))), tuple("abcdef"[: len(tp[0])]), columns).compact()


def random_tally(seed: int, images: int = 7, categories: int = 3) -> Tally:
    generator = np.random.default_rng(seed)
    there = generator.random((images, categories)) < 0.5
    tp, fn, fp = (there * generator.poisson(2, there.shape) for _ in range(3))
    return tally(tp.tolist(), fn.tolist(), fp.tolist())


def plain_error(whole: Tally, score, members: list[int]) -> float:
    """The standard error in plain Python, image by image."""

    def mean(rows: list[int]) -> float | None:
        columns = {name: column[rows].astype(np.int64).sum(axis=0) for name, column in whole.columns.items()}
        there = [c for c in members if columns["tp"][c] + columns["fn"][c] > 0]
        return float(np.mean([score(columns)[c] for c in there])) if there else None

    rows = list(range(len(whole.images)))
    value = mean(rows)
    squares = [(left - value) ** 2 for i in rows if (left := mean(rows[:i] + rows[i + 1 :])) is not None]
    objects = (whole.columns["tp"] + whole.columns["fn"])[:, members].any(axis=1).sum()
    return float(np.sqrt((objects - 1) / objects * sum(squares)))


def test_a_mean_of_one_object_an_image_has_its_textbook_error() -> None:
    # 400 images with one object each, half of them found: root(0.25 / 399), as n - 1 is the divisor of the variance
    found = np.arange(400)[:, None] % 2
    whole = tally(found.tolist(), (1 - found).tolist())
    spreads = spread(whole, recall, np.ones((1, 1), dtype=bool))
    assert spreads.errors[0] == pytest.approx(np.sqrt(0.25 / 399))
    low, high = spreads.intervals(np.array([0.5]), within_0_and_1)[0]
    assert (low, high) == pytest.approx((0.5 - 1.966 * 0.025, 0.5 + 1.966 * 0.025), abs=1e-3)


def test_a_category_in_one_image_adds_its_distance_from_the_others() -> None:
    # a: one object in each of three images, all found; b: one object in the first image, not found. Mean (1 + 0) / 2;
    # without the first image 1, without another 1 / 2: root(2 / 3 x (1 / 2)^2)
    whole = tally([[1, 0], [1, 0], [1, 0]], [[0, 1], [0, 0], [0, 0]])
    spreads = spread(whole, recall, np.array([[True, True], [True, False], [False, True]]))
    assert spreads.errors.tolist() == pytest.approx([np.sqrt(1 / 6), 0, 0])
    assert spreads.images.tolist() == [3, 3, 1]
    assert spreads.intervals(np.array([0.5, 1, 0]), within_0_and_1)[2] is None


@given(seed=st.integers(0, 10**6))
@pytest.mark.parametrize("score", [f1, precision, recall])
def test_errors_are_those_of_plain_python(score, seed) -> None:
    whole = random_tally(seed)
    members = np.array([[True, True, True], [True, False, True], [False, True, False]])
    there = (whole.totals["tp"] + whole.totals["fn"]) > 0
    spreads = spread(whole, score, members)
    for row, error, images in zip(members & there, spreads.errors, spreads.images, strict=True):
        if row.any():
            assert images > 0
            assert error == pytest.approx(plain_error(whole, score, np.flatnonzero(row).tolist()))


@given(seed=st.integers(0, 10**6))
def test_the_order_of_images_and_categories_changes_no_digit(seed) -> None:
    whole, generator = random_tally(seed, 9), np.random.default_rng(seed)
    images, categories = generator.permutation(9), generator.permutation(3)
    turned = Tally(
        tuple(whole.images[i] for i in images),
        tuple(whole.categories[c] for c in categories),
        {name: column[np.ix_(images, categories)] for name, column in whole.columns.items()},
    )
    members = np.array([[True, True, True], [True, True, False]])
    before, after = spread(whole, f1, members), spread(turned, f1, members[:, categories])
    assert before.errors.tolist() == after.errors.tolist()


def test_how_the_work_is_cut_changes_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, members = random_tally(1, 50), np.eye(3, dtype=bool)
    before = spread(whole, f1, members).errors
    monkeypatch.setattr(intervals, "_CELLS_AT_ONCE", 7)
    np.testing.assert_allclose(spread(whole, f1, members).errors, before, rtol=1e-12)


def test_categories_without_ground_truth_enter_where_the_protocol_says_so() -> None:
    # b has no object, and one false prediction in the first image; mean (1 + 0) / 2 with and without any image
    whole = tally([[1, 0], [1, 0]], [[0, 0], [0, 0]], [[0, 1], [0, 0]])
    assert spread(whole, f1, np.ones((1, 2), dtype=bool), np.array([False, True])).errors.tolist() == [0]
    whole.columns["fp"][0, 0] = 2  # a: 4 / 6; without the first image 1, without the second 1 / 2; halves of them
    error = spread(whole, f1, np.ones((1, 2), dtype=bool), np.array([False, True])).errors[0]
    assert error == pytest.approx(np.sqrt(((1 / 2 - 1 / 3) ** 2 + (1 / 4 - 1 / 3) ** 2) / 2))


def test_the_steps_of_ap_nc_do_not_count() -> None:
    # 1,000 images with one object each, 600 of them found and no other prediction: P = 1, and R moves by less than a
    # step, 0.01. AP_nc moves as R does, by the factor 100 / 101
    found = (np.arange(1000)[:, None] < 600).astype(int)
    whole, members = tally(found.tolist(), (1 - found).tolist()), np.ones((1, 1), dtype=bool)
    of_ap, of_recall = (spread(whole, score, members).errors[0] for score in (ap_nc, recall))
    assert of_ap == pytest.approx(of_recall * 100 / 101)


def test_counts_of_many_objects_in_one_image_do_not_overflow() -> None:
    whole = tally([[100], [100]], [[100], [20]])
    assert whole.columns["tp"].dtype == np.int8
    assert spread(whole, recall, np.ones((1, 1), dtype=bool)).images.tolist() == [2]


def test_other_sums_may_stand_for_those_without_each_image() -> None:
    # of a sweep: without the first image another threshold is chosen, at which 3 of 4 objects are found
    whole, members = tally([[1], [2]], [[1], [2]]), np.ones((1, 1), dtype=bool)
    chosen = [{"tp": np.array([[3], [1]]), "fp": np.array([[0], [0]]), "fn": np.array([[1], [1]])}]
    assert spread(whole, recall, members, without=chosen).errors[0] == pytest.approx(np.sqrt(0.25**2 / 2))


@given(
    value=st.floats(0, 1),
    error=st.one_of(st.just(0.0), st.floats(1e-9, 1)),
    images=st.integers(2, 10**6),
)
def test_the_value_is_always_inside(value, error, images) -> None:
    low, high = within_0_and_1(value, error, images)
    assert 0 <= low <= value <= high <= 1
    wider = within_0_and_1(value, error * 2, images)
    if error > 1e-9 and 0 < value < 1:
        assert wider[1] - wider[0] >= (high - low) * (1 - 1e-9)


def test_wilsons_interval_by_hand() -> None:
    # statsmodels.stats.proportion.proportion_confint(8, 10, method="wilson"): 0.4902, 0.9433. The error of 8 of 10 is
    # root(0.16 / 10); with so many images that t is the normal quantile
    assert within_0_and_1(0.8, np.sqrt(0.016), 10**9) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    # 10 of 10 and 0 of 10: 10 / (10 + 3.8415)
    assert within_0_and_1(1.0, 0.0, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    assert within_0_and_1(0.0, 0.0, 10) == pytest.approx((0, 0.2775), abs=1e-4)


def test_fewer_than_two_images_give_no_interval() -> None:
    assert within_0_and_1(0.5, 0.1, 1) is None
    assert around(3.0, 0.1, 1) is None
    assert around(3.0, 0.0, 5) is None  # no image differs from another: how far others would is not known
    assert around(0.0, 0.0, 5) is None
    assert around(3.0, 1.0, 2) == pytest.approx((3 - 12.706, 3 + 12.706), abs=1e-3)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 20, 100, 5849])
def test_quantiles_of_t_are_those_of_scipy(freedom) -> None:
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1.3e-3)


def test_columns_of_regions_and_plug_ins() -> None:
    columns = {"intersection": np.array([[50], [0]]), "union": np.array([[100], [50]]), "targets": np.array([[1], [1]])}
    whole = Tally((1, 2), ("a",), columns)
    # 50 / 150; without one image 0 / 50 and 50 / 100
    expected = np.sqrt(((0 - 1 / 3) ** 2 + (1 / 2 - 1 / 3) ** 2) / 2)
    assert spread(whole, iou, np.ones((1, 1), dtype=bool)).errors[0] == pytest.approx(expected)
    fractions = replace(whole, columns={**columns, "union": np.array([[100.5], [49.5]])})
    assert spread(fractions, iou, np.ones((1, 1), dtype=bool)).errors[0] > 0


@pytest.mark.parametrize(
    ("tail", "categories", "images", "least"),
    [(False, 10, 3, 0.94), (False, 20, 10, 0.92), (True, 20, 5, 0.9), (True, 60, 50, 0.9)],
)
def test_intervals_hold_the_true_score_as_often_as_they_say(tail, categories, images, least) -> None:
    # the binomial error of 200 sets at 95 % is 1.5 %; seeds are fixed
    found = coverage(Population(categories, tail=tail), images, 200)
    for title in ("mF1", "precision", "AP_nc", "counting F1", "mIoU"):
        assert found[title].intervals == 200 or images < 5
        assert least - 0.03 <= found[title].share <= 1
    assert 0.92 <= np.mean([found[title].share for title in ("mF1", "precision", "AP_nc", "mIoU")]) <= 0.995
