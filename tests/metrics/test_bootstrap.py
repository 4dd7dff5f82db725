"""Image weights and intervals."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from earthinstruct.metrics import Tally, bootstrap
from earthinstruct.metrics.bootstrap import image_weights, interval, resampled_totals
from earthinstruct.metrics.scores import recall


def tally(tp: np.ndarray, fn: np.ndarray) -> Tally:
    return Tally(tuple(range(len(tp))), ("a",), {"tp": tp[:, None], "fp": 0 * tp[:, None], "fn": fn[:, None]})


def recall_interval(whole: Tally) -> tuple[float, float] | None:
    (totals,) = resampled_totals([whole])
    return interval(recall(totals), totals["tp"] + totals["fn"] > 0)


def drawn(images: tuple[str, ...]) -> np.ndarray:
    return np.concatenate(list(image_weights(images, 200)))


def test_weights_draw_as_many_images_as_there_are_and_follow_the_id() -> None:
    weights = drawn(("a", "d", "c", "b"))
    assert weights.shape == (200, 4)
    assert (weights.sum(axis=1) == 4).all()
    np.testing.assert_array_equal(drawn(("b", "a", "c", "d")), weights[:, [3, 0, 2, 1]])
    expected = np.random.Generator(np.random.PCG64(zlib.crc32(b"earthinstruct"))).integers(4, size=(200, 4))
    np.testing.assert_array_equal(weights[:, [0, 3, 2, 1]], [np.bincount(row, minlength=4) for row in expected])


def test_how_the_work_is_cut_changes_no_total(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, other = (tally(np.arange(n) % 3, np.arange(n) % 2) for n in (11, 7))
    totals = resampled_totals([whole, other, whole], 20)
    monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", 30)
    monkeypatch.setattr(bootstrap, "_WEIGHTS_AT_ONCE", 70)  # 6 and 10 resamples
    monkeypatch.setattr(bootstrap, "_FACTORS_AT_ONCE", 18)  # 3 and 1 images
    for before, after in zip(totals, resampled_totals([whole, other, whole], 20), strict=True):
        for name, values in before.items():
            np.testing.assert_array_equal(after[name], values)
    weights = np.concatenate(list(image_weights(other.images, 20))).astype(np.int64)
    np.testing.assert_array_equal(totals[1]["tp"], weights @ other.columns["tp"])


def test_an_interval_is_about_two_standard_errors_each_side() -> None:
    # 400 images with one object each, half of them found: standard error sqrt(0.25 / 400) = 0.025
    found = np.arange(400) % 2
    whole = tally(found, 1 - found)
    low, high = recall_interval(whole)
    assert abs(low - (0.5 - 1.96 * 0.025)) < 0.01
    assert abs(high - (0.5 + 1.96 * 0.025)) < 0.01


def test_resamples_without_the_category_do_not_count() -> None:
    # one of three images has the object: the others say nothing of its recall
    whole = tally(np.array([1, 0, 0]), np.array([0, 0, 0]))
    assert recall_interval(whole) == (1.0, 1.0)
    nothing = tally(np.zeros(3, dtype=int), np.zeros(3, dtype=int))
    assert recall_interval(nothing) is None
