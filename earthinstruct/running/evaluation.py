"""Runs a method over the tasks of a dataset, keeps every answer on disk, and scores what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from earthinstruct.contract import ControlMethod, HopelessError, Method, Usage
from earthinstruct.datasets import Dataset, load_dataset
from earthinstruct.errors import EarthInstructError, checked_arguments
from earthinstruct.files import read_text
from earthinstruct.images import ImageOptions
from earthinstruct.metrics import GivenMetrics, Sweeping
from earthinstruct.predictions import Pace, Progress, Run, hash_predictions, place_of_run
from earthinstruct.results import Evaluation, MethodInfo, Skipped
from earthinstruct.running.cut_images import KeptTiles, Windows, answers_of_images
from earthinstruct.running.engines import Engine, EngineOptions, unknown_words
from earthinstruct.running.engines import engine as open_engine
from earthinstruct.running.engines.worker import MethodSource
from earthinstruct.running.reading import Images
from earthinstruct.running.tiles import Tiling
from earthinstruct.scoring import (
    checked_rules,
    chosen_attributes,
    mapper_for,
    result_of,
    score_records,
    summarised_variants,
)
from earthinstruct.tasks import Chosen, LabelMapper, Task, tasks_of
from earthinstruct.texts import message_of, plural, secrets_hidden

_STOPPED = (
    "the run stops, because no other image would be answered. The predictions so far are kept: change this, then "
    "continue with the same command without --overwrite"
)
Spent = Callable[[Task, Usage], None]


@checked_arguments
def evaluate(
    method: str | Method | ControlMethod,
    dataset: str | Path | Dataset = "scenes",
    *,
    setting: str = "all",
    parent: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    data: Path | str | None = None,
    images: Path | str | None = None,
    bands: str | Sequence[int] | None = None,
    stretch: str | Sequence[float] | None = None,
    nodata: float | None = None,
    skip_invalid: bool = False,
    tile: int | None = None,
    overlap: int | None = None,
    output: Path | str = "runs",
    limit: int | None = None,
    overwrite: bool = False,
    protocol: str = "standard",
    label_map: str | Path | LabelMapper | None = None,
    threshold: float | None = None,
    sweep: Sweeping = False,
    instruction_file: Path | str | None = None,
    instruction_text: str | None = None,
    metric: GivenMetrics = (),
    slice_by: str | Sequence[str] = (),
    attributes: Path | str | None = None,
    wordings: str | int | None = None,
    blind: str | Sequence[str] | None = None,
    repeats: int | None = None,
    distractors: str | int | Sequence[int] | None = None,
    engine: str | EngineOptions = "local",
    workers: int | None = None,
    timeout: float | None = None,
    worker_memory: float | None = None,
    gpus_per_worker: float | None = None,
    address: str | None = None,
    began: Callable[[Path], None] | None = None,
    progress: Progress | None = None,
    spent: Spent | None = None,
    stopping: Callable[[], bool] = lambda: False,
    announce: Callable[[str], None] = lambda sentence: None,
) -> Evaluation:
    """Run a method, then score it.

    Args:
        method: a method or its name.
        dataset: a dataset, its name, or the path of a COCO file.
        setting: one setting, or `all`.
        parent: one parent category, for open_subclass.
        parameters: keyword arguments of the method, when it is given by name.
        data: the folder of the user's data.
        images: the folder of the images.
        bands: the bands of rasters to show, as for `predict`.
        stretch: how values of more than 8 bits are shown, as for `predict`.
        nodata: the value of pixels without data, as for `predict`.
        skip_invalid: leave out the objects that no method can find, instead of refusing the dataset.
        tile: side in pixels of the tiles that images are cut into; 0: no image is cut; None: those that are larger than
            the method takes, if it says so in `describe()`, into tiles of that size.
        overlap: pixels that neighbouring tiles share; None: an eighth of a tile.
        output: where run folders go: `<output>/<task>/<method>/`.
        limit: only the first images, in a run folder of their own, `<output>/<task>/<method>-limit-<N>/`.
        overwrite: start again where a run folder holds other predictions.
        protocol: `standard` or `paper`.
        label_map: from labels to categories: `exact`, `clip:<encoder>`, a JSON file, or a mapper; None: the dataset's.
        threshold: score the predictions with at least this score (methods with scores).
        sweep: choose the score threshold first (methods with scores), as for `score`.
        instruction_file: a file with an instruction text to use in place of ours; one task only.
        instruction_text: the same, as text.
        metric: metric plug-ins to score as well, as objects or by `path/file.py:Class`.
        slice_by: attributes of the images to slice by, as for `score`.
        attributes: a CSV file with attributes of the images, as for `score`.
        wordings: also ask in other words: `all` wordings of the suite, or this many of them.
        blind: also ask about other pixels: `grey`, `noise`, `other` (another image of the set), or several of them.
        repeats: ask about each image so many times, and share nothing that the method keeps between them. A method that
            says that it is deterministic is asked twice, to check it.
        distractors: also ask for so many names of things that the dataset does not annotate; several numbers: once with
            each.
        engine: `local` or `ray`; or `EngineOptions`, which replaces the options below.
        workers: processes, each with the method in memory; None: this process.
        timeout: seconds that an image, or a tile, may take before the image counts as failed; None: no limit.
        worker_memory: GB; a worker that holds more after a tile is replaced. None: no limit.
        gpus_per_worker: GPUs that Ray reserves for each worker.
        address: of a running Ray cluster, or `auto`; None: a Ray of its own, on this machine.
        began: called with each run folder before the first image.
        progress: called after every tile with the task, the tiles done, their number and the images that failed; an
            image that is not cut is one tile.
        spent: called with the task and the usage of every image, before `progress`.
        stopping: called before each tile; when it returns true, the current tiles are finished and kept, and
            KeyboardInterrupt is raised.
        announce: called before the first image with a sentence on each task that has predictions, on each kind of
            variants (runs, images, and the time if the run of the task was done before), on the folder of the variants,
            and on words that the method does not know.

    Raises:
        EarthInstructError: invalid input; the predictions made so far stay on disk.
        KeyboardInterrupt: see `stopping`.
    """
    rules, extra = checked_rules(protocol, threshold, sweep, metric)
    chosen = Chosen.of(wordings, blind, repeats, distractors)
    chosen.check_protocol(rules.name)
    if limit is not None and limit < 1:
        raise EarthInstructError(f"limit must be at least 1, got {limit}")
    tiling = Tiling(tile, overlap)
    spread = EngineOptions.of(
        engine,
        workers=workers,
        timeout=timeout,
        worker_memory=worker_memory,
        gpus_per_worker=gpus_per_worker,
        address=address,
    )
    text = instruction_given(instruction_text, instruction_file)
    dataset = dataset_given(dataset, data, images, ImageOptions.of(bands, stretch, nodata), skip_invalid=skip_invalid)
    sliced = chosen_attributes(slice_by, attributes, dataset, rules)
    tasks = tasks_of(dataset.name, dataset.vocabulary, setting, parent, text)
    mapper = mapper_for(label_map, dataset)
    output = Path(output).absolute()  # a method may change the working directory
    source, every = MethodSource(method, parameters), Images(dataset)
    with secrets_hidden(parameters), _hopeless(), open_engine(spread, source, every) as ready, ExitStack() as held:
        windows = cut(dataset, tiling, ready.method)
        runs, skipped = planned_runs(tasks, chosen, ready.skip, ready.method, dataset, output, limit, tiling)
        for run in runs:
            held.enter_context(run.open(overwrite))
        for run in runs:  # only once every folder is locked and accepted
            run.begin(overwrite)
            if began is not None and run.task.variant is None:
                began(run.folder)
        unknown = {run.task.name: unknown_words(ready, run.task.instruction) for run in runs if not run.task.variant}
        for sentence in (*chosen.declined(tasks), *announced(runs), *dict.fromkeys(chain(*unknown.values()))):
            announce(sentence)
        results = {}
        kept = {run.task.name: held.enter_context(_kept_tiles(run)) for run in runs} if windows else {}
        answered = _answered(runs, ready, every, windows, kept, progress, spent, stopping)
        for run in held.enter_context(closing(answered)):
            scored = score_records(
                run.task,
                dataset,
                run.records(),
                protocol=rules,
                mapper=mapper,
                threshold=threshold,
                sweep=sweep,
                extra=extra,
                attributes=sliced,
                images=run.image_ids,
            )
            sha256 = hash_predictions([run.file])
            notes = [*ready.method.notes, *unknown.get(run.task.name, ())]
            ran = msgspec.structs.replace(ready.method, notes=notes)
            results[run.task.name] = result_of(run.manifest.task, ran, scored, rules, mapper, sha256)
            run.keep(results[run.task.name], scored.tallies, scored.suspects)
        whole = [run for run in runs if run.task.variant is None]
        for run in whole:
            results[run.task.name] = summarised_variants(run.task, run.folder, results[run.task.name])
            run.keep_result(results[run.task.name])
    found = tuple(results[run.task.name] for run in whole)
    return Evaluation(found, tuple(skipped), tuple(run.folder for run in whole))


def announced(runs: Sequence[Run]) -> Iterator[str]:
    """A sentence on each task that goes on, and on each kind of its variants: what is to do, and what it may take."""
    paces = {run.task.name: run.pace_before() for run in runs if run.task.variant is None}
    kinds: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.task.variant is not None:
            kinds.setdefault((run.task.whole.name, run.task.variant.kind), []).append(run)
        elif run.n_done:
            before = f"{run.n_done} of {run.n_images} images were predicted before"
            yield f"{run.task.name}: {before}; --overwrite predicts them again"
    for (task, kind), of_kind in kinds.items():
        todo, pace = sum(len(run.todo) for run in of_kind), paces.get(task)
        about = f", {_at_pace(pace, todo)}" if todo else ""
        yield f"{task}, {kind}: {plural(len(of_kind), 'more run')}, {plural(todo, 'image')} to do{about}"
    for task, folder in {run.task.whole.name: run.folder.parent for run in runs if run.task.variant}.items():
        yield f"{task}: the runs of variants are kept in {folder}"


def _at_pace(pace: Pace | None, images: int) -> str:
    """What some images take, in words."""
    if pace is None:
        return "time not known before the task itself has an answer; --dry-run tells requests and tokens"
    tokens = f" and {pace.tokens * images:,.0f} tokens" if pace.tokens else ""
    return f"about {pace.seconds * images:.0f} s{tokens} at the pace of the run itself"


def planned_runs(
    tasks: Sequence[Task],
    chosen: Chosen,
    skip: Callable[[Task], str | None],
    method: MethodInfo,
    dataset: Dataset,
    output: Path,
    limit: int | None,
    tiling: Tiling,
) -> tuple[list[Run], list[Skipped]]:
    """The runs of some tasks, each followed by those of its variants, and what the method declines.

    Args:
        tasks: the tasks.
        chosen: the variants of each.
        skip: the method's reason to decline a task, or None.
        method: what predicts.
        dataset: the images.
        output: where run folders go.
        limit: only the first images.
        tiling: how they are cut.

    Raises:
        EarthInstructError: the tasks cannot have these variants, or another image is to be shown and there is none.
    """
    if "other" in chosen.blind and len(dataset.images) < 2:
        raise EarthInstructError(f"dataset {dataset.name!r} has no other image to show; leave out blind 'other'")
    runs, skipped = [], []
    for task in tasks:
        for asked in (task, *chosen.of_task(task, deterministic=bool(method.deterministic))):
            reason = skip(asked)
            if reason is not None:
                skipped.append(Skipped(asked, reason))
                if asked is task:
                    break  # its variants as well
                continue
            folder = place_of_run(output, asked, method.name)
            runs.append(Run(method, asked, dataset, folder, limit, tile=tiling.tile, overlap=tiling.overlap))
    return runs, skipped


def cut(dataset: Dataset, tiling: Tiling, method: MethodInfo) -> Windows:
    """The tiles of the images that are cut.

    Raises:
        EarthInstructError: tiles are asked for, and the method is a control.
    """
    if method.control:
        if tiling.tile:
            raise EarthInstructError(
                f"method {method.name!r} is a control: it answers from ground truth, of whole images; leave --tile out"
            )
        return {}
    windows = {}
    for i, image in enumerate(dataset.images):
        tiles = tiling.windows((0, 0, image.width, image.height), method.largest_side)
        if len(tiles) > 1:
            windows[i] = tiles
    return windows


@contextmanager
def _hopeless() -> Iterator[None]:
    """Say that the run stops after a `HopelessError`."""
    try:
        yield
    except HopelessError as error:
        raise HopelessError(f"{message_of(error)}; {_STOPPED}") from None


@contextmanager
def _kept_tiles(run: Run) -> Iterator[KeptTiles]:
    """The tiles in the folder of a run, until all its images have predictions."""
    tiles = KeptTiles(run.folder, run.failed_before)
    try:
        yield tiles
    finally:
        tiles.close(done=run.n_done == run.n_images and not run.n_failed)


def _answered(
    runs: Sequence[Run],
    engine: Engine,
    images: Images,
    windows: Windows,
    kept: Mapping[str, KeptTiles],
    progress: Progress | None,
    spent: Spent | None,
    stopping: Callable[[], bool],
) -> Generator[Run, None, None]:
    """Predict the missing images, and yield each run when it is complete."""
    by_task = {run.task.name: run for run in runs}
    n_tiles = [len(windows.get(i, "1")) for i in range(len(images.dataset.images))]
    totals, done = Counter[str](), Counter[str]()
    for run in runs:
        totals[run.task.name] = sum(n_tiles[: run.n_images])
        done[run.task.name] = totals[run.task.name] - sum(n_tiles[i] for i in run.todo)
        if progress:
            progress(run.task, done[run.task.name], totals[run.task.name], 0)
        if run.n_done == run.n_images:
            yield run
    work = [(run.task, run.todo) for run in runs]
    for question, _, _, record in answers_of_images(engine, images, work, windows, kept, stopping):
        run = by_task[question.name]
        done[question.name] += 1
        if record is not None:
            run.write(record)
            if spent:
                spent(run.task, Usage(record.seconds, record.input_tokens, record.output_tokens, record.events))
        if progress:
            progress(run.task, done[question.name], totals[question.name], run.n_failed)
        if record is not None and run.n_done == run.n_images:
            yield run
    if stopping():
        raise KeyboardInterrupt


def dataset_given(
    dataset: str | Path | Dataset,
    data: Path | str | None,
    images: Path | str | None,
    options: ImageOptions,
    *,
    skip_invalid: bool,
) -> Dataset:
    """The dataset of a run, whose images are all there. Arguments as for `evaluate`.

    Raises:
        EarthInstructError: it is unknown, invalid or lacks images.
    """
    if not isinstance(dataset, Dataset):
        dataset = load_dataset(dataset, data, images, skip_invalid=skip_invalid)
    if options != ImageOptions():
        dataset = replace(dataset, image_options=options)
    dataset.refuse_missing_images()
    return dataset


def instruction_given(text: str | None, file: Path | str | None) -> str | None:
    """The instruction text of a run, given in one way at most.

    Raises:
        EarthInstructError: it is given in two, or the file cannot be read.
    """
    if file is None:
        return text
    if text is not None:
        raise EarthInstructError("give instruction_text or instruction_file, not both")
    return read_text(Path(file), "instruction file")
