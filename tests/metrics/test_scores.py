"""Scores from sums, by hand, and average precision against pycocotools and faster-coco-eval."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from earthinstruct.metrics import PROTOCOLS, measure, scores

COLUMNS = {"tp": np.array([3, 0, 0]), "fp": np.array([1, 2, 0]), "fn": np.array([2, 0, 4])}


def test_by_hand() -> None:
    np.testing.assert_allclose(scores.precision(COLUMNS), [3 / 4, 0, 0])
    np.testing.assert_allclose(scores.recall(COLUMNS), [3 / 5, 0, 0])
    np.testing.assert_allclose(scores.f1(COLUMNS), [6 / 9, 0, 0])
    # recall 0.6 reaches r = 0.00 ... 0.60: 61 of 101 points
    np.testing.assert_allclose(scores.ap_nc(COLUMNS), [0.75 * 61 / 101, 0, 0])


@pytest.mark.parametrize("hundredths", range(1, 101))
def test_ap_nc_counts_a_recall_of_whole_hundredths_without_rounding(hundredths: int) -> None:
    columns = {"tp": np.array([hundredths]), "fp": np.array([0]), "fn": np.array([100 - hundredths])}
    assert scores.ap_nc(columns)[0] == pytest.approx((hundredths + 1) / 101)


def test_average_precision_by_hand() -> None:
    # hit, miss, hit of 2: recall 1/2 at precision 1 (51 points: r <= 0.5), recall 1 at 2/3 (50 points)
    matched = np.array([True, False, True])
    assert scores.average_precision(matched, 2) == pytest.approx((51 + 50 * 2 / 3) / 101)
    # with the last two tied they enter together: the same points
    assert scores.average_precision(matched, 2, np.array([0.9, 0.5, 0.5])) == pytest.approx((51 + 50 * 2 / 3) / 101)
    # all tied: one point, precision 2/3 at recall 1
    assert scores.average_precision(matched, 2, np.ones(3)) == pytest.approx(2 / 3)
    assert scores.average_precision(np.zeros(0, dtype=bool), 2, np.zeros(0)) == 0


def coco_json(targets, predictions, values):
    """COCO ground truth (annotation ids from 1, their evaluators read 0 as unmatched) and results."""
    boxes = [
        {
            "id": i + 1,
            "image_id": int(targets.image[i]),
            "category_id": int(targets.category[i]),
            "bbox": targets.boxes[i].tolist(),
            "area": float(targets.boxes[i, 2:].prod()),
            "iscrowd": 0,
        }
        for i in range(len(targets))
    ]
    truth = {
        "images": [{"id": i, "width": 40, "height": 40} for i in range(3)],
        "categories": [{"id": c, "name": str(c)} for c in range(3)],
        "annotations": boxes,
    }
    results = [
        {
            "image_id": int(predictions.image[i]),
            "category_id": int(predictions.category[i]),
            "bbox": predictions.boxes[i].tolist(),
            "score": float(values[i]),
        }
        for i in range(len(predictions))
    ]
    return truth, results


def coco_ap50(truth, results, tool: str, most: int = 100) -> np.ndarray:
    """AP50 of each category, -1 without ground truth."""
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
        evaluation = Evaluator(coco, coco.loadRes(results), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.maxDets = [most]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][0, :, :, 0, 0].mean(axis=0)


@pytest.mark.parametrize("tool", ["pycocotools", "faster_coco_eval"])
@pytest.mark.parametrize("seed", range(4))
def test_ap50_of_data_without_conflicts(build, tool, seed) -> None:
    generator = np.random.default_rng(seed)
    # ground truth on a grid, at most one prediction near each cell: nothing to choose between
    cells = [(i, c, 10 * x, 10 * y, 8, 8) for i in range(3) for c in range(3) for x in range(4) for y in range(4)]
    chosen = generator.permutation(len(cells))
    targets = build.instances([cells[i] for i in chosen[:80]])
    predictions = build.instances(
        [(i, c, x + int(generator.integers(0, 4)), y, w, h) for i, c, x, y, w, h in (cells[j] for j in chosen[40:])],
        scores=generator.permutation(len(chosen) - 40) / 200,
    )
    metrics = measure(truth := build.truth(targets), build.predicted(predictions, truth), resamples=0)
    expected = coco_ap50(*coco_json(targets, predictions, predictions.scores), tool)
    np.testing.assert_allclose([metrics.box.per_category[name].ap50 for name in truth.categories], expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_constant_score_ap_is_that_of_pycocotools_conflicts_and_cap_included(build, seed) -> None:
    generator = np.random.default_rng(seed)
    targets, predictions = build.random(generator, 120), build.random(generator, 400)
    if seed == 0:  # more than 100 predictions of one category in one image
        predictions.image[:150], predictions.category[:150] = 1, 2
    truth = build.truth(targets)
    metrics = measure(truth, build.predicted(predictions, truth), PROTOCOLS["paper"], resamples=0)
    expected = coco_ap50(*coco_json(targets, predictions, np.ones(400)), "pycocotools")
    np.testing.assert_allclose([metrics.box.per_category[n].ap_nc50 for n in truth.categories], expected, atol=1e-9)
