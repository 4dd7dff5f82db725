"""The sweep of the paper's protocol in plain Python, pair by pair: the reference for the speed of the metrics."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from pycocotools import mask as coco_mask

from earthinstruct.regions import Instances


def _box_iou(a: list[float], b: list[float]) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = a[2] * a[3] + b[2] * b[3] - shared
    return shared / union if union > 0 else 0.0


def sweep(predictions: Instances, targets: Instances, thresholds: np.ndarray, geometry: str) -> list[float]:
    """Mean F1 over the categories with ground truth at each threshold; every IoU is computed again each time."""
    if geometry == "mask":
        ours, theirs = predictions.masks.encode(), targets.masks.encode()
    else:
        ours, theirs = predictions.boxes.tolist(), targets.boxes.tolist()

    def iou(i: int, j: int) -> float:
        if geometry == "box":
            return _box_iou(ours[i], theirs[j])
        return float(coco_mask.iou([ours[i]], [theirs[j]], [0])[0, 0])

    keys = list(zip(targets.image.tolist(), targets.category.tolist(), strict=True))
    in_cell = defaultdict(list)
    for j, key in enumerate(keys):
        in_cell[key].append(j)
    actual = np.bincount(targets.category)
    curve = []
    for threshold in thresholds:
        tp, predicted, taken = np.zeros(len(actual)), np.zeros(len(actual)), set()
        for i in np.flatnonzero(predictions.scores >= threshold).tolist():
            category = int(predictions.category[i])
            predicted[category] += 1
            best, found = 0.5, None
            for j in in_cell[int(predictions.image[i]), category]:
                value = iou(i, j) if j not in taken else 0.0
                if value >= best and (found is None or value > best):
                    best, found = value, j
            if found is not None:
                taken.add(found)
                tp[category] += 1
        with_truth = actual > 0
        curve.append(float((2 * tp / np.maximum(predicted + actual, 1))[with_truth].mean()))
    return curve
