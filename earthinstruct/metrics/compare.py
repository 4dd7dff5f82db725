"""Two runs over the same images: paired bootstrap of their difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.bootstrap import RESAMPLES, image_weights, resampled_totals
from earthinstruct.metrics.scores import Columns
from earthinstruct.metrics.tally import Tally


@dataclass(frozen=True)
class Difference:
    """How much better the second run is than the first.

    Attributes:
        value: score of the second minus score of the first, in [-1, 1].
        ci95: 95 % interval over resamples of the images, the same for both runs.
        p: two-sided p-value: twice the smaller share of resamples on either side of no difference, in [0, 1].
    """

    value: float
    ci95: tuple[float, float]
    p: float


def paired_difference(
    first: Tally,
    second: Tally,
    score: Callable[[Columns], NDArray[np.float64]],
    categories: Sequence[str],
    resamples: int = RESAMPLES,
) -> Difference | None:
    """The difference of the mean of a score over categories that have ground truth.

    Args:
        first: tp, fp, fn of one run.
        second: of another run over the same images and categories, in any order of the images.
        score: columns -> (..., c).
        categories: names, the mean is over those of them that have ground truth.
        resamples: number of bootstrap resamples.

    Returns:
        None where none of the categories has ground truth.

    Raises:
        ValueError: the runs are over other images, categories or ground truth.
    """
    if set(first.images) != set(second.images) or first.categories != second.categories:
        raise ValueError("only runs over the same images and categories can be compared")
    position = {image: i for i, image in enumerate(second.images)}
    order = [position[image] for image in first.images]
    second = Tally(first.images, second.categories, {name: column[order] for name, column in second.columns.items()})
    if not np.array_equal(first.columns["tp"] + first.columns["fn"], second.columns["tp"] + second.columns["fn"]):
        raise ValueError("the runs were scored against different ground truth")
    members = np.array([first.categories.index(name) for name in sorted(categories)], dtype=np.int64)

    def means(a: Columns, b: Columns) -> NDArray[np.float64]:
        there = (a["tp"] + a["fn"] > 0)[..., members]
        off = np.where(there, (score(b) - score(a))[..., members], 0.0)
        n = there.sum(axis=-1)
        return np.asarray(off.sum(axis=-1)[n > 0] / n[n > 0])

    def rows(totals: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
        return {name: total[None] for name, total in totals.items()}

    value = means(rows(first.totals), rows(second.totals))
    if not len(value):
        return None
    weights = image_weights(first.images, resamples)
    drawn = means(resampled_totals(first, weights), resampled_totals(second, weights))
    low, high = np.percentile(drawn, (2.5, 97.5))
    p = min(1.0, 2 * min(float((drawn <= 0).mean()), float((drawn >= 0).mean())))
    return Difference(float(value[0]), (float(low), float(high)), p)
