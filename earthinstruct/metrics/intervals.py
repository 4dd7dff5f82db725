"""95 % intervals over images: leave out one image at a time, and see how far a score moves (the jackknife).

The mean of a score without image i is over the categories that still have ground truth. So a category that lies in
one image alone adds its distance from the other categories to the standard error. Where the interval holds, and where
it does not, is simulated in `benchmarks/intervals.py` and summarised in docs/protocol.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.scores import Columns, Score, unrounded
from earthinstruct.metrics.tally import Tally, by_name
from earthinstruct.regions import by_id

LEAST_IMAGES = 2  # with objects; fewer give no interval
NO_INTERVAL = "no interval: fewer than 2 images have objects"
NO_INTERVAL_OR_SAME = f"{NO_INTERVAL}, or all images give the same"  # of a score that is not bounded by 1
NO_DIFFERENCE_VARIES = "no interval: no image differs, or all images differ by the same"
NOT_COMPUTED = "no interval is computed for this score"
_CELLS_AT_ONCE = 200_000
_FEWEST_TRIALS = 1e-9
_FLAT = 1e-12  # a standard error below it is rounding
_Z = 1.959963984540054  # of a normal distribution, 97.5 %

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Spread:
    """How far k means of a score move from image to image.

    Attributes:
        errors: float64 (k,), their standard errors.
        images: int64 (k,), the number of images with an object of a category in the mean.
    """

    errors: NDArray[np.float64]
    images: NDArray[np.int64]

    def intervals(
        self, values: NDArray[np.float64], interval: Callable[[float, float, int], Interval | None]
    ) -> list[Interval | None]:
        """The interval of each value, by `within_0_and_1` or `around`."""
        return [interval(*of) for of in zip(values.tolist(), self.errors.tolist(), self.images.tolist(), strict=True)]


def sums_without_each_image(tally: Tally) -> Iterator[dict[str, NDArray[Any]]]:
    """The sums of a tally without each image in turn, by id: name -> (some, c), some images at a time."""
    totals, order = tally.totals, by_id(tally.images)
    step = max(1, _CELLS_AT_ONCE // max(len(tally.categories), 1))
    for first in range(0, len(order), step):
        yield {name: totals[name] - column[order[first : first + step]] for name, column in tally.columns.items()}


def spread(
    tally: Tally,
    score: Score,
    members: NDArray[np.bool_],
    always: NDArray[np.bool_] | None = None,
    without: Iterable[Columns] | None = None,
) -> Spread:
    """Compute the standard errors of means of a score over categories.

    Standard error: root of (m - 1) / m x the sum over images of (mean without the image - mean)^2, where m is the
    number of images with an object of a category in the mean.

    Args:
        tally: of n images and c categories.
        score: a function of the sums of the tally.
        members: bool (k, c), the categories of each of k means.
        always: bool (c,), categories that enter a mean without ground truth as well.
        without: the sums without each image, as `sums_without_each_image` gives them for a tally. Others where the
            scores are chosen by the images themselves, as the threshold of a sweep is: then the sums at the threshold
            that is chosen without the image.
    """
    score = unrounded(score)
    # images by id and categories by name: the order of a file does not change the last digit of a sum
    order = by_name(tally.categories)
    enters = members.T[order].astype(np.float64)
    always = np.zeros(len(tally.categories), dtype=bool) if always is None else always

    def means(sums: Columns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        there = (n_targets(sums) > 0) | always
        n = there[..., order].astype(np.float64) @ enters
        return np.where(there, score(sums), 0.0)[..., order] @ enters / np.maximum(n, 1), n

    whole, _ = means(tally.totals)
    squares = np.zeros(len(members))
    for sums in sums_without_each_image(tally) if without is None else without:
        mean, n = means(sums)
        squares += (np.where(n > 0, mean - whole, 0.0) ** 2).sum(axis=0)
    images = ((n_targets(tally.columns) > 0).astype(np.float64) @ members.T > 0).sum(axis=0)
    return Spread(np.sqrt(squares * (images - 1).clip(0) / np.maximum(images, 1)), images)


def within_0_and_1(value: float, error: float, images: int) -> Interval | None:
    """Wilson's interval of a score in [0, 1], with the number of trials that has this standard error.

    p (1 - p) / standard error^2 trials. The t distribution with images - 1 degrees of freedom gives the width; the
    middle is moved by its quantile or by that of the normal distribution, and the interval is what both have in common.
    A score that does not vary, such as 0 or 1, counts as one trial an image, with the normal distribution.

    Returns:
        (low, high) with 0 <= low <= value <= high <= 1; None with fewer than `LEAST_IMAGES` images.

    >>> [round(bound, 3) for bound in within_0_and_1(1.0, 0.0, 48)]  # 48 / (48 + 1.96^2) to 1
    [0.926, 1.0]
    """
    if images < LEAST_IMAGES:
        return None
    varies = error > _FLAT and 0 < value < 1
    trials, t = float(images), _Z
    if varies:
        trials, t = max(value * (1 - value) / error**2, _FEWEST_TRIALS), t_quantile(images - 1)
    low, high = 0.0, 1.0
    for shift in {t, _Z}:
        middle = (value + shift**2 / (2 * trials)) / (1 + shift**2 / trials)
        half = t / (1 + shift**2 / trials) * math.sqrt(value * (1 - value) / trials + shift**2 / (4 * trials**2))
        # the value lies inside; the comparisons with it are against rounding
        low, high = max(low, min(middle - half, value)), min(high, max(middle + half, value))
    return low, high


def around(value: float, error: float, images: int) -> Interval | None:
    """The value ± t x standard error, with images - 1 degrees of freedom; None with fewer than `LEAST_IMAGES` images.

    None also for a value that does not vary: if all images agree, they do not show how far others would.
    """
    if images < LEAST_IMAGES or error <= _FLAT:
        return None
    half = t_quantile(images - 1) * error
    return value - half, value + half


def from_0(value: float, error: float, images: int) -> Interval | None:
    """The interval of a score >= 0 that may exceed 1: that of `around`, cut at 0.

    If all images give the same, up to 1, that of a share with one trial an image.
    """
    if value <= 1 and error <= _FLAT:
        return within_0_and_1(value, error, images)
    found = around(value, error, images)
    return None if found is None else (max(0.0, found[0]), found[1])


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t distribution, to 0.13 % (Abramowitz and Stegun 26.7.5).

    >>> [round(t_quantile(n), 2) for n in (1, 2, 10, 1000)]
    [12.71, 4.3, 2.23, 1.96]
    """
    if freedom == 1:
        return math.tan(0.475 * math.pi)
    if freedom == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z = _Z
    terms: tuple[float, ...] = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, start=1))


def n_targets(columns: Columns) -> NDArray[Any]:
    """The number of ground truths, from a tally of a matching, of regions, of a plug-in or of error types."""
    found: tuple[str, ...] = ("tp", "fn")
    if "targets" in columns:
        found = ("targets",)
    elif "missed" in columns:
        found = ("correct", "misclassified", "mislocated", "missed")
    kind = np.result_type(columns[found[0]], np.int64)
    total: NDArray[Any] = np.sum([columns[name] for name in found], axis=0, dtype=kind)
    return total
