"""Scores that others add: what a metric plug-in is, how it is found, and how its answers are checked."""

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
from earthinstruct.metrics.scores import Columns
from earthinstruct.metrics.summary import Score, Summary
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.values import ExtraScores, Value
from earthinstruct.registry import PluginError, load_class

TARGETS = "targets"
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class MetricError(EarthInstructError):
    """A metric plug-in raised, or returned what cannot be a score."""


@runtime_checkable
class Metric(Protocol):
    """A score of one's own. Its first line of documentation is what `list metrics` shows.

    A member `unit`, such as "objects", says what the score is measured in; without it, it is a fraction, shown in
    percent.

    Attributes:
        name: letters, digits, `-` and `_`; results hold the score under it.
    """

    name: str

    def tally(self, truth: Truth, predicted: Predicted, /) -> Mapping[str, ArrayLike] | str:
        """What the score needs of some images, in a form that adds up over images.

        Args:
            truth: what is there, in n images and c categories.
            predicted: what was predicted; after a sweep, what reaches its threshold.

        Returns:
            Column name -> finite numbers (n, c). Or a sentence: why the score is undefined for such predictions.
        """
        ...

    def score(self, sums: Mapping[str, NDArray[np.float64]], /) -> ArrayLike:
        """The score of each category.

        Args:
            sums: the columns summed over images, float64 (..., c): (c,) of all images, (resamples, c) for intervals.
                The column `targets` is added: how many objects there are.

        Returns:
            (..., c); finite where there are objects of the category. Elsewhere it is not looked at.
        """
        ...


GivenMetrics: TypeAlias = str | Metric | type[Metric] | Sequence[str | Metric | type[Metric]]


@dataclass(frozen=True, eq=False)
class ExtraMetric:
    """A metric plug-in, found; what it returns is checked.

    Attributes:
        metric: the plug-in.
    """

    metric: Metric

    @property
    def name(self) -> str:
        """Under which results hold it."""
        return self.metric.name

    def tally(self, truth: Truth, predicted: Predicted) -> Tally | str:
        """The columns of some images, with `targets`; or why the score is undefined.

        Raises:
            MetricError: the plug-in raised, or its columns are none.
        """
        found = self._call("tally", truth, predicted)
        if isinstance(found, str):
            return found
        if not isinstance(found, Mapping) or not found or TARGETS in found:
            shown = sorted(found) if isinstance(found, Mapping) else type(found).__name__
            raise self._error(
                f"tally() returned {shown}; expected column name -> numbers (images, categories), without {TARGETS!r}, "
                "which is added"
            )
        columns = {name: self._numbers(f"tally() column {name!r}", column) for name, column in found.items()}
        for name, column in columns.items():
            if column.shape != truth.shape:
                raise self._error(
                    f"tally() column {name!r} has shape {column.shape}; expected {truth.shape}, (images, categories)"
                )
            self._refuse(
                ~np.isfinite(column), column, f"tally() column {name!r}", truth.categories, "of an image of category"
            )
        targets = count_per_image(truth.instances, *truth.shape)
        return Tally(truth.images, truth.categories, {**columns, TARGETS: targets}).compact()

    def join(self, chunks: Sequence[Tally | str]) -> Tally | str:
        """The tally of all chunks; why the score is undefined where any chunk says so."""
        reason = next((chunk for chunk in chunks if isinstance(chunk, str)), None)
        if reason is not None:
            return reason
        tallies = [chunk for chunk in chunks if isinstance(chunk, Tally)]
        for other in tallies:
            if other.columns.keys() != tallies[0].columns.keys():
                raise self._error(
                    f"tally() returned the columns {', '.join(tallies[0].columns)} for some images, and "
                    f"{', '.join(other.columns)} for others; expected the same for all"
                )
        return Tally.join(tallies)

    def scores(self, summary: Summary, tally: Tally | str) -> ExtraScores:
        """What a result holds of it.

        Raises:
            MetricError: the plug-in raised, or its scores are none.
        """
        unit = getattr(self.metric, "unit", None)
        if isinstance(tally, str):
            return ExtraScores(Value(None, reason=tally), {}, {}, unit)
        function, over = self.function(tally.categories), summary.has_truth
        values = function(tally.totals)
        intervals = summary.intervals({self.name: function}, f"extra.{self.name}", over).get(self.name)
        groups = {group: mean[self.name] for group, mean in summary.group_means({self.name: values}, over).items()}
        per_category = {
            name: Value(float(values[c]), None if intervals is None else intervals.per_category[c])
            if over[c]
            else Value(None, reason="no ground truth")
            for c, name in enumerate(tally.categories)
        }
        return ExtraScores(summary.value(groups["all"], intervals), per_category, groups, unit)

    def function(self, categories: tuple[str, ...]) -> Score:
        """From the sums of its tallies to the score of each category: (..., c), finite where there are objects.

        The function raises `MetricError` where the plug-in does, or where its scores are none.
        """
        return partial(self._score, categories)

    def _score(self, categories: tuple[str, ...], sums: Columns) -> NDArray[np.float64]:
        given = {name: column.astype(np.float64) for name, column in sums.items()}
        values = self._numbers("score()", self._call("score", given)).astype(np.float64)
        expected = sums[TARGETS].shape
        if values.shape != expected:
            raise self._error(
                f"score() of sums of shape {expected} returned shape {values.shape}; expected the same shape: the last "
                "axis is the category, and before it there may be resamples"
            )
        self._refuse((sums[TARGETS] > 0) & ~np.isfinite(values), values, "score()", categories, "for category")
        return values

    def _call(self, what: str, *arguments: Any) -> Any:
        try:
            with np.errstate(divide="ignore", invalid="ignore"):  # where there are no objects, 0 / 0 is not looked at
                return getattr(self.metric, what)(*arguments)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}, line {frame.lineno}"
            raise self._error(f"{what}() raised {type(error).__name__}: {error} ({where})") from error

    def _numbers(self, what: str, values: Any) -> NDArray[Any]:
        try:
            numbers = np.asarray(values)
        except ValueError as error:  # rows of different lengths
            raise self._error(f"{what} is no array of numbers: {error}") from error
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


def several_metrics(
    metric: GivenMetrics,
) -> tuple[ExtraMetric, ...]:
    """The metrics of an argument `metric`: one, or a sequence.

    Raises:
        EarthInstructError: as `extra_metrics`.
    """
    return extra_metrics([metric] if isinstance(metric, str) or not isinstance(metric, Sequence) else metric)


def extra_metrics(given: Sequence[str | Metric | type[Metric]]) -> tuple[ExtraMetric, ...]:
    """The metrics that are asked for, by where they are, as objects or as classes.

    Raises:
        UnknownNameError: a module or file has no such class.
        PluginError: one cannot be loaded or made, is no metric, or two have one name.
    """
    found: dict[str, ExtraMetric] = {}
    for one in given:
        extra = extra_metric(one)
        if extra.name in found:
            raise PluginError(f"metric {extra.name!r} is given twice; give each name once")
        found[extra.name] = extra
    return tuple(found.values())


def extra_metric(given: str | Metric | type[Metric]) -> ExtraMetric:
    """One metric: by `package.module:Class` or `path/file.py:Class`, or itself.

    Raises:
        UnknownNameError: the module or file has no such class.
        PluginError: it cannot be loaded or made, or is no metric.
    """
    if isinstance(given, str):
        return ExtraMetric(_made(load_class("metric", given), f"metric {given!r}"))
    return ExtraMetric(_made(given, f"metric {getattr(given, '__name__', type(given).__name__)}"))


def _made(what: object, where: str) -> Metric:
    """The metric that something is, or that a class makes."""
    try:
        metric = what() if isinstance(what, type) else what
    except Exception as error:
        raise PluginError(f"{where} cannot be made: {type(error).__name__}: {error}") from error
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
