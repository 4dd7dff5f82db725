"""Confidence intervals: images drawn with replacement, scores recomputed from their tallies by matrix products."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from earthinstruct.instances import ImageId, by_id
from earthinstruct.metrics.tally import Tally
from earthinstruct.spill import Spill

RESAMPLES = 1_000
_DRAWS_AT_ONCE = 500_000
_WEIGHTS_AT_ONCE = 2_000_000
_WEIGHTS_IN_MEMORY = 8 << 20  # bytes
_LEVEL = (2.5, 97.5)


class ImageWeights:
    """How often each of n images is drawn in each resample. Those of many images lie in a temporary file."""

    def __init__(self, resamples: int, n: int) -> None:
        """Without draws."""
        self.resamples, self.n = resamples, n
        self._rows: list[int] = []  # resamples of each call of `append`
        self._content = Spill(_WEIGHTS_IN_MEMORY)
        step = max(1, _WEIGHTS_AT_ONCE // resamples)
        self._parts = [slice(start, min(start + step, n)) for start in range(0, n, step)]

    def append(self, weights: NDArray[np.uint8]) -> None:
        """Keep the weights (rows, n) of the next resamples."""
        self._rows.append(len(weights))
        for part in self._parts:
            self._content.append(weights[:, part].tobytes())

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
        """Some images after others: which, and their weights, uint8 (resamples, images)."""
        starts = [self.n * sum(self._rows[:i]) for i in range(len(self._rows))]
        for part in self._parts:
            spans = [
                (start + rows * part.start, start + rows * part.stop)
                for start, rows in zip(starts, self._rows, strict=True)
            ]
            weights = np.frombuffer(self._content.read(spans), dtype=np.uint8)
            yield part, weights.reshape(self.resamples, part.stop - part.start)


@lru_cache(maxsize=2)
def image_weights(images: tuple[ImageId, ...], resamples: int = RESAMPLES) -> ImageWeights:
    """How often each image is drawn in each resample.

    The draws are seeded, and given to the images in the order of their ids, so the weights of an image do not depend
    on the order of the file. One byte is enough: of n >= 256 images, one is drawn 256 times with a probability
    below 1e-500.

    Raises:
        DataError: the temporary folder cannot be written.
    """
    n = len(images)
    place = np.argsort(by_id(images))  # of each image in the order of their ids
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(b"earthinstruct")))
    weights = ImageWeights(resamples, n)
    step = max(1, _DRAWS_AT_ONCE // max(n, 1))  # how the resamples are cut changes no draw
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = generator.integers(n, size=(count, n)) + n * np.arange(count)[:, None]
        weights.append(np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(np.uint8)[:, place])
    return weights


def resampled_totals(tally: Tally, weights: ImageWeights) -> dict[str, NDArray[np.float64]]:
    """The sums over the images of every resample: name -> float64 (resamples, c)."""
    totals = np.zeros((weights.resamples, len(tally.columns) * len(tally.categories)))
    for part, drawn in weights.blocks():  # sums of integers below 2^53 are exact, however they are cut
        columns = np.concatenate([column[part] for column in tally.columns.values()], axis=1)
        totals += drawn.astype(np.float64) @ columns.astype(np.float64)
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
