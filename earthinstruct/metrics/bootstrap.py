"""Bootstrap confidence intervals: draw images with replacement, and recompute scores from the tallies.

A resample is a weight for each image: how often it was drawn. So the sums of a tally in all resamples are one matrix
product, weights (resamples, images) x tally (images, categories).
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.tally import Tally
from earthinstruct.regions import ImageId, by_id

RESAMPLES = 1_000
_DRAWS_AT_ONCE = 500_000
_WEIGHTS_AT_ONCE = 32 << 20  # bytes; one byte per resample and image
_FACTORS_AT_ONCE = 2_000_000  # weights in one matrix product, as float64
_LEVEL = (2.5, 97.5)

Totals = dict[str, NDArray[np.float64]]


def image_weights(images: Sequence[ImageId], resamples: int = RESAMPLES) -> Iterator[NDArray[np.uint8]]:
    """Draw how often each of n images occurs in each resample; yields uint8 (rows, n), some resamples at a time.

    The draws are seeded and assigned to images in the order of their ids, so weights do not depend on file order. One
    byte is enough: with n >= 256 images, an image is drawn 256 times with a probability below 1e-500.
    """
    n = len(images)
    place = np.argsort(by_id(images))  # rank of each image by id
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(b"earthinstruct")))
    step = max(1, _DRAWS_AT_ONCE // max(n, 1))  # the draws do not depend on the step
    rows = max(1, _WEIGHTS_AT_ONCE // max(n, 1))
    for first in range(0, resamples, rows):
        weights = np.empty((min(rows, resamples - first), n), dtype=np.uint8)
        for start in range(0, len(weights), step):
            count = min(step, len(weights) - start)
            drawn = generator.integers(n, size=(count, n)) + n * np.arange(count)[:, None]
            counted = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
            weights[start : start + count] = counted.astype(np.uint8)[:, place]
        yield weights


def resampled_totals(tallies: Sequence[Tally], resamples: int = RESAMPLES) -> list[Totals]:
    """Sum each tally over the images of every resample: name -> float64 (resamples, c).

    Tallies of the same images share one set of resamples.
    """
    found: list[Totals] = [
        {name: np.zeros((resamples, len(tally.categories))) for name in tally.columns} for tally in tallies
    ]
    together: defaultdict[tuple[ImageId, ...], list[int]] = defaultdict(list)
    for i, tally in enumerate(tallies):
        together[tally.images].append(i)
    for images, members in together.items():
        first = 0
        for weights in image_weights(images, resamples):
            rows = slice(first, first + len(weights))
            step = max(1, _FACTORS_AT_ONCE // len(weights))
            for start in range(0, len(images), step):  # integer sums below 2^53 are exact in any order
                some = slice(start, start + step)
                factors = weights[:, some].astype(np.float64)
                for i in members:
                    columns = [column[some] for column in tallies[i].columns.values()]
                    sums = factors @ np.concatenate(columns, axis=1).astype(np.float64)
                    for total, some_sums in zip(found[i].values(), np.split(sums, len(columns), axis=1), strict=True):
                        total[rows] += some_sums
            first += len(weights)
    return found


def interval(values: NDArray[np.float64], present: NDArray[np.bool_]) -> tuple[float, float] | None:
    """95 % percentile interval of the mean of a score over categories.

    Args:
        values: (resamples, k), the score of each category in each resample.
        present: bool (resamples, k), the categories that enter the mean of each resample.

    Returns:
        (low, high), or None if no category is present in any resample.
    """
    n = present.sum(axis=1)
    if not n.any():
        return None
    means = np.where(present, values, 0).sum(axis=1)[n > 0] / n[n > 0]
    low, high = np.percentile(means, _LEVEL)
    return float(low), float(high)
