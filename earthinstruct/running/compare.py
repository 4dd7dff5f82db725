"""Compares two runs of one task on the same images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError
from earthinstruct.metrics import Tally
from earthinstruct.metrics.bootstrap import RESAMPLES
from earthinstruct.metrics.compare import Difference, paired_difference
from earthinstruct.metrics.scores import f1, precision, recall
from earthinstruct.results import read_result
from earthinstruct.running.stored import dataset_of, read_stored
from earthinstruct.tasks import Task

SCORES = {"f1": f1, "precision": precision, "recall": recall}


@dataclass(frozen=True)
class Compared:
    """One score of two runs.

    Attributes:
        score: for example `box.f1`.
        over: a group of categories, or one category.
        difference: second minus first.
    """

    score: str
    over: str
    difference: Difference


def compare_runs(
    first: Path,
    second: Path,
    *,
    dataset: str | Dataset | None = None,
    data: Path | None = None,
    resamples: int = RESAMPLES,
) -> list[Compared]:
    """Every F1, precision and recall of two run folders, their difference and how sure it is.

    Predictions are scored again from the folders, each with the label map of its result and, after a sweep, with its
    score threshold.

    Args:
        first: a run folder, with `predictions.jsonl` and `result.json`.
        second: another of the same task.
        dataset: where the dataset has no name here; None: the one the results name.
        data: the folder of the user's data.
        resamples: bootstrap resamples of the images, the same for both runs.

    Raises:
        DataError: a folder is incomplete, or the runs are of different tasks, protocols or ground truth.
    """
    results = [read_result(folder / "result.json") for folder in (first, second)]
    for what in ("name", "version", "dataset"):
        values = [getattr(result.task, what) for result in results]
        if values[0] != values[1]:
            raise DataError(f"the runs do not compare: task {what} {values[0]!r} against {values[1]!r}")
    if results[0].protocol != results[1].protocol:
        raise DataError(f"the runs do not compare: protocol {results[0].protocol!r} against {results[1].protocol!r}")
    dataset = dataset_of(results[0], dataset, data)
    a, b = (read_stored(folder, result, dataset) for folder, result in zip((first, second), results, strict=True))
    return list(_differences(a.tallies(), b.tallies(), a.task, resamples))


def _differences(first: dict[str, Tally], second: dict[str, Tally], task: Task, resamples: int) -> Iterator[Compared]:
    over = {**task.groups, **{name: (name,) for name in task.categories}}
    for part in (name for name in first if name in second):  # masks only where both runs have them
        for score, function in SCORES.items():
            for name, categories in over.items():
                difference = paired_difference(first[part], second[part], function, categories, resamples)
                if difference is not None:
                    yield Compared(f"{part}.{score}", name, difference)
