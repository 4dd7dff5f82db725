"""Ignored objects: neither found nor missed, and a prediction on one is neither right nor wrong."""

from __future__ import annotations

from collections import Counter
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from earthinstruct.metrics import PREDICTION_VERDICTS, PROTOCOLS, measure, verdicts
from earthinstruct.metrics.inputs import Ignored

A, B = (0, 0, 0, 0, 10, 10), (0, 0, 20, 0, 10, 10)  # image, category, box
REGION = (0, 0, 0, 20, 30, 10)
seeds = st.integers(0, 2**32 - 1)


def with_ignored(build, truth, rows, crowd=False):
    return replace(truth, ignored=Ignored(build.instances(rows), np.full(len(rows), crowd)))


def scored(build, found, objects, ignored, *, crowd=False, counts=None, protocol="standard", scores=None):
    truth = with_ignored(build, build.truth(build.instances(objects), 1, 1), ignored, crowd)
    given = None if counts is None else np.array([[counts]])
    predicted = build.predicted(build.instances(found, scores), truth, given)
    return measure(truth, predicted, PROTOCOLS[protocol])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_prediction_on_an_ignored_object_is_neither_right_nor_wrong(build, protocol) -> None:
    # one of two predictions finds the object; the other lies on the ignored one: TP 1, FP 0, FN 0
    found = scored(build, [A, B], [A], [B], protocol=protocol)
    for geometry in (found.counting, found.box, found.mask):
        assert geometry.f1.value == 1
    assert found.box.ap_nc50.value == found.mask.miou.value == 1
    assert found.errors.box.total.correct == 1
    assert found.errors.box.total.background == 0


def test_an_ignored_object_is_not_missed(build) -> None:
    found = scored(build, [A], [A], [B])
    assert (found.counting.f1.value, found.box.f1.value, found.mask.f1.value) == (1, 1, 1)


def test_a_prediction_beside_an_ignored_object_is_wrong(build) -> None:
    # shifted by 5 of 10 pixels: IoU 50 / 150 = 1/3, so TP 1, FP 1 and F1 = 2 / 3; the count of 2 is within 1 + 1
    found = scored(build, [A, (0, 0, 25, 0, 10, 10)], [A], [B])
    assert found.box.f1.value == pytest.approx(2 / 3)
    assert found.counting.f1.value == 1


def test_counts_may_exceed_by_the_number_of_ignored_objects(build) -> None:
    # 1 object and 2 ignored: counts of 1 to 3 are right, 4 is one too many, 0 one too few
    tallies = {count: scored(build, [], [A], [B, REGION], counts=count).counting.tally["a"] for count in (0, 1, 3, 4)}
    assert {count: (one.tp, one.fp, one.fn) for count, one in tallies.items()} == {
        0: (0, 0, 1),
        1: (1, 0, 0),
        3: (1, 0, 0),
        4: (1, 1, 0),
    }


@pytest.mark.parametrize(("crowd", "wrong"), [(True, 0), (False, 3)])
def test_any_number_of_predictions_may_lie_in_a_crowd(build, crowd, wrong) -> None:
    # each is a tenth of the region: all of its own area, but IoU 0.1 or less
    inside = [(0, 0, x, 22, 5, 6) for x in (0, 8, 16)]
    found = scored(build, [A, *inside], [A], [REGION], crowd=crowd)
    assert (found.box.tally["a"].fp, found.mask.tally["a"].fp) == (wrong, wrong)
    assert found.counting.tally["a"].fp == (0 if crowd else 2)


def test_a_prediction_on_an_ignored_object_gives_way(build) -> None:
    # the first prediction reaches the object (IoU 0.6) and the ignored one (IoU 0.6); the second only the object
    between = (0, 0, 2, 0, 8, 10)
    objects, ignored = [(0, 0, 0, 0, 8, 10)], [(0, 0, 4, 0, 8, 10)]
    for order in ([between, objects[0]], [objects[0], between]):
        found = scored(build, order, objects, ignored, scores=[0.9, 0.8])
        assert (found.box.tally["a"].tp, found.box.tally["a"].fp) == (1, 0)
        assert (found.box.f1.value, found.box.ap50.value) == (1, 1)
        assert found.errors.box.total.duplicate == 0


def random_case(build, seed, scores=True):
    generator = np.random.default_rng(seed)
    ignored = build.random(generator, 12)
    truth = build.truth(build.random(generator, 15))
    truth = replace(truth, ignored=Ignored(ignored, generator.random(12) < 0.5))
    return generator, truth, build.predicted(build.random(generator, 40, scores), truth)


@settings(max_examples=settings().max_examples // 5)
@given(seeds)
def test_the_order_of_predictions_and_objects_changes_nothing(build, seed) -> None:
    generator, truth, predicted = random_case(build, seed)
    shuffle = generator.permutation
    turned = replace(
        truth,
        instances=truth.instances.take(shuffle(len(truth.instances))),
        ignored=Ignored(truth.ignored.instances.take(order := shuffle(12)), truth.ignored.crowd[order]),
    )
    other = replace(predicted, instances=predicted.instances.take(shuffle(len(predicted.instances))))
    assert measure(turned, other, sweep=True) == measure(truth, predicted, sweep=True)


@settings(max_examples=settings().max_examples // 5)
@given(seeds)
def test_verdicts_add_up_to_the_tally(build, seed) -> None:
    _, truth, predicted = random_case(build, seed)
    found = measure(truth, predicted)
    counted = Counter(PREDICTION_VERDICTS[code] for code in verdicts(truth, predicted).predictions)
    tp, fp = (sum(getattr(one, name) for one in found.box.tally.values()) for name in ("tp", "fp"))
    assert counted["correct"] == tp
    assert sum(counted.values()) - counted["correct"] - counted["unscored"] == fp


@settings(max_examples=settings().max_examples // 5)
@given(seeds)
def test_the_curve_over_scores_ends_at_the_tally(build, seed) -> None:
    _, truth, predicted = random_case(build, seed)
    found = measure(truth, predicted, sweep=True)
    lowest = found.sweep.curve[0]  # every score reaches 0
    whole = measure(truth, predicted).box
    assert (lowest.precision, lowest.recall, lowest.f1) == pytest.approx(
        (whole.precision.value, whole.recall.value, whole.f1.value), abs=1e-12
    )


@settings(max_examples=settings().max_examples // 5)
@given(seeds)
def test_average_precision_with_crowds_is_that_of_pycocotools(build, seed) -> None:
    # far apart, so that a prediction reaches one object at most and both matchings agree; distinct scores
    generator = np.random.default_rng(seed)
    places = [(0, 0, 14 * (i % 3), 14 * (i // 3), 10, 10) for i in range(9)]
    crowd = generator.random(9) < 0.4
    crowd[0] = False
    objects, crowds = ([p for p, many in zip(places, crowd, strict=True) if many == of] for of in (False, True))
    found = [(0, 0, x + generator.integers(0, 8), y, w, h) for _, _, x, y, w, h in places for _ in range(2)]
    scores = generator.permutation(len(found)) / len(found)
    ours = scored(build, found, objects, crowds, crowd=True, scores=scores)
    assert ours.box.ap50.value == pytest.approx(coco_ap50(objects, crowds, found, scores), abs=1e-12)


def coco_ap50(objects, crowds, found, scores) -> float:
    """AP at IoU 0.5 of one image and one category."""
    coco = COCO()
    entries = [
        {
            "id": i,
            "image_id": 1,
            "category_id": 1,
            "bbox": list(map(float, row[2:])),
            "area": 100,
            "iscrowd": i - 1 >= n,
        }
        for n in [len(objects)]
        for i, row in enumerate([*objects, *crowds], start=1)
    ]
    coco.dataset = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": entries, "info": {}}
    with redirect_stdout(StringIO()):
        coco.createIndex()
        results = coco.loadRes(np.array([[1, *row[2:], score, 1] for row, score in zip(found, scores, strict=True)]))
        run = COCOeval(coco, results, "bbox")
        run.params.iouThrs, run.params.areaRng, run.params.areaRngLbl = np.array([0.5]), [[0, 1e10]], ["all"]
        run.evaluate()
        run.accumulate()
    return float(run.eval["precision"][0, :, 0, 0, -1].mean())
