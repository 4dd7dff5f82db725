"""An evaluation: its results, and the folders that they are kept in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.results.result import Result
from earthinstruct.results.shown import Block, FileLink, ScoreTable
from earthinstruct.results.table import result_blocks
from earthinstruct.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

REPORT_FILE = "report.html"


@dataclass(frozen=True)
class Skipped:
    """A task that a method declined, and why."""

    task: Task
    reason: str


@dataclass(frozen=True, repr=False)
class Evaluation(ScoreTable):
    """What `evaluate` did. It prints as one table of all results, and iterates over them.

    Attributes:
        results: one for each task.
        skipped: the tasks that the method declined.
        folders: the run folder of each result.
    """

    results: tuple[Result, ...]
    skipped: tuple[Skipped, ...]
    folders: tuple[Path, ...]

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def blocks(self) -> Iterator[Block]:
        """The table of all results, remarks, and where they are kept."""
        yield from result_blocks(self.results)
        yield from self._skipped()
        yield from (FileLink("kept in", folder) for folder in self.folders)

    def page_blocks(self) -> Iterator[Block]:
        """The same with the report of each run, or how to make it."""
        yield from result_blocks(self.results)
        yield from self._skipped()
        for folder in self.folders:
            yield FileLink("kept in", folder)
            if (folder / REPORT_FILE).is_file():
                yield FileLink("report:", folder / REPORT_FILE)
            else:
                yield f"no report yet; earthinstruct.report({str(folder)!r}) makes it"

    def _skipped(self) -> Iterator[str]:
        yield from (f"skipped: {task.task.name}: {task.reason}" for task in self.skipped)

    def of_task(self, name: str) -> Evaluation:
        """The part of one task, by its name with or without the dataset: "open_ended".

        Raises:
            UnknownNameError: there is no result of such a task.
        """
        tasks = [result.task.name for result in self.results]
        for task, result, folder in zip(tasks, self.results, self.folders, strict=True):
            if name in (task, task.partition("/")[2]):
                return Evaluation((result,), (), (folder,))
        raise UnknownNameError("task", name, tasks)

    @property
    def folder(self) -> Path:
        """The run folder of the only result.

        Raises:
            EarthInstructError: there are several results, or none.
        """
        if len(self.folders) != 1:
            tasks = ", ".join(result.task.name for result in self.results) or "none"
            raise EarthInstructError(
                f"one run is wanted, and this evaluation has {len(self.folders)} ({tasks}); give one of its folders, "
                'or evaluation.of_task("open_ended") for example'
            )
        return self.folders[0]

    def to_pandas(self, *, per_category: bool = True) -> pd.DataFrame:
        """Every score of every result, as `Result.to_pandas` gives it."""
        import pandas as pd

        frames = [result.to_pandas(per_category=per_category) for result in self.results]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
