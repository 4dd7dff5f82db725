"""The metric values of a result, and how those of two results differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from earthinstruct.errors import DataError
from earthinstruct.metrics import threshold_option
from earthinstruct.results.result import Result

TOLERANCE = 0.001
_NEXT = {  # what a user can do
    "number of images": "; run without --limit, or keep the guarded results of limited runs in a folder of their own",
    "protocol version": "; score the older one again with this release (a guarded one: check --update)",
    "score threshold": "; score it in the same way, or guard it too (check --update gives it a file of its own)",
}


@dataclass(frozen=True)
class Moved:
    """A value that moved by more than the tolerance.

    Attributes:
        name: path of the value in the metrics, such as `box.f1`.
        before: the guarded value; None if undefined or absent.
        after: the new value; None if undefined or absent.
        within_interval: whether the new value lies in the 95 % interval of the guarded one; None without an interval.
    """

    name: str
    before: float | None
    after: float | None
    within_interval: bool | None

    def __str__(self) -> str:
        def show(value: float | None) -> str:
            return "undefined" if value is None else f"{value:.4f}"

        by = "" if self.before is None or self.after is None else f" ({self.after - self.before:+.4f})"
        within = {True: ", within the 95 % interval", False: ", outside the 95 % interval", None: ""}
        return f"{self.name}: {show(self.before)} -> {show(self.after)}{by}{within[self.within_interval]}"


def refuse_different(result: Result, other: Result) -> None:
    """Refuse to compare two results.

    Raises:
        DataError: they differ in task, protocol, their versions, or ground truth.
    """
    _refuse(
        ("task", result.task.name, other.task.name),
        ("task version", result.task.version, other.task.version),
        ("protocol", result.protocol, other.protocol),
        ("protocol version", result.protocol_version, other.protocol_version),
        ("annotations", result.task.dataset.annotations_sha256, other.task.dataset.annotations_sha256),
        ("number of images", result.task.dataset.n_images, other.task.dataset.n_images),
    )


def _refuse(*pairs: tuple[str, object, object]) -> None:
    for what, found, expected in pairs:
        if found != expected:
            raise DataError(
                f"the results cannot be compared: {what} {found!r} against {expected!r}{_NEXT.get(what, '')}"
            )


def moved_values(result: Result, guarded: Result, tolerance: float = TOLERANCE) -> list[Moved]:
    """List the values that differ from a guarded result by more than `tolerance`, in the order of the file.

    Intervals are not compared. A value that is defined in only one of the two results has moved, and so has a value
    that the new result lacks. A value that the guarded result lacks is new (see `new_values`).

    Raises:
        DataError: the results differ in task, variant, protocol, their versions, ground truth, or in how the score
            threshold was chosen.
    """
    refuse_different(result, guarded)
    _refuse(
        ("variant", result.task.variant, guarded.task.variant),
        ("score threshold", threshold_option(result.metrics) or "none", threshold_option(guarded.metrics) or "none"),
    )
    after = dict(metric_values(result))
    intervals = dict(metric_intervals(guarded))
    moved = []
    for name, old_value in metric_values(guarded):
        new_value = after.get(name)
        if old_value is None and new_value is None:
            continue
        if old_value is None or new_value is None or abs(new_value - old_value) > tolerance:
            bounds = intervals.get(name)
            within = None if bounds is None or new_value is None else bounds[0] <= new_value <= bounds[1]
            moved.append(Moved(name, old_value, new_value, within))
    return moved


def new_values(result: Result, guarded: Result) -> list[str]:
    """List the values that the guarded result lacks, such as those of a metric that was added later."""
    before = dict(metric_values(guarded))
    return [name for name, value in metric_values(result) if value is not None and name not in before]


def metric_values(result: Result) -> Iterator[tuple[str, float | None]]:
    """Every number in the metrics of a result, with its path (without `.value`); no intervals."""
    return _leaves(msgspec.to_builtins(result.metrics))


def metric_intervals(result: Result) -> Iterator[tuple[str, tuple[float, float]]]:
    """Every 95 % interval in the metrics of a result, with the path of its value."""
    return _intervals(msgspec.to_builtins(result.metrics))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, float | None]]:
    if isinstance(value, dict):
        for key, entry in value.items():
            if key in ("ci95", "groups_ci95", "reason"):
                continue
            yield from _leaves(entry, path if key == "value" else f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            yield from _leaves(entry, f"{path}[{i}]")
    elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        yield path, value


def _intervals(value: Any, path: str = "") -> Iterator[tuple[str, tuple[float, float]]]:
    if isinstance(value, dict):
        known = value.get("ci95")
        if isinstance(known, dict):  # a category holds the intervals of all its scores
            yield from ((f"{path}.{score}", tuple(of)) for score, of in known.items())
        elif known is not None:
            yield path, tuple(known)
        for group, scores in value.get("groups_ci95", {}).items():
            yield from ((f"{path}.groups.{group}.{score}", tuple(of)) for score, of in scores.items())
        for key, entry in value.items():
            yield from _intervals(entry, f"{path}.{key}".lstrip("."))
