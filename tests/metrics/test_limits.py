"""Where counting breaks: by hand, the controls, and what must not change it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthinstruct.metrics import PROTOCOLS, STANDARD, Chunk, counts_up_to, measure
from earthinstruct.metrics.limits import DENSITIES, median_sizes
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
    # between 10 objects (10 %) and a mean of 40 (37.5 %), by the logarithm: 10 x 4 ^ ((0.2 - 0.1) / 0.275)
    assert limits.counts_up_to.value == pytest.approx(10 * 4 ** (0.1 / 0.275))
    assert not limits.never_passes
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
    assert limits.counts_up_to == Value(0.0, limits.counts_up_to.ci95)
    # the lower ends: 0 at 1 object, 0.0446 at 10: never above 20 %, so up to the most objects
    assert limits.counts_up_to.ci95 == (0.0, 10.0)


def test_a_band_without_errors_counts_one_trial_an_image(build) -> None:
    there = np.array([[1, 10]] * 4)
    limits = counted(build, crowd(build, there), there).counting_limits
    assert limits.by_density["1"].relative_error.ci95 == (0.0, pytest.approx(1.96**2 / (4 + 1.96**2), abs=1e-4))
    assert limits.counts_up_to == Value(10.0, (0.0, 10.0))  # four images are too few to be sure of one object


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([0.0, 0.1, 0.2], (100.0, True)),  # passes means exceeds
        ([0.3, 0.0, 0.0], (0.0, False)),
        ([0.1, 0.3, 0.0], (math.sqrt(10), False)),  # the first place, in the middle by the logarithm
        ([0.2, 0.3, 0.9], (1.0, False)),
        ([0.0, 0.0, 0.4], (math.sqrt(1000), False)),
    ],
)
def test_where_the_error_passes(errors, expected) -> None:
    sure = Value(1.0)
    bands = [
        CountingBand(1, 0, n, 0, 0, sure, Value(error), sure) for n, error in zip((1, 10, 100), errors, strict=True)
    ]
    value, never = counts_up_to(bands, 100.0)
    assert (value.value, never) == (pytest.approx(expected[0]), expected[1])
    assert value.ci95 is None


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_the_oracle_never_breaks_and_a_constant_count_does(build, protocol) -> None:
    there = np.array([[0, 1, 3], [8, 30, 120], [2, 2, 150]])
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
    there = chance.integers(0, 12, (4, 3)) * chance.integers(0, 4, (4, 3))
    said = np.maximum(there + chance.integers(-4, 5, (4, 3)), 0)
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

    rows, columns = chance.permutation(4), chance.permutation(3)
    moved = crowd(build, there[rows][:, columns])
    moved = replace(moved, images=tuple(rows.tolist()), categories=tuple("abc"[c] for c in columns))
    assert counted(build, moved, said[rows][:, columns]).counting_limits == limits

    chunks = [
        Chunk.of(
            replace(crowd(build, there[part]), images=tuple(part)),
            build.predicted(build.instances([], masks=False), crowd(build, there[part]), said[part]),
            STANDARD,
            threshold=None,
            any_counts=True,
        )
        for part in ([0, 1, 2], [3])
    ]
    joined = metrics_of(Chunk.join(chunks), truth.groups, STANDARD, Choice(None), no_masks_reason="no masks")
    assert joined.counting_limits == limits
    assert list(limits.by_density) == list(DENSITIES)
