"""`check`: compares results with guarded results, and names values that moved and guarded results that were not run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from earthinstruct.errors import DataError, EarthInstructError, checked_arguments
from earthinstruct.files import plain_name, read_bytes, replace_file, writing
from earthinstruct.metrics import threshold_option
from earthinstruct.results.regression import TOLERANCE, Moved, metric_values, moved_values, new_values
from earthinstruct.results.result import Result, read_result
from earthinstruct.results.shown import Block, Shown


@dataclass(frozen=True)
class CheckedResult:
    """A result compared with its guarded result.

    Attributes:
        result: the result file.
        n_values: how many values are guarded.
        moved: the values that differ by more than the tolerance.
        new: values that the guarded result does not have.
    """

    result: str
    method: str
    task: str
    protocol: str
    n_values: int
    moved: list[Moved]
    new: list[str]


@dataclass(frozen=True, repr=False)
class Checked(Shown):
    """What `check` found.

    Attributes:
        tolerance: the largest difference that counts as none.
        results: one entry for each result.
        not_run: guarded results of the same methods that have no result.
        given: where the results are.
    """

    tolerance: float
    results: list[CheckedResult]
    not_run: list[str]
    given: str

    @property
    def ok(self) -> bool:
        """Whether no value moved, and every guarded result was run."""
        return not self.not_run and not any(row.moved for row in self.results)

    def blocks(self) -> Iterator[Block]:
        """A line for each value that moved, for each result, and for each guarded result that was not run."""
        for row in self.results:
            yield from (f"moved    {value}" for value in row.moved)
            yield (
                f"{'FAILED  ' if row.moved else 'ok      '} {row.method} on {row.task}: {row.n_values} values, "
                f"{len(row.moved)} moved by more than {self.tolerance}" + (f"; {len(row.new)} new" if row.new else "")
            )
        yield from (f"FAILED   {file} is guarded, and {self.given} has no result for it" for file in self.not_run)


@checked_arguments
def check(result: Path | str, against: Path | str, *, tolerance: float = TOLERANCE) -> Checked:
    """Compare results with guarded results. For CI.

    Args:
        result: a result file, a run folder, or a folder of run folders.
        against: the guarded result, or a folder of guarded results.
        tolerance: the largest difference that counts as none.

    Raises:
        EarthInstructError: a file is missing or malformed, two results do not compare, or the tolerance is negative.
    """
    if not 0 <= tolerance < math.inf:
        raise EarthInstructError(f"check: tolerance must be a number >= 0, got {tolerance}")
    found = results_in(Path(result))
    rows = []
    for file, one in found:
        guarded = guarded_for(one, Path(against))
        rows.append(
            CheckedResult(
                result=str(file),
                method=one.method.name,
                task=one.task.name,
                protocol=one.protocol,
                n_values=sum(1 for _ in metric_values(guarded)),
                moved=_moved(file, one, guarded, tolerance),
                new=new_values(one, guarded),
            )
        )
    of_runs = Path(result).is_dir() and not (Path(result) / "result.json").is_file()
    not_run = []
    if of_runs and not Path(against).is_file():  # for example of a task that is now skipped
        done = {_identity(one) for _, one in found}
        kinds = {identity[1:] for identity in done}  # on any task
        stored = [(str(file), _identity(guarded)) for file, guarded in _stored(Path(against))]
        not_run = [file for file, identity in stored if identity[1:] in kinds and identity not in done]
    return Checked(tolerance, rows, not_run, str(result))


@checked_arguments
def guard_results(result: Path | str, against: Path | str) -> list[Path]:
    """Guard results from now on: `check --update`, after an intended change.

    A result replaces the one that is guarded for its task, method, version, protocol and way to choose the score
    threshold, if both are over as many images.

    Args:
        result: as for `check`.
        against: the file, or the folder of guarded results.

    Returns:
        The files written.

    Raises:
        EarthInstructError: a file is missing, malformed or cannot be written, several results would go into one file,
            or one would replace a result of another kind.
    """
    found = results_in(Path(result))
    targets: dict[Path, Path] = {}  # -> the result
    if (target := Path(against)).suffix == ".json":
        if len(found) > 1:
            raise EarthInstructError(f"{result} holds {len(found)} results, and {against} is one file; give a folder")
        if target.is_file():
            _refuse_to_replace(target, *found[0])
        targets[target] = found[0][0]
    else:
        stored = {_versioned(guarded): path for path, guarded in _stored(Path(against))}
        for file, one in found:
            own = stored.get(_versioned(one))
            target = own or Path(against) / _place(file, one)
            if target in targets or (own is None and target.is_file()):
                raise EarthInstructError(
                    f"{file} would replace {targets.get(target, target)} as the guarded result {target}; guard it "
                    "alone, with --against FILE.json"
                )
            if own is not None:
                _refuse_to_replace(own, file, one)
            targets[target] = file
    for target, file in targets.items():
        with writing(target, "give another --against"):
            replace_file(target, read_bytes(file, "result"))
    return list(targets)


def results_in(path: Path) -> list[tuple[Path, Result]]:
    """Read a result file, or all results in a folder: `result.json` of run folders, otherwise all JSON files.

    Results of variants of a task are left out: that of the task sums them up.

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
    found = [(file, read_result(file)) for file in files]
    whole = [(file, result) for file, result in found if result.task.variant is None]
    if not whole and len(found) > 1:
        raise DataError(f"{path} holds results of variants alone; give the run folder beside it, or one of them")
    return whole or found


def guarded_for(result: Result, against: Path) -> Result:
    """Read the guarded result of a result: a file, or the one in a folder with the same task, method and protocol.

    Where several of them are guarded, it is that of the same way to choose the score threshold, and of the same version
    of the method.

    Raises:
        DataError: the folder has no such result, or several.
    """
    if against.is_file():
        return read_result(against)
    task, method, protocol, *_ = _identity(result)
    found = [
        (file, guarded) for file, guarded in _stored(against) if _identity(guarded)[:3] == (task, method, protocol)
    ]
    for kind in (_identity, _versioned):
        found = [(file, guarded) for file, guarded in found if kind(guarded) == kind(result)] or found
    if len(found) != 1:
        names = ", ".join(str(file) for file, _ in found) or "none"
        raise DataError(
            f"{against}: expected one result of {method} on {task}, protocol {protocol}; found {names}. "
            "Give the file itself, or guard the result with --update"
        )
    return found[0][1]


def _moved(file: Path, result: Result, guarded: Result, tolerance: float) -> list[Moved]:
    try:
        return moved_values(result, guarded, tolerance)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _identity(result: Result) -> tuple[str | None, ...]:
    """Task, method, protocol, variant and option of the score threshold: equal for a result and its guarded result."""
    task = result.task
    return task.name, result.method.name, result.protocol, task.variant, threshold_option(result.metrics)


def _versioned(result: Result) -> tuple[str | None, ...]:
    """The identity with the version: equal for a result and the guarded result that it replaces."""
    return *_identity(result), result.method.version or ""


def _refuse_to_replace(target: Path, file: Path, result: Result) -> None:
    """Refuse to guard a result in place of one of another kind, or over other images.

    Raises:
        EarthInstructError: they differ.
    """
    guarded = read_result(target)
    names = ("task", "method", "protocol", "variant", "score threshold", "number of images")
    kinds = ((*_identity(one), one.task.dataset.n_images) for one in (guarded, result))
    differences = [
        f"{what}: {before or 'none'}, now {after or 'none'}"
        for what, before, after in zip(names, *kinds, strict=True)
        if before != after
    ]
    if differences:
        raise EarthInstructError(
            f"{file} would replace the guarded result {target}, which is of another kind ({'; '.join(differences)}); "
            "guard it in a folder of its own, or remove that file first"
        )


def _place(file: Path, result: Result) -> Path:
    """The file of a guarded result, relative to their folder: `<task>/<method>-<version>.json`.

    Another protocol than `standard`, a variant and the option of a score threshold are added to the name.
    """
    _, method, protocol, variant, option = _identity(result)
    protocol = None if protocol == "standard" else protocol
    option = option and option.removeprefix("--")
    name = "-".join(part for part in (method, result.method.version, protocol, variant, option) if part)
    place = Path(*result.task.name.split("/"), f"{plain_name(name)}.json")
    if place.is_absolute() or ".." in place.parts:
        raise DataError(f"{file}: the task name {result.task.name!r} leads out of the folder of guarded results")
    return place


def _stored(folder: Path) -> list[tuple[Path, Result]]:
    """Read every JSON file in a folder; in run folders only `result.json`."""
    runs = {file.parent for file in folder.rglob("result.json")}
    files = [file for file in folder.rglob("*.json") if file.name == "result.json" or file.parent not in runs]
    return [(file, read_result(file)) for file in sorted(files)]
