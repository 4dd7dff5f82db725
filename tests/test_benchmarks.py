"""The helpers of `benchmarks/` still run, on a few small images."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import engines, limits, loads, reference
from benchmarks.data import Scenes, write
from benchmarks.growth import Cost, bound, cost, draw, row
from earthinstruct.cli import main
from earthinstruct.datasets.scenes.generate import generate_scene
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


def test_a_method_that_never_breaks_is_said_to() -> None:
    method = "error of 12 % with any number"
    said, never, held, median = limits.row(method, 30, repeats=15)
    assert (said, held) == (100, 100)
    assert never >= 90  # the first of five noisy bands does not decide
    assert median > 50
    few = limits.row(method, 5, repeats=5)
    assert few[0] == 0


def test_polygons_as_rle_score_the_same(scenes: Scenes) -> None:
    file = scenes.folder / "annotations.json"
    before = scenes.truth.instances.masks
    file.write_bytes(engines.with_rle(file.read_bytes()))
    assert Scenes("rle", scenes.folder).truth.instances.masks.encode() == before.encode()


def test_commands_are_compared_with_the_first() -> None:
    sleep = [sys.executable, "-c", "pass"]
    first, second = engines.compare({"first": sleep, "second": sleep}, runs=2)
    assert first.split(" | ")[2] == "1.00"
    assert second.startswith("| second | ")
    with pytest.raises(subprocess.CalledProcessError):
        engines.compare({"first": [sys.executable, "-c", "raise SystemExit(3)"]}, runs=1)


def test_growth_is_a_row_and_a_curve() -> None:
    costs = [Cost(650, 1.0, 1.3, 100.0, 120.0), Cost(5850, 5.0, 5.2, 200.0, 230.0)]
    assert row(costs[0]) == "| 650 | 10,000 | 1.0 s | 1.3 s | 2.00 ms | 100 MB | 120 MB |"
    ElementTree.fromstring(draw(costs))


def test_the_bound_is_the_sum_of_what_is_in_memory() -> None:
    before, after = bound(0, 0, 0, 0), bound(10_000, 60_000, 150_000, 1 << 20)
    # 1,450 x 10,000 + 331 x 60,000 + 125 x 150,000 bytes, and the text twice
    assert after - before == pytest.approx(53_110_000 / 2**20 + 2)


@pytest.mark.parametrize("name", loads.LOADS)
def test_each_load_is_drawn_and_measured(name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    ran = []

    def in_this_process(command: list[str]) -> tuple[float, float]:
        ran.append(command[3])
        assert main(command[3:]) == 0
        return 0.5, 60.0

    monkeypatch.setattr(loads, "cost", in_this_process)
    loads.main([name, "--size", "5"])
    shown = capsys.readouterr().out
    assert ran[-1] == loads.LOADS[name].command
    assert f"\n| {loads.LOADS[name].what.format(5)} | 0.5 s | " in shown
    assert shown.endswith(" | 60 MB |\n")


def test_a_load_has_the_sizes_that_it_names(tmp_path: Any) -> None:
    images, objects, categories = loads.LOADS["categories"].numbers(10)
    assert (images, objects, categories) == (4, 80, 10)
    loads.write(tmp_path, images, objects, categories, side=64)
    found = Scenes("categories", tmp_path)
    assert [len(found.coco[name]) for name in ("images", "annotations", "categories")] == [4, 80, 10]
    assert len(found.predicted.instances) == 80


def test_a_large_scene_is_drawn_and_measured(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    rasterio = pytest.importorskip("rasterio")
    from benchmarks import scene

    drawn = scene.write(tmp_path / "scene.tif", 500)
    with rasterio.open(tmp_path / "scene.tif") as raster:
        assert (raster.width, raster.height, raster.count) == (500, 500, 3)
        assert np.array_equal(np.moveaxis(raster.read(), 0, 2), generate_scene("test", 0, size=500).image)
    assert drawn == len(generate_scene("test", 0, size=500).labels)
    ran = []
    monkeypatch.setattr(scene, "cost", lambda command: ran.append(command) or (7.0, 80.0))
    scene.main(["500", "--workers", "2"])
    assert ran[0][3] == "predict"
    assert f"\n| 500 | {drawn} | 2 | 7 s | " in capsys.readouterr().out


def test_the_objects_of_a_large_scene_are_all_inside(capsys: Any) -> None:
    pytest.importorskip("rasterio")
    from benchmarks import scene

    for side in ("750", "0"):
        with pytest.raises(SystemExit):
            scene.main([side])
        assert f"must be a multiple of 500, so that no drawn scene is cut, got {side}" in capsys.readouterr().err
