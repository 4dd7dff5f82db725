"""Curves over scores: thresholds in blocks are the thresholds at once; a hand-made average precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthinstruct.metrics import outcomes
from earthinstruct.metrics.outcomes import Outcomes


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


def test_average_precision_by_hand() -> None:
    # by score: true, false, true of 4 ground truths: recall 1/4 at precision 1, 2/4 at 2/3.
    # 26 recall points (0 to 0.25) at 1, 25 (0.26 to 0.50) at 2/3, the rest 0
    found = Outcomes(
        np.array([0.2, 0.9, 0.5]),
        np.zeros(3, dtype=np.int32),
        np.array([True, True, False]),
        np.zeros(3, dtype=np.int32),
        np.array([[4, 0]]),
    )
    np.testing.assert_allclose(found.average_precision(), [(26 + 25 * 2 / 3) / 101, 0], rtol=1e-15)
