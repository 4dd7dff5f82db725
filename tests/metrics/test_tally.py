"""Tallies add up, and refuse what does not belong together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthinstruct.metrics import STANDARD, Tally, Truth
from earthinstruct.metrics.detection import Detection
from earthinstruct.metrics.regions import tally_regions
from earthinstruct.metrics.tally import tally_counts

NAMES = ("a", "b", "c")


def both(predictions, targets, images):
    """The tallies of matches and of regions of some images."""
    position = {image: i for i, image in enumerate(images)}

    def of(instances):
        part = instances.take(np.isin(instances.image, images))
        part.image[:] = [position[image] for image in part.image]
        return part

    predictions, targets = of(predictions), of(targets)
    truth = Truth(tuple(images), NAMES, {}, targets)
    every = np.ones(len(predictions), dtype=bool)
    return Detection(truth, predictions, STANDARD, "mask").tally(every), tally_regions(truth, predictions, every)


@given(st.integers(0, 2**32 - 1))
def test_parts_add_up_to_the_whole(build, seed) -> None:
    generator = np.random.default_rng(seed)
    predictions, targets = build.random(generator, 30), build.random(generator, 25)
    whole = both(predictions, targets, [0, 1, 2])
    parts = both(predictions, targets, [0]), both(predictions, targets, [1, 2])
    for together, first, second in zip(whole, *parts, strict=True):
        added = Tally.join([first, second])
        assert added.images == together.images
        for name, column in together.columns.items():
            np.testing.assert_array_equal(added.columns[name], column)


def test_counting() -> None:
    tally = tally_counts([0], NAMES, np.array([[3, 1, 0]]), np.array([[2, 4, 0]]))
    assert {name: column.tolist() for name, column in tally.columns.items()} == {
        "tp": [[2, 1, 0]],
        "fp": [[1, 0, 0]],
        "fn": [[0, 3, 0]],
    }


def test_refuses_what_does_not_add_up() -> None:
    column = {"tp": np.zeros((1, 1), dtype=np.int64)}
    tally = Tally((1,), ("a",), column)
    with pytest.raises(ValueError, match="image 1 is in two"):
        Tally.join([tally, tally])
    with pytest.raises(ValueError, match="same categories"):
        Tally.join([tally, Tally((2,), ("b",), column)])


@pytest.mark.parametrize(("largest", "kind"), [(0, "int8"), (127, "int8"), (128, "int16"), (2**31, "int64")])
def test_compact_keeps_every_number(largest: int, kind: str) -> None:
    column = np.array([[0, largest]])
    small = Tally((1,), ("a", "b"), {"tp": column}).compact().columns["tp"]
    assert small.dtype == kind
    np.testing.assert_array_equal(small, column)
