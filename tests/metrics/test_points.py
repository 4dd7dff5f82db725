"""Points: a golden by hand, parity with SciPy, the edges of boxes and masks, and no dependence on order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from earthinstruct.errors import EarthInstructError
from earthinstruct.metrics import ONLY_POINTS, PROTOCOLS, measure, slice_scores, verdicts
from earthinstruct.metrics.inputs import Ignored
from earthinstruct.regions import Instances, decode_mask, decode_rles, encode_masks, pixels_of

SIDE = 40
seeds = st.integers(0, 2**32 - 1)


def pointed(rows, scores=None) -> Instances:
    """Rows of (image, category, x, y): instances that are points alone."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    places = table[:, 2:]
    values = None if scores is None else np.array(scores, dtype=np.float64)
    return Instances(table[:, 0].astype(int), table[:, 1].astype(int), pixels_of(places), None, values, places)


def predicted(build, rows, truth, scores=None, counts=None):
    found = build.predicted(pointed(rows, scores), truth, counts)
    return replace(found, no_boxes_reason=ONLY_POINTS)


def random_case(build, seed, scores=False):
    """Points of which many lie in several objects, and many in none."""
    generator = np.random.default_rng(seed)
    truth = build.truth(build.random(generator, 25))
    truth = replace(truth, ignored=Ignored(build.random(generator, 4), generator.random(4) < 0.5))
    n = 50
    places = generator.integers(-4, 2 * SIDE, (n, 2)) / 2
    rows = np.column_stack([generator.integers(0, 3, n), generator.integers(-1, 3, n), places])
    values = (generator.integers(0, 6, n) / 6).tolist() if scores else None
    return generator, truth, predicted(build, rows, truth, values)


def test_two_images_by_hand(build) -> None:
    # image 0, category a: objects [0, 10) x [0, 10) and [20, 30) x [0, 10)
    #   points (2, 2), (8, 8): both in the first object, one is its own, the other a duplicate; the second is missed
    #   (15, 5) near the second: its box made twice as wide reaches from 15 to 35: localisation, and it is mislocated
    #   TP 1, FP 2, FN 1: P 1/3, R 1/2, F1 2/5
    # image 1, category b: object [5, 15) x [5, 15); the point (14.9, 14.9) of b lies in it, (6, 6) of a is of another
    #   category, (39, 39) of b is near nothing. b: TP 1, FP 1, FN 0: P 1/2, R 1, F1 2/3
    # a has one FP more: TP 1, FP 3, FN 1: P 1/4, R 1/2, F1 2/6 = 1/3; the mean F1 is (1/3 + 2/3) / 2 = 1/2
    truth = build.truth(build.instances([(0, 0, 0, 0, 10, 10), (0, 0, 20, 0, 10, 10), (1, 1, 5, 5, 10, 10)]), 2, 2)
    rows = [(0, 0, 2, 2), (0, 0, 8, 8), (0, 0, 15, 5), (1, 1, 14.9, 14.9), (1, 0, 6, 6), (1, 1, 39, 39)]
    found = measure(truth, predicted(build, rows, truth))
    a, b = found.point.per_category["a"], found.point.per_category["b"]
    assert [(of.tp, of.fp, of.fn) for of in (a, b)] == [(1, 3, 1), (1, 1, 0)]
    assert (a.precision, a.recall, a.f1) == (1 / 4, 1 / 2, pytest.approx(1 / 3))
    assert (b.precision, b.recall, b.f1) == (1 / 2, 1, pytest.approx(2 / 3))
    assert found.point.f1.value == pytest.approx(1 / 2)
    assert found.point.f1.ci95 is not None
    assert found.point.groups["first"]["f1"] == pytest.approx(1 / 3)  # of category a alone
    assert found.point.ap_nc50.value == pytest.approx((1 / 4 * 51 / 101 + 1 / 2) / 2)
    errors = found.errors.point.total
    assert (errors.correct, errors.duplicate, errors.classification, errors.localisation) == (2, 1, 1, 1)
    assert (errors.both, errors.background) == (0, 1)
    assert (errors.misclassified, errors.mislocated, errors.missed) == (0, 1, 0)
    assert found.costs.point.background.value == pytest.approx((0 + (1 - 2 / 3)) / 2)
    # counts are those of the points: a 3 of 2 in image 0 and 1 of 0 in image 1, b 2 of 1 in image 1
    assert (found.counting.source, found.counting.tally["a"].fp, found.counting.tally["b"].fp) == ("instances", 2, 1)


def test_without_boxes_their_scores_are_undefined_with_the_reason(build) -> None:
    truth = build.truth(build.instances([(0, 0, 0, 0, 10, 10)]))
    found = measure(truth, predicted(build, [(0, 0, 2, 2)], truth))
    for value in (found.box.f1, found.mask.f1, found.mask.miou, found.box.ap50):
        assert (value.value, value.reason) == (None, ONLY_POINTS)
    assert (found.errors.box, found.costs.box) == (None, None)
    assert (found.geometry, found.point.f1.value) == ("point", 1)
    assert (found.point.ap.reason, found.point.by_size, found.point.f1_5095) == ("points have no IoU", None, None)


def test_points_beside_boxes_change_no_other_score(build) -> None:
    generator, truth, _ = random_case(build, 1)
    boxes = build.random(generator, 30, scores=True)
    both = replace(boxes, points=boxes.boxes[:, :2] + boxes.boxes[:, 2:] / 2)
    alone, found = (measure(truth, build.predicted(one, truth), sweep=True) for one in (boxes, both))
    assert (alone.point, alone.errors.point) == (None, None)
    assert found.point.f1.value is not None
    assert (found.box, found.mask, found.counting, found.sweep) == (alone.box, alone.mask, alone.counting, alone.sweep)
    assert found.geometry == "box"


@pytest.mark.parametrize("masks", [True, False])
def test_a_point_lies_in_the_pixel_that_holds_it(build, masks) -> None:
    # the object has the pixels 10 to 19 in x and 5 to 9 in y
    truth = build.truth(build.instances([(0, 0, 10, 5, 10, 5)], masks=masks), 1, 1)
    inside = [(10, 5), (19.99, 9.99), (10, 9), (19, 5)]
    outside = [(9.99, 7), (20, 7), (15, 4.99), (15, 10), (-1, 7), (15, 1e6)]
    for places, f1 in ((inside, 1), (outside, 0)):
        for x, y in places:
            assert measure(truth, predicted(build, [(0, 0, x, y)], truth)).point.f1.value == f1, (x, y)


def test_a_point_in_the_hole_of_a_mask_is_only_near(build) -> None:
    # a ring: the pixels of [10, 20) x [10, 20) without [12, 18) x [12, 18)
    ring = np.zeros((1, SIDE, SIDE), dtype=bool)
    ring[0, 10:20, 10:20] = True
    ring[0, 12:18, 12:18] = False
    target = Instances(*(np.zeros(1, dtype=int),) * 2, np.array([[10.0, 10, 10, 10]]), decode_rles(encode_masks(ring)))
    truth = build.truth(target, 1, 1)
    for place, verdict in (((15, 15), "localisation"), ((11, 15), "correct"), ((18.5, 12), "correct")):
        found = measure(truth, predicted(build, [(0, 0, *place)], truth))
        assert getattr(found.errors.point.total, verdict) == 1, place
    without = replace(truth, instances=replace(target, masks=None))
    assert measure(without, predicted(build, [(0, 0, 15, 15)], without)).point.f1.value == 1


@given(seeds)
def test_masks_hold_the_pixels_that_are_drawn(seed) -> None:
    generator = np.random.default_rng(seed)
    drawn = generator.random((3, 5, 7)) < generator.choice([0.1, 0.5, 0.9])
    masks = decode_rles(rles := encode_masks(drawn))
    index, places = generator.integers(0, 3, 60), generator.integers(-2, 9, (60, 2)) + generator.random((60, 2))
    expected = [
        0 <= x < 7 and 0 <= y < 5 and bool(decode_mask(rles[i])[int(y), int(x)])
        for i, (x, y) in zip(index, places, strict=True)
    ]
    assert masks.hold(index, places).tolist() == expected


@settings(max_examples=settings().max_examples // 2)
@given(seeds)
def test_true_positives_are_a_maximum_matching_of_scipy(build, seed) -> None:
    _, truth, found = random_case(build, seed)
    truth = replace(truth, ignored=None)
    objects, points = truth.instances, found.instances
    edges = np.zeros((len(points), len(objects)), dtype=bool)
    for p, (x, y) in enumerate(points.points.tolist()):
        for t, (left, top, width, height) in enumerate(objects.boxes.tolist()):  # the masks are the boxes, drawn
            same = points.image[p] == objects.image[t] and points.category[p] == objects.category[t]
            edges[p, t] = same and left <= x < left + width and top <= y < top + height
    graph = csr_array(edges.astype(np.int8))
    matched = maximum_bipartite_matching(graph, perm_type="column")
    point = measure(truth, found).point
    assert sum(count.tp for count in point.tally.values()) == (matched >= 0).sum()
    assert sum(count.tp + count.fn for count in point.tally.values()) == len(objects)
    assert sum(count.tp + count.fp for count in point.tally.values()) == (points.category >= 0).sum()


@settings(max_examples=settings().max_examples // 4)
@given(seeds, st.booleans())
def test_no_order_of_points_and_objects_changes_a_score(build, seed, scores) -> None:
    generator, truth, found = random_case(build, seed, scores)
    shuffle = generator.permutation
    turned = replace(truth, instances=truth.instances.take(shuffle(len(truth.instances))))
    other = replace(found, instances=found.instances.take(order := shuffle(len(found.instances))))
    threshold = 0.5 if scores else None
    assert measure(turned, other, threshold=threshold) == measure(truth, found, threshold=threshold)
    first = verdicts(truth, found, geometry="point").predictions
    assert verdicts(turned, other, geometry="point").predictions.tolist() == first[order].tolist()


@settings(max_examples=settings().max_examples // 8)
@given(seeds)
def test_verdicts_add_up_to_points_and_objects(build, seed) -> None:
    _, truth, found = random_case(build, seed)
    metrics = measure(truth, found)
    for name, of in metrics.errors.point.per_category.items():
        count = metrics.point.tally[name]
        wrong = of.duplicate + of.classification + of.localisation + of.both + of.background
        assert (of.correct, wrong) == (count.tp, count.fp)
        assert of.misclassified + of.mislocated + of.missed == count.fn


def test_a_point_on_an_ignored_object_is_neither_right_nor_wrong(build) -> None:
    truth = build.truth(build.instances([(0, 0, 0, 0, 10, 10)]), 1, 1)
    truth = replace(truth, ignored=Ignored(build.instances([(0, 0, 20, 0, 10, 10)]), np.array([True])))
    # two points on the ignored crowd, one on the object, one on nothing
    found = measure(truth, predicted(build, [(0, 0, 22, 2), (0, 0, 25, 5), (0, 0, 5, 5), (0, 0, 35, 35)], truth))
    assert (found.point.tally["a"].tp, found.point.tally["a"].fp) == (1, 1)
    assert found.counting.tally["a"].fp == 1  # 4 points, 2 of them on the crowd, 1 object


def test_average_precision_is_that_of_boxes_around_the_objects(build) -> None:
    """Points at the centres of the predicted boxes, where each box is an object or far from all."""
    objects = [(0, 0, 10 * k, 0, 8, 8) for k in range(4)]
    truth = build.truth(build.instances(objects), 1, 1)
    boxes = build.instances([*objects[:3], (0, 0, 0, 20, 8, 8)], [0.9, 0.7, 0.6, 0.8])
    places = boxes.boxes[:, :2] + 4
    points = pointed([(0, 0, *place) for place in places], boxes.scores)
    found = measure(truth, build.predicted(replace(boxes, points=places), truth))
    alone = measure(truth, replace(build.predicted(points, truth), no_boxes_reason=ONLY_POINTS))
    # the curve: 1/1 at recall 1/4, 2/3 at 2/4, 3/4 at 3/4, made non-increasing: 26 x 1 + 50 x 3/4
    assert alone.point.ap50.value == pytest.approx((26 + 50 * 3 / 4) / 101)
    assert alone.point.ap50 == found.point.ap50 == found.box.ap50
    assert alone.point.calibration == found.box.calibration
    some = measure(truth, replace(build.predicted(points, truth), no_boxes_reason=ONLY_POINTS), threshold=0.7)
    assert (some.point.tally["a"].tp, some.point.tally["a"].fp, some.point.tally["a"].fn) == (2, 1, 2)


def test_a_sweep_needs_boxes(build) -> None:
    truth = build.truth(build.instances([(0, 0, 0, 0, 10, 10)]))
    with pytest.raises(
        EarthInstructError, match=r"by box F1, which is undefined \(the method only points.*--threshold"
    ):
        measure(truth, predicted(build, [(0, 0, 2, 2)], truth, [0.5]), sweep=True)


def test_under_paper_points_are_matched_in_file_order(build) -> None:
    # the first point lies in both objects and takes the first; the second, in the first object alone, finds it taken
    truth = build.truth(build.instances([(0, 0, 0, 0, 10, 10), (0, 0, 5, 0, 10, 10)]), 1, 1)
    rows = [(0, 0, 7, 5), (0, 0, 2, 5)]
    of = {name: measure(truth, predicted(build, rows, truth), rules) for name, rules in PROTOCOLS.items()}
    assert (of["standard"].point.tally["a"].tp, of["paper"].point.tally["a"].tp) == (2, 1)


def test_slices_have_the_scores_of_points(build) -> None:
    truth = build.truth(build.instances([(0, 0, 0, 0, 10, 10), (1, 0, 0, 0, 10, 10)]), 2, 1)
    found = predicted(build, [(0, 0, 2, 2), (1, 0, 30, 30)], truth)
    tallies = build.tallies(truth, found)
    parts = slice_scores(measure(truth, found), tallies, truth.groups, {"near": [0], "far": [1]})
    assert [part.scores["point.f1"].value for part in parts] == [1, 0]
    assert all(part.scores["box.f1"].reason == ONLY_POINTS for part in parts)
    assert [part.n_objects for part in parts] == [1, 1]  # the tally of boxes holds the ground truth
