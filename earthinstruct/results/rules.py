"""What the schema cannot say of a result: its numbers are possible, and go together.

Every number of the metrics is a fraction unless `_limits` says otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from earthinstruct.metrics import CATALOGUE, PERCENT
from earthinstruct.results.agreement import disagreements
from earthinstruct.results.variants import disagreements_of_variants
from earthinstruct.texts import plural

if TYPE_CHECKING:
    from earthinstruct.results.result import Result

LARGEST = 1e12  # of a number that is no fraction
_PART_OF_A_VALUE = re.compile(r"\.value$|\.ci95\[\d\]$")
_NO_FRACTIONS = ("mae", "rmse", "relative_error", "counts_up_to")


def contradiction(result: Result) -> str | None:
    """The first contradiction in a result, in words; None if there is none."""
    return next(_contradictions(result), None)


def bad_score(path: str, value: float | None) -> str | None:
    """Why a number cannot be the score at a path of the metrics; None if it can.

    >>> bad_score("box.f1", 1.5)
    'box.f1 is 1.5; expected a number from 0 to 1'
    """
    most = 1.0 if path in CATALOGUE and CATALOGUE[path].unit is PERCENT else LARGEST
    return _outside(path, value, 0.0, most)


def _outside(path: str, value: float | None, least: float, most: float) -> str | None:
    if value is None or least <= value <= most:  # never true of NaN
        return None
    return f"{path} is {value:g}; expected a number from {least:g} to {most:g}"


def _contradictions(result: Result) -> Iterator[str]:
    content = msgspec.to_builtins(result)
    yield from _odd_numbers(content)
    yield from _odd_intervals(content["metrics"], "metrics")
    run, n_images = result.run, result.task.dataset.n_images
    if run.n_done + run.n_failed != n_images:
        yield f"{plural(run.n_done, 'image is', 'images are')} done and {run.n_failed} failed, of {n_images}"
    if len(run.failed) > run.n_failed:
        yield f"{plural(run.n_failed, 'image')} failed, and {plural(len(run.failed), 'has', 'have')} a reason"
    yield from disagreements(result.metrics, n_images, standard=result.protocol == "standard")
    yield from disagreements_of_variants(result.variants, result.metrics)


def _odd_numbers(value: Any, path: str = "") -> Iterator[str]:
    """Numbers that are not finite, too large to add up, or outside the limits of their place."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if path != "method" or key != "parameters":  # whatever the method says
                yield from _odd_numbers(entry, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for i, entry in enumerate(value):
            yield from _odd_numbers(entry, f"{path}[{i}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{path} is {value}; expected a finite number"
        elif (limits := _limits(path)) is not None:
            yield from _said(_outside(path, value, *limits))
    elif isinstance(value, int) and not isinstance(value, bool) and value < 0:
        yield f"{path} is {value}; expected a number >= 0"


def _limits(path: str) -> tuple[float, float] | None:
    """The smallest and the largest fraction or number at a path of a result; None: any finite number."""
    if path.startswith("run.seconds."):
        return 0.0, LARGEST
    if not path.startswith("metrics."):
        return None
    name = _PART_OF_A_VALUE.sub("", path).rpartition(".")[2]
    if name in _NO_FRACTIONS:
        return 0.0, LARGEST
    if name == "threshold" or path.startswith("metrics.extra.") or ".scores.extra." in path:
        return -LARGEST, LARGEST
    return 0.0, 1.0


def _odd_intervals(value: Any, path: str) -> Iterator[str]:
    """Intervals that do not hold their value, or have none."""
    if isinstance(value, list | tuple):
        for i, entry in enumerate(value):
            yield from _odd_intervals(entry, f"{path}[{i}]")
    if not isinstance(value, dict):
        return
    known = value.get("ci95")
    if isinstance(known, dict):  # a category holds the intervals of all its scores
        for score, interval in known.items():
            yield from _of_interval(f"{path}.ci95.{score}", value.get(score), interval)
    elif known is not None:
        yield from _of_interval(f"{path}.ci95", value.get("value"), known)
    for group, scores in value.get("groups_ci95", {}).items():
        for score, interval in scores.items():
            mean = value["groups"].get(group, {}).get(score)
            yield from _of_interval(f"{path}.groups_ci95.{group}.{score}", mean, interval)
    for key, entry in value.items():
        if key not in ("ci95", "groups_ci95"):
            yield from _odd_intervals(entry, f"{path}.{key}")


def _of_interval(path: str, value: float | None, interval: tuple[float, float]) -> Iterator[str]:
    low, high = interval
    if value is None:
        yield f"{path} is an interval without a value"
    elif not low <= value <= high:
        yield f"{path} is {low:g} to {high:g}; expected {value:g} inside"


def _said(problem: str | None) -> Iterator[str]:
    if problem is not None:
        yield problem
