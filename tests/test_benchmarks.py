"""The helpers of `benchmarks/` still run, on a few small images."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import reference
from benchmarks.data import Scenes, write
from benchmarks.growth import Cost, bound, cost, draw, row
from earthinstruct.metrics import PROTOCOLS, measure


@pytest.fixture
def scenes(tmp_path: Any, coco: dict[str, Any]) -> Scenes:
    write(tmp_path, 2, coco=coco, predictions=30, shards=2)
    return Scenes("small", tmp_path)


def test_copies_have_the_predictions_asked_for(scenes: Scenes) -> None:
    assert len(scenes.coco["images"]) == 6
    assert len(scenes.results) == 60
    assert len(scenes.predicted.instances) == 60
    assert len(scenes.truth.instances) == 8


def test_the_plain_sweep_is_that_of_protocol_paper(scenes: Scenes) -> None:
    truth, predicted = scenes.truth, scenes.predicted
    curve = measure(truth, predicted, PROTOCOLS["paper"], sweep=True).sweep.curve
    plain = reference.sweep(predicted.instances, truth.instances, PROTOCOLS["paper"].thresholds, "box")
    np.testing.assert_allclose([point.f1 for point in curve], plain, rtol=1e-12)
    assert max(plain) > 0


def test_the_cost_of_a_command_is_measured(scenes: Scenes) -> None:
    found = cost(scenes.folder, 6)
    assert found.seconds > 0
    assert found.megabytes > 1
    assert found.bound > 100


def test_growth_is_a_row_and_a_curve() -> None:
    costs = [Cost(650, 1.0, 1.3, 100.0, 120.0), Cost(5850, 5.0, 5.2, 200.0, 230.0)]
    assert row(costs[0]) == "| 650 | 10,000 | 1.0 s | 1.3 s | 2.00 ms | 100 MB | 120 MB |"
    ElementTree.fromstring(draw(costs))


def test_the_bound_is_the_sum_of_what_is_in_memory() -> None:
    before, after = bound(0, 0, 0, 0), bound(10_000, 60_000, 150_000, 1 << 20)
    # 1,450 x 10,000 + 331 x 60,000 + 60 x 150,000 bytes, and the text twice
    assert after - before == pytest.approx(43_360_000 / 2**20 + 2)
