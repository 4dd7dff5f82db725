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
    truth: Truth, predicted: Predicted, protocol: Protocol, kept: NDArray[np.bool_], given: NDArray[np.bool_]
) -> Tally:
    """The tally of the counts.

    Args:
        truth: the ground truth.
        predicted: the predictions.
        protocol: the rules.
        kept: bool (predictions,), which predictions are there (a score threshold).
        given: bool (n,), the images that are counted by the counts given; the others by their instances.
    """
    instances = predicted.instances
    counted = kept.copy()
    if protocol.least_counted_score is not None and instances.scores is not None:
        counted &= instances.scores >= protocol.least_counted_score
    counts = np.where(given[:, None], predicted.counts, count_per_image(instances, *truth.shape, counted))
    entering = given if protocol.skips_images_without_counts and given.any() else np.ones_like(given)
    images = [image for image, enters in zip(truth.images, entering, strict=True) if enters]
    actual = count_per_image(truth.instances, *truth.shape)
    return tally_counts(images, truth.categories, counts[entering], actual[entering])


def counting_scores(
    summary: Summary, predicted: Predicted, protocol: Protocol, kept: NDArray[np.bool_], given: NDArray[np.bool_]
) -> PartScores:
    """Precision, recall, F1, MAE and RMSE of the counts; the arguments are those of `counting_tally`."""
    tally = counting_tally(summary.truth, predicted, protocol, kept, given)
    over = summary.has_truth
    if protocol.counting_over_mentioned:
        mentioned = predicted.mentioned if given.any() else np.zeros_like(over)
        over = mentioned | np.stack(list(tally.columns.values())).any(axis=(0, 1))
    every = given.all() or (protocol.skips_images_without_counts and given.any())
    source = "counts" if every else "mixed" if given.any() else "instances"
    fixed = {}
    if len(tally.images):
        off = tally.columns["fp"] + tally.columns["fn"]  # |predicted - actual|: one of the two is 0
        fixed = {"mae": off.mean(axis=0), "rmse": np.sqrt((off**2).mean(axis=0))}
    return summary.part(tally, F1_AND_PARTS, over, fixed=fixed, source=source)
