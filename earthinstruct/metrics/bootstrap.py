"""Confidence intervals: images drawn with replacement, scores recomputed from their tallies by matrix products."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from earthinstruct.instances import ImageId, by_id
from earthinstruct.metrics.tally import Tally

RESAMPLES = 1_000
_DRAWS_AT_ONCE = 2_000_000
_LEVEL = (2.5, 97.5)


@lru_cache(maxsize=2)
def image_weights(images: tuple[ImageId, ...], resamples: int = RESAMPLES) -> NDArray[np.uint8]:
    """How often each image is drawn in each resample: uint8 (resamples, n).

    The draws are seeded, and given to the images in the order of their ids, so the weights of an image do not depend
    on the order of the file. One byte is enough: of n >= 256 images, one is drawn 256 times with a probability
    below 1e-500.
    """
    n = len(images)
    place = by_id(images)
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(b"earthinstruct")))
    weights = np.empty((resamples, n), dtype=np.uint8)
    step = max(1, _DRAWS_AT_ONCE // max(n, 1))  # how the resamples are cut changes no draw
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = generator.integers(n, size=(count, n)) + n * np.arange(count)[:, None]
        weights[start : start + count, place] = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
    weights.flags.writeable = False  # shared by all who ask
    return weights


def resampled_totals(tally: Tally, weights: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """The sums over the images of every resample: name -> float64 (resamples, c)."""
    resamples, n = weights.shape
    totals = np.zeros((resamples, len(tally.columns) * len(tally.categories)))
    step = max(1, _DRAWS_AT_ONCE // resamples)
    for start in range(0, n, step):  # sums of integers below 2^53 are exact, however they are cut
        part = slice(start, start + step)
        columns = np.concatenate([column[part] for column in tally.columns.values()], axis=1)
        totals += weights[:, part].astype(np.float64) @ columns.astype(np.float64)
    return dict(zip(tally.columns, np.split(totals, len(tally.columns), axis=1), strict=True))


def interval(values: NDArray[np.float64], present: NDArray[np.bool_]) -> tuple[float, float] | None:
    """95 % interval of the mean of a score over categories.

    Args:
        values: (resamples, k), the score of each category in each resample.
        present: bool (resamples, k), the categories that a resample's mean is over.

    Returns:
        (low, high), or None when no resample has any of the categories.
    """
    n = present.sum(axis=1)
    if not n.any():
        return None
    means = np.where(present, values, 0).sum(axis=1)[n > 0] / n[n > 0]
    low, high = np.percentile(means, _LEVEL)
    return float(low), float(high)
