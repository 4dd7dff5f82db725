"""Turn tallies into the scores of a result file: per category, means over groups, and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import scores
from earthinstruct.metrics.intervals import (
    NO_INTERVAL,
    NOT_COMPUTED,
    Interval,
    around,
    n_targets,
    spread,
    within_0_and_1,
)
from earthinstruct.metrics.scores import Score
from earthinstruct.metrics.tally import Tally, by_name
from earthinstruct.metrics.values import CategoryScores, Count, GeometryScores, Value

IMAGES_OF_A_RARE_CATEGORY = 3  # a category with objects in fewer images is rare
PRECISION_RECALL_F1: Mapping[str, Score] = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}


@dataclass(frozen=True)
class Intervals:
    """95 % intervals of one score: for its mean over the group `all`, and for each category."""

    mean: Interval | None
    per_category: list[Interval | None]


class Summary:
    """Computes scores from tallies over the same ground truth.

    Args:
        categories: names of the c categories.
        groups: group -> its categories; as an attribute, int64 (k,), the indices of its categories.
        n_targets: int64 (c,), number of ground-truth objects of each category.
        tallies: name -> tally.

    Attributes:
        has_truth: bool (c,), categories with ground truth.
    """

    def __init__(
        self,
        categories: tuple[str, ...],
        groups: Mapping[str, tuple[str, ...]],
        n_targets: NDArray[np.int64],
        tallies: Mapping[str, Tally] = MappingProxyType({}),
    ) -> None:
        self.categories = categories
        self.n_targets = n_targets
        self.has_truth = n_targets > 0
        index = {name: i for i, name in enumerate(categories)}
        # sorted by name, so that floating-point sums do not depend on the order of the categories
        self._by_name = by_name(categories)
        self.groups = {
            group: np.array([index[name] for name in sorted(members)], dtype=np.int64)
            for group, members in groups.items()
        }
        self.tallies = tallies

    def of_geometry(
        self,
        name: str,
        functions: Mapping[str, Score],
        over: NDArray[np.bool_],
        *,
        fixed: Mapping[str, NDArray[np.float64]] | None = None,
        regions: str | None = None,
        source: str | None = None,
    ) -> GeometryScores:
        """Compute the scores of counting, boxes or masks: per category, means over groups, intervals.

        Args:
            name: name of the tally, with tp, fp, fn.
            functions: score name -> function of the sums of the tally.
            over: bool (c,), the categories that enter the means.
            fixed: score name -> float64 (c,), scores that are not a function of the tally; they have no interval.
            regions: name of the tally with intersection and union, for mIoU.
            source: where the counts came from.
        """
        totals = self.tallies[name].totals
        values = {score: function(totals) for score, function in functions.items()} | dict(fixed or {})
        intervals = self.intervals(functions, name, over)
        if regions is not None:
            values["miou"] = scores.iou(self.tallies[regions].totals)
            intervals |= self.intervals({"miou": scores.iou}, regions, over)
        groups = self.group_means(values, over)
        per_category = {}
        for c, category in enumerate(self.categories):
            here = {score: float(value[c]) if over[c] else None for score, value in values.items()}
            sure = {score: known for score, of in intervals.items() if (known := of.per_category[c]) is not None}
            tp, fp, fn = (int(totals[column][c]) for column in ("tp", "fp", "fn"))
            per_category[category] = CategoryScores(tp, fp, fn, **here, ci95=sure)
        headline = {}
        for score, mean in groups["all"].items():
            if score in intervals or mean is None:
                headline[score] = value_of(mean, intervals[score].mean if score in intervals else None)
            else:
                headline[score] = Value(mean, reason=NOT_COMPUTED)
        return GeometryScores(
            tally={category: Count(row.tp, row.fp, row.fn) for category, row in per_category.items()},
            per_category=per_category,
            groups=groups,
            source=source,
            **headline,  # type: ignore[arg-type]
        )

    def group_means(
        self, values: Mapping[str, NDArray[np.float64]], over: NDArray[np.bool_]
    ) -> dict[str, dict[str, float | None]]:
        """Group -> score -> mean of the score (c,) over the categories of the group that are in `over`."""
        return {
            group: {name: self.mean(value, members, over) for name, value in values.items()}
            for group, members in self.groups.items()
        }

    def intervals(
        self, functions: Mapping[str, Score], name: str, over: NDArray[np.bool_], *, bounded: bool = True
    ) -> dict[str, Intervals]:
        """Compute the 95 % intervals of scores that are functions of a tally.

        Args:
            functions: score name -> function of the sums of the tally.
            name: name of the tally.
            over: bool (c,), the categories that enter the means.
            bounded: whether the scores lie in [0, 1].
        """
        members = np.vstack([self._group("all"), np.eye(len(over), dtype=bool)])
        found = {}
        for score, function in functions.items():
            mean, *per_category = self._spread_means(function, name, members & over, over, bounded)
            found[score] = Intervals(mean[1], [interval for _, interval in per_category])
        return found

    @property
    def rare(self) -> NDArray[np.bool_]:
        """The categories of the group `all` whose objects lie in fewer than 3 images: bool (c,)."""
        images = (n_targets(self.tallies["box"].columns) > 0).sum(axis=0)
        return np.asarray(self._group("all") & self.has_truth & (images < IMAGES_OF_A_RARE_CATEGORY))

    def without_rare(self, function: Score, name: str, over: NDArray[np.bool_]) -> Value | None:
        """The mean of a score over the group `all` without the rare categories; None if no other category is left.

        `function`, `name` and `over` are as in `intervals`.
        """
        members = self._group("all") & over & ~self.rare
        if not members.any():
            return None
        ((mean, interval),) = self._spread_means(function, name, members[None], over, bounded=True)
        return value_of(mean, interval)

    def _spread_means(
        self, function: Score, name: str, members: NDArray[np.bool_], over: NDArray[np.bool_], bounded: bool
    ) -> list[tuple[float, Interval | None]]:
        """Means of a score over the categories of each row of `members`, bool (k, c), with intervals."""
        tally = self.tallies[name]
        values = function(tally.totals)
        means = [self.mean(values, self._by_name[row[self._by_name]], over) or 0.0 for row in members]
        spreads = spread(tally, function, members, over & ~self.has_truth)
        intervals = spreads.intervals(np.array(means), within_0_and_1 if bounded else around)
        return list(zip(means, intervals, strict=True))

    def _group(self, group: str) -> NDArray[np.bool_]:
        """The categories of a group: bool (c,)."""
        chosen = np.zeros(len(self.categories), dtype=bool)
        chosen[self.groups[group]] = True
        return chosen

    def mean(self, value: NDArray[np.float64], members: NDArray[np.int64], over: NDArray[np.bool_]) -> float | None:
        """Average over the categories `members` that are in `over`; None if none is."""
        chosen = members[over[members]]
        return float(value[chosen].mean()) if len(chosen) else None


def value_of(
    value: float | None,
    interval: Interval | None,
    *,
    undefined: str = "no ground truth in any category",
    no_interval: str = NO_INTERVAL,
) -> Value:
    """Wrap a score with its interval, or with the reason why there is no value or no interval."""
    if value is None:
        return Value(None, reason=undefined)
    return Value(value, interval, None if interval else no_interval)
