"""Runs a method over the tasks of a dataset, keeps every answer on disk, and scores what is there."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earthinstruct.contract import ControlMethod, Method
from earthinstruct.datasets import Dataset, load_dataset
from earthinstruct.errors import EarthInstructError
from earthinstruct.metrics import Metric, protocol_named
from earthinstruct.metrics.bootstrap import RESAMPLES
from earthinstruct.metrics.extra import extra_metrics
from earthinstruct.results import (
    SCHEMA_VERSION,
    MethodInfo,
    PredictionsInfo,
    Result,
    RunInfo,
    environment_info,
    failed_by_name,
)
from earthinstruct.running.engines import Engine, EngineOptions
from earthinstruct.running.engines import engine as open_engine
from earthinstruct.running.engines.worker import MethodSource
from earthinstruct.running.importers import read_predictions
from earthinstruct.running.predictions import hash_predictions, prediction_files
from earthinstruct.running.run import Progress, Run, read_manifest, task_info
from earthinstruct.running.score import Scored, score_records
from earthinstruct.tasks import LabelMapper, Task, tasks_of

IN_PROCESS = EngineOptions()
_LONGEST_NAME = 60  # characters, of at most 4 bytes: file systems take 255 bytes


@dataclass(frozen=True)
class Skipped:
    """A task that a method declined, and why."""

    task: Task
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` did. `folders` holds the run folder of each result."""

    results: tuple[Result, ...]
    skipped: tuple[Skipped, ...]
    folders: tuple[Path, ...]


def evaluate(
    method: str | Method | ControlMethod,
    dataset: str | Dataset = "scenes",
    *,
    setting: str = "all",
    parent: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    data: Path | str | None = None,
    images: Path | str | None = None,
    output: Path | str = "runs",
    limit: int | None = None,
    overwrite: bool = False,
    protocol: str = "standard",
    mapper: LabelMapper | None = None,
    sweep: bool = False,
    instruction_text: str | None = None,
    resamples: int = RESAMPLES,
    metrics: Sequence[str | Metric] = (),
    progress: Progress | None = None,
    engine: EngineOptions = IN_PROCESS,
    stopping: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Run a method, then score it.

    Args:
        method: a method, or the name of one.
        dataset: a dataset, the name of one, or the path of a COCO file.
        setting: one setting, or `all`.
        parent: one parent category, for open_subclass.
        parameters: keyword arguments of the method, when it is given by name.
        data: the folder of the user's data.
        images: the folder of the images.
        output: where run folders go: `<output>/<task>/<method>/`.
        limit: only the first images.
        overwrite: start again where a run folder holds other predictions.
        protocol: `standard` or `paper`.
        mapper: from labels to categories; None: the dataset's own.
        sweep: choose the score threshold first (methods with scores).
        instruction_text: a text to use in place of ours; one task only.
        resamples: bootstrap resamples for intervals; 0: none.
        metrics: metric plug-ins to score besides, by name or as objects.
        progress: called after every image.
        engine: how the run is spread; the default is this process.
        stopping: asked before an image is begun; once it says yes, the images in hand are finished and kept, and
            KeyboardInterrupt is raised.

    Raises:
        EarthInstructError: anything a user can mend; predictions made so far stay on disk.
        KeyboardInterrupt: see `stopping`.
    """
    rules, extra = protocol_named(protocol), extra_metrics(metrics)
    if limit is not None and limit < 1:
        raise EarthInstructError(f"limit must be at least 1, got {limit}")
    _check_resamples(resamples)
    if isinstance(dataset, str):
        dataset = load_dataset(dataset, _path(data), _path(images))
    tasks = tasks_of(dataset.name, dataset.vocabulary, setting, parent, instruction_text)
    mapper = mapper or dataset.mapper
    output = Path(output).absolute()  # a method may change the working directory
    with open_engine(engine, MethodSource(method, parameters), dataset) as ready, ExitStack() as held:
        runs, skipped = [], []
        for task in tasks:
            reason = ready.skip(task)
            if reason is not None:
                skipped.append(Skipped(task, reason))
                continue
            folder = output / task.name / _folder_name(ready.method.name)
            run = Run(ready.method, task, dataset, folder, limit)
            runs.append(held.enter_context(run.open(overwrite)))
        results = {}
        for run in held.enter_context(closing(_answered(runs, ready, progress, stopping))):
            scored = score_records(
                run.task,
                dataset,
                run.records(),
                protocol=rules,
                mapper=mapper,
                sweep=sweep,
                resamples=resamples,
                extra=extra,
                images=run.image_ids,
            )
            results[run.task.name] = _result(run.task, dataset, ready.method, scored, protocol, mapper, [run.file])
            run.keep(results[run.task.name], scored.tallies)
    return Evaluation(tuple(results[run.task.name] for run in runs), tuple(skipped), tuple(run.folder for run in runs))


def _answered(
    runs: Sequence[Run], engine: Engine, progress: Progress | None, stopping: Callable[[], bool]
) -> Generator[Run, None, None]:
    """Predict what the runs lack; each is handed out as soon as it is whole."""
    by_task = {run.task.name: run for run in runs}
    for run in runs:
        if progress:
            progress(run.task, run.n_done, run.n_images, 0)
        if run.n_done == run.n_images:
            yield run
    for task, record in engine.answers([(run.task, run.todo) for run in runs], stopping):
        run = by_task[task.name]
        run.write(record)
        if progress:
            progress(task, run.n_done, run.n_images, run.n_failed)
        if run.n_done == run.n_images:
            yield run
    if stopping():
        raise KeyboardInterrupt


def score(
    predictions: Path | str,
    dataset: str | Dataset,
    setting: str,
    *,
    parent: str | None = None,
    counts: Path | str | None = None,
    proposals: Path | str | None = None,
    data: Path | str | None = None,
    protocol: str = "standard",
    mapper: LabelMapper | None = None,
    sweep: bool = False,
    resamples: int = RESAMPLES,
    metrics: Sequence[str | Metric] = (),
    name: str | None = None,
) -> Result:
    """Score stored predictions, of this project's format or imported.

    Args:
        predictions: a predictions file, a run folder, a COCO results file, or a folder of count files.
        dataset: a dataset, the name of one, or the path of a COCO file.
        setting: the setting the predictions answer.
        parent: the parent category, for open_subclass.
        counts: a folder of count files to add.
        proposals: a proposals file to add.
        data: the folder of the user's data.
        protocol: `standard` or `paper`.
        mapper: from labels to categories; None: the dataset's own.
        sweep: choose the score threshold first.
        resamples: bootstrap resamples for intervals; 0: none.
        metrics: metric plug-ins to score besides, by name or as objects.
        name: the method's name in the result; None: from the run folder, else the file's name.

    Raises:
        EarthInstructError: anything a user can mend.
    """
    _check_resamples(resamples)
    rules, extra = protocol_named(protocol), extra_metrics(metrics)
    path = Path(predictions)
    if isinstance(dataset, str):
        dataset = load_dataset(dataset, _path(data))
    if setting == "all":
        raise EarthInstructError("predictions answer one setting; give open_vocabulary, open_ended or open_subclass")
    tasks = tasks_of(dataset.name, dataset.vocabulary, setting, parent)
    if len(tasks) > 1:
        parents = ", ".join(repr(task.parent) for task in tasks)
        raise EarthInstructError(
            f"dataset {dataset.name!r} has several parent categories; give one with --parent ({parents})"
        )
    mapper = mapper or dataset.mapper
    records = read_predictions(path, dataset, counts=_path(counts), proposals=_path(proposals))
    scored = score_records(
        tasks[0],
        dataset,
        records,
        protocol=rules,
        mapper=mapper,
        sweep=sweep,
        resamples=resamples,
        extra=extra,
    )
    manifest_path = (path if path.is_dir() else path.parent) / "run.json"
    described = MethodInfo(name or path.stem)
    if name is None and manifest_path.is_file() and (path.is_dir() or path.name.startswith("predictions")):
        described = read_manifest(manifest_path).method
    files = prediction_files(path) or [path]
    return _result(tasks[0], dataset, described, scored, protocol, mapper, files)


def _check_resamples(resamples: int) -> None:
    if resamples < 0:
        raise EarthInstructError(f"resamples must be at least 0, got {resamples}")


def _path(value: Path | str | None) -> Path | None:
    return None if value is None else Path(value)


def _folder_name(name: str) -> str:
    plain = "".join(character if character.isalnum() or character in "-_." else "-" for character in name)
    return plain[:_LONGEST_NAME].strip(".") or "method"


def _result(
    task: Task,
    dataset: Dataset,
    method: MethodInfo,
    scored: Scored,
    protocol: str,
    mapper: LabelMapper,
    files: Sequence[Path],
) -> Result:
    return Result(
        schema_version=SCHEMA_VERSION,
        task=task_info(task, dataset, scored.n_done + len(scored.failed)),
        protocol=protocol,
        method=method,
        environment=environment_info(method),
        run=RunInfo(
            seconds=dict(scored.usage.seconds),
            input_tokens=scored.usage.input_tokens,
            output_tokens=scored.usage.output_tokens,
            events=dict(scored.usage.events),
            n_done=scored.n_done,
            n_failed=len(scored.failed),
            failed=failed_by_name(scored.failed),
        ),
        metrics=scored.metrics,
        label_map=scored.label_map,
        label_mapper=mapper.name,
        predictions=PredictionsInfo(hash_predictions(files) if all(file.is_file() for file in files) else None),
    )
