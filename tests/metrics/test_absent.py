"""The share of images in which a category is counted or drawn that they do not have."""

import numpy as np
import pytest

from earthinstruct.metrics import Predicted, Truth, measure, share_of_images
from earthinstruct.regions import Instances

BOX = [0.0, 0.0, 4.0, 4.0]


def instances(*pairs):
    image, category = (np.array(of, dtype=np.int64) for of in (zip(*pairs, strict=True) if pairs else ((), ())))
    return Instances(image, category, np.array([BOX] * len(pairs)).reshape(-1, 4))


def measured(counts, predicted, only_counts=False):
    categories = ("ship", "harbor")
    # image 0 has a ship, image 1 both, images 2 and 3 have nothing
    truth = Truth(("a", "b", "c", "d"), categories, {"all": categories}, instances((0, 0), (1, 0), (1, 1)), "none")
    given = np.array(counts, dtype=np.int64)
    said = Predicted(predicted, given, np.ones(4, bool), given.any(axis=0), None, "none", only_counts)
    return measure(truth, said).absent


def test_shares_by_hand():
    # counted: a harbor in image 0 and a ship in image 2, of the three images that lack a category
    absent = measured([[1, 1], [0, 3], [2, 0], [0, 0]], instances((0, 1), (2, 0), (2, 1)))
    counted, drawn = absent.counted, absent.drawn
    assert (counted.n_images, counted.n_named, float(counted.share)) == (3, 2, pytest.approx(2 / 3))
    ship, harbor = counted.per_category["ship"], counted.per_category["harbor"]
    assert (ship.n_images, ship.n_named, float(ship.share)) == (2, 1, 0.5)
    assert (harbor.n_images, harbor.n_named, float(harbor.share)) == (3, 1, pytest.approx(1 / 3))
    assert (drawn.n_named, drawn.per_category["harbor"].n_named) == (2, 2)
    low, high = counted.share.ci95
    assert 0 < low < 2 / 3 < high < 1


def test_a_method_that_only_counts_draws_nothing():
    absent = measured([[0, 0], [0, 0], [0, 0], [9, 0]], instances(), only_counts=True)
    assert absent.drawn is None
    assert absent.counted.n_named == 1


def test_images_that_have_everything_show_nothing():
    everywhere = instances(*((i, c) for i in range(4) for c in range(2)))
    truth = Truth(("a", "b", "c", "d"), ("x", "y"), {"all": ("x", "y")}, everywhere, "none")
    nothing = np.zeros((4, 2), np.int64)
    said = Predicted(everywhere, nothing, np.zeros(4, bool), np.zeros(2, bool), None, "none")
    counted = measure(truth, said).absent.counted
    assert (counted.n_images, counted.share.value) == (0, None)
    assert "every image has all categories" in counted.share.reason


def test_the_share_of_images_has_the_interval_of_a_share():
    found = share_of_images(np.array([True] * 12 + [False] * 36))
    assert float(found) == 0.25
    assert found.ci95 == pytest.approx((0.15, 0.39), abs=0.02)  # Wilson's: 0.149 to 0.388
    assert share_of_images(np.zeros(0, bool)).value is None
