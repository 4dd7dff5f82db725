"""The metrics against plain Python, pycocotools and faster-coco-eval: `python -m pytest benchmarks`.

Each group of the table compares one task; the ratios in a group matter. All start from data in memory: ours from
`Instances`, the others from COCO objects made from the same data.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO as FasterCOCO
from faster_coco_eval import COCOeval_faster
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks import reference
from benchmarks.data import Scenes
from earthinstruct.metrics import PROTOCOLS, Tally, choose_threshold, measure, paired, reaching
from earthinstruct.metrics.curves import Curves
from earthinstruct.metrics.detection import Detection
from earthinstruct.metrics.intervals import spread, within_0_and_1
from earthinstruct.metrics.scores import ap_nc, f1

GEOMETRIES = ("box", "mask")


@pytest.fixture(autouse=True)
def grouped(benchmark: Any, request: pytest.FixtureRequest, scenes: Scenes) -> None:
    """One group for each task, geometry and size."""
    values = request.node.callspec.params
    subject = request.node.originalname.removeprefix("test_").partition("__")[0]
    benchmark.group = " ".join(
        [subject.replace("_", " "), *(values[k] for k in ("geometry",) if k in values), scenes.name]
    )


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_sweep__ours(benchmark: Any, scenes: Scenes, geometry: Any, protocol: str) -> None:
    rules = PROTOCOLS[protocol]

    def sweep() -> list[float]:
        outcomes = Detection(scenes.truth, scenes.predicted.instances, rules, geometry).outcomes()
        return [
            point.f1 for point in choose_threshold([outcomes], scenes.truth.images, scenes.truth, rules).sweep.curve
        ]

    curve = benchmark.pedantic(sweep, rounds=5, warmup_rounds=1)
    if protocol == "paper" and scenes.name == "nwpu" and geometry == "box":
        plain = reference.sweep(
            scenes.predicted.instances, scenes.truth.instances, PROTOCOLS["paper"].thresholds, geometry
        )
        np.testing.assert_allclose(curve, plain, rtol=1e-12)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_sweep__plain_python(benchmark: Any, scenes: Scenes, geometry: str) -> None:
    benchmark.pedantic(
        reference.sweep,
        (scenes.predicted.instances, scenes.truth.instances, PROTOCOLS["paper"].thresholds, geometry),
        rounds=1,
    )


def test_ap50__ours_box_and_mask_with_mf1_and_ap_nc50(benchmark: Any, scenes: Scenes) -> None:

    def scores() -> list[Any]:
        found = []
        for geometry in GEOMETRIES:
            detection = Detection(scenes.truth, scenes.predicted.instances, PROTOCOLS["standard"], geometry)
            totals = detection.tally(np.ones(len(detection.predictions), dtype=bool)).totals
            found += [f1(totals), ap_nc(totals), Curves.of(detection).average_precision()[0, 0]]
        return found

    benchmark.pedantic(scores, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("geometries", [("bbox",), ("segm",), ("bbox", "segm")], ids="+".join)
@pytest.mark.parametrize("tool", ["faster_coco_eval", "pycocotools"])
def test_ap50__others(benchmark: Any, scenes: Scenes, tool: str, geometries: tuple[str, ...]) -> None:
    kind, evaluator = (FasterCOCO, COCOeval_faster) if tool == "faster_coco_eval" else (COCO, COCOeval)
    truth, predictions = _coco_objects(kind, scenes)

    def evaluate() -> None:
        for geometry in geometries:
            run = evaluator(truth, predictions, geometry)
            run.params.iouThrs = np.array([0.5])
            run.params.maxDets = [100_000]
            run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
            run.evaluate()
            run.accumulate()

    with contextlib.redirect_stdout(io.StringIO()):
        benchmark.pedantic(evaluate, rounds=3, warmup_rounds=0)


def _coco_objects(kind: Callable[..., Any], scenes: Scenes) -> tuple[Any, Any]:
    """Ground truth and predictions for the COCO evaluators; ids start at 1, because 0 means unmatched there."""
    coco = dict(scenes.coco)
    coco["annotations"] = [{**entry, "id": i} for i, entry in enumerate(coco["annotations"], start=1)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = kind()
        truth.dataset = coco
        truth.createIndex()
        return truth, truth.loadRes([dict(result) for result in scenes.results])


def test_intervals__mf1_and_each_category(benchmark: Any, scenes: Scenes) -> None:
    tally = _box_tally(scenes, 0.0)
    members = np.vstack([np.ones(len(tally.categories), dtype=bool), np.eye(len(tally.categories), dtype=bool)])
    values = f1(tally.totals)
    means = np.array([values.mean(), *values])
    benchmark.pedantic(lambda: spread(tally, f1, members).intervals(means, within_0_and_1), rounds=3)


def test_paired_test__mf1(benchmark: Any, scenes: Scenes) -> None:
    tallies = [{"box": _box_tally(scenes, threshold)} for threshold in (0.0, 0.3)]

    def compared() -> Any:
        return paired(*tallies)["box"].of_mean(f1, {"all": scenes.truth.categories})

    benchmark.pedantic(compared, rounds=3)


def _box_tally(scenes: Scenes, threshold: float) -> Tally:
    detection = Detection(scenes.truth, scenes.predicted.instances, PROTOCOLS["standard"], "box")
    return detection.tally(reaching(scenes.truth, scenes.predicted, threshold))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_score__in_memory(benchmark: Any, scenes: Scenes, protocol: str) -> None:
    benchmark.pedantic(
        measure, (scenes.truth, scenes.predicted, PROTOCOLS[protocol]), {"sweep": True}, rounds=3, warmup_rounds=0
    )
