"""Score thresholds: by hand, against plain loops, and what must not change a choice."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthinstruct.errors import EarthInstructError
from earthinstruct.metrics import PROTOCOLS, STANDARD, Choice, boxes_of_chunk, choose_threshold, measure, threshold_of
from earthinstruct.metrics.outcomes import Outcomes
from earthinstruct.metrics.scores import f1
from earthinstruct.metrics.thresholds import CURVE_POINTS, _Counted, folds_of, sums_without

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=settings().max_examples // 10)


def six_images(build, seed: int, transform=lambda scores: scores):
    """Random objects and predictions in six images, with scores from 1 / 8 to 1."""
    generator = np.random.default_rng(seed)
    targets, predictions = build.random(generator, 30), build.random(generator, 40, scores=True)
    targets = replace(targets, image=generator.integers(0, 6, 30))
    scores = transform(predictions.scores + 0.125)
    predictions = replace(predictions, image=generator.integers(0, 6, 40), scores=scores)
    truth = build.truth(targets, images=6)
    return truth, build.predicted(predictions, truth)


def of_images(truth, predicted, chosen: np.ndarray):
    """The ground truth and the predictions on some images; the other images are empty."""

    def only(instances):
        return instances.take(chosen[instances.image])

    return replace(truth, instances=only(truth.instances)), replace(predicted, instances=only(predicted.instances))


def box_f1(truth, predicted, threshold: float) -> float | None:
    return measure(truth, predicted, threshold=threshold).box.f1.value


def test_the_sweep_by_hand(build) -> None:
    # two ships (a), one harbor (b); scores of logarithms
    truth = build.truth(build.instances([(0, 0, 0, 0, 10, 10), (1, 0, 0, 0, 10, 10), (1, 1, 20, 20, 10, 10)]))
    found = [(0, 0, 0, 0, 10, 10), (1, 0, 0, 0, 10, 10), (1, 1, 20, 20, 10, 10), (2, 0, 0, 0, 9, 9), (2, 1, 0, 0, 9, 9)]
    predicted = build.predicted(build.instances(found, [-0.1, -0.5, -0.5, -0.5, -9]), truth)
    swept = measure(truth, predicted, sweep=True)
    # -9: a 2 TP 1 FP: 4/5, b 1 TP 1 FP: 2/3, mean 11/15; -0.5: 4/5 and 1, mean 9/10; -0.1: 2/3 and 0, mean 1/3
    assert [point.threshold for point in swept.sweep.curve] == [-9, -0.5, -0.1]
    assert [point.f1 for point in swept.sweep.curve] == pytest.approx([11 / 15, 9 / 10, 1 / 3])
    # precision: 2/3 and 1/2; 2/3 and 1; 1 and 0 (nothing predicted). Recall: 1 and 1; 1 and 1; 1/2 and 0
    assert [point.precision for point in swept.sweep.curve] == pytest.approx([7 / 12, 5 / 6, 1 / 2])
    assert [point.recall for point in swept.sweep.curve] == [1, 1, 1 / 4]
    assert (swept.sweep.threshold, swept.sweep.folds, swept.threshold) == (-0.5, [], None)
    assert swept.box.f1.value == pytest.approx(9 / 10)
    # counts of instances: a 1 and 1 and 1 (too many in image 2), b 1: 4/5 and 1
    assert swept.counting.f1.value == pytest.approx(9 / 10)
    given = measure(truth, predicted, threshold=-0.5)
    assert (given.threshold, given.sweep) == (-0.5, None)
    assert given.box.f1.value == swept.box.f1.value


def test_a_sweep_over_folds_by_hand(build) -> None:
    # three images, each a fold of its own, with one ship; the good threshold of the first two is 0.5, of the third 0.2
    truth = build.truth(build.instances([(i, 0, 0, 0, 10, 10) for i in range(3)]))
    found = [(0, 0, 0, 0, 10, 10), (1, 0, 0, 0, 10, 10), (2, 0, 0, 0, 10, 10)]
    wrong = [(0, 0, 30, 30, 9, 9), (0, 0, 20, 30, 9, 9), (1, 0, 30, 30, 9, 9), (1, 0, 20, 30, 9, 9)]
    predicted = build.predicted(build.instances(found + wrong, [0.5, 0.6, 0.2, 0.4, 0.4, 0.4, 0.4]), truth)
    crossed = measure(truth, predicted, sweep="cross")
    thresholds = threshold_of(crossed, truth.images)
    # for image 0, on images 1 and 2: 0.2: 2 TP 2 FP, 4/6; 0.4: 1 TP 2 FP 1 FN, 2/5; 0.6: 1 TP 1 FN, 2/3, as much: 0.2
    # for image 1, on images 0 and 2: likewise 0.2. For image 2, on images 0 and 1: 0.5: 2 TP, 1
    assert thresholds == {0: 0.2, 1: 0.2, 2: 0.5}
    assert sorted(fold.threshold for fold in crossed.sweep.folds) == [0.2, 0.2, 0.5]
    assert [fold.n_images for fold in crossed.sweep.folds] == [1, 1, 1]
    assert crossed.sweep.threshold is None
    # images 0 and 1: 2 TP 4 FP; image 2: its ship has 0.2, below 0.5: 1 FN. F1 = 4 / (4 + 4 + 1)
    assert crossed.box.f1.value == pytest.approx(4 / 9)
    assert len(crossed.sweep.curve) == 4


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@given(seeds)
@few
def test_folds_are_scored_at_what_is_best_on_the_others(build, protocol, seed) -> None:
    truth, predicted = six_images(build, seed)
    crossed = measure(truth, predicted, protocol, sweep="cross")
    fold, kept = folds_of(truth.images), np.zeros(40, dtype=bool)
    for k, of_fold in enumerate(crossed.sweep.folds):
        best = measure(*of_images(truth, predicted, fold != k), protocol, sweep=True).sweep
        assert (of_fold.threshold, of_fold.n_images) == (best.threshold, (fold == k).sum())
        above = predicted.instances.scores >= (-np.inf if best.threshold is None else best.threshold)
        kept |= (fold[predicted.instances.image] == k) & above
    plain = measure(truth, replace(predicted, instances=predicted.instances.take(kept)), protocol)
    for geometry in ("counting", "box", "mask"):
        assert getattr(crossed, geometry).tally == getattr(plain, geometry).tally


@given(seeds, st.sampled_from([np.log, lambda s: 100 * s, lambda s: s**3 - 7, lambda s: -1 / s]), st.booleans())
@few
def test_an_increasing_transform_of_the_scores_changes_no_score(build, seed, transform, cross) -> None:
    sweep = "cross" if cross else True
    before = measure(*six_images(build, seed), sweep=sweep)
    after = measure(*six_images(build, seed, transform), sweep=sweep)
    assert [point.f1 for point in before.sweep.curve] == [point.f1 for point in after.sweep.curve]
    assert msgspec.to_builtins(without_numbers(before)) == msgspec.to_builtins(without_numbers(after))
    chosen = before.sweep.threshold
    assert after.sweep.threshold == (None if chosen is None else pytest.approx(float(transform(np.float64(chosen)))))


def without_numbers(metrics):
    """The scores without those that are about the numbers themselves: the thresholds, and the calibration."""
    parts = {name: msgspec.structs.replace(getattr(metrics, name), calibration=None) for name in ("box", "mask")}
    return msgspec.structs.replace(metrics, sweep=None, **parts)


def test_folds_depend_on_ids_alone() -> None:
    images = [3, "a/b.png", "7", 12, "x", 0, "é", 99, "y", 41, "z"]
    by_hash = sorted(images, key=lambda image: hashlib.sha256(str(image).encode()).hexdigest())
    expected = {image: i % 5 for i, image in enumerate(by_hash)}
    for order in (images, images[::-1]):
        assert dict(zip(order, folds_of(order).tolist(), strict=True)) == expected
    assert sorted(folds_of(range(3)).tolist()) == [0, 1, 2]
    assert np.bincount(folds_of(range(23))).tolist() == [5, 5, 5, 4, 4]


def choice(truth, predicted, cross: bool) -> tuple[Outcomes, Choice]:
    outcomes, _ = boxes_of_chunk(truth, predicted, STANDARD)
    return outcomes, choose_threshold([outcomes], truth.images, truth, STANDARD, cross=cross)


@given(seeds)
@few
def test_without_an_image_the_best_of_the_others_is_chosen(build, seed) -> None:
    truth, predicted = six_images(build, seed)
    _, chosen = choice(truth, predicted, cross=False)
    tallies = [build.tallies(truth, predicted, threshold=at) for at in chosen.also_at]
    names = ("box", "mask", "counting")
    without = sums_without([{name: one[name] for name in names} for one in tallies], chosen.again)
    for i in range(6):
        swept = measure(*of_images(truth, predicted, np.arange(6) != i), sweep=True)
        for name in names:
            expected = [(row.tp, row.fp, row.fn) for row in getattr(swept, name).tally.values()]
            found = [without[name][column][i].tolist() for column in ("tp", "fp", "fn")]
            assert list(zip(*found, strict=True)) == expected


@given(seeds)
@few
def test_without_an_image_each_fold_has_the_best_threshold_of_the_others(build, seed) -> None:
    truth, predicted = six_images(build, seed)
    outcomes, chosen = choice(truth, predicted, cross=True)
    again, fold = chosen.again, folds_of(truth.images)
    tallies = [{"box": build.tallies(truth, predicted, threshold=at)["box"]} for at in chosen.also_at]
    without = sums_without(tallies, again)["box"]
    for i in range(6):
        expected = {column: np.zeros(3, dtype=int) for column in without}
        for k in range(5):
            at = again.chosen[k, i]
            others = outcomes.of_images((fold != k) & (np.arange(6) != i))
            there = others.n_targets > 0
            if there.any():
                curve = [f1(others.totals_at(np.array([one])))[0][there].mean() for one in np.unique(outcomes.scores)]
                now = f1(others.totals_at(again.thresholds[[at]]))[0][there].mean()
                assert now == pytest.approx(max(curve))
            own = (fold == k) & (np.arange(6) != i)
            for column, total in expected.items():
                total += tallies[at]["box"].columns[column][own].sum(axis=0)
        for column, total in expected.items():
            assert without[column][i].tolist() == total.tolist()


@pytest.mark.parametrize("cross", [False, True])
def test_thresholds_that_cannot_be_chosen_are_not_tried(build, monkeypatch, cross) -> None:
    generator = np.random.default_rng(2)
    n = 400  # one object of each of two categories in each image, found with a high score; and a wrong prediction
    objects = [(i, c, 20 * c, 0, 10, 10) for i in range(n) for c in (0, 1)]
    wrong = [(i, c, 20 * c, 25, 9, 9) for i in range(n) for c in (0, 1)]
    scores = np.concatenate([generator.beta(4, 2, 2 * n), generator.beta(2, 3, 2 * n)])
    truth = build.truth(build.instances(objects, masks=False), images=n)
    predicted = build.predicted(build.instances(objects + wrong, scores, masks=False), truth)
    tried, at = [], _Counted.at
    monkeypatch.setattr(_Counted, "at", lambda self, some: tried.append(len(some)) or at(self, some))
    _, some = choice(truth, predicted, cross)
    monkeypatch.setattr(_Counted, "largest_change", lambda *_: np.inf)
    _, every = choice(truth, predicted, cross)
    assert tried[0] < tried[1] / 2
    assert some.also_at == every.also_at
    assert len(some.also_at) > 1
    np.testing.assert_array_equal(some.again.chosen, every.again.chosen)


def test_an_interval_of_an_oracle_includes_the_choice(build) -> None:
    # the hit of image 0 alone decides: without it, 0.9 is better than 0.1, and F1 is 1 instead of 2/3
    truth = build.truth(build.instances([(i, 0, 0, 0, 10, 10) for i in range(3)]))
    found = [(0, 0, 0, 0, 10, 10), (1, 0, 0, 0, 10, 10), (2, 0, 0, 0, 10, 10), (1, 0, 30, 0, 9, 9), (2, 0, 30, 0, 9, 9)]
    predicted = build.predicted(build.instances(found, [0.1, 0.9, 0.9, 0.5, 0.5]), truth)
    _, chosen = choice(truth, predicted, cross=False)
    # all: 0.1: 3 TP 2 FP, 6/8; 0.9: 2 TP 1 FN, 4/5. Without image 1: 0.1: 2 TP 1 FP, 4/5; 0.9: 1 TP 1 FN, 2/3: 0.1
    assert chosen.sweep.threshold == 0.9
    assert chosen.also_at == [0.1, 0.9]
    assert chosen.again.thresholds[chosen.again.chosen[0]].tolist() == [0.9, 0.1, 0.1]
    swept, held = measure(truth, predicted, sweep=True), measure(truth, predicted, threshold=0.9)
    # squares of (1 - 4/5, 4/5 - 4/5, 4/5 - 4/5) against (1 - 4/5, 2/3 - 4/5, 2/3 - 4/5): the choice makes up for a loss
    assert swept.box.f1.value == held.box.f1.value == pytest.approx(0.8)
    assert swept.box.f1.ci95 != held.box.f1.ci95
    assert swept.mask.miou.ci95 is None
    assert held.mask.miou.ci95 is not None


def test_a_long_curve_keeps_its_ends_and_its_best_point(build) -> None:
    generator = np.random.default_rng(0)
    boxes = [(0, 0, 2 * i, 0, 10, 10) for i in range(1_000)]
    truth = build.truth(build.instances(boxes, masks=False))
    scores = generator.permutation(1_000) / 1_000
    moved = [(0, 0, 2 * i + (0 if score > 0.3333 else 900_000), 0, 10, 10) for i, score in enumerate(scores)]
    swept = measure(truth, build.predicted(build.instances(moved, scores, masks=False), truth), sweep=True)
    curve = swept.sweep.curve
    assert swept.sweep.threshold == 0.334  # the lowest above 0.3333: all that is right, nothing that is wrong
    assert len(curve) in (CURVE_POINTS, CURVE_POINTS + 1)
    assert (curve[0].threshold, curve[-1].threshold) == (0, 0.999)
    assert max(curve, key=lambda point: point.f1).threshold == 0.334
    assert swept.box.f1.value == max(point.f1 for point in curve)


@pytest.mark.parametrize("sweep", [True, "cross"])
def test_nothing_to_choose_from(build, sweep) -> None:
    truth = build.truth(build.instances([(0, 0, 0, 0, 10, 10)]))
    swept = measure(truth, build.predicted(build.instances([]), truth), sweep=sweep)
    assert (swept.box.f1.value, swept.counting.f1.value) == (0, 0)
    assert (swept.sweep.threshold, swept.sweep.curve) == (None, [])
    assert [fold.threshold for fold in swept.sweep.folds] == ([] if sweep is True else [None] * 3)


def test_one_image_has_no_other_images(build) -> None:
    truth = build.truth(build.instances([(0, 0, 0, 0, 10, 10)]), images=1)
    with pytest.raises(EarthInstructError, match="cross needs at least 2 images, got 1; give --threshold"):
        measure(truth, build.predicted(build.instances([(0, 0, 0, 0, 10, 10)], [0.5]), truth), sweep="cross")
    two = build.truth(build.instances([(0, 0, 0, 0, 10, 10)]), images=2)
    both = measure(two, build.predicted(build.instances([(0, 0, 0, 0, 10, 10)], [-3.0]), two), sweep="cross")
    # the other image has neither objects nor predictions: nothing is left out
    assert [fold.threshold for fold in both.sweep.folds].count(None) == 1
    assert both.box.f1.value == 1
