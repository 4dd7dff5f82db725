"""F1 by object size: by hand, against a matching by SciPy, and what must not change it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from earthinstruct.metrics import PREDICTION_VERDICTS, PROTOCOLS, STANDARD, count_per_image, measure, verdicts
from earthinstruct.metrics.sizes import SIZES, sizes_of

seeds = st.integers(0, 2**32 - 1)


def test_sizes_are_those_of_coco_and_each_object_has_one(build) -> None:
    rows = [(0, 0, 0, 0, side, side) for side in (0, 31.99, 32, 95.99, 96, 500)]
    found = sizes_of(build.instances(rows, masks=False), "box")
    assert [SIZES[s] for s in found] == ["small", "small", "medium", "medium", "large", "large"]


def test_the_size_of_a_mask_is_its_number_of_pixels(build) -> None:
    boxes = build.instances([(0, 0, 0, 0, 40, 40)])
    half = replace(build.instances([(0, 0, 0, 0, 40, 20)]), boxes=boxes.boxes)
    assert [SIZES[sizes_of(half, geometry)[0]] for geometry in ("box", "mask")] == ["medium", "small"]


def test_by_hand(build) -> None:
    targets = build.instances(
        [(0, 0, 0, 0, 20, 20), (0, 0, 100, 0, 40, 40), (1, 0, 0, 0, 100, 100), (1, 1, 0, 0, 40, 40)], masks=False
    )
    predictions = build.instances(
        [
            (0, 0, 100, 0, 31, 31),  # small, on the medium object (IoU 961 / 1600): right there
            (0, 0, 0, 0, 20, 20),  # right
            (0, 0, 0, 0, 20, 20),  # small and wrong
            (0, 0, 200, 200, 50, 50),  # medium and wrong
            (0, 0, 300, 300, 10, 10),  # small and wrong
            (1, 0, 300, 300, 200, 200),  # large and wrong
            (1, -1, 300, 300, 200, 200),  # of no category
            (2, 2, 0, 0, 9, 9),  # small and wrong, in a category without objects
        ],
        masks=False,
    )
    truth = build.truth(targets)
    by_size = measure(truth, build.predicted(predictions, truth)).box.by_size
    tallies = build.tallies(truth, build.predicted(predictions, truth))
    rows = {
        size: [tuple(int(of[c]) for of in tallies[f"sizes.box.{size}"].totals.values()) for c in range(3)]
        for size in SIZES
    }
    assert rows == {  # tp, fp, fn of a, b, c
        "small": [(1, 2, 0), (0, 0, 0), (0, 1, 0)],
        "medium": [(1, 1, 0), (0, 0, 1), (0, 0, 0)],
        "large": [(0, 1, 1), (0, 0, 0), (0, 0, 0)],
    }
    assert by_size["small"].f1.value == pytest.approx(2 / (2 + 2))  # a alone has small objects
    assert by_size["medium"].f1.value == pytest.approx((2 / (2 + 1) + 0) / 2)
    assert (by_size["medium"].precision.value, by_size["medium"].recall.value) == (0.25, 0.5)
    assert by_size["large"].f1.value == 0
    assert [by_size[size].n_objects for size in SIZES] == [1, 2, 1]


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_without_objects_of_a_size_its_scores_are_undefined(build, protocol) -> None:
    targets = build.instances([(0, 0, 0, 0, 9, 9)])
    truth = build.truth(targets)
    found = measure(truth, build.predicted(targets, truth), protocol)
    for geometry in (found.box, found.mask):
        assert geometry.by_size["small"].f1.value == 1
        assert geometry.by_size["large"].f1.value is None
        assert geometry.by_size["large"].f1.reason == "no large object"


def scene(build, seed: int):
    """Heaps of boxes whose areas lie on both sides of 32 x 32 and 96 x 96."""
    chance = np.random.default_rng(seed)
    sides = [replace(build.random(chance, n), masks=None) for n in (25, 35)]
    return tuple(replace(side, boxes=side.boxes * float(chance.choice([1, 3, 8]))) for side in sides)


@given(seeds)
@settings(max_examples=settings().max_examples // 2)
def test_tallies_are_those_of_a_matching_by_scipy(build, seed) -> None:
    targets, predictions = scene(build, seed)
    truth = build.truth(targets)
    predicted = build.predicted(predictions, truth)
    tallies = build.tallies(truth, predicted)
    verdict = verdicts(truth, predicted).predictions
    wrong = (verdict != 0) & (verdict != PREDICTION_VERDICTS.index("unscored"))
    areas = [side.boxes[:, 2] * side.boxes[:, 3] for side in (predictions, targets)]
    x0, y0 = (np.maximum(predictions.boxes[:, None, k], targets.boxes[:, k]) for k in (0, 1))
    ends = [side.boxes[:, :2] + side.boxes[:, 2:] for side in (predictions, targets)]
    x1, y1 = (np.minimum(ends[0][:, None, k], ends[1][:, k]) for k in (0, 1))
    shared = np.maximum(x1 - x0, 0) * np.maximum(y1 - y0, 0)
    paired = shared >= 0.5 * (areas[0][:, None] + areas[1] - shared)
    paired &= (predictions.image[:, None] == targets.image) & (predictions.category[:, None] == targets.category)
    for size, low, high in (("small", 0, 1024), ("medium", 1024, 9216), ("large", 9216, np.inf)):
        of_predictions, of_targets = ((area >= low) & (area < high) for area in areas)
        found = tallies[f"sizes.box.{size}"]
        matched = maximum_bipartite_matching(csr_array(paired & of_targets), perm_type="column") >= 0
        tp = count_per_image(predictions, 3, 3, matched)
        np.testing.assert_array_equal(found.columns["tp"].sum(axis=1), tp.sum(axis=1))
        np.testing.assert_array_equal(found.totals["tp"], tp.sum(axis=0))
        actual = count_per_image(targets, 3, 3, of_targets)
        np.testing.assert_array_equal(found.columns["tp"] + found.columns["fn"], actual)
        np.testing.assert_array_equal(found.columns["fp"], count_per_image(predictions, 3, 3, wrong & of_predictions))


@given(seeds)
@settings(max_examples=settings().max_examples // 2)
def test_sizes_add_up_to_the_whole(build, seed) -> None:
    """Each wrong prediction and each object has one size; a prediction may be right for objects of two sizes."""
    targets, predictions = scene(build, seed)
    truth = build.truth(targets)
    tallies = build.tallies(truth, build.predicted(predictions, truth))
    whole = tallies["box"].totals
    parts = [tallies[f"sizes.box.{size}"].totals for size in SIZES]
    np.testing.assert_array_equal(sum(part["fp"] for part in parts), whole["fp"])
    np.testing.assert_array_equal(sum(part["tp"] + part["fn"] for part in parts), whole["tp"] + whole["fn"])
    assert (sum(part["tp"] for part in parts) >= whole["tp"]).all()


@given(seeds, st.booleans())
@settings(max_examples=settings().max_examples // 2)
def test_no_order_changes_them(build, seed, scored) -> None:
    chance = np.random.default_rng(seed)
    targets, predictions = scene(build, seed)
    if scored:
        predictions = replace(predictions, scores=chance.integers(0, 4, len(predictions)) / 4)
    results = []
    for _ in range(2):
        truth = build.truth(targets)
        found = measure(truth, build.predicted(predictions, truth), STANDARD).box
        results.append((found.by_size, found.ap, found.calibration))
        targets = targets.take(chance.permutation(len(targets)))
        predictions = predictions.take(chance.permutation(len(predictions)))
    assert results[0] == results[1]
