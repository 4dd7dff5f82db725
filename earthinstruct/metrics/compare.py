"""Paired bootstrap of the difference between two runs over the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.bootstrap import RESAMPLES, Totals, resampled_totals
from earthinstruct.metrics.scores import Columns, Score
from earthinstruct.metrics.tally import Tally


@dataclass(frozen=True)
class Difference:
    """The difference of a score between two runs.

    Attributes:
        first: the score of the first run, a fraction (for error types, a number of objects).
        second: the score of the second run.
        value: second minus first.
        ci95: 95 % interval of `value` over resamples of the images, the same resamples for both runs.
        p: two-sided p-value, in (0, 1]: min(1, 2 (k + 1) / (resamples + 1)), where k is the number of resamples with a
            difference <= 0 or >= 0, whichever is smaller. The + 1 keeps p above 0 for any number of resamples.
    """

    first: float
    second: float
    value: float
    ci95: tuple[float, float]
    p: float


class Paired:
    """A tally of two runs over the same images, with the same resamples for both. Created by `paired`."""

    def __init__(self, first: Tally, second: Tally, resampled: Sequence[Totals]) -> None:
        """Store the totals of two tallies over the same images, for the whole set and for each resample."""
        self.categories = first.categories
        # row 0 is the whole set, the others are the resamples
        self.totals = [
            {name: np.concatenate([tally.totals[name][None], drawn]) for name, drawn in of_resamples.items()}
            for tally, of_resamples in zip((first, second), resampled, strict=True)
        ]

    def of_mean(self, score: Score, categories: Sequence[str]) -> Difference | None:
        """Compare the mean of a score over the given categories that have ground truth; None if none has."""
        members = self._members(categories)
        there = _actual(self.totals[0])[:, members] > 0
        n = there.sum(axis=1)
        if not n[0]:
            return None
        a, b = (np.where(there, score(totals)[:, members], 0.0).sum(axis=1)[n > 0] / n[n > 0] for totals in self.totals)
        return _difference(a, b)

    def of_sum(self, column: str, categories: Sequence[str]) -> Difference:
        """Compare a column of the tallies, in objects, summed over images and categories."""
        members = self._members(categories)
        a, b = (totals[column][:, members].sum(axis=1) for totals in self.totals)
        return _difference(a, b)

    def _members(self, categories: Sequence[str]) -> NDArray[np.int64]:
        return np.array([self.categories.index(name) for name in sorted(categories)], dtype=np.int64)


def paired(first: Mapping[str, Tally], second: Mapping[str, Tally], resamples: int = RESAMPLES) -> dict[str, Paired]:
    """Pair the tallies that both runs have, by name, in the order of the first run.

    Args:
        first: name -> tally of the first run.
        second: name -> tally of the second run, over the same images (in any order) and categories.
        resamples: number of bootstrap resamples, > 0.

    Raises:
        ValueError: the runs differ in images, categories or ground truth.
    """
    names = [name for name in first if name in second]
    pairs = [(first[name], _in_order(first[name], second[name])) for name in names]
    drawn = resampled_totals([tally for pair in pairs for tally in pair], resamples)
    return {
        name: Paired(*pair, drawn[2 * i : 2 * i + 2]) for i, (name, pair) in enumerate(zip(names, pairs, strict=True))
    }


def _in_order(first: Tally, second: Tally) -> Tally:
    """Put the images of the second tally into the order of the first."""
    if set(first.images) != set(second.images) or first.categories != second.categories:
        raise ValueError("only runs over the same images and categories can be compared")
    position = {image: i for i, image in enumerate(second.images)}
    order = [position[image] for image in first.images]
    second = Tally(first.images, second.categories, {name: column[order] for name, column in second.columns.items()})
    if not np.array_equal(_actual(first.columns), _actual(second.columns)):
        raise ValueError("the runs were scored against different ground truth")
    return second


def _actual(columns: Columns) -> NDArray[np.float64] | NDArray[np.int64]:
    """The number of ground truths, from a tally of a matching, of regions or of error types."""
    if "targets" in columns:
        return columns["targets"]
    if "missed" in columns:
        return columns["correct"] + columns["misclassified"] + columns["mislocated"] + columns["missed"]
    return columns["tp"] + columns["fn"]


def _difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> Difference:
    off = second - first
    drawn = off[1:]
    low, high = np.percentile(drawn, (2.5, 97.5))
    fewer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (fewer + 1) / (len(drawn) + 1))
    return Difference(float(first[0]), float(second[0]), float(off[0]), (float(low), float(high)), p)
