"""Does a result follow from its predictions? What a maintainer runs before a result enters a leaderboard."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from earthinstruct.datasets import Dataset, load_dataset
from earthinstruct.errors import EarthInstructError
from earthinstruct.instances import ImageId
from earthinstruct.metrics import protocol_named
from earthinstruct.regression import metric_values, moved_values
from earthinstruct.results import Result, read_result
from earthinstruct.running.importers import read_predictions
from earthinstruct.running.predictions import Record
from earthinstruct.running.run import targets_of
from earthinstruct.running.score import score_records
from earthinstruct.tasks import FileMapper, Task, task_named

_EXACT = 1e-9
_BOUNDED = ("counting.f1", "box.f1", "mask.f1", "mask.miou")


@dataclass(frozen=True)
class Finding:
    """One check of a submission; `problem` is None where it holds."""

    check: str
    problem: str | None = None


def validate_submission(
    predictions: Path, result_file: Path, *, dataset: str | None = None, data: Path | None = None
) -> list[Finding]:
    """Check a result against the predictions it claims to come from.

    Args:
        predictions: the predictions file.
        result_file: the result.
        dataset: a COCO file, where the task's dataset has no name here; None: by the name in the result.
        data: the folder of the datasets.

    Returns:
        Every check in turn; the submission holds when none has a problem.

    Raises:
        DataError: a file cannot be read at all, or the dataset is not here.
    """
    result = read_result(result_file)
    findings = [Finding("the result follows the schema")]
    name = result.task.dataset.name
    loaded = load_dataset(dataset or name, data)
    task = task_named(result.task.name, loaded.name, loaded.vocabulary)
    findings += [
        _equal("task version", result.task.version, task.version),
        _equal("instruction", result.task.instruction_sha256, task.instruction_sha256),
        _equal("annotations", result.task.dataset.annotations_sha256, loaded.sha256),
        _equal("whole dataset", result.task.dataset.n_images, len(loaded.images)),
        _equal("predictions file", result.predictions.sha256, hashlib.sha256(predictions.read_bytes()).hexdigest()),
    ]
    if any(finding.problem for finding in findings[1:4]):
        return findings
    again = _score(task, loaded, read_predictions(predictions, loaded), result)
    findings.append(_rescored(again, result))
    findings.append(_bounded(result, task, loaded))
    return findings


def _equal(what: str, found: object, expected: object) -> Finding:
    return Finding(what, None if found == expected else f"the result says {found}, here it is {expected}")


def _score(task: Task, dataset: Dataset, records: Mapping[ImageId, Record], like: Result) -> Result:
    """The result with metrics computed anew, its label map replayed."""
    from msgspec.structs import replace

    scored = score_records(
        task,
        dataset,
        records,
        protocol=protocol_named(like.protocol),
        mapper=FileMapper(like.label_mapper, like.label_map),
        sweep=like.metrics.sweep is not None,
        resamples=0,
    )
    return replace(like, metrics=scored.metrics)


def _rescored(again: Result, result: Result) -> Finding:
    moved = moved_values(again, result, _EXACT)
    shown = "; ".join(str(value) for value in moved[:3])
    return Finding("scores follow from the predictions", f"{len(moved)} values differ: {shown}" if moved else None)


def _bounded(result: Result, task: Task, dataset: Dataset) -> Finding:
    """Between what nothing scores and what the ground truth itself scores."""
    perfect = {image.id: Record.of(image.id, targets_of(dataset, task, i)) for i, image in enumerate(dataset.images)}
    nothing = {image.id: Record(image.id, masks=[]) for image in dataset.images}
    values = dict(metric_values(result))
    low, high = (
        dict(metric_values(_score(task, dataset, records, _without_sweep(result)))) for records in (nothing, perfect)
    )
    for name in _BOUNDED:
        value, least, most = values.get(name), low.get(name), high.get(name)
        if value is None or least is None or most is None:
            continue
        if not least - _EXACT <= value <= most + _EXACT:
            return Finding("between the controls", f"{name} is {value}, empty scores {least}, the oracle {most}")
    return Finding("between the controls")


def _without_sweep(result: Result) -> Result:
    from msgspec.structs import replace

    return replace(result, metrics=replace(result.metrics, sweep=None))


def require_valid(findings: list[Finding]) -> None:
    """Raise when a check does not hold.

    Raises:
        EarthInstructError: names every check that does not.
    """
    problems = [f"{finding.check}: {finding.problem}" for finding in findings if finding.problem]
    if problems:
        raise EarthInstructError("the submission does not hold: " + "; ".join(problems))
