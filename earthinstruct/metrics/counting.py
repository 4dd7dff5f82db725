"""Counting: how many objects of each category there are in an image, against how many a method says there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.inputs import Predicted, Truth
from earthinstruct.metrics.protocols import Protocol
from earthinstruct.metrics.summary import F1_AND_PARTS, Summary
from earthinstruct.metrics.tally import Tally, count_per_image, tally_counts
from earthinstruct.metrics.values import PartScores


def counting_tally(
    truth: Truth,
    predicted: Predicted,
    protocol: Protocol,
    kept: NDArray[np.bool_],
    given: NDArray[np.bool_],
    *,
    any_given: bool,
) -> Tally:
    """The tally of the counts.

    Args:
        truth: the ground truth.
        predicted: the predictions.
        protocol: the rules.
        kept: bool (predictions,), which predictions are there (a score threshold).
        given: bool (n,), the images that are counted by the counts given; the others by their instances.
        any_given: whether any image of the whole set is counted by the counts given.
    """
    instances = predicted.instances
    counted = kept.copy()
    if protocol.least_counted_score is not None and instances.scores is not None:
        counted &= instances.scores >= protocol.least_counted_score
    counts = np.where(given[:, None], predicted.counts, count_per_image(instances, *truth.shape, counted))
    entering = given if protocol.skips_images_without_counts and any_given else np.ones_like(given)
    images = [image for image, enters in zip(truth.images, entering, strict=True) if enters]
    actual = count_per_image(truth.instances, *truth.shape)
    return tally_counts(images, truth.categories, counts[entering], actual[entering])


def counting_scores(
    summary: Summary, name: str, protocol: Protocol, source: str, mentioned: NDArray[np.bool_]
) -> PartScores:
    """Precision, recall, F1, MAE and RMSE of the counts.

    Args:
        summary: of the same ground truth.
        name: of the tally of the counts.
        protocol: the rules.
        source: where the counts came from: `counts`, `instances` or `mixed`.
        mentioned: bool (c,), categories that any of the counts given mentions.
    """
    tally, over = summary.tallies[name], summary.has_truth
    if protocol.counting_over_mentioned:
        over = mentioned | np.any([column.any(axis=0) for column in tally.columns.values()], axis=0)
    fixed = {}
    if len(tally.images):
        off = (tally.columns["fp"] + tally.columns["fn"]).astype(np.int64)  # |predicted - actual|: one of the two is 0
        fixed = {"mae": off.mean(axis=0), "rmse": np.sqrt((off**2).mean(axis=0))}
    return summary.of_geometry(name, F1_AND_PARTS, over, fixed=fixed, source=source)
