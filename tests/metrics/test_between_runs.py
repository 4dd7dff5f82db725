"""Scores over several runs on the same images: by hand, and intervals in a simulation with a known truth."""

import math

import numpy as np
import pytest

from earthinstruct.metrics import CATALOGUE, Tally, agreement, best_constant, variation

F1 = CATALOGUE["counting.f1"].function


def tally(tp, fp, fn, categories=("ship",)):
    columns = {
        name: np.array(column).reshape(-1, len(categories)) for name, column in (("tp", tp), ("fp", fp), ("fn", fn))
    }
    return Tally(tuple(range(len(columns["tp"]))), categories, columns)


def test_mean_spread_worst_and_differences_by_hand():
    # 2 + 2 objects; the runs find all, 3 and 1 of them: F1 = 1, 2 x 3 / (6 + 1) = 6 / 7, 2 / (2 + 3) = 0.4
    runs = {
        "as given": tally([2, 2], [0, 0], [0, 0]),
        "a": tally([2, 1], [0, 0], [0, 1]),
        "b": tally([1, 0], [0, 0], [1, 2]),
    }
    found, off = variation(runs, F1, ("ship",))
    values = (1, 6 / 7, 0.4)
    assert float(found.mean) == pytest.approx(sum(values) / 3)
    assert float(found.spread) == pytest.approx(np.std(values, ddof=1))
    assert (found.worst, found.lowest) == ("b", pytest.approx(0.4))
    assert found.per_category == {"ship": pytest.approx(np.std(values, ddof=1))}
    assert {name: float(value) for name, value in off.items()} == {
        "a": pytest.approx(-1 / 7),
        "b": pytest.approx(-0.6),
    }
    # 2 degrees of freedom: chi-squared 0.0506 and 7.378 for 2.5 and 97.5 %; 0.5 is the largest possible deviation
    assert found.spread.ci95 == pytest.approx((float(found.spread) * math.sqrt(2 / 7.378), 0.5), rel=1e-3)


def test_the_interval_of_a_spread_holds_what_is_possible():
    # 20 objects, of which 20, 19 and 18 are found: the upper end is possible
    close = {name: tally([20 - missed, 0], [0, 0], [missed, 0]) for name, missed in (("1", 0), ("2", 1), ("3", 2))}
    spread = variation(close, F1, ("ship",))[0].spread
    assert spread.ci95 == pytest.approx(
        (float(spread) * math.sqrt(2 / 7.378), float(spread) * math.sqrt(2 / 0.05064)), rel=1e-3
    )
    # F1 1 and 0: the deviation of two runs is above that of many, root(1/2) against 1/2
    apart = {"1": tally([2], [0], [0]), "2": tally([0], [0], [2])}
    spread = variation(apart, F1, ("ship",))[0].spread
    assert float(spread) == spread.ci95[1] == pytest.approx(math.sqrt(0.5))


def test_the_part_of_the_spread_that_images_explain_by_hand():
    # without image 0 the runs have F1 1 and 0, without image 1 they have 0 and 1: both have 1 / 2 over all (1 of 2
    # found and 1 false), so nothing sets them apart that would last
    first, second = tally([1, 0], [0, 1], [0, 1]), tally([0, 1], [1, 0], [1, 0])
    found, _ = variation({"1": first, "2": second}, F1, ("ship",))
    assert (float(found.mean), float(found.spread), float(found.lasting)) == (0.5, 0, 0)
    assert found.spread.ci95 is None
    assert "all runs score the same" in found.spread.reason


def test_runs_that_agree_have_no_spread_and_no_ground_truth_gives_nothing():
    same = tally([2, 1], [0, 1], [1, 0])
    found, off = variation({"1": same, "2": same, "3": same}, F1, ("ship",))
    assert (float(found.spread), float(found.lasting), float(off["2"])) == (0, 0, 0)
    assert variation({"1": tally([0], [1], [0]), "2": tally([0], [0], [0])}, F1, ("ship",)) is None


def test_the_order_of_images_and_categories_does_not_matter():
    rng = np.random.default_rng(1)
    categories = ("ship", "harbor", "dam")
    runs = {str(i): tally(*rng.integers(0, 5, (3, 20, 3)), categories) for i in range(4)}
    truth = runs["0"].columns["tp"] + runs["0"].columns["fn"]
    for of in runs.values():
        of.columns["fn"] = np.maximum(truth - of.columns["tp"], 0)
        of.columns["tp"] = truth - of.columns["fn"]
    images, order = rng.permutation(20), [2, 0, 1]
    turned = {
        name: Tally(
            tuple(of.images[i] for i in images),
            tuple(categories[c] for c in order),
            {column: values[images][:, order] for column, values in of.columns.items()},
        )
        for name, of in runs.items()
    }
    (one, off), (other, off_other) = (variation(of, F1, categories) for of in (runs, turned))
    assert one.mean == other.mean
    assert one.lasting == other.lasting
    assert off == off_other


def simulated(rng, spread, images=60, runs=10):
    """Runs whose recall is 0.7 on average and differs by `spread` between them; objects are found by chance."""
    recall = 0.7 + spread * rng.standard_normal(runs)
    objects = rng.poisson(5, images)
    found = rng.binomial(objects, np.clip(recall, 0, 1)[:, None])
    false = rng.poisson(1.5, (runs, images))
    runs_of = {str(i): tally(found[i], false[i], objects - found[i]) for i in range(runs)}
    return recall, runs_of


def f1_of(recall):
    return 2 * 5 * recall / (5 * recall + 1.5 + 5)  # 5 objects and 1.5 false ones an image


@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_intervals_tell_wordings_from_images(spread):
    rng, times = np.random.default_rng(7), 150
    population = f1_of(0.7 + spread * rng.standard_normal(20_000)).std()
    held = {"lasting": 0, "mean": 0}
    from_0 = 0
    lasting, seen = [], []
    for _ in range(times):
        recall, runs = simulated(rng, spread)
        found, _ = variation(runs, F1, ("ship",))
        low, high = found.lasting.ci95
        from_0 += low == 0
        held["lasting"] += low <= population <= high
        held["mean"] += found.mean.ci95[0] <= f1_of(recall).mean() <= found.mean.ci95[1]  # these runs, other images
        lasting.append(float(found.lasting) ** 2)
        seen.append(float(found.spread) ** 2)
    assert 0.91 <= held["mean"] / times <= 1
    assert 0.91 <= held["lasting"] / times <= 1
    # images add to the spread that is seen, and not to the one that lasts
    assert math.sqrt(np.mean(seen)) > population + 0.005
    if spread:
        assert math.sqrt(np.mean(lasting)) == pytest.approx(population, abs=0.006)
        assert from_0 / times < 0.2
    else:  # not below 0, so above it on average; the interval says that there may be none
        assert np.mean(lasting) < np.mean(seen) / 2
        assert from_0 / times > 0.91


def test_equal_counts_are_those_above_0_in_either_run():
    # counts (tp + fp) of the runs: 2, 0, 1, 0 and 2, 1, 3, 0: of the three above 0, one is equal
    first, second = tally([2, 0, 1, 0], [0, 0, 0, 0], [0, 1, 2, 0]), tally([2, 1, 2, 0], [0, 0, 1, 0], [0, 0, 1, 0])
    assert agreement(first, second) == pytest.approx(1 / 3)
    nothing = tally([0], [0], [1])
    assert agreement(nothing, nothing) is None


def test_the_best_constant_by_hand_and_against_every_constant():
    # objects 0, 1, 4: constant 1 has F1 2 x 2 / (5 + 3) = 0.5, constant 4 has 2 x 5 / (5 + 12) = 0.588
    assert float(best_constant(tally([0, 0, 0], [0, 0, 0], [0, 1, 4]), ("ship",))) == pytest.approx(10 / 17)
    objects = np.random.default_rng(3).poisson(4, (30, 2))
    every = [[2 * np.minimum(of, c).sum() / (of.sum() + len(of) * c) for c in range(1, 20)] for of in objects.T]
    best = np.mean([max(of) for of in every])
    truth = tally(np.zeros((30, 2), int), np.zeros((30, 2), int), objects, ("ship", "dam"))
    assert float(best_constant(truth, ("ship", "dam"))) == pytest.approx(best)
    assert best_constant(truth, ()).value is None
