"""AP at ten IoUs and by object size, and calibration: by hand, against pycocotools, and what must not change them."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from earthinstruct.metrics import NEEDS_SCORES, PROTOCOLS, STANDARD, measure
from earthinstruct.metrics.curves import Curves
from earthinstruct.metrics.detection import IOU_THRESHOLDS, Detection
from earthinstruct.metrics.matching import find_pairs, match
from earthinstruct.metrics.scores import area_under_curve, average_precision
from earthinstruct.metrics.sizes import SIZES
from earthinstruct.regions import Instances, decode_rles, encode_masks

SIDE = 400
# of COCO, whose bounds belong to both ranges: half a pixel less, so that 32 x 32 is medium alone, and 96 x 96 large
AREAS = [[0, 1e10], [0, 32**2 - 0.5], [32**2 - 0.5, 96**2 - 0.5], [96**2 - 0.5, 1e10]]
seeds = st.integers(0, 2**32 - 1)


def drawn(instances: Instances) -> Instances:
    """The instances with whole boxes as masks."""
    masks = np.zeros((len(instances), SIDE, SIDE), dtype=bool)
    for mask, (x, y, width, height) in zip(masks, instances.boxes.astype(int), strict=True):
        mask[y : y + height, x : x + width] = True
    return replace(instances, masks=decode_rles(encode_masks(masks)))


def scene(build, seed: int) -> tuple[Instances, Instances]:
    """Objects of all sizes far from each other, with 0 to 3 predictions on each, or two objects under one prediction.

    No matching has a choice between two predictions and two objects, so a maximum matching is that of COCO.
    """
    chance = np.random.default_rng(seed)
    objects, predictions = [], []
    for image in range(3):
        for x, y in ((130 * i, 130 * j) for i in range(3) for j in range(3)):
            category, side = int(chance.integers(3)), int(chance.choice([20, 31, 34, 60, 95, 98, 110]))
            objects.append((image, category, x + 4, y + 4, side, side))
            if chance.random() < 0.2:  # two objects of different sizes, one prediction
                objects.append((image, category, x + 4, y + 4, side + 3, side + 3))
                predictions.append((image, category, x + 4, y + 4, side + 1, side + 1))
                continue
            for _ in range(int(chance.integers(4))):
                dx, dy, dw, dh = chance.integers(-4, 5, 4).tolist()
                predictions.append((image, category, x + 4 + dx, y + 4 + dy, side + dw, side + dh))
        predictions.append((image, int(chance.integers(3)), 392, 392, 8, 8))
    values = chance.permutation(len(predictions)) / len(predictions)
    found = build.instances(predictions, values.tolist(), masks=False)
    return drawn(build.instances(objects, masks=False)), drawn(found)


def of_coco(targets: Instances, predictions: Instances, geometry: str) -> np.ndarray:
    """AP of pycocotools without a cap: (areas, IoUs, categories), nan without such objects."""

    def entry(side: Instances, i: int) -> dict:
        rle = side.masks.take(np.array([i])).encode()[0]
        mask = {"size": list(rle["size"]), "counts": rle["counts"]}
        x, y, width, height = side.boxes[i].tolist()
        entry = {"image_id": int(side.image[i]), "category_id": int(side.category[i]), "segmentation": mask}
        return entry | {"bbox": [x, y, width, height], "area": width * height, "iscrowd": 0, "id": i + 1}

    results = [entry(predictions, i) | {"score": float(predictions.scores[i])} for i in range(len(predictions))]
    left_out = ("bbox", "area", "iscrowd", "id") if geometry == "mask" else ("segmentation", "area", "iscrowd", "id")
    results = [{name: value for name, value in row.items() if name not in left_out} for row in results]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i, "width": SIDE, "height": SIDE} for i in range(3)],
            "categories": [{"id": c, "name": str(c)} for c in range(3)],
            "annotations": [entry(targets, i) for i in range(len(targets))],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), {"box": "bbox", "mask": "segm"}[geometry])
        evaluation.params.maxDets, evaluation.params.areaRng = [10_000], AREAS
        evaluation.params.areaRngLbl = ["all", *SIZES]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0]  # IoU, recall, category, area
    return np.where(precision[:, 0] < 0, np.nan, precision.mean(axis=1)).transpose(2, 0, 1)


@pytest.mark.parametrize("geometry", ["box", "mask"])
@pytest.mark.parametrize("seed", range(6))
def test_ap_at_every_iou_and_size_is_that_of_pycocotools(build, geometry, seed) -> None:
    targets, predictions = scene(build, seed)
    expected = of_coco(targets, predictions, geometry)
    truth = build.truth(targets)
    curves = Curves.of(Detection(truth, predictions, STANDARD, geometry))
    there = ~np.isnan(expected)
    np.testing.assert_array_equal(there[:, 0], curves.n_targets > 0)
    np.testing.assert_allclose(curves.average_precision()[there], expected[there], atol=1e-12)
    scores = getattr(measure(truth, build.predicted(predictions, truth)), geometry)
    assert scores.ap.value == pytest.approx(np.nanmean(expected[0]))
    assert scores.ap50.value == pytest.approx(np.nanmean(expected[0, 0]))
    assert scores.ap75.value == pytest.approx(np.nanmean(expected[0, 5]))
    for i, size in enumerate(SIZES, start=1):
        mean = np.nanmean(expected[i]) if there[i].any() else None
        assert scores.by_size[size].ap.value == (mean if mean is None else pytest.approx(mean))


def test_by_hand(build) -> None:
    # a small, a medium and a large object of category a
    targets = build.instances([(0, 0, 0, 0, 20, 20), (0, 0, 100, 0, 40, 40), (0, 0, 200, 0, 100, 100)], masks=False)
    predictions = build.instances(
        [
            (0, 0, 0, 0, 20, 20),  # the small one, exactly
            (0, 0, 100, 0, 40, 29),  # medium: IoU 29 / 40 = 0.725, right up to 0.70
            (0, 0, 100, 0, 20, 40),  # medium: IoU 0.5, a duplicate at 0.50; its own area, 800, is small
            (0, 0, 300, 300, 200, 200),  # background, large
        ],
        [0.4, 0.9, 0.8, 0.6],
        masks=False,
    )
    truth = build.truth(targets)
    box = measure(truth, build.predicted(predictions, truth)).box
    # at 0.50 by score: right, wrong, wrong, right of 3: recall 1/3 at precision 1 (34 of 101 points), 2/3 at 2/4 (33)
    up_to_70 = (34 + 33 / 2) / 101
    # from 0.75 on, the first is wrong too: recall 1/3 at precision 1/4
    from_75 = 34 / 4 / 101
    assert box.ap50.value == pytest.approx(up_to_70)
    assert box.ap75.value == pytest.approx(from_75)
    assert box.ap.value == pytest.approx((5 * up_to_70 + 5 * from_75) / 10)
    # small: the duplicate is small and wrong, before the right one: precision 1 / 2 at recall 1, at every IoU
    assert box.by_size["small"].ap.value == pytest.approx(1 / 2)
    # medium: right up to 0.70. From 0.75 on it is wrong
    assert box.by_size["medium"].ap.value == pytest.approx(1 / 2)
    assert box.by_size["large"].ap.value == 0
    assert box.by_size["small"].n_objects == 1
    assert measure(truth, build.predicted(replace(predictions, scores=None), truth)).box.ap == NEEDS_SCORES


@given(seeds)
@settings(max_examples=settings().max_examples // 5)
def test_every_bit_is_that_of_a_matching_at_its_iou(build, seed) -> None:
    """Above any score, the number of bits is the size of the maximum matching; ties, heaps and sizes included."""
    chance = np.random.default_rng(seed)
    large = [replace(build.random(chance, n, scores=True), masks=None) for n in (25, 40)]
    targets, predictions = (replace(side, boxes=side.boxes * 3) for side in large)  # areas on both sides of 32 x 32
    detection = Detection(build.truth(targets), predictions, STANDARD, "box")
    curves = Curves.of(detection)
    size = np.searchsorted([1024, 9216], targets.boxes[:, 2] * targets.boxes[:, 3], side="right")
    for i, iou in enumerate(IOU_THRESHOLDS):
        pairs = find_pairs(predictions, targets, "box", iou_threshold=iou)
        for least in np.unique(predictions.scores):
            some = pairs.where(predictions.scores[pairs.prediction] >= least)
            counted = curves.scores >= least
            assert (curves.right[counted, 0] >> i & 1).sum() == (match(some, "maximum") >= 0).sum()
            wrong = (curves.wrong[counted] >> i & 1).sum()
            assert wrong == counted.sum() - (match(some, "maximum") >= 0).sum()
            for s in range(len(SIZES)):
                found = match(some.where(size[some.target] == s), "maximum") >= 0
                assert (curves.right[counted, 1 + s] >> i & 1).sum() == found.sum()


@given(seeds)
@settings(max_examples=settings().max_examples // 5)
def test_area_under_curve_is_that_of_plain_python(seed) -> None:
    chance = np.random.default_rng(seed)
    n = int(chance.integers(1, 30))
    kind = chance.integers(0, 3, n)  # right, wrong, neither
    values = -np.sort(-chance.integers(0, 6, n) / 6)
    n_targets = int((kind == 0).sum() + chance.integers(1, 4))
    points = []
    for value in np.unique(values):
        right, wrong = ((kind[values >= value] == k).sum() for k in (0, 1))
        if right:
            points.append((right / n_targets, right / (right + wrong)))
    expected = np.mean([max((p for r, p in points if r >= at), default=0) for at in np.linspace(0, 1, 101)])
    end = np.array([np.flatnonzero(values == value)[-1] for value in values])
    assert area_under_curve(kind == 0, kind == 1, end, n_targets) == pytest.approx(expected)


def test_average_precision_by_hand() -> None:
    # true, false, true of 4 ground truths: recall 1/4 at precision 1, 2/4 at 2/3.
    # 26 recall points (0 to 0.25) at 1, 25 (0.26 to 0.50) at 2/3, the rest 0
    assert average_precision(np.array([True, False, True]), 4) == pytest.approx((26 + 25 * 2 / 3) / 101)
    assert average_precision(np.zeros(0, dtype=bool), 4) == 0


def test_calibration_by_hand(build) -> None:
    targets = build.instances([(0, 0, 0, 0, 10, 10), (0, 0, 20, 0, 10, 10)])
    predictions = build.instances(
        [
            (0, 0, 0, 0, 10, 10),  # right
            (0, 0, 0, 0, 10, 9),  # a duplicate
            (0, 1, 20, 0, 10, 10),  # of another category
            (0, -1, 20, 0, 10, 10),  # of no category: not counted
            (0, 0, 20, 0, 10, 10),  # right
        ],
        [0.92, 0.96, 0.1, 0.5, 1.0],
    )
    truth = build.truth(targets)
    for geometry in ("box", "mask"):
        scores = getattr(measure(truth, build.predicted(predictions, truth)), geometry)
        bins = {(b.low, b.high): (b.n, b.score, b.precision) for b in scores.calibration.bins}
        assert len(bins) == 10
        # by score, the duplicate comes first and is right; the one of 0.92 is wrong
        assert bins[0.9, 1.0] == (3, pytest.approx((0.92 + 0.96 + 1) / 3), pytest.approx(2 / 3))
        assert bins[0.1, 0.2] == (1, 0.1, 0)
        assert bins[0.5, 0.6] == (0, None, None)
        assert scores.calibration.ece.value == pytest.approx((3 * (0.96 - 2 / 3) + 1 * 0.1) / 4)
        assert scores.calibration.ece.reason == "no interval is computed for this score"


@given(seeds)
@settings(max_examples=settings().max_examples // 5)
def test_calibration_is_that_of_plain_python(build, seed) -> None:
    chance = np.random.default_rng(seed)
    predictions = replace(build.random(chance, 30), scores=chance.permutation(np.linspace(0, 1, 30)))
    truth = build.truth(build.random(chance, 25))
    metrics = measure(truth, build.predicted(predictions, truth))
    matched = match(find_pairs(predictions, truth.instances, "box"), "maximum", np.argsort(-predictions.scores)) >= 0
    off = 0.0
    for k in range(10):
        inside = [
            (score, right)
            for score, right in zip(predictions.scores.tolist(), matched.tolist(), strict=True)
            if k / 10 <= score and (score < (k + 1) / 10 or k == 9)
        ]
        if inside:
            off += abs(sum(score for score, _ in inside) - sum(right for _, right in inside))
    assert metrics.box.calibration.ece.value == pytest.approx(off / 30)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_calibration_needs_scores_within_0_and_1(build, protocol) -> None:
    targets = build.instances([(0, 0, 0, 0, 10, 10)])
    truth = build.truth(targets)
    found = measure(truth, build.predicted(replace(targets, scores=np.array([-3.5])), truth), protocol)
    assert found.box.calibration.ece.value is None
    assert found.box.calibration.ece.reason == "scores are from -3.5 to -3.5, not within 0 and 1"
    assert found.box.calibration.bins == []
    assert found.box.ap.value == 1
    nothing = build.instances([], [])
    assert measure(truth, build.predicted(nothing, truth), protocol).box.calibration.ece.reason == "no predictions"
    assert measure(truth, build.predicted(targets, truth), protocol).box.calibration is None
