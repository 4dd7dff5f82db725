"""Scores by the size of objects: small, medium and large, as in COCO.

For each size, the other objects are no part of the ground truth, and predictions are treated as in COCO: one that is
matched to an object of the size is right, whatever its own size. One of the size that is matched to no object is wrong.
All others are neither.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.detection import Detection
from earthinstruct.metrics.matching import Geometry, Pairs, match
from earthinstruct.metrics.summary import PRECISION_RECALL_F1, Summary
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.values import SizeScores
from earthinstruct.regions import Instances

SIZES = ("small", "medium", "large")
BOUNDS = np.array([32.0**2, 96.0**2])  # area in pixels from which an object is medium, and large


def sizes_of(instances: Instances, geometry: Geometry) -> NDArray[np.int64]:
    """The size of each instance, an index into `SIZES`, by the area of its box or of its mask: int64 (n,)."""
    masks = instances.masks if geometry == "mask" else None
    area = instances.boxes[:, 2] * instances.boxes[:, 3] if masks is None else masks.areas
    return np.searchsorted(BOUNDS, area, side="right")


def by_target_size(pairs: Pairs, target_size: NDArray[np.int64]) -> Pairs:
    """One copy of the predictions for each size, which pairs with the objects of that size alone.

    Copy s of prediction p is prediction `s * n_predictions + p`, so that a matching of the returned pairs holds one
    matching for each size.
    """
    first = (target_size * pairs.n_predictions).astype(np.int32)
    prediction = first[pairs.target] + pairs.prediction
    return Pairs(prediction, pairs.target, pairs.iou, len(SIZES) * pairs.n_predictions, pairs.n_targets)


def tally_sizes(detection: Detection, kept: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> dict[str, Tally]:
    """Tally boxes or masks by the size of the objects: name of the size -> tp, fp, fn.

    Args:
        detection: the predictions, with their pairs.
        kept: bool (predictions,), those that reach the score threshold.
        wrong: bool (predictions,), the kept predictions that are matched to no object, and lie on no ignored one.
    """
    truth, predictions = detection.truth, detection.predictions
    target_size = sizes_of(truth.instances, detection.geometry)
    size = sizes_of(predictions, detection.geometry)
    pairs = by_target_size(detection.pairs.where(kept[detection.pairs.prediction]), target_size)
    found = (match(pairs, detection.protocol.rule) >= 0).reshape(len(SIZES), -1)
    tallies = {}
    for s, name in enumerate(SIZES):
        tp = count_per_image(predictions, *truth.shape, found[s])
        columns = {
            "tp": tp,
            "fp": count_per_image(predictions, *truth.shape, wrong & (size == s)),
            "fn": count_per_image(truth.instances, *truth.shape, target_size == s) - tp,
        }
        tallies[name] = Tally(truth.images, truth.categories, columns)
    return tallies


def size_scores(
    summary: Summary, tallies: Mapping[str, Tally], ap: Mapping[str, NDArray[np.float64]]
) -> dict[str, SizeScores]:
    """The scores of each size, means over the categories that have objects of it.

    Args:
        summary: the categories, and the group `all`.
        tallies: name of the size -> its tally, over all images.
        ap: name of the size -> its AP by category, float64 (c,); empty without scores.
    """
    found = {}
    for name, tally in tallies.items():
        totals = tally.totals
        there = totals["tp"] + totals["fn"] > 0
        values = {score: function(totals) for score, function in PRECISION_RECALL_F1.items()}
        if name in ap:
            values["ap"] = ap[name]
        means = {score: summary.mean_value(value, there, f"no {name} object") for score, value in values.items()}
        found[name] = SizeScores(int((totals["tp"] + totals["fn"]).sum()), **means)
    return found
