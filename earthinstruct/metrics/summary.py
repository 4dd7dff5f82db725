"""Turn tallies into the scores of a result file: per category, means over groups, and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import scores
from earthinstruct.metrics.bootstrap import interval, resampled_totals
from earthinstruct.metrics.scores import Score
from earthinstruct.metrics.tally import Tally
from earthinstruct.metrics.values import CategoryScores, Count, GeometryScores, Value

PRECISION_RECALL_F1: Mapping[str, Score] = {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}


@dataclass(frozen=True)
class Intervals:
    """95 % intervals of one score: for its mean over the group `all`, and for each category."""

    mean: tuple[float, float] | None
    per_category: list[tuple[float, float] | None]


class Summary:
    """Computes scores from tallies over the same ground truth.

    Args:
        categories: names of the c categories.
        groups: group -> its categories; as an attribute, int64 (k,), the indices of its categories.
        n_targets: int64 (c,), number of ground-truth objects of each category.
        tallies: name -> tally.
        resamples: bootstrap resamples for the 95 % intervals; 0: no intervals.

    Attributes:
        has_truth: bool (c,), categories with ground truth.
    """

    def __init__(
        self,
        categories: tuple[str, ...],
        groups: Mapping[str, tuple[str, ...]],
        n_targets: NDArray[np.int64],
        tallies: Mapping[str, Tally] = MappingProxyType({}),
        resamples: int = 0,
    ) -> None:
        self.categories = categories
        self.n_targets = n_targets
        self.has_truth = n_targets > 0
        index = {name: i for i, name in enumerate(categories)}
        # sorted by name, so that floating-point sums do not depend on the order of the categories
        self.groups = {
            group: np.array([index[name] for name in sorted(members)], dtype=np.int64)
            for group, members in groups.items()
        }
        self.tallies = tallies
        drawn = [name for name, tally in tallies.items() if tally.images] if resamples else []
        totals = resampled_totals([tallies[name] for name in drawn], resamples)
        self._resampled = dict(zip(drawn, totals, strict=True))

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
            fixed: score name -> float64 (c,), scores that are not a function of the tally; they get no interval.
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
        headline = {score: self.value(groups["all"][score], intervals.get(score)) for score in values}
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

    def intervals(self, functions: Mapping[str, Score], name: str, over: NDArray[np.bool_]) -> dict[str, Intervals]:
        """Compute the 95 % intervals of scores that are functions of a tally; empty without resamples or images."""
        totals = self._resampled.get(name)
        if totals is None:
            return {}
        actual = totals["targets"] if "targets" in totals else totals["tp"] + totals["fn"]
        # a resample's mean is over the categories that have ground truth in it; categories that enter the means without
        # any ground truth (only mentioned) are in every resample
        present = np.asarray(over & ((actual > 0) | (over & ~self.has_truth)))
        members = self.groups["all"]
        found = {}
        for score, function in functions.items():
            values = function(totals)
            found[score] = Intervals(
                interval(values[:, members], present[:, members]),
                [interval(values[:, [c]], present[:, [c]]) for c in range(len(over))],
            )
        return found

    def mean(self, value: NDArray[np.float64], members: NDArray[np.int64], over: NDArray[np.bool_]) -> float | None:
        """Average over the categories `members` that are in `over`; None if none is."""
        chosen = members[over[members]]
        return float(value[chosen].mean()) if len(chosen) else None

    def value(self, value: float | None, intervals: Intervals | None) -> Value:
        """Wrap a mean with its interval or, if it is undefined, the reason."""
        if value is None:
            return Value(None, reason="no ground truth in any category")
        return Value(value, None if intervals is None else intervals.mean)
