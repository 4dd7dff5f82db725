"""Turn tallies into the scores of a result file: per category, means over groups, and intervals."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import scores
from earthinstruct.metrics.intervals import (
    NO_INTERVAL,
    NO_INTERVAL_OR_SAME,
    NOT_COMPUTED,
    Interval,
    around,
    from_0,
    n_targets,
    spread,
    within_0_and_1,
)
from earthinstruct.metrics.scores import Columns, Score
from earthinstruct.metrics.tally import Tally, by_name
from earthinstruct.metrics.values import CategoryScores, Count, GeometryScores, Value

NO_TRUTH = "no ground truth in any category"
IMAGES_OF_A_RARE_CATEGORY = 3  # a category with objects in fewer images is rare
OVER_ALL: Mapping[str, Score] = {"micro_f1": scores.f1, "hallucinated": scores.hallucinated}  # of pooled sums
PRECISION_RECALL_F1: Mapping[str, Score] = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}


@dataclass(frozen=True)
class Intervals:
    """95 % intervals of one score: for its means over the group `all` and each other group, and for each category."""

    mean: Interval | None
    per_category: list[Interval | None]
    groups: dict[str, Interval | None]


class Summary:
    """Computes scores from tallies over the same ground truth.

    Args:
        categories: names of the c categories.
        groups: group -> its categories; as an attribute, int64 (k,), the indices of its categories.
        n_targets: int64 (c,), number of ground-truth objects of each category.
        tallies: name -> tally.
        without: name of a tally -> its sums without each image, by id, at the score threshold that is chosen without
            the image.
        held: names of the tallies that no choice of a threshold changes; None: all. The scores of tallies that are in
            neither have no intervals.

    Attributes:
        has_truth: bool (c,), categories with ground truth.
    """

    def __init__(
        self,
        categories: tuple[str, ...],
        groups: Mapping[str, tuple[str, ...]],
        n_targets: NDArray[np.int64],
        tallies: Mapping[str, Tally],
        without: Mapping[str, Columns] = MappingProxyType({}),
        held: Collection[str] | None = None,
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
        self._without = without
        self._held = tallies.keys() if held is None else held

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
        groups_ci95 = {
            group: {score: known for score, of in intervals.items() if (known := of.groups.get(group)) is not None}
            for group in groups
        }
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
            groups_ci95={group: of_group for group, of_group in groups_ci95.items() if of_group},
            source=source,
            **headline | self.pooled(name),  # type: ignore[arg-type]
        )

    def pooled(self, name: str) -> dict[str, Value]:
        """Compute the scores over all categories together: predictions of an absent category count against them.

        `name`: name of the tally, with tp, fp, fn.
        """
        found = {score: self.over_all(function, name) for score, function in OVER_ALL.items()}
        totals, members = self.tallies[name].totals, self.groups["all"]
        if self.has_truth[members].any() and not (totals["tp"] + totals["fp"])[members].any():
            found["hallucinated"] = Value(None, reason="no predictions")
        return found

    def over_all(self, function: Score, name: str, *, bounded: bool = True) -> Value:
        """Compute a score of the sums over all categories of the group `all`.

        Args:
            function: of the pooled sums (see `scores.pooled`).
            name: name of the tally, with tp, fp, fn.
            bounded: whether the score lies in [0, 1].
        """
        members, tally = self.groups["all"], self.tallies[name]
        if not self.has_truth[members].any():
            return Value(None, reason=NO_TRUTH)
        pooled = Tally(tally.images, ("all",), scores.pooled(tally.columns, members, self.has_truth))
        without = self._without.get(name)
        others = None if without is None else [scores.pooled(without, members, self.has_truth)]
        value, every, interval = function(pooled.totals), np.ones((1, 1), dtype=bool), None
        if self._is_spread(name):
            found = spread(pooled, function, every, every[0], others)
            (interval,) = found.intervals(value, within_0_and_1 if bounded else from_0)
        return value_of(float(value[0]), interval, no_interval=self._no_interval(name, bounded))

    def by_part(self, parts: Tally, function: Score, name: str, undefined: str, *, bounded: bool = True) -> list[Value]:
        """Compute a score of each part of a tally, such as the images and categories with few objects.

        Args:
            parts: sums of the tally `name` over the categories: its categories are the parts.
            function: of the sums of `parts`.
            name: name of the tally. Without it, or after a sweep that changes it, there are no intervals.
            undefined: why a part without targets has no score.
            bounded: whether the score lies in [0, 1].
        """
        values, each = function(parts.totals), np.eye(len(parts.categories), dtype=bool)
        there, held = n_targets(parts.totals) > 0, name in self._held
        intervals: list[Interval | None] = [None] * len(each)
        if held:
            intervals = spread(parts, function, each).intervals(values, within_0_and_1 if bounded else from_0)
        return [
            value_of(
                value if defined else None,
                interval if defined else None,
                undefined=undefined,
                no_interval=(NO_INTERVAL if bounded else NO_INTERVAL_OR_SAME) if held else NOT_COMPUTED,
            )
            for value, defined, interval in zip(values.tolist(), there.tolist(), intervals, strict=True)
        ]

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
        """Compute the 95 % intervals of scores that are functions of a tally; empty if they cannot be computed.

        Args:
            functions: score name -> function of the sums of the tally.
            name: name of the tally.
            over: bool (c,), the categories that enter the means.
            bounded: whether the scores lie in [0, 1].
        """
        names = ["all", *(group for group in self.groups if group != "all")]
        members = np.vstack([*map(self._group, names), np.eye(len(over), dtype=bool)])
        found: dict[str, Intervals] = {}
        if not self._is_spread(name):
            return found
        for score, function in functions.items():
            known = [of for _, of in self._spread_means(function, name, members & over, over, bounded)]
            of_all, *of_groups = known[: len(names)]
            found[score] = Intervals(of_all, known[len(names) :], dict(zip(names[1:], of_groups, strict=True)))
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
        return value_of(mean, interval, no_interval=self._no_interval(name))

    def _no_interval(self, name: str, bounded: bool = True) -> str:
        """Why a score of a tally has no interval."""
        if not self._is_spread(name):
            return NOT_COMPUTED
        return NO_INTERVAL if bounded else NO_INTERVAL_OR_SAME

    def _spread_means(
        self, function: Score, name: str, members: NDArray[np.bool_], over: NDArray[np.bool_], bounded: bool
    ) -> list[tuple[float, Interval | None]]:
        """Means of a score over the categories of each row of `members`, bool (k, c), with intervals."""
        tally = self.tallies[name]
        values = function(tally.totals)
        means = [self.mean(values, self._by_name[row[self._by_name]], over) or 0.0 for row in members]
        if not self._is_spread(name):
            return [(mean, None) for mean in means]
        without = self._without.get(name)
        others = None if without is None else [without]
        spreads = spread(tally, function, members, over & ~self.has_truth, others)
        intervals = spreads.intervals(np.array(means), within_0_and_1 if bounded else around)
        return list(zip(means, intervals, strict=True))

    def _is_spread(self, name: str) -> bool:
        """Whether the sums of a tally without each image are known, at the threshold chosen without it."""
        return name in self._held or name in self._without

    def _group(self, group: str) -> NDArray[np.bool_]:
        """The categories of a group: bool (c,)."""
        chosen = np.zeros(len(self.categories), dtype=bool)
        chosen[self.groups[group]] = True
        return chosen

    def mean(self, value: NDArray[np.float64], members: NDArray[np.int64], over: NDArray[np.bool_]) -> float | None:
        """Average over the categories `members` that are in `over`; None if none is."""
        chosen = members[over[members]]
        return float(value[chosen].mean()) if len(chosen) else None

    def mean_value(self, value: NDArray[np.float64], over: NDArray[np.bool_], reason: str) -> Value:
        """Average a score (c,) over the categories of the group `all` that are in `over`; `reason`: why none is."""
        mean = self.mean(value, self.groups["all"], over)
        return Value(mean, reason=reason if mean is None else NOT_COMPUTED)


def value_of(
    value: float | None,
    interval: Interval | None,
    *,
    undefined: str = NO_TRUTH,
    no_interval: str = NO_INTERVAL,
) -> Value:
    """Wrap a score with its interval. Without one of them, it has a reason: `undefined` or `no_interval`."""
    if value is None:
        return Value(None, reason=undefined)
    return Value(value, interval, None if interval else no_interval)
