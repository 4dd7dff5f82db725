"""Metric plug-ins, scores defined outside this package: their interface, and checks of what they return."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from earthinstruct.errors import EarthInstructError
from earthinstruct.metrics.inputs import Predicted, Truth
from earthinstruct.metrics.intervals import NO_INTERVAL, NO_INTERVAL_OR_SAME, NOT_COMPUTED
from earthinstruct.metrics.scores import Columns
from earthinstruct.metrics.summary import Intervals, Summary, value_of
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.values import ExtraScores, Value
from earthinstruct.registry import PluginError, load_class

TARGETS = "targets"
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class MetricError(EarthInstructError):
    """A metric plug-in raised an exception or returned an invalid score."""


@runtime_checkable
class Metric(Protocol):
    """The interface of a metric plug-in. `list metrics` shows the first line of its docstring.

    An optional member `unit` names the unit of the score, such as "objects". Without it, the score is a fraction and is
    shown in percent.

    Attributes:
        name: the name of the score in results: letters, digits, `-` and `_`.
    """

    name: str

    def tally(self, truth: Truth, predicted: Predicted, /) -> Mapping[str, ArrayLike] | str:
        """Tally n images: numbers per image and category, from whose sums over images the score is computed.

        Args:
            truth: the ground truth of n images and c categories.
            predicted: the predictions; after a sweep, those that reach its threshold.

        Returns:
            Column name -> finite numbers (n, c). If the score is undefined for these predictions, a sentence that says
            why.
        """
        ...

    def score(self, sums: Mapping[str, NDArray[np.float64]], /) -> ArrayLike:
        """Compute the score of each category.

        Args:
            sums: the columns summed over images, float64 (..., c): (c,) for all images, (some, c) for intervals.
                The added column `targets` holds the number of ground-truth objects.

        Returns:
            (..., c); finite for every category with ground truth. Other values are ignored.
        """
        ...


GivenMetrics: TypeAlias = str | Metric | type[Metric] | Sequence[str | Metric | type[Metric]]


@dataclass(frozen=True, eq=False)
class ExtraMetric:
    """Wraps a metric plug-in and checks what it returns."""

    metric: Metric

    @property
    def name(self) -> str:
        """The name of the score in results."""
        return self.metric.name

    def tally(self, truth: Truth, predicted: Predicted) -> Tally | str:
        """Tally some images: the columns of the plug-in and `targets`, or the reason why the score is undefined.

        Raises:
            MetricError: the plug-in raised an exception, or its columns are invalid.
        """
        found = self._call("tally", truth, predicted)
        if isinstance(found, str):
            return found
        if not isinstance(found, Mapping) or not found or TARGETS in found:
            shown = sorted(found) if isinstance(found, Mapping) else type(found).__name__
            raise self._error(
                f"tally() returned {shown}; expected column name -> numbers (images, categories), without {TARGETS!r}, "
                "which is added for you"
            )
        columns = {name: self._numbers(f"tally() column {name!r}", column) for name, column in found.items()}
        for name, column in columns.items():
            what = f"tally() column {name!r}"
            if column.shape != truth.shape:
                raise self._error(f"{what} has shape {column.shape}; expected {truth.shape}, (images, categories)")
            self._refuse(~np.isfinite(column), column, what, truth.categories, "of an image of category")
        targets = count_per_image(truth.instances, *truth.shape)
        return Tally(truth.images, truth.categories, {**columns, TARGETS: targets}).compact()

    def join(self, chunks: Sequence[Tally | str]) -> Tally | str:
        """Join the tallies of one or more chunks. If the score is undefined for any chunk, returns the reason."""
        tallies = []
        for chunk in chunks:
            if isinstance(chunk, str):
                return chunk
            tallies.append(chunk)
        for other in tallies:
            if other.columns.keys() != tallies[0].columns.keys():
                raise self._error(
                    f"tally() returned the columns {', '.join(tallies[0].columns)} for some images, and "
                    f"{', '.join(other.columns)} for others; expected the same for all"
                )
        return Tally.join(tallies)

    def scores(self, summary: Summary, tally: Tally | str) -> ExtraScores:
        """Compute the scores for the result file.

        Raises:
            MetricError: the plug-in raised an exception, or its scores are invalid.
        """
        unit = getattr(self.metric, "unit", None)
        if isinstance(tally, str):
            return ExtraScores(Value(None, reason=tally), {}, {}, unit)
        function, over = partial(self.score, tally.categories), summary.has_truth
        values = function(tally.totals)
        bounded = unit is None and bool(((values >= 0) & (values <= 1))[over].all())
        intervals = summary.intervals({self.name: function}, f"extra.{self.name}", over, bounded=bounded)
        known = intervals.get(self.name, Intervals(None, [None] * len(over), {}))
        no_interval = NO_INTERVAL if bounded else NO_INTERVAL_OR_SAME
        no_interval = no_interval if intervals else NOT_COMPUTED
        groups = {group: mean[self.name] for group, mean in summary.group_means({self.name: values}, over).items()}
        per_category = {
            name: value_of(
                float(values[c]) if over[c] else None,
                known.per_category[c],
                undefined="no ground truth",
                no_interval=no_interval,
            )
            for c, name in enumerate(tally.categories)
        }
        return ExtraScores(value_of(groups["all"], known.mean, no_interval=no_interval), per_category, groups, unit)

    def score(self, categories: tuple[str, ...], sums: Columns) -> NDArray[np.float64]:
        """The score of each category from the sums of the tally: (..., c), finite where objects exist.

        Raises:
            MetricError: the plug-in raised an exception, or its scores are invalid.
        """
        given = {name: column.astype(np.float64) for name, column in sums.items()}
        values = self._numbers("score()", self._call("score", given)).astype(np.float64)
        expected = sums[TARGETS].shape
        if values.shape != expected:
            raise self._error(
                f"score() got sums of shape {expected} and returned shape {values.shape}; expected the same shape: the "
                "last axis is the category, and another axis may come before it"
            )
        self._refuse((sums[TARGETS] > 0) & ~np.isfinite(values), values, "score()", categories, "for category")
        return values

    def _call(self, what: str, *arguments: Any) -> Any:
        try:
            with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 of absent categories is ignored
                return getattr(self.metric, what)(*arguments)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}, line {frame.lineno}"
            raise self._error(f"{what}() raised {type(error).__name__}: {error} ({where})") from error

    def _numbers(self, what: str, values: Any) -> NDArray[Any]:
        try:
            numbers = np.asarray(values)
        except ValueError as error:  # rows of different lengths
            raise self._error(f"{what} is not an array of numbers: {error}") from error
        if numbers.dtype.kind not in "biuf":
            raise self._error(f"{what} is an array of {numbers.dtype}; expected numbers")
        return numbers.astype(np.int64) if numbers.dtype.kind in "bu" else numbers

    def _refuse(
        self, bad: NDArray[np.bool_], values: NDArray[Any], what: str, categories: tuple[str, ...], of: str
    ) -> None:
        if bad.any():
            at = tuple(np.argwhere(bad)[0])
            raise self._error(f"{what} is {values[at]} {of} {categories[at[-1]]!r}; expected finite numbers")

    def _error(self, problem: str) -> MetricError:
        return MetricError(f"metric {self.name!r}: {problem}")


def extra_metrics(given: GivenMetrics) -> tuple[ExtraMetric, ...]:
    """Load metric plug-ins.

    Args:
        given: one or several, each as an object, a class, `package.module:Class` or `path/file.py:Class`.

    Raises:
        UnknownNameError: a module or file has no such class.
        PluginError: a plug-in cannot be loaded or created, is not a metric, or two have the same name.
    """
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    found: dict[str, ExtraMetric] = {}
    for one in several:
        if isinstance(one, str):
            metric = _made(load_class("metric", one), f"metric {one!r}")
        else:
            metric = _made(one, f"metric {getattr(one, '__name__', type(one).__name__)}")
        if metric.name in found:
            raise PluginError(f"metric {metric.name!r} is given twice; give each name once")
        found[metric.name] = ExtraMetric(metric)
    return tuple(found.values())


def _made(what: object, where: str) -> Metric:
    """Check a metric, after creating it if a class is given."""
    try:
        metric = what() if isinstance(what, type) else what
    except Exception as error:
        raise PluginError(f"{where} cannot be created: {type(error).__name__}: {error}") from error
    if not isinstance(metric, Metric):
        raise PluginError(
            f"{where} has no `name`, `tally(truth, predicted)` and `score(sums)`; see earthinstruct.metrics.Metric"
        )
    if not isinstance(metric.name, str) or not _NAME.fullmatch(metric.name):
        raise PluginError(f"{where} has the name {metric.name!r}; expected letters, digits, `-` and `_`")
    unit = getattr(metric, "unit", None)
    if not isinstance(unit, str | None):
        raise PluginError(f"{where} has the unit {unit!r}; expected text such as 'objects', or None for a fraction")
    return metric
