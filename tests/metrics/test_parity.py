"""Boxes and masks against pycocotools and faster-coco-eval, where definitions coincide; ties and crowds included."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from earthinstruct.datasets import load_dataset
from earthinstruct.metrics import PROTOCOLS, find_pairs, match, measure
from earthinstruct.metrics.scores import average_precision
from earthinstruct.predictions import Record
from earthinstruct.regions import Instances, MaskRuns, decode_rles, encode_masks
from earthinstruct.scoring import score_records
from earthinstruct.tasks import tasks_of

SIDE = 40
GEOMETRIES = {"box": "bbox", "mask": "segm"}
TOOLS = ("pycocotools", "faster_coco_eval")


def speckled(generator: np.random.Generator, instances: Instances) -> Instances:
    """The instances with a third of the pixels of each mask left out: no mask is a box, and some are empty."""
    drawn = np.zeros((len(instances), SIDE, SIDE), dtype=bool)
    for mask, (x, y, width, height) in zip(drawn, instances.boxes.astype(int), strict=True):
        mask[y : y + height, x : x + width] = generator.random((height, width)) > 1 / 3
    drawn[::17] = False
    return replace(instances, masks=decode_rles(encode_masks(drawn)))


def crowd(build, seed: int, n: int = 400, m: int = 120) -> tuple[Instances, Instances]:
    """Predictions and ground truth that overlap in heaps; predictions on image 3 too, which has no ground truth."""
    generator = np.random.default_rng(seed)
    targets, predictions = build.random(generator, m), build.random(generator, n)
    predictions.image[: n // 8] = 3
    return speckled(generator, predictions), speckled(generator, targets)


def encoded(masks: MaskRuns) -> list[dict]:
    return [{"size": list(rle["size"]), "counts": rle["counts"]} for rle in masks.encode()]


def coco_ap50(
    targets: Instances,
    predictions: Instances,
    values: np.ndarray,
    tool: str,
    geometry: str = "box",
    most: int = 100,
) -> np.ndarray:
    """AP50 of each category, -1 without ground truth. Annotation ids are from 1: COCO reads 0 as unmatched."""

    def of(side: Instances, i: int) -> dict:
        return {
            "image_id": int(side.image[i]),
            "category_id": int(side.category[i]),
            "bbox": side.boxes[i].tolist(),
            "segmentation": masks_of[id(side)][i],
        }

    masks_of = {id(side): encoded(side.masks) for side in (targets, predictions)}
    truth = {
        "images": [{"id": i, "width": SIDE, "height": SIDE} for i in range(4)],
        "categories": [{"id": c, "name": str(c)} for c in range(3)],
        "annotations": [of(targets, i) | {"id": i + 1, "area": 9.0, "iscrowd": 0} for i in range(len(targets))],
    }
    results = [of(predictions, i) | {"score": float(values[i])} for i in range(len(predictions))]
    if geometry == "mask":  # loadRes decides by the presence of a box
        results = [{name: value for name, value in row.items() if name != "bbox"} for row in results]
    if tool == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval as Evaluator
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluator
    with contextlib.redirect_stdout(io.StringIO()):
        if tool == "pycocotools":
            coco = COCO()
            coco.dataset = truth
            coco.createIndex()
        else:
            coco = COCO(truth)
        evaluation = Evaluator(coco, coco.loadRes(results), GEOMETRIES[geometry])
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.maxDets = [most]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][0, :, :, 0, 0].mean(axis=0)


@pytest.mark.parametrize("seed", range(3))
def test_mask_ious_of_a_crowd_are_those_of_pycocotools(build, seed) -> None:
    predictions, targets = crowd(build, seed, 100, 60)
    for threshold in (0.1, 0.5):
        pairs = find_pairs(predictions, targets, "mask", iou_threshold=threshold, agnostic=True)
        full = coco_mask.iou(encoded(predictions.masks), encoded(targets.masks), [0] * len(targets))
        expected = np.argwhere((predictions.image[:, None] == targets.image) & (full >= threshold))
        found = np.stack([pairs.prediction, pairs.target], axis=1)
        np.testing.assert_array_equal(found[np.lexsort(found.T[::-1])], expected)
        np.testing.assert_allclose(pairs.iou, full[pairs.prediction, pairs.target])


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("seed", range(3))
def test_ap50_of_data_without_conflicts(build, tool, geometry, seed) -> None:
    generator = np.random.default_rng(seed)
    # ground truth on a grid, at most one prediction near each cell: nothing to choose between
    cells = [(i, c, 10 * x, 10 * y, 8, 8) for i in range(3) for c in range(3) for x in range(4) for y in range(4)]
    chosen = generator.permutation(len(cells))
    targets = build.instances([cells[i] for i in chosen[:80]])
    predictions = build.instances(
        [(i, c, x + int(generator.integers(0, 4)), y, w, h) for i, c, x, y, w, h in (cells[j] for j in chosen[40:])],
        scores=generator.permutation(len(chosen) - 40) / 200,
    )
    metrics = measure(truth := build.truth(targets), build.predicted(predictions, truth))
    expected = coco_ap50(targets, predictions, predictions.scores, tool, geometry)
    found = [getattr(metrics, geometry).per_category[name].ap50 for name in truth.categories]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_greedy_ap_of_a_crowd_is_that_of_pycocotools(build, geometry, tied, seed) -> None:
    """The matcher's rule `coco` and the curve, over scores of which many are equal, without a cap."""
    predictions, targets = crowd(build, seed)
    values = np.random.default_rng(seed).permutation(len(predictions)) // (40 if tied else 1) / 1_000
    order = np.lexsort((predictions.image, -values))  # equal scores: by image, then by place in the file
    matched = match(find_pairs(predictions, targets, geometry), "coco", order)[order] >= 0
    category = predictions.category[order]
    found = [average_precision(matched[category == c], int((targets.category == c).sum())) for c in range(3)]
    expected = coco_ap50(targets, predictions, values, "pycocotools", geometry, most=1_000)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("seed", range(3))
def test_constant_score_ap_of_a_crowd_conflicts_and_cap_included(build, tool, geometry, seed) -> None:
    predictions, targets = crowd(build, seed)
    if seed == 0:  # more than 100 predictions of one category in one image
        predictions.image[50:200], predictions.category[50:200] = 1, 2
    truth = build.truth(targets, images=4)
    metrics = measure(truth, build.predicted(predictions, truth), PROTOCOLS["paper"])
    expected = coco_ap50(targets, predictions, np.ones(len(predictions)), tool, geometry)
    found = [getattr(metrics, geometry).per_category[name].ap_nc50 for name in truth.categories]
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_thousand_objects_of_one_class_in_one_image(build, tool) -> None:
    """No cap: what COCO gives with its own cap raised to 1,000."""
    targets = build.instances([(0, 0, x % 40, x // 40, 1, 1) for x in range(1_000)])
    predictions = targets.take(np.arange(0, 1_000, 2))
    predictions = replace(predictions, scores=np.linspace(1, 0, 500))
    metrics = measure(truth := build.truth(targets), build.predicted(predictions, truth))
    raised = coco_ap50(targets, predictions, predictions.scores, tool, "mask", most=1_000)[0]
    assert metrics.mask.per_category["a"].ap50 == pytest.approx(raised, abs=1e-9)
    assert coco_ap50(targets, predictions, predictions.scores, tool, "mask")[0] < raised


def annotated(tmp_path: Path, annotations: list[dict]) -> Path:
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 30, "height": 20} for i in range(2)],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": [{"category_id": 1, "iscrowd": 0, "area": 9.0, **row} for row in annotations],
    }
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(content))
    return file


def test_the_object_of_annotation_id_0_is_found_and_coco_does_not_see_it(tmp_path) -> None:
    square = {"bbox": [1, 1, 4, 4], "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]}
    file = annotated(tmp_path, [{"id": 0, "image_id": 0, **square}])
    dataset = load_dataset(str(file))
    task = tasks_of(dataset.name, dataset.vocabulary, "open_vocabulary")[0]
    records = {0: Record(0, ["ship"], [(1, 1, 4, 4)], scores=[0.5])}
    assert score_records(task, dataset, records).metrics.box.ap50.value == 1
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(file))
        results = [{"image_id": 0, "category_id": 1, "bbox": [1, 1, 4, 4], "score": 0.5}]
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    assert evaluation.eval["precision"][0, :, 0, 0, -1].mean() == 0


def test_two_polygons_are_one_object_under_standard_and_its_first_part_under_paper(tmp_path) -> None:
    # parts of 16 and 80 pixels: a mask of the larger one is 80 / 96 of the whole, and shares nothing with the first
    parts = [[1, 1, 5, 1, 5, 5, 1, 5], [10, 1, 20, 1, 20, 9, 10, 9]]
    dataset = load_dataset(
        str(annotated(tmp_path, [{"id": 1, "image_id": 0, "bbox": [1, 1, 19, 8], "segmentation": parts}]))
    )
    task = tasks_of(dataset.name, dataset.vocabulary, "open_vocabulary")[0]
    drawn = np.zeros((1, 20, 30), dtype=bool)
    drawn[0, 1:9, 10:20] = True
    records = {0: Record(0, ["ship"], [(1, 1, 19, 8)], masks=encode_masks(drawn))}
    standard, paper = (
        score_records(task, dataset, records, protocol=PROTOCOLS[name]).metrics for name in ("standard", "paper")
    )
    assert (standard.box.f1.value, standard.mask.f1.value, standard.mask.miou.value) == (1, 1, 80 / 96)
    assert (paper.box.f1.value, paper.mask.f1.value, paper.mask.miou.value) == (1, 0, 0)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_predictions_on_an_image_without_ground_truth_are_false_positives(tmp_path, protocol) -> None:
    square = {"bbox": [1, 1, 4, 4], "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]}
    dataset = load_dataset(str(annotated(tmp_path, [{"id": 5, "image_id": 0, **square}])))
    task = tasks_of(dataset.name, dataset.vocabulary, "open_vocabulary")[0]
    records = {i: Record(i, ["ship"], [(1, 1, 4, 4)]) for i in range(2)}
    metrics = score_records(task, dataset, records, protocol=protocol).metrics
    row = metrics.box.tally["ship"]
    assert (row.tp, row.fp, row.fn) == (1, 1, 0)
    assert metrics.errors.box.total.background == 1
