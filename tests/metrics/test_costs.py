"""What errors cost: by hand, and against the score of predictions that are really mended."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthinstruct.metrics import PREDICTION_VERDICTS, PROTOCOLS, TARGET_VERDICTS, measure, verdicts
from earthinstruct.metrics.costs import COUNTING_COSTS, DETECTION_COSTS, MENDED
from earthinstruct.metrics.scores import f1
from earthinstruct.regions import Instances

seeds = st.integers(0, 2**32 - 1)


def test_by_hand(build) -> None:
    targets = build.instances(
        [
            (0, 0, 0, 0, 10, 10),  # a: correct
            (0, 0, 20, 0, 10, 10),  # a: mislocated
            (0, 0, 0, 20, 10, 10),  # a: missed
            (0, 1, 20, 20, 10, 10),  # b: misclassified
        ]
    )
    predictions = build.instances(
        [
            (0, 0, 0, 0, 10, 10),  # a: correct
            (0, 0, 0, 0, 10, 9),  # a: duplicate
            (0, 0, 25, 0, 10, 10),  # a: localisation, IoU 1 / 3
            (0, 0, 20, 20, 10, 10),  # a: classification
            (0, 2, 0, 25, 10, 10),  # c: both, IoU 1 / 3
            (1, 0, 0, 0, 10, 10),  # a: background
        ]
    )
    truth = build.truth(targets)
    metrics = measure(truth, build.predicted(predictions, truth))
    # a: tp 1, fp 4, fn 2: F1 = 2 / 8. b: tp 0, fp 0, fn 1: 0. c has no ground truth, and no say
    assert metrics.box.f1.value == pytest.approx((2 / 8 + 0) / 2)
    gains = {
        "duplicate": 2 / 7 - 2 / 8,
        "classification": (2 / 7 - 2 / 8) + 1,  # gone from a, and found in b
        "localisation": 4 / 8 - 2 / 8,  # a: tp 2, fp 3, fn 1
        "both": 0,
        "background": 2 / 7 - 2 / 8,
        "missed": 4 / 9 - 2 / 8,  # a: tp 2, fp 4, fn 1
    }
    for costs in (metrics.costs.box, metrics.costs.mask):
        assert {name: 2 * of["value"] for name, of in msgspec.to_builtins(costs).items()} == pytest.approx(gains)
    # counts: a 5 of 3, b 0 of 1, c 1 of 0: F1 of a is 6 / 8, of b 0
    assert metrics.costs.counting.over.value == pytest.approx((1 - 6 / 8) / 2)
    assert metrics.costs.counting.under.value == pytest.approx(1 / 2)


@given(seeds, st.booleans())
@settings(max_examples=settings().max_examples // 8)
def test_a_cost_is_what_mended_predictions_gain(build, seed, scored) -> None:
    """Remove the wrong predictions of a type, add an exact prediction for each object that it explains, score again."""
    chance = np.random.default_rng(seed)
    truth = build.truth(build.random(chance, 20))
    predicted = build.predicted(build.random(chance, 30, scored), truth)
    before = measure(truth, predicted)
    for geometry in ("box", "mask"):
        judged = verdicts(truth, predicted, geometry=geometry)
        for error, (removed, found) in MENDED.items():
            kept = np.ones(len(predicted.instances), dtype=bool)
            if removed is not None:
                kept = judged.predictions != PREDICTION_VERDICTS.index(removed)
            there = judged.targets == (-1 if found is None else TARGET_VERDICTS.index(found))
            added = replace(truth.instances.take(there), scores=np.ones(there.sum()) if scored else None)
            mended = joined(predicted.instances.take(kept), added)
            after = measure(truth, build.predicted(mended, truth))
            gain = getattr(after, geometry).f1.value - getattr(before, geometry).f1.value
            assert getattr(getattr(before.costs, geometry), error).value == pytest.approx(gain, abs=1e-12)


def joined(first: Instances, second: Instances) -> Instances:
    columns = ("image", "category", "boxes")
    scores = None if first.scores is None else np.concatenate([first.scores, second.scores])
    return Instances(
        *(np.concatenate([getattr(first, name), getattr(second, name)]) for name in columns),
        masks=type(first.masks).join([first.masks, second.masks]),
        scores=scores,
    )


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@given(seed=seeds)
@settings(max_examples=settings().max_examples // 4)
def test_no_cost_is_negative_and_all_errors_together_cost_what_is_lost(build, protocol, seed) -> None:
    chance = np.random.default_rng(seed)
    truth = build.truth(build.random(chance, 20))
    tallies = build.tallies(truth, build.predicted(build.random(chance, 30), truth), protocol)
    for costs, name in (
        (COUNTING_COSTS, "counting"),
        (DETECTION_COSTS, "errors.box"),
        (DETECTION_COSTS, "errors.mask"),
    ):
        assert all((cost(tallies[name].totals) >= 0).all() for cost in costs.values())
    errors = tallies["errors.box"].totals
    wrong, lost = (sum(errors[name] for name in names) for names in (PREDICTION_VERDICTS[1:-1], TARGET_VERDICTS[1:]))
    before = {"tp": errors["correct"], "fp": wrong, "fn": lost}
    np.testing.assert_allclose(f1(before), f1(tallies["box"].totals))
    assert {name for pair in MENDED.values() for name in pair if name} == {
        *PREDICTION_VERDICTS[1:-1],
        *TARGET_VERDICTS[1:],
    }


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_without_ground_truth_costs_are_undefined(build, protocol) -> None:
    truth = build.truth(build.instances([]))
    costs = measure(truth, build.predicted(build.instances([(0, 0, 0, 0, 9, 9)]), truth), protocol).costs
    assert costs.box.background.value is None
    assert costs.box.background.reason == "no ground truth in any category"
