"""Curves over scores: thresholds in blocks are the thresholds at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthinstruct.metrics import outcomes
from earthinstruct.metrics.outcomes import Outcomes
from earthinstruct.metrics.scores import average_precision


def random_outcomes(seed: int, n: int) -> Outcomes:
    generator = np.random.default_rng(seed)
    category = generator.integers(-1, 3, n)
    return Outcomes(
        generator.integers(0, 7, n) / 7,
        category.astype(np.int32),
        (category >= 0) & (generator.random(n) < 0.5),
        generator.integers(0, 4, n).astype(np.int32),
        np.full((4, 3), n),
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 10))
def test_distinct_scores_in_blocks_are_those_at_once(seed: int, n: int, block: int) -> None:
    found = random_outcomes(seed, n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcomes, "_SCORES_AT_ONCE", block)
        parts = list(found.at_distinct_scores())
    thresholds = np.concatenate([distinct for distinct, _ in parts])
    np.testing.assert_array_equal(thresholds, np.unique(found.scores))
    for name, expected in found.totals_at(thresholds).items():
        np.testing.assert_array_equal(np.concatenate([totals[name] for _, totals in parts]), expected)


def test_parts_join_to_the_whole() -> None:
    first, second = random_outcomes(1, 20), random_outcomes(2, 9)
    whole = Outcomes.join([first, second])
    thresholds = np.arange(8) / 7
    for name, totals in whole.totals_at(thresholds).items():
        expected = first.totals_at(thresholds)[name] + second.totals_at(thresholds)[name]
        np.testing.assert_array_equal(totals, expected)
    for images, part in ((np.arange(8) < 4, first), (np.arange(8) >= 4, second)):
        for name, totals in whole.of_images(images).totals_at(thresholds).items():
            np.testing.assert_array_equal(totals, part.totals_at(thresholds)[name])


def test_a_precision_recall_curve_has_the_average_precision_as_its_mean() -> None:
    found = random_outcomes(3, 60)
    curves = found.precision_at_recalls()
    for c in range(3):
        own = np.flatnonzero(found.category == c)
        own = own[np.argsort(-found.scores[own], kind="stable")]
        expected = average_precision(found.matched[own], int(found.n_targets[c]), found.scores[own])
        assert curves[:, c].mean() == pytest.approx(expected)
        assert (np.diff(curves[:, c]) <= 0).all()
    assert np.isnan(Outcomes.none(np.array([[0, 1]])).precision_at_recalls()[:, 0]).all()
    assert not Outcomes.none(np.array([[0, 1]])).precision_at_recalls()[:, 1].any()
