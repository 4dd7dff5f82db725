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
from earthinstruct.metrics import RESAMPLES, Metric
from earthinstruct.predictions import Progress, Run, place_of_run
from earthinstruct.results import Result
from earthinstruct.running.engines import Engine, EngineOptions
from earthinstruct.running.engines import engine as open_engine
from earthinstruct.running.engines.worker import MethodSource
from earthinstruct.scoring import checked_rules, mapper_for, result_of, score_records
from earthinstruct.tasks import LabelMapper, Task, tasks_of

IN_PROCESS = EngineOptions()


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
    label_map: str | LabelMapper | None = None,
    sweep: bool = False,
    instruction_text: str | None = None,
    resamples: int = RESAMPLES,
    metric: str | Metric | Sequence[str | Metric] = (),
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
        label_map: from labels to categories: `exact`, `clip:<encoder>`, a JSON file, or a mapper; None: the dataset's.
        sweep: choose the score threshold first (methods with scores).
        instruction_text: a text to use in place of ours; one task only.
        resamples: bootstrap resamples for intervals; 0: none.
        metric: metric plug-ins to score besides, by name or as objects.
        progress: called after every image.
        engine: how the run is spread; the default is this process.
        stopping: asked before an image is begun; once it says yes, the images in hand are finished and kept, and
            KeyboardInterrupt is raised.

    Raises:
        EarthInstructError: anything a user can mend; predictions made so far stay on disk.
        KeyboardInterrupt: see `stopping`.
    """
    rules, extra = checked_rules(protocol, resamples, metric)
    if limit is not None and limit < 1:
        raise EarthInstructError(f"limit must be at least 1, got {limit}")
    if isinstance(dataset, str):
        dataset = load_dataset(dataset, _path(data), _path(images))
    tasks = tasks_of(dataset.name, dataset.vocabulary, setting, parent, instruction_text)
    mapper = mapper_for(label_map, dataset)
    output = Path(output).absolute()  # a method may change the working directory
    with open_engine(engine, MethodSource(method, parameters), dataset) as ready, ExitStack() as held:
        runs, skipped = [], []
        for task in tasks:
            reason = ready.skip(task)
            if reason is not None:
                skipped.append(Skipped(task, reason))
                continue
            folder = place_of_run(output, task, ready.method.name)
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
            results[run.task.name] = result_of(run.manifest.task, ready.method, scored, protocol, mapper, [run.file])
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


def _path(value: Path | str | None) -> Path | None:
    return None if value is None else Path(value)
