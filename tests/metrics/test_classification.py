"""Scores of a classifier of known objects: by hand, and the edges."""

import numpy as np
import pytest

from earthinstruct.metrics import classification_scores


def of(image, actual, given, confidence=None, categories=("a", "b", "c")):
    images = [f"i{n}" for n in range(max(image, default=-1) + 1)]
    numbers = [np.array(values, dtype=np.int64) for values in (image, actual, given)]
    return classification_scores(images, categories, *numbers, None if confidence is None else np.array(confidence))


def test_shares_and_calibration_by_hand():
    found = of([0, 0, 1, 1, 1], [0, 0, 0, 1, 1], [0, 1, 0, 1, 2], [0.95, 0.62, 0.97, 0.55, 0.65])
    assert found.accuracy.value == pytest.approx(3 / 5)
    assert found.mean_accuracy.value == pytest.approx((2 / 3 + 1 / 2) / 2)  # c has no object
    assert found.per_category == {"a": (3, 2), "b": (2, 1)}
    # bins: 0.55 (right), 0.62 and 0.65 (wrong), 0.95 and 0.97 (right)
    assert found.calibration.ece.value == pytest.approx((0.45 + (0.62 + 0.65) + (0.05 + 0.03)) / 5)


def test_the_interval_is_the_one_over_images():
    found = of(range(48), [0] * 48, [0] * 48)
    assert found.accuracy.ci95 == found.mean_accuracy.ci95 == pytest.approx((48 / (48 + 1.959964**2), 1))
    assert of([0, 0], [0, 1], [0, 0]).accuracy.reason == "no interval: fewer than 2 images have objects"


def test_the_order_of_objects_and_categories_does_not_matter():
    rng = np.random.default_rng(0)
    image, actual, given = rng.integers(0, 6, 80), rng.integers(0, 3, 80), rng.integers(0, 3, 80)
    image[0] = 5
    confidence = rng.random(80)
    order = rng.permutation(80)
    there = of(image, actual, given, confidence)
    assert of(image[order], actual[order], given[order], confidence[order]) == there
    back = of(image, 2 - actual, 2 - given, confidence, ("c", "b", "a"))
    assert (back.accuracy, back.mean_accuracy, back.calibration) == (
        there.accuracy,
        there.mean_accuracy,
        there.calibration,
    )


def test_without_objects_nothing_is_defined():
    found = of([], [], [], [])
    assert found.n_objects == 0
    assert found.accuracy.value is found.mean_accuracy.value is found.calibration.ece.value is None
    assert found.accuracy.reason
