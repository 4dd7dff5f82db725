"""What the schema cannot say of a result: its numbers and tables go together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from earthinstruct.metrics import CATALOGUE, GEOMETRIES, PERCENT, GeometryScores, Value

if TYPE_CHECKING:
    from earthinstruct.results.result import Result

LARGEST = 1e12  # of a number that is no fraction


def contradiction(result: Result) -> str | None:
    """The first contradiction in a result, in words; None if there is none."""
    return next(_contradictions(result), None)


def bad_score(path: str, value: float | None) -> str | None:
    """Why a number cannot be the score at a path of the metrics; None if it can.

    >>> bad_score("box.f1", 1.5)
    'box.f1 is 1.5; expected a number from 0 to 1'
    """
    most = 1.0 if path in CATALOGUE and CATALOGUE[path].unit is PERCENT else LARGEST
    if value is None or 0 <= value <= most:  # never true of NaN
        return None
    return f"{path} is {value:g}; expected a number from 0 to {most:g}"


def _contradictions(result: Result) -> Iterator[str]:
    yield from _odd_numbers(msgspec.to_builtins(result))
    run, n_images = result.run, result.task.dataset.n_images
    if run.n_done + run.n_failed != n_images:
        yield f"{run.n_done} images are done and {run.n_failed} failed, of {n_images}"
    if len(run.failed) > run.n_failed:
        yield f"{run.n_failed} images failed, and {len(run.failed)} have a reason"
    metrics = result.metrics
    for name in (*GEOMETRIES, "counting_from_instances"):
        if (scores := getattr(metrics, name)) is not None:
            yield from _of_geometry(name, scores)
    if metrics.adherence is not None:
        yield from _of_value("adherence", metrics.adherence)
    if metrics.proposals is not None:
        yield from _of_value("proposals.recall", metrics.proposals.recall)


def _odd_numbers(value: Any, path: str = "") -> Iterator[str]:
    """Numbers that are not finite, or too large to add up; whole numbers below 0."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if path != "method" or key != "parameters":  # whatever the method says
                yield from _odd_numbers(entry, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for i, entry in enumerate(value):
            yield from _odd_numbers(entry, f"{path}[{i}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{path} is {value}; expected a finite number"
    elif isinstance(value, int) and not isinstance(value, bool) and value < 0:
        yield f"{path} is {value}; expected a number >= 0"


def _of_geometry(name: str, scores: GeometryScores) -> Iterator[str]:
    for field in msgspec.structs.fields(scores):
        if isinstance(value := getattr(scores, field.name), Value):
            yield from _of_value(f"{name}.{field.name}", value)
    if set(scores.per_category) != set(scores.tally):
        yield f"{name}.per_category and {name}.tally are of different categories"
    for category, own in scores.per_category.items():
        tally = scores.tally.get(category)
        if tally is not None and (own.tp, own.fp, own.fn) != (tally.tp, tally.fp, tally.fn):
            yield f"{name}.per_category and {name}.tally differ for {category!r}"
        for score in ("precision", "recall", "f1", "ap_nc50", "ap50", "ap75", "ap", "miou", "f1_5095", "mae", "rmse"):
            yield from _said(bad_score(f"{name}.{score}", getattr(own, score)), repr(category))
        for score, interval in own.ci95.items():
            yield from _of_interval(f"{name}.per_category.{category}.{score}", interval)
    for group, means in scores.groups.items():
        for score, mean in means.items():
            yield from _said(bad_score(f"{name}.{score}", mean), f"group {group!r}")
    for threshold, f1 in (scores.f1_at_iou or {}).items():
        if not _is_fraction(threshold):
            yield f"{name}.f1_at_iou has the threshold {threshold!r}; expected a number from 0 to 1"
        yield from _said(bad_score(f"{name}.f1", f1), f"IoU {threshold}")


def _of_value(path: str, value: Value) -> Iterator[str]:
    yield from _said(bad_score(path, value.value))
    if value.ci95 is not None:
        if value.value is None:
            yield f"{path} has an interval and no value"
        yield from _of_interval(path, value.ci95)


def _of_interval(path: str, interval: tuple[float, float]) -> Iterator[str]:
    low, high = interval
    if not low <= high:
        yield f"{path} has the interval {low:g} to {high:g}"


def _said(problem: str | None, where: str = "") -> Iterator[str]:
    if problem is not None:
        yield f"{where}: {problem}" if where else problem


def _is_fraction(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
