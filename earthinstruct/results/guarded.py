"""`check`: compares results with guarded results, and names values that moved and guarded results that were not run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from earthinstruct.errors import EarthInstructError, checked_arguments
from earthinstruct.results.regression import (
    TOLERANCE,
    Moved,
    guard,
    guarded_for,
    metric_values,
    moved_values,
    new_values,
    not_run,
    results_in,
)
from earthinstruct.results.shown import Shown

if TYPE_CHECKING:
    from earthinstruct.results.shown import Block


@dataclass(frozen=True)
class CheckedResult:
    """A result compared with its guarded result.

    Attributes:
        result: the result file.
        method: the name of its method.
        task: the name of its task.
        protocol: its protocol.
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


@dataclass(frozen=True)
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
                moved=moved_values(one, guarded, tolerance),
                new=new_values(one, guarded),
            )
        )
    of_runs = Path(result).is_dir() and not (Path(result) / "result.json").is_file()
    absent = not_run([one for _, one in found], Path(against)) if of_runs else []
    return Checked(tolerance, rows, [str(file) for file in absent], str(result))


@checked_arguments
def guard_results(result: Path | str, against: Path | str) -> list[Path]:
    """Guard results from now on: `check --update`, after an intended change.

    Args:
        result: as for `check`.
        against: the file, or the folder of guarded results.

    Returns:
        The files written.

    Raises:
        EarthInstructError: a file is missing or malformed, or several results would go into one file.
    """
    found = results_in(Path(result))
    if len(found) > 1 and Path(against).suffix == ".json":
        raise EarthInstructError(f"{result} holds {len(found)} results, and {against} is one file; give a folder")
    return [guard(file, one, Path(against)) for file, one in found]
