"""Validate a submission: check that a result follows from its predictions, before it enters a leaderboard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from earthinstruct.datasets import dataset_sources, image_attributes, load_dataset
from earthinstruct.errors import checked_arguments
from earthinstruct.metrics import protocol_named, sweep_of
from earthinstruct.predictions import hash_predictions, prediction_files, read_predictions
from earthinstruct.results import (
    LEADERBOARDS,
    Result,
    StoredTallies,
    build_leaderboards,
    file_result,
    metric_intervals,
    metric_values,
    moved_values,
    new_values,
    read_result,
    training_note,
)
from earthinstruct.scoring.records import Scored, score_records
from earthinstruct.scoring.stored import dataset_of
from earthinstruct.scoring.variants import summarised_variants
from earthinstruct.tasks import FileMapper, Task, task_named, with_variant
from earthinstruct.texts import plural

_EXACT = 1e-9
_NOT_DONE = "not checked: fix the failed checks above first"


@dataclass(frozen=True)
class Finding:
    """One check of a submission.

    Attributes:
        check: the name of the check.
        detail: what was found.
        problem: why the check failed; None if it passed.
        note: what a reader should know although nothing failed; None: nothing.
    """

    check: str
    detail: str = ""
    problem: str | None = None
    note: str | None = None

    def __str__(self) -> str:
        if self.problem is None and self.note is not None:
            return f"note     {self.check}: {self.note}"
        if self.problem is None:
            return f"ok       {self.check}: {self.detail}"
        return f"FAILED   {self.check}: {self.problem}"


@checked_arguments
def validate(
    predictions: Path | str,
    result: Path | str | None = None,
    *,
    dataset: str | Path | None = None,
    data: Path | str | None = None,
) -> list[Finding]:
    """Check a result against the predictions that it claims to come from.

    Args:
        predictions: a run folder, a predictions file, or the folder of its shards.
        result: the result file; None: `result.json` in the folder of the predictions.
        dataset: the dataset by name or path. None: the dataset named in the result or, if that name is not registered
            here, the path that the run used.
        data: the folder of the datasets.

    Returns:
        All checks in order. The submission is valid if none has a problem.

    Raises:
        DataError: a file cannot be read, or the dataset is not here.
    """
    return _validated(predictions, result, dataset=dataset, data=data)[0]


def _validated(
    predictions: Path | str, result: Path | str | None, *, dataset: str | Path | None, data: Path | str | None
) -> tuple[list[Finding], StoredTallies | None]:
    """The checks, and the tallies of the predictions if they were scored again."""
    given = Path(predictions)
    folder = given if given.is_dir() else given.parent
    said = read_result(folder / "result.json" if result is None else Path(result), consistent=False)
    name = str(dataset or said.task.dataset.name)
    # our own annotations where we have them, not those at the path in the run folder
    loaded = load_dataset(name, data) if dataset or name in dataset_sources() else dataset_of(folder, said)
    task = with_variant(task_named(said.task.name, loaded.name, loaded.vocabulary), said.task.variant)
    findings = [
        Finding("schema", f"version {said.schema_version}, every field of the right type"),
        _equal("task version", said.task.version, task.version),
        _equal("protocol version", said.protocol_version, protocol_named(said.protocol).version),
        _equal("annotations", said.task.dataset.annotations_sha256, loaded.sha256),
        _equal("whole dataset", said.task.dataset.n_images, len(loaded.images)),
        _equal("instruction", said.task.instruction_sha256, task.instruction_sha256),
        _equal("predictions file", said.predictions.sha256, hash_predictions(prediction_files(given) or [given])),
        _training(said),
    ]
    if any(finding.problem for finding in findings):
        left = ("answers and usage", "scores follow from the predictions", "intervals")
        return [*findings, *(Finding(check, problem=_NOT_DONE) for check in left)], None
    known = image_attributes(loaded)
    sliced = {name: known[name] for name in said.metrics.slices if name in known}
    scored = score_records(
        task,
        loaded,
        read_predictions(given, loaded),
        protocol=protocol_named(said.protocol),
        mapper=FileMapper(said.label_mapper, said.label_map),
        threshold=said.metrics.threshold,
        sweep=sweep_of(said.metrics),
        attributes=sliced,
    )
    again = replace(said, metrics=scored.metrics)
    slices = {name: said.metrics.slices[name] for name in sliced}
    ours = replace(said, metrics=replace(said.metrics, extra={}, slices=slices))
    if said.metrics.extra:  # a submitted result must not make us run its code
        names = ", ".join(map(repr, said.metrics.extra))
        problem = f"{names}: metric plug-ins cannot be validated; score again without --metric"
        findings.append(Finding("metric plug-ins", problem=problem))
    if other := said.metrics.slices.keys() - sliced.keys():
        names = ", ".join(map(repr, sorted(other)))
        problem = f"by {names}: slices by what the dataset does not say cannot be validated; score again without them"
        findings.append(Finding("slices", problem=problem))
    if said.variants:
        findings.append(_variants(task, folder, said))
    return [*findings, _usage(scored, said), _rescored(again, ours), _intervals(again, ours)], scored.tallies


@dataclass(frozen=True)
class Added:
    """What `add_to_leaderboard` did.

    Attributes:
        findings: every check of the submission.
        filed: the file that the result is now; None where a check does not hold.
    """

    findings: list[Finding]
    filed: str | None


@checked_arguments
def add_to_leaderboard(
    result: Path | str,
    *,
    root: Path | str = LEADERBOARDS,
    predictions: Path | str | None = None,
    data: Path | str | None = None,
) -> Added:
    """Validate a result against its predictions, file it under `results/` with its tallies, and build the tables.

    Args:
        result: a run folder, or the result file.
        root: the folder of the leaderboards.
        predictions: its predictions; None: those beside the result.
        data: the folder of the datasets.

    Raises:
        DataError: as for `validate`; or there is such a result already, or it has no version.
    """
    path = Path(result)
    file = path / "result.json" if path.is_dir() else path
    given = file.parent if predictions is None else predictions
    findings, tallies = _validated(given, file, dataset=None, data=data)
    if any(finding.problem for finding in findings):
        return Added(findings, None)
    filed = file_result(Path(root), read_result(file), tallies)
    build_leaderboards(root)
    return Added(findings, str(filed))


def _equal(what: str, found: object, expected: object) -> Finding:
    if found == expected:
        return Finding(what, str(found))
    return Finding(what, problem=f"the result says {found}; expected {expected}")


def _training(result: Result) -> Finding:
    """Whether the result says what the method was trained on. It is no failure if it does not."""
    if result.training is None:
        return Finding("training data", "a control")
    absent = (
        "the result does not say what the method was trained on, so that its row is marked unknown; return "
        "training_data from describe(), or score again with --training-data"
    )
    note = training_note(result.method.training_data, absent)
    return Finding("training data", str(result.training), note=note)


def _variants(task: Task, folder: Path, result: Result) -> Finding:
    """Check the summary of variants against the runs that it sums up."""
    again = summarised_variants(task, folder, replace(result, variants={})).variants
    n = sum(len(of.runs) for of in again.values())
    problem = "the summary does not follow from the runs beside the predictions; score the run again with `score`"
    same = _alike(*(msgspec.to_builtins(variants) for variants in (again, result.variants)))
    return Finding("variants", f"{plural(n, 'run')} summed up again", None if same else problem)


def _alike(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal, numbers up to rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= _EXACT
    return bool(one == other)


def _usage(scored: Scored, result: Result) -> Finding:
    """Check answers, failures and tokens, which tables show beside the scores."""
    run, usage = result.run, scored.usage
    pairs: dict[str, tuple[object, object]] = {
        "answered": (run.n_done, scored.n_done),
        "failed": (run.n_failed, len(scored.failed)),
        "input tokens": (run.input_tokens, usage.input_tokens),
        "output tokens": (run.output_tokens, usage.output_tokens),
        "events": (run.events, dict(usage.events)),
    }
    problems = [
        f"{name}: the result says {said}, the predictions give {found}"
        for name, (said, found) in pairs.items()
        if said != found
    ]
    detail = ", ".join(f"{found} {name}" for name, (_, found) in pairs.items() if name != "events")
    return Finding("answers and usage", detail, "; ".join(problems) or None)


def _rescored(again: Result, result: Result) -> Finding:
    moved = moved_values(again, result, _EXACT)
    new = new_values(again, result)
    problems = (
        [f"{plural(len(moved), 'value differs', 'values differ')}: {'; '.join(map(str, moved[:3]))}"] if moved else []
    )
    if new:
        problems.append(
            f"the result lacks {plural(len(new), 'value')} of this release, such as {new[0]}; score it again"
        )
    n = sum(1 for _ in metric_values(again))
    return Finding(
        "scores follow from the predictions", f"{plural(n, 'value')} scored again", "; ".join(problems) or None
    )


def _intervals(again: Result, result: Result) -> Finding:
    said, found = dict(metric_intervals(result)), dict(metric_intervals(again))
    wrong = [
        name
        for name in {**said, **found}
        if name not in said
        or name not in found
        or any(abs(a - b) > _EXACT for a, b in zip(said[name], found[name], strict=True))
    ]
    problem = f"{', '.join(wrong[:3])} differ from those of the predictions; score them again" if wrong else None
    return Finding("intervals", f"{len(found)} computed again", problem)
