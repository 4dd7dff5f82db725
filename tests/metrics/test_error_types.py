"""Verdicts: one case of each by hand, what they add up to, and that no order changes them."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthinstruct.metrics import (
    PREDICTION_VERDICTS,
    PROTOCOLS,
    TARGET_VERDICTS,
    Predicted,
    Truth,
    find_pairs,
    match,
    measure,
    verdicts,
)
from earthinstruct.metrics.matching import box_iou
from earthinstruct.metrics.values import ErrorCounts
from earthinstruct.regions import Instances

seeds = st.integers(0, 2**32 - 1)


def names(verdicts, codes) -> list[str]:
    return [verdicts[code] for code in codes]


@pytest.mark.parametrize("geometry", ["box", "mask"])
def test_one_of_each_by_hand(build, geometry) -> None:
    targets = build.instances(
        [
            (0, 0, 0, 0, 10, 10),  # 0: found
            (0, 1, 20, 0, 10, 10),  # 1: under the wrong name
            (0, 0, 0, 20, 10, 10),  # 2: badly placed
            (0, 1, 20, 20, 10, 10),  # 3: under the wrong name and badly placed: missed
            (1, 0, 0, 0, 10, 10),  # 4: missed
        ]
    )
    predictions = build.instances(
        [
            (0, 0, 0, 0, 10, 9),  # IoU 0.9 with 0
            (0, 0, 0, 0, 10, 10),  # IoU 1: the better of the two is correct
            (0, 0, 20, 0, 10, 10),
            (0, 0, 6, 20, 10, 10),  # 40 / 160 = 0.25
            (0, 0, 26, 20, 10, 10),
            (2, 0, 0, 0, 10, 10),
            (0, -1, 0, 0, 10, 10),
        ]
    )
    truth = build.truth(targets)
    predicted = build.predicted(predictions, truth)
    judged = verdicts(truth, predicted, geometry=geometry)
    assert names(PREDICTION_VERDICTS, judged.predictions) == [
        "duplicate",
        "correct",
        "classification",
        "localisation",
        "both",
        "background",
        "unscored",
    ]
    assert names(TARGET_VERDICTS, judged.targets) == ["correct", "misclassified", "mislocated", "missed", "missed"]
    assert judged.because_of.tolist() == [0, 0, 1, 2, 3, -1, -1]
    assert judged.iou.tolist() == [0.9, 1, 1, 0.25, 0.25, 0, 0]
    errors = getattr(measure(truth, predicted).errors, geometry)
    assert errors.total == ErrorCounts(1, 1, 1, 1, 1, 1, misclassified=1, mislocated=1, missed=2)
    assert errors.per_category["b"] == ErrorCounts(0, 0, 0, 0, 0, 0, misclassified=1, mislocated=0, missed=1)
    assert errors.unscored == 1


def test_counts_too_many_and_too_few(build) -> None:
    targets = build.instances([(0, 0, 0, 0, 9, 9), (0, 0, 20, 0, 9, 9), (1, 1, 0, 0, 9, 9)])
    truth = build.truth(targets)
    counts = np.array([[5, 0, 0], [0, 0, 0], [0, 0, 2]])
    errors = measure(truth, build.predicted(targets, truth, counts)).errors.counting
    assert (errors.total.over, errors.total.under) == (5, 1)
    assert (errors.per_category["a"].over, errors.per_category["b"].under) == (3, 1)


def test_a_box_around_two_objects_is_behind_both(build) -> None:
    targets = build.instances([(0, 0, 0, 0, 10, 10), (0, 0, 12, 0, 10, 10)])
    truth = build.truth(targets)
    judged = verdicts(truth, build.predicted(build.instances([(0, 0, 0, 0, 22, 10)]), truth))  # IoU 100 / 220 each
    assert names(PREDICTION_VERDICTS, judged.predictions) == ["localisation"]
    assert names(TARGET_VERDICTS, judged.targets) == ["mislocated", "mislocated"]


def test_below_the_threshold_a_prediction_is_not_there(build) -> None:
    targets = build.instances([(0, 0, 0, 0, 10, 10)])
    truth = build.truth(targets)
    predicted = build.predicted(build.instances([(0, 0, 0, 0, 10, 10)] * 2, [0.9, 0.3]), truth)
    assert names(PREDICTION_VERDICTS, verdicts(truth, predicted).predictions) == ["correct", "duplicate"]
    assert names(PREDICTION_VERDICTS, verdicts(truth, predicted, threshold=0.5).predictions) == ["correct", "unscored"]


def test_no_masks_no_verdicts_of_masks(build) -> None:
    truth = build.truth(build.instances([(0, 0, 0, 0, 9, 9)], masks=False))
    predicted = build.predicted(build.instances([(0, 0, 0, 0, 9, 9)]), truth)
    assert measure(truth, predicted).errors.mask is None
    with pytest.raises(ValueError, match="mask"):
        verdicts(truth, predicted, geometry="mask")


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize("n", [(0, 0), (0, 5), (5, 0)])
def test_nothing_on_a_side(build, protocol, n) -> None:
    generator = np.random.default_rng(0)
    truth = build.truth(build.random(generator, n[1]))
    errors = measure(truth, build.predicted(build.random(generator, n[0]), truth), protocol).errors
    assert (errors.box.total.background, errors.box.total.missed) == n
    assert errors.box == errors.mask


def plain(predictions: Instances, targets: Instances) -> tuple[list[str], list[str]]:
    """The definition, one object at a time, given which predictions and ground truths are matched."""
    matched = match(find_pairs(predictions, targets, "box"), "maximum")
    iou = np.array([box_iou(np.repeat(box[None], len(targets), 0), targets.boxes) for box in predictions.boxes])
    iou = iou * (predictions.image[:, None] == targets.image[None])
    same = predictions.category[:, None] == targets.category[None]
    of_predictions = []
    for p in range(len(predictions)):
        own, other = (iou[p] * same[p]).max(), (iou[p] * ~same[p]).max()
        if matched[p] >= 0:
            of_predictions.append("correct")
        elif own >= 0.5:
            of_predictions.append("duplicate")
        elif other >= 0.5:
            of_predictions.append("classification")
        elif own >= 0.1:
            of_predictions.append("localisation")
        elif other >= 0.1:
            of_predictions.append("both")
        else:
            of_predictions.append("background")
    kinds = np.array(of_predictions)
    of_targets = []
    for t in range(len(targets)):
        if t in matched:
            of_targets.append("correct")
        elif ((kinds == "classification") & ~same[:, t] & (iou[:, t] >= 0.5)).any():
            of_targets.append("misclassified")
        elif ((kinds == "localisation") & same[:, t] & (iou[:, t] >= 0.1)).any():
            of_targets.append("mislocated")
        else:
            of_targets.append("missed")
    return of_predictions, of_targets


@given(seeds)
def test_the_definition_holds_object_by_object(build, seed) -> None:
    generator = np.random.default_rng(seed)
    # one object of a category in an image at most overlaps a prediction by half, so the matched ones are unique
    targets = build.random(generator, 12)
    predictions = build.random(generator, 15)
    pairs = find_pairs(predictions, targets, "box")
    alone = np.bincount(pairs.prediction, minlength=15)[pairs.prediction] == 1
    alone &= np.bincount(pairs.target, minlength=12)[pairs.target] == 1
    tangled = np.unique(pairs.prediction[~alone])
    predictions = predictions.take(np.setdiff1d(np.arange(15), tangled))
    truth = build.truth(targets)
    judged = verdicts(truth, build.predicted(predictions, truth))
    of_predictions, of_targets = plain(predictions, targets)
    assert names(PREDICTION_VERDICTS, judged.predictions) == of_predictions
    assert names(TARGET_VERDICTS, judged.targets) == of_targets


@given(seeds, st.sampled_from(list(PROTOCOLS.values())), st.booleans())
@settings(max_examples=settings().max_examples // 4)
def test_verdicts_add_up_to_the_tally_and_to_each_other(build, seed, protocol, scored) -> None:
    generator = np.random.default_rng(seed)
    truth = build.truth(build.random(generator, 25))
    predicted = build.predicted(build.random(generator, 40, scored), truth)
    threshold = 0.4 if scored else None
    whole = build.tallies(truth, predicted, protocol, threshold)
    for geometry in ("box", "mask"):
        column, tally = whole[f"errors.{geometry}"].columns, whole[geometry].columns
        np.testing.assert_array_equal(column["correct"], tally["tp"])
        wrong = ("duplicate", "classification", "localisation", "both", "background")
        np.testing.assert_array_equal(sum(column[name] for name in wrong), tally["fp"])
        np.testing.assert_array_equal(sum(column[n] for n in ("misclassified", "mislocated", "missed")), tally["fn"])
        judged = verdicts(truth, predicted, protocol, geometry, threshold=threshold)
        because_of = judged.because_of[judged.predictions == 0]
        assert sorted(because_of) == np.flatnonzero(judged.targets == 0).tolist()


def one(instances: Instances, i: int) -> tuple:
    """What an instance is: instances that are equal in this are interchangeable."""
    score = 0.0 if instances.scores is None else float(instances.scores[i])
    masks = instances.masks
    runs = slice(masks.offsets[i], masks.offsets[i + 1])
    mask = (*masks.starts[runs].tolist(), *masks.ends[runs].tolist())
    return (int(instances.image[i]), int(instances.category[i]), *instances.boxes[i].tolist(), score, mask)


def described(truth: Truth, predicted: Predicted, geometry: str) -> list:
    judged = verdicts(truth, predicted, geometry=geometry)
    sides = (
        (predicted.instances, names(PREDICTION_VERDICTS, judged.predictions)),
        (truth.instances, names(TARGET_VERDICTS, judged.targets)),
    )
    return [sorted((one(side, i), name) for i, name in enumerate(names)) for side, names in sides]


@given(seeds, st.booleans(), st.sampled_from(["box", "mask"]))
@settings(max_examples=settings().max_examples // 4)
def test_no_order_changes_a_verdict(build, seed, scored, geometry) -> None:
    generator = np.random.default_rng(seed)
    targets, predictions = build.random(generator, 30), build.random(generator, 40, scored)
    # masks that differ where boxes do not
    predictions = replace(predictions, masks=build.random(generator, 40).masks)
    truth = build.truth(targets)
    before = described(truth, build.predicted(predictions, truth), geometry)
    other = replace(truth, instances=targets.take(generator.permutation(30)))
    after = described(other, build.predicted(predictions.take(generator.permutation(40)), truth), geometry)
    assert before == after


@given(seeds)
@settings(max_examples=settings().max_examples // 4)
def test_the_order_of_images_and_categories_changes_no_number(build, seed) -> None:
    generator = np.random.default_rng(seed)
    targets, predictions = build.random(generator, 25), build.random(generator, 30)
    image, category = generator.permutation(3), generator.permutation(3)  # old -> new

    def moved(instances: Instances) -> Instances:
        return replace(instances, image=image[instances.image], category=category[instances.category])

    truth = build.truth(targets)
    names = tuple(truth.categories[c] for c in np.argsort(category))
    other = replace(truth, categories=names, groups={"all": names}, instances=moved(targets))
    before = measure(truth, build.predicted(predictions, truth)).errors
    after = measure(other, build.predicted(moved(predictions), other)).errors
    assert msgspec.to_builtins(before) == msgspec.to_builtins(after)


@given(seeds)
@settings(max_examples=settings().max_examples // 4)
def test_parts_add_up_to_the_whole(build, seed) -> None:
    generator = np.random.default_rng(seed)
    truth = build.truth(build.random(generator, 25))
    predictions = build.random(generator, 30)

    def part(images: list[int]) -> Predicted:
        return build.predicted(predictions.take(np.isin(predictions.image, images)), truth)

    def of(images: list[int]) -> dict[str, np.ndarray]:
        kept = replace(truth, instances=truth.instances.take(np.isin(truth.instances.image, images)))
        return build.tallies(kept, part(images))["errors.box"].totals

    whole, first, second = of([0, 1, 2]), of([0]), of([1, 2])
    for name, total in whole.items():
        np.testing.assert_array_equal(total, first[name] + second[name])
