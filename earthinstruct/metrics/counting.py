"""Counting: compare the predicted with the actual number of objects, per image and category."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import scores
from earthinstruct.metrics.inputs import Predicted, Truth, lie_on_ignored
from earthinstruct.metrics.protocols import Protocol
from earthinstruct.metrics.summary import PRECISION_RECALL_F1, Summary
from earthinstruct.metrics.tally import Tally, count_per_image, tally_counts
from earthinstruct.metrics.values import GeometryScores


def counting_tally(
    truth: Truth, predicted: Predicted, protocol: Protocol, kept: NDArray[np.bool_], *, use_given: bool
) -> Tally:
    """Tally the counts: where `use_given`, those that the method gave; elsewhere, its `kept` instances are counted.

    Counts may exceed the number of objects by the number of ignored objects. If instances are counted, and more of them
    lie on ignored objects (on a crowd), they may exceed it by that number.
    """
    instances = predicted.instances
    counted = kept.copy()
    if protocol.least_counted_score is not None and instances.scores is not None:
        counted &= instances.scores >= protocol.least_counted_score
    given = predicted.has_counts & use_given
    counts = np.where(given[:, None], predicted.counts, count_per_image(instances, *truth.shape, counted))
    entering = given if protocol.skips_images_without_counts and use_given else np.ones_like(given)
    images = [image for image, enters in zip(truth.images, entering, strict=True) if enters]
    actual = count_per_image(truth.instances, *truth.shape)
    allowed = np.zeros_like(actual)
    if truth.ignored is not None:
        allowed = count_per_image(truth.ignored.instances, *truth.shape)
        on_ignored = count_per_image(
            instances, *truth.shape, counted & lie_on_ignored(truth, instances, predicted.geometry)
        )
        allowed = np.where(given[:, None], allowed, np.maximum(allowed, on_ignored))
    return tally_counts(images, truth.categories, counts[entering], actual[entering], allowed[entering])


def counting_scores(
    summary: Summary, name: str, protocol: Protocol, source: str, mentioned: NDArray[np.bool_]
) -> GeometryScores:
    """Precision, recall, F1, MAE, RMSE and relative error of the counts in the tally `name`.

    `mentioned`: bool (c,), categories that any given count mentions.
    """
    tally, fixed = summary.tallies[name], {}
    over = counted_categories(summary, name, protocol, mentioned)
    if len(tally.images):
        off = (tally.columns["fp"] + tally.columns["fn"]).astype(np.int64)  # one of them is 0
        fixed = {"mae": off.mean(axis=0), "rmse": np.sqrt((off**2).mean(axis=0))}
    found = summary.of_geometry(name, PRECISION_RECALL_F1, over, fixed=fixed, source=source)
    return msgspec.structs.replace(found, relative_error=summary.over_all(scores.relative_error, name, bounded=False))


def counted_categories(
    summary: Summary, name: str, protocol: Protocol, mentioned: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The categories that enter the means of counting: bool (c,). The arguments are those of `counting_scores`."""
    if not protocol.counting_over_mentioned:
        return summary.has_truth
    columns = summary.tallies[name].columns.values()
    return np.asarray(mentioned | np.any([column.any(axis=0) for column in columns], axis=0))
