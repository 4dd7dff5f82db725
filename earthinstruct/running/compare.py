"""Compares two runs of one task on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError
from earthinstruct.metrics import Metric, Tally, error_tallies
from earthinstruct.metrics.bootstrap import RESAMPLES
from earthinstruct.metrics.catalogue import CATALOGUE
from earthinstruct.metrics.compare import Difference, Paired
from earthinstruct.metrics.extra import ExtraMetric, extra_metrics
from earthinstruct.metrics.inputs import geometries
from earthinstruct.metrics.measure import extra_tallies
from earthinstruct.metrics.regions import tally_regions
from earthinstruct.metrics.summary import Score
from earthinstruct.results import read_result
from earthinstruct.running.stored import StoredRun, dataset_of, read_stored

_COUNTING_ERRORS = {"over": "fp", "under": "fn"}
# (name, whether it is a group) -> categories
_Over = Mapping[tuple[str, bool], Sequence[str]]


@dataclass(frozen=True)
class Compared:
    """One score of two runs.

    Attributes:
        score: its path in the metrics of a result, for example `box.f1` or `errors.box.missed`.
        over: a group of categories, or one category.
        is_group: whether it is a group.
        difference: second minus first; of error types in objects, summed over images and categories.
    """

    score: str
    over: str
    is_group: bool
    difference: Difference


def compare_runs(
    first: Path,
    second: Path,
    *,
    dataset: str | Dataset | None = None,
    data: Path | None = None,
    resamples: int = RESAMPLES,
    metrics: Sequence[str | Metric] = (),
) -> list[Compared]:
    """The scores and the error types of two run folders, their difference and how sure it is.

    Scores that are functions of sums over images: F1, precision, recall, AP_nc50 (protocol `standard`), mIoU.

    Predictions are scored again from the folders, each with the label map of its result and, after a sweep, with its
    score threshold.

    Args:
        first: a run folder, with `predictions.jsonl` and `result.json`.
        second: another of the same task.
        dataset: where the dataset has no name here; None: the one the results name.
        data: the folder of the user's data.
        resamples: bootstrap resamples of the images, the same for both runs.
        metrics: metric plug-ins to compare besides, by name or as objects.

    Raises:
        DataError: a folder is incomplete, the runs are of different tasks, protocols or ground truth, or a metric is
            undefined for one of them.
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
    extra = extra_metrics(metrics)
    of_a, of_b = _tallies(a, extra), _tallies(b, extra)
    try:  # masks only where both runs have them
        pairs = {name: Paired(of_a[name], of_b[name], resamples) for name in of_a if name in of_b}
    except ValueError as error:
        raise DataError(f"the runs do not compare: {error}") from error
    over = {(name, True): members for name, members in a.task.groups.items()}
    over |= {(name, False): (name,) for name in a.task.categories}
    closed_ap = a.protocol.constant_score_ap is None
    functions = [(path, score.tally, score.function) for path, score in CATALOGUE.items() if score.function]
    functions += [
        (f"{path}.mean", path, of.function(a.task.categories))
        for path, of in ((f"extra.{metric.name}", metric) for metric in extra)
    ]
    return [*_scores(functions, pairs, over, closed_ap), *_errors(pairs, over)]


def _tallies(run: StoredRun, extra: Sequence[ExtraMetric]) -> dict[str, Tally]:
    """`counting`, `box`, `mask`, `regions`, `errors.<geometry>`, `extra.<name>`; masks where there are some."""
    truth, predicted = run.prepared.truth, run.prepared.predicted
    found = run.tallies()
    for geometry, tally in error_tallies(truth, predicted, run.protocol, threshold=run.threshold).items():
        found[f"errors.{geometry}"] = tally
    if "mask" in geometries(truth, predicted):
        kept = predicted.instances.take(predicted.reaching(run.threshold))
        found["regions"] = tally_regions(truth.images, truth.categories, kept, truth.instances)
    for name, tally_or_reason in extra_tallies(truth, predicted, extra, threshold=run.threshold).items():
        if isinstance(tally_or_reason, str):
            raise DataError(f"metric {name!r} is undefined for {run.folder}: {tally_or_reason}")
        found[f"extra.{name}"] = tally_or_reason
    return found


def _scores(
    functions: Sequence[tuple[str, str, Score]], pairs: Mapping[str, Paired], over: _Over, closed_ap: bool
) -> Iterator[Compared]:
    """The differences of scores: path, tally, and the function of the tally."""
    for path, tally, function in functions:
        if tally not in pairs or (path.endswith(".ap_nc50") and not closed_ap):
            continue
        for which, categories in over.items():
            difference = pairs[tally].of_mean(function, categories)
            if difference is not None:
                yield Compared(path, *which, difference)


def _errors(pairs: Mapping[str, Paired], over: _Over) -> Iterator[Compared]:
    for part, paired in pairs.items():
        if part == "counting":
            columns = {f"errors.counting.{name}": column for name, column in _COUNTING_ERRORS.items()}
        elif part.startswith("errors."):
            columns = {f"{part}.{column}": column for column in paired.totals[0]}
        else:
            continue
        for path, column in columns.items():
            for which, categories in over.items():
                yield Compared(path, *which, paired.of_sum(column, categories))
