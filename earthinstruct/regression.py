"""Did a metric value move? For CI: compares two results value by value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from earthinstruct.errors import DataError
from earthinstruct.results import Result, read_result

TOLERANCE = 0.001


@dataclass(frozen=True)
class Moved:
    """A value that differs by more than the tolerance.

    Attributes:
        name: path of the value in the metrics, such as `box.f1`.
        before: the baseline's value; None: undefined or absent.
        after: the new value; None: undefined or absent.
        within_interval: the new value lies in the baseline's 95 % interval; None: it has none.
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


def moved_values(result: Result, baseline: Result, tolerance: float = TOLERANCE) -> list[Moved]:
    """The values of a result that differ from a baseline by more than `tolerance`, in the order of the file.

    Intervals are not compared. A value that one of the two lacks has moved.

    Args:
        result: the new result.
        baseline: what it is held against.
        tolerance: largest difference that is no difference.

    Raises:
        DataError: the two are not of the same task, task version, protocol and ground truth.
    """
    for what, new, old in (
        ("task", result.task.name, baseline.task.name),
        ("task version", result.task.version, baseline.task.version),
        ("protocol", result.protocol, baseline.protocol),
        ("annotations", result.task.dataset.annotations_sha256, baseline.task.dataset.annotations_sha256),
        ("number of images", result.task.dataset.n_images, baseline.task.dataset.n_images),
    ):
        if new != old:
            raise DataError(f"the results do not compare: {what} {new!r} against {old!r}")
    after, before = dict(metric_values(result)), dict(metric_values(baseline))
    intervals = dict(_intervals(msgspec.to_builtins(baseline.metrics)))
    moved = []
    for name in {**before, **after}:
        old_value, new_value = before.get(name), after.get(name)
        if old_value is None and new_value is None:
            continue
        if old_value is None or new_value is None or abs(new_value - old_value) > tolerance:
            bounds = intervals.get(name)
            within = None if bounds is None or new_value is None else bounds[0] <= new_value <= bounds[1]
            moved.append(Moved(name, old_value, new_value, within))
    return moved


def metric_values(result: Result) -> Iterator[tuple[str, float | None]]:
    """Every number in the metrics of a result by its path; `.value` is left off, intervals are left out."""
    return _leaves(msgspec.to_builtins(result.metrics))


def baseline_for(result: Result, against: Path) -> Result:
    """The baseline of a result: the file itself, or the one in a folder with the same task, method and protocol.

    Raises:
        DataError: there is none, or several.
    """
    if against.is_file():
        return read_result(against)
    key = (result.task.name, result.method.name, result.protocol)
    found = [
        (path, candidate)
        for path, candidate in ((path, read_result(path)) for path in sorted(against.rglob("*.json")))
        if (candidate.task.name, candidate.method.name, candidate.protocol) == key
    ]
    if len(found) != 1:
        names = ", ".join(str(path) for path, _ in found) or "none"
        raise DataError(
            f"{against}: expected one result of {key[1]} on {key[0]}, protocol {key[2]}; "
            f"found {names}. Give the file itself"
        )
    return found[0][1]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, float | None]]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key in ("ci95", "reason"):
                continue
            yield from _leaves(part, path if key == "value" else f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _leaves(part, f"{path}[{i}]")
    elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        yield path, value


def _intervals(value: Any, path: str = "") -> Iterator[tuple[str, tuple[float, float]]]:
    if isinstance(value, dict):
        if value.get("ci95") is not None:
            yield path, tuple(value["ci95"])
        for key, part in value.items():
            yield from _intervals(part, f"{path}.{key}".lstrip("."))
