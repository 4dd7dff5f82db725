"""Where counting breaks: by hand, the controls, and what must not change it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthinstruct.metrics import PROTOCOLS, STANDARD, Chunk, JoinedBands, counts_up_to, measure
from earthinstruct.metrics.limits import DENSITIES, join_bands, median_sizes
from earthinstruct.metrics.measuring import metrics_of
from earthinstruct.metrics.thresholds import Choice
from earthinstruct.metrics.values import CountingBand, Value

seeds = st.integers(0, 2**32 - 1)


def crowd(build, counts: np.ndarray):
    """Ground truth with so many small objects, which overlap, of each image and category."""
    rows = [(i, c, 0, 0, 9, 9) for (i, c), n in np.ndenumerate(counts) for _ in range(n)]
    return build.truth(build.instances(rows, masks=False), *counts.shape)


def counted(build, truth, counts: np.ndarray, **options):
    nothing = build.instances([], masks=False)
    return measure(truth, build.predicted(nothing, truth, counts), **options)


def numbers(band: CountingBand) -> tuple[int, ...]:
    return band.n_entries, band.n_right, band.tp, band.fp, band.fn


def test_by_hand(build) -> None:
    truth = crowd(build, np.array([[0, 1, 4], [10, 1, 30], [0, 5, 50]]))
    metrics = counted(build, truth, np.array([[2, 1, 5], [9, 1, 20], [0, 5, 70]]))
    limits = metrics.counting_limits
    assert {name: numbers(band) for name, band in limits.by_density.items()} == {
        "0": (2, 1, 0, 2, 0),  # 2 are counted where there are none
        "1": (2, 2, 2, 0, 0),
        "2-5": (2, 1, 4 + 5, 1, 0),
        "6-20": (1, 0, 9, 0, 1),
        "21-100": (2, 0, 20 + 50, 20, 10),
        "101+": (0, 0, 0, 0, 0),
    }
    errors = [band.relative_error.value for band in limits.by_density.values()]
    assert errors == [None, 0, pytest.approx(1 / 9), pytest.approx(1 / 10), pytest.approx(30 / 80), None]
    assert [band.right.value for band in limits.by_density.values()] == [0.5, 1, 0.5, 0, 0, None]
    assert limits.by_density["2-5"].f1.value == pytest.approx(18 / 19)
    assert (limits.counts_up_to.reason, limits.joined) == ("fewer than 10 images have objects", [])
    # over all: 2 + 1 + 1 + 10 + 20 of 101 objects
    assert metrics.counting.relative_error.value == pytest.approx(34 / 101)


def test_sizes_by_hand(build) -> None:
    sides = {(0, 0): (9, 9, 50), (0, 1): (9, 50), (1, 0): (50, 100, 100), (1, 2): (50,)}
    rows = [(i, c, 0, 0, side, side) for (i, c), of in sides.items() for side in of]
    truth = build.truth(build.instances(rows, masks=False))
    # of two objects, the smaller one is the median
    assert median_sizes(truth).tolist() == [[0, 0, -1], [2, -1, 1], [-1, -1, -1]]
    limits = counted(build, truth, np.array([[3, 1, 5], [3, 0, 3], [0, 0, 0]])).counting_limits
    assert {name: numbers(band) for name, band in limits.by_size.items()} == {
        "small": (2, 1, 4, 0, 1),
        "medium": (1, 0, 1, 2, 0),
        "large": (1, 1, 3, 0, 0),
    }
    assert limits.by_size["medium"].relative_error.value == 2


def test_intervals_are_those_of_the_bands(build) -> None:
    truth = crowd(build, np.array([[1, 10], [1, 10], [1, 10], [1, 10]]))
    said = np.array([[1, 12], [1, 14], [1, 11], [2, 13]])
    limits = counted(build, truth, said).counting_limits
    one, ten = limits.by_density["1"], limits.by_density["6-20"]
    # 0, 0, 0, 1 of 1 object: 0.25, standard error root(3 / 4 x (3 x (1/3 - 1/4)^2 + (0 - 1/4)^2)) = 0.25, t(3) = 3.182
    assert one.relative_error.value == 0.25
    assert one.relative_error.ci95 == (0.0, pytest.approx(0.25 + 3.182 * 0.25, abs=1e-3))
    assert ten.relative_error.value == 0.25


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (1, (0.0, (0.0, 1.96**2 / (4 + 1.96**2)))),  # a share of 0, one trial an image
        (0, (1.0, (4 / (4 + 1.96**2), 1.0))),  # every object is missed
        (3, (2.0, None)),  # no share: other images may be worse
    ],
)
def test_a_band_that_does_not_vary_counts_one_trial_an_image(build, said, expected) -> None:
    there = np.ones((4, 1), dtype=int)
    error = counted(build, crowd(build, there), said * there).counting_limits.by_density["1"].relative_error
    assert error.value == expected[0]
    assert error.ci95 == (expected[1] and pytest.approx(expected[1], abs=1e-4))


def test_the_headline_by_hand(build) -> None:
    """Twelve images: 1 object and 10 objects counted right, 40 objects counted as 30."""
    there = np.array([[1, 10, 40]] * 12)
    limits = counted(build, crowd(build, there), there - [0, 0, 10]).counting_limits
    # 1 object: 0 to 1.96^2 / (12 + 1.96^2) = 24 %, so it is joined to 10 objects; 0 of 11 are wrong, also 0 to 24 %, so
    # both are joined to 40 objects; 10 of 51 are wrong in each image: 19.6 %, with one trial an image 7.5 to 42 %
    assert [of.bands for of in limits.joined] == [["1", "6-20", "21-100"]]
    assert limits.counts_up_to.reason == "too few images: the relative error may be below or above 20 %"
    there = np.array([[1, 10, 40]] * 20)
    limits = counted(build, crowd(build, there), there - [0, 0, 30]).counting_limits
    # 1.96^2 / (20 + 1.96^2) = 16 %; 30 of 40 objects are missed, surely more than 20 %
    assert [of.bands for of in limits.joined] == [["1"], ["6-20"], ["21-100"]]
    # between 10 objects (0 %) and 40 (75 %), by the logarithm; from 16 % to the upper end, from 0 to the lower end
    low, high = limits.joined[2].relative_error.ci95
    upper = 1.96**2 / (20 + 1.96**2)
    assert limits.counts_up_to.value == pytest.approx(10 * 4 ** (0.2 / 0.75))
    assert limits.counts_up_to.ci95 == (
        pytest.approx(10 * 4 ** ((0.2 - upper) / (high - upper)), abs=0.01),
        pytest.approx(10 * 4 ** (0.2 / low), abs=0.01),
    )


def _band(n: int, error: float, ci95: tuple[float, float] | None) -> CountingBand:
    sure = Value(1.0)
    return CountingBand(1, 0, n, 0, 0, sure, Value(error, ci95), sure)


_WITHIN, _ABOVE, _EITHER = (0.0, 0.2), (0.21, 1.0), (0.1, 0.3)


@pytest.mark.parametrize(
    ("own", "common", "expected"),
    [
        ([_WITHIN, _ABOVE, _WITHIN], {}, [["a"], ["b"], ["c"]]),
        ([_EITHER, _EITHER, _WITHIN], {"ab": _EITHER, "abc": _WITHIN}, [["a", "b", "c"]]),
        ([_EITHER, _EITHER, _ABOVE], {"ab": _WITHIN}, [["a", "b"], ["c"]]),
        ([_EITHER, _ABOVE, _WITHIN], {}, [["a"], ["b"], ["c"]]),  # alone above: what comes before stays undecided
        ([_WITHIN, _EITHER, None], {"bc": _EITHER}, [["a"], ["b", "c"]]),  # and so does what comes last
        ([None, None, None], {"ab": None, "abc": None}, [["a", "b", "c"]]),
    ],
)
def test_bands_are_joined_until_they_are_decided(own, common, expected) -> None:
    bands = {name: _band(n, 0.15, of) for name, n, of in zip("abc", (1, 10, 100), own, strict=True)}
    errors = {("abc".index(key[0]), "abc".index(key[-1])): Value(0.15, of) for key, of in common.items()}
    errors |= {(b, b): band.relative_error for b, band in enumerate(bands.values())}
    errors = {pair: Value(9.0, (8.0, 10.0)) for pair in [(0, 1), (0, 2), (1, 2)]} | errors  # others are not asked for
    assert [of.bands for of in join_bands(bands, errors)] == expected


@pytest.mark.parametrize(
    ("errors", "joined", "expected"),
    [
        # passes means exceeds
        ([(0.0, _WITHIN), (0.1, _WITHIN), (0.2, _WITHIN)], ["a", "b", "c"], (100.0, (100.0, 100.0), True)),
        ([(0.3, _ABOVE), (0.0, _WITHIN), (0.0, _WITHIN)], ["a", "b", "c"], (0.0, (0.0, 0.0), False)),
        # the first place, in the middle by the logarithm; from 0.15 to 0.5, and 0.05 to 0.25
        (
            [(0.1, (0.05, 0.15)), (0.3, (0.25, 0.5)), (0.0, _WITHIN)],
            ["a", "b", "c"],
            (math.sqrt(10), (10 ** (0.05 / 0.35), 10 ** (0.15 / 0.2)), False),
        ),
        # joined bands that are within 20 % have the common error, 0.15 from 0.1 to 0.2
        ([(0.3, _EITHER), (0.1, _EITHER), (0.4, (0.3, 0.5))], ["ab", "c"], (10 * 10 ** (0.05 / 0.25), None, False)),
        # joined bands above it pass it at the latest at the last of them
        ([(0.1, _EITHER), (0.3, _EITHER), (0.3, _EITHER)], ["abc"], None),
        ([(0.1, _EITHER), (0.3, _ABOVE), (0.0, _WITHIN)], ["a", "b", "c"], (math.sqrt(10), (0.0, None), False)),
    ],
)
def test_where_the_error_passes(errors, joined, expected) -> None:
    bands = {name: _band(n, *of) for name, n, of in zip("abc", (1, 10, 100), errors, strict=True)}
    common = {"ab": Value(0.15, (0.1, 0.2)), "abc": Value(0.2, _EITHER)}
    groups = [JoinedBands(list(of), common.get(of, bands[of[0]].relative_error)) for of in joined]
    value, never = counts_up_to(bands, groups, 100.0)
    if expected is None:
        assert (value.value, never) == (None, False)
        return
    assert (value.value, never) == (pytest.approx(expected[0]), expected[2])
    assert value.ci95[0] <= value.value <= value.ci95[1]
    for bound, wanted in zip(value.ci95, expected[1] or (None, None), strict=True):
        assert wanted is None or bound == pytest.approx(wanted)


def test_joined_bands_above_20_percent_pass_it_at_the_latest_at_the_last() -> None:
    bands = {"a": _band(1, 0.1, _EITHER), "b": _band(10, 0.4, (0.1, 0.7)), "c": _band(100, 0.0, _WITHIN)}
    joined = [JoinedBands(["a", "b"], Value(0.35, (0.25, 0.45))), JoinedBands(["c"], Value(0.0, _WITHIN))]
    value, never = counts_up_to(bands, joined, 100.0)
    assert (value.ci95, never) == ((0.0, 10.0), False)  # by its own lower end, b might be within 20 %


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_the_oracle_never_breaks_and_a_constant_count_does(build, protocol) -> None:
    there = np.array([[0, 1, 3], [8, 30, 120], [2, 2, 150]] * 6)
    truth = crowd(build, there)
    oracle = counted(build, truth, there, protocol=protocol).counting_limits
    for band in (*oracle.by_density.values(), oracle.by_size["small"]):
        assert (band.f1.value, band.relative_error.value) in ((1, 0), (None, None))
        assert band.right.value == 1
    assert oracle.never_passes
    assert (oracle.counts_up_to.value, oracle.counts_up_to.ci95[1]) == (150, 150)
    two = counted(build, truth, np.full_like(there, 2), protocol=protocol).counting_limits
    errors = [band.relative_error.value for band in two.by_density.values()]
    assert errors == [None, 1, pytest.approx(1 / 7), 6 / 8, 28 / 30, 1 - 4 / 270]
    assert two.counts_up_to.value == 0
    assert two.by_density["0"].right.value == 0


def test_without_objects_nothing_is_defined(build) -> None:
    metrics = counted(build, crowd(build, np.zeros((2, 2), dtype=int)), np.zeros((2, 2), dtype=int))
    limits = metrics.counting_limits
    assert (limits.counts_up_to.value, limits.never_passes) == (None, False)
    assert limits.counts_up_to.reason == metrics.counting.relative_error.reason == "no ground truth in any category"
    assert {band.relative_error.reason for band in limits.by_density.values()} == {"no objects in this band"}
    assert (limits.by_density["0"].right.value, limits.by_size["large"].right.value) == (1, None)


@given(seeds)
@settings(max_examples=settings().max_examples // 4)
def test_bands_add_up_and_no_order_matters(build, seed) -> None:
    chance = np.random.default_rng(seed)
    there = chance.integers(0, 12, (12, 3)) * chance.integers(0, 4, (12, 3))
    said = np.maximum(there + chance.integers(-4, 5, (12, 3)), 0)
    truth = crowd(build, there)
    metrics = counted(build, truth, said)
    limits = metrics.counting_limits
    tally = metrics.counting.tally.values()
    for name in ("tp", "fp", "fn"):
        assert sum(getattr(band, name) for band in limits.by_density.values()) == sum(getattr(of, name) for of in tally)
    assert sum(band.n_entries for band in limits.by_density.values()) == there.size
    assert sum(band.n_objects for band in limits.by_size.values()) == there.sum()
    value = limits.counts_up_to
    if value.value is not None:
        assert 0 <= value.value <= there.max()
        assert value.ci95 is None or value.ci95[0] <= value.value <= value.ci95[1]

    rows, columns = chance.permutation(12), chance.permutation(3)
    moved = crowd(build, there[rows][:, columns])
    moved = replace(moved, images=tuple(rows.tolist()), categories=tuple("abc"[c] for c in columns))
    assert counted(build, moved, said[rows][:, columns]).counting_limits == limits

    chunks = [
        Chunk.of(
            replace(crowd(build, there[list(part)]), images=tuple(part)),
            build.predicted(build.instances([], masks=False), crowd(build, there[list(part)]), said[list(part)]),
            STANDARD,
            threshold=None,
            any_counts=True,
        )
        for part in (range(8), range(8, 12))
    ]
    joined = metrics_of(Chunk.join(chunks), truth.groups, STANDARD, Choice(None), no_masks_reason="no masks")
    assert joined.counting_limits == limits
    assert list(limits.by_density) == list(DENSITIES)
