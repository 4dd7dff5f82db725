"""The helpers of `benchmarks/` still run, on a few small images."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import reference
from benchmarks.data import Scenes, write
from benchmarks.growth import Cost, cost, draw, row
from earthinstruct.metrics import PROTOCOLS, SWEEP_THRESHOLDS, measure


@pytest.fixture
def scenes(tmp_path: Any, coco: dict[str, Any]) -> Scenes:
    write(tmp_path, 2, coco=coco, predictions=30, shards=2)
    return Scenes("small", tmp_path)


def test_copies_have_the_predictions_asked_for(scenes: Scenes) -> None:
    assert len(scenes.coco["images"]) == 6
    assert len(scenes.results) == 60
    assert len(scenes.prepared.predicted.instances) == 60
    assert len(scenes.prepared.truth.instances) == 8


def test_the_plain_sweep_is_that_of_protocol_paper(scenes: Scenes) -> None:
    truth, predicted = scenes.prepared.truth, scenes.prepared.predicted
    curve = measure(truth, predicted, PROTOCOLS["paper"], sweep=True, resamples=0).sweep.curve
    plain = reference.sweep(predicted.instances, truth.instances, SWEEP_THRESHOLDS, "box")
    np.testing.assert_allclose([point.f1 for point in curve], plain, rtol=1e-12)
    assert max(plain) > 0


def test_the_cost_of_a_command_is_measured(scenes: Scenes) -> None:
    found = cost(scenes.folder, 6)
    assert found.seconds > 0
    assert found.megabytes > 1


def test_growth_is_a_row_and_a_curve() -> None:
    costs = [Cost(650, 1.0, 1.3, 100.0), Cost(5850, 5.0, 5.2, 200.0)]
    assert row(costs[0]) == "| 650 | 10,000 | 1.0 s | 1.3 s | 2.00 ms | 100 MB |"
    ElementTree.fromstring(draw(costs))
