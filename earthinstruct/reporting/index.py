"""The index of a folder of runs: one page with a row for each run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from earthinstruct.errors import DataError
from earthinstruct.metrics import GEOMETRIES, STANDARD, Value, threshold_in_words, value_at
from earthinstruct.reporting.template import filled
from earthinstruct.results import REPORT_FILE, Result, read_result


@dataclass(frozen=True)
class Entry:
    """One run."""

    result: Result
    scores: tuple[Value, ...]  # F1 of each of `GEOMETRIES`
    rules: str | None  # protocol and version; None: those of all results that this release makes by default
    threshold: str | None  # how it was chosen, in words; None: all predictions were scored
    folder: str  # from the folder of runs
    result_link: str
    report_link: str | None  # None: there is no report

    @property
    def mark(self) -> str:
        """Whether the method was trained on these images."""
        training = self.result.training
        return "control" if training is None else training.mark

    @property
    def is_usual(self) -> bool:
        """Whether the folder says no more than the task and the method."""
        return self.folder == f"{self.result.task.name}/{self.result.method.name}"


def index_page(folder: Path, file: Path) -> str:
    """Render the index of the runs in a folder, as the page `file`: its links are relative to it."""
    entries, unreadable = [], {}
    for path in sorted(folder.rglob("result.json")):
        name = path.parent.relative_to(folder).as_posix()
        try:
            result = read_result(path)
        except DataError as error:
            unreadable[name] = str(error)
            continue
        if result.task.variant is not None:
            continue  # the report of its task has it
        page, threshold, sweep = path.with_name(REPORT_FILE), result.metrics.threshold, result.metrics.sweep
        entries.append(
            Entry(
                result,
                tuple(value_at(result.metrics, f"{geometry}.f1") or Value(None) for geometry in GEOMETRIES),
                _rules(result),
                None if threshold is None and sweep is None else threshold_in_words(result.metrics),
                name,
                _link(path, file),
                _link(page, file) if page.is_file() else None,
            )
        )
    if not entries and not unreadable:
        raise DataError(f"{folder} holds no run of a task; give a folder with run folders, or one run folder")
    pointing = any(entry.result.metrics.point is not None for entry in entries)
    entries.sort(key=lambda entry: (entry.result.task.name, -(entry.scores[0].value or 0.0), entry.folder))
    return filled(
        "index.html",
        ["tables.js", "index.js"],
        folder=folder,
        entries=entries,
        unreadable=unreadable,
        geometries=[geometry for geometry in GEOMETRIES if pointing or geometry != "point"],
        tasks=sorted({entry.result.task.name for entry in entries}),
        marks=sorted({entry.mark for entry in entries}),
        standard=STANDARD,
        mixed=len({entry.rules for entry in entries}) > 1,
        without_report=sum(entry.report_link is None for entry in entries),
    )


def _rules(result: Result) -> str | None:
    if (result.protocol, result.protocol_version) == (STANDARD.name, STANDARD.version):
        return None
    return f"protocol {result.protocol}, version {result.protocol_version}"


def _link(path: Path, page: Path) -> str:
    """The address of a file in a page beside it or elsewhere on the disk."""
    return quote(Path(os.path.relpath(path.absolute(), page.absolute().parent)).as_posix())
