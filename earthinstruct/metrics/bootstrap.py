"""Confidence intervals: images drawn with replacement, scores recomputed from their tallies by matrix products."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from earthinstruct.instances import ImageId
from earthinstruct.metrics.tally import Tally

RESAMPLES = 1_000
_LEVEL = (2.5, 97.5)


@lru_cache(maxsize=2)
def image_weights(images: tuple[ImageId, ...], resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """How often each image is drawn in each resample: float64 (resamples, n).

    The draws are seeded, and given to the images in the order of their ids, so the weights of an image do not depend
    on the order of the file.
    """
    n = len(images)
    by_id = sorted(range(n), key=lambda i: (str(type(images[i])), images[i]))
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(b"earthinstruct")))
    drawn = generator.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    weights = np.empty((resamples, n))
    weights[:, by_id] = np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n)
    weights.flags.writeable = False  # shared by all who ask
    return weights


def resampled_totals(tally: Tally, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The sums over the images of every resample: name -> float64 (resamples, c)."""
    return {name: weights @ column.astype(np.float64) for name, column in tally.columns.items()}


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
