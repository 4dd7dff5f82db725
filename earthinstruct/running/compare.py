"""Compares two runs of one task on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError
from earthinstruct.metrics import Metric, Tally
from earthinstruct.metrics.bootstrap import RESAMPLES
from earthinstruct.metrics.compare import Difference, Paired, paired
from earthinstruct.metrics.extra import ExtraMetric, extra_metrics
from earthinstruct.metrics.scores import ap_nc, f1, iou, precision, recall
from earthinstruct.metrics.summary import Score
from earthinstruct.results import read_result
from earthinstruct.running.stored import StoredRun, dataset_of, read_stored

_F1: dict[str, Score] = {"f1": f1, "precision": precision, "recall": recall}
# tally -> scores that are functions of it
_SCORES: dict[str, dict[str, Score]] = {
    "counting": _F1,
    "box": {**_F1, "ap_nc50": ap_nc},
    "mask": {**_F1, "ap_nc50": ap_nc},
    "regions": {"miou": iou},
}
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
    try:  # masks only where both runs have them
        pairs = paired(_tallies(a, extra), _tallies(b, extra), resamples)
    except ValueError as error:
        raise DataError(f"the runs do not compare: {error}") from error
    over = {(name, True): members for name, members in a.task.groups.items()}
    over |= {(name, False): (name,) for name in a.task.categories}
    closed_ap = a.protocol.constant_score_ap is None
    of_extra = {f"extra.{metric.name}": {"mean": metric.function(a.task.categories)} for metric in extra}
    return [*_scores(_SCORES | of_extra, pairs, over, closed_ap), *_errors(pairs, over)]


def _tallies(run: StoredRun, extra: Sequence[ExtraMetric]) -> dict[str, Tally]:
    """The tallies of a run that are compared: `counting`, `errors.<geometry>`, `extra.<metric>` and so on."""
    whole = run.scoring_set().tallied(run.threshold, extra)
    for name, tally in whole.extra.items():
        if isinstance(tally, str):
            raise DataError(f"metric {name!r} is undefined for {run.folder}: {tally}")
    return {
        name: tally
        for name, tally in whole.named_tallies.items()
        if name in _SCORES or name.startswith(("errors.", "extra."))
    }


def _scores(
    functions: Mapping[str, Mapping[str, Score]], pairs: Mapping[str, Paired], over: _Over, closed_ap: bool
) -> Iterator[Compared]:
    for name, scores in functions.items():
        for score, function in scores.items():
            if name not in pairs or (score == "ap_nc50" and not closed_ap):
                continue
            path = f"{'mask' if name == 'regions' else name}.{score}"
            for which, categories in over.items():
                difference = pairs[name].of_mean(function, categories)
                if difference is not None:
                    yield Compared(path, *which, difference)


def _errors(pairs: Mapping[str, Paired], over: _Over) -> Iterator[Compared]:
    for name, pair in pairs.items():
        if name == "counting":
            columns = {f"errors.counting.{error}": column for error, column in _COUNTING_ERRORS.items()}
        elif name.startswith("errors."):
            columns = {f"{name}.{column}": column for column in pair.totals[0]}
        else:
            continue
        for path, column in columns.items():
            for which, categories in over.items():
                yield Compared(path, *which, pair.of_sum(column, categories))
