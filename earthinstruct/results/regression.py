"""Regression check for CI: compare the metric values of a result with those of a stored one, its guarded result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from earthinstruct.errors import DataError
from earthinstruct.files import read_bytes, replace_file
from earthinstruct.results.result import Result, read_result

TOLERANCE = 0.001


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
        DataError: they differ in task, task version, protocol or ground truth.
    """
    for what, found, expected in (
        ("task", result.task.name, other.task.name),
        ("task version", result.task.version, other.task.version),
        ("protocol", result.protocol, other.protocol),
        ("annotations", result.task.dataset.annotations_sha256, other.task.dataset.annotations_sha256),
        ("number of images", result.task.dataset.n_images, other.task.dataset.n_images),
    ):
        if found != expected:
            raise DataError(f"the results cannot be compared: {what} {found!r} against {expected!r}")


def moved_values(result: Result, guarded: Result, tolerance: float = TOLERANCE) -> list[Moved]:
    """List the values that differ from a guarded result by more than `tolerance`, in the order of the file.

    Intervals are not compared. A value that is defined in only one of the two results has moved, and so has a value
    that the new result lacks. A value that the guarded result lacks is new (see `new_values`).

    Raises:
        DataError: the results differ in task, task version, protocol or ground truth.
    """
    refuse_different(result, guarded)
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


def results_in(path: Path) -> list[tuple[Path, Result]]:
    """Read a result file, or all results in a folder: `result.json` of run folders, otherwise all JSON files.

    Raises:
        DataError: the folder has no result, or a result is malformed.
    """
    if not path.is_dir():
        return [(path, read_result(path))]
    files = sorted(path.rglob("result.json")) or sorted(path.rglob("*.json"))
    if not files:
        raise DataError(
            f"{path} holds no result; give a result file, or a run folder, as printed by `earthinstruct evaluate`"
        )
    return [(file, read_result(file)) for file in files]


def guarded_for(result: Result, against: Path) -> Result:
    """Read the guarded result of a result: a file, or the one in a folder with the same task, method and protocol.

    Raises:
        DataError: the folder has no such result, or several.
    """
    if against.is_file():
        return read_result(against)
    found = [(file, guarded) for file, guarded in _stored(against) if identity(guarded) == identity(result)]
    if len(found) != 1:
        task, method, protocol = identity(result)
        names = ", ".join(str(file) for file, _ in found) or "none"
        raise DataError(
            f"{against}: expected one result of {method} on {task}, protocol {protocol}; found {names}. "
            "Give the file itself, or guard the result with --update"
        )
    return found[0][1]


def identity(result: Result) -> tuple[str, str, str]:
    """Task, method and protocol: equal for a result and its guarded result."""
    return result.task.name, result.method.name, result.protocol


def not_run(results: Sequence[Result], against: Path) -> list[Path]:
    """List guarded results of the methods in `results` without a new result, for example of a task now skipped."""
    if against.is_file():
        return []
    methods = {(result.method.name, result.protocol) for result in results}
    done = {identity(result) for result in results}
    return [
        file for file, guarded in _stored(against) if identity(guarded)[1:] in methods and identity(guarded) not in done
    ]


def guard(file: Path, result: Result, against: Path) -> Path:
    """Store a result as the guarded one: over the guarded result so far, or as `<task>/<method>.json` in the folder.

    Returns:
        The file written.

    Raises:
        DataError: the task's name leads out of the folder.
    """
    same = [path for path, guarded in _stored(against) if identity(guarded) == identity(result)]
    target = against if against.suffix == ".json" else same[0] if same else against / _place(file, result)
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, read_bytes(file, "result"))
    return target


def _place(file: Path, result: Result) -> Path:
    protocol = "" if result.protocol == "standard" else f"-{result.protocol}"
    method = file.parent.name if file.name == "result.json" else file.stem
    place = Path(*result.task.name.split("/"), f"{method}{protocol}.json")
    if place.is_absolute() or ".." in place.parts:
        raise DataError(f"{file}: the task name {result.task.name!r} leads out of the folder of guarded results")
    return place


def _stored(folder: Path) -> list[tuple[Path, Result]]:
    """Read every JSON file in a folder; in run folders only `result.json`."""
    runs = {file.parent for file in folder.rglob("result.json")}
    files = [file for file in folder.rglob("*.json") if file.name == "result.json" or file.parent not in runs]
    return [(file, read_result(file)) for file in sorted(files)]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, float | None]]:
    if isinstance(value, dict):
        for key, entry in value.items():
            if key in ("ci95", "reason"):
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
        for key, entry in value.items():
            yield from _intervals(entry, f"{path}.{key}".lstrip("."))
