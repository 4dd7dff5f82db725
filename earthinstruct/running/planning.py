"""`dry_run`: what a run would do and use, before anything is sent, predicted or written."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from earthinstruct.contract import ControlMethod, Estimate, Instruction, Method, optional_member
from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError, EarthInstructError, checked_arguments
from earthinstruct.images import ImageOptions
from earthinstruct.predictions import Pace, Run
from earthinstruct.results import Shown, Skipped, new_table
from earthinstruct.running.blind import blinded
from earthinstruct.running.cut_images import Windows
from earthinstruct.running.engines.worker import MethodSource, Pixels, Worker, resident_memory
from earthinstruct.running.evaluation import cut, dataset_given, instruction_given, planned_runs
from earthinstruct.running.reading import Images, Reader, Tile
from earthinstruct.running.tiles import Tiling
from earthinstruct.tasks import Chosen, Task, tasks_of
from earthinstruct.texts import secrets_hidden

if TYPE_CHECKING:
    from earthinstruct.results import Block

_UNKNOWN = Estimate(None, None, None)


@dataclass(frozen=True)
class PlannedTask:
    """A task, or a variant of one, that a run would do.

    Attributes:
        task: the task.
        images: number of images.
        done: how many of them have a prediction already.
        estimate: what the others will use.
        seconds: the time that the others will take, if they take as long as those that a run of the task, of any
            number of images, has answered; None: none is answered.
    """

    task: Task
    images: int
    done: int
    estimate: Estimate
    seconds: float | None = None


@dataclass(frozen=True, repr=False)
class DryRun(Shown):
    """What a run would do. It prints as a table.

    Attributes:
        method: the name of the method.
        tasks: the tasks that would run.
        skipped: the tasks that the method declines.
        memory: name of a place -> bytes that the method holds there before its first image.
    """

    method: str
    tasks: tuple[PlannedTask, ...]
    skipped: tuple[Skipped, ...]
    memory: Mapping[str, int]

    @property
    def estimate(self) -> Estimate:
        """The estimate of all tasks together."""
        return Estimate.join(planned.estimate for planned in self.tasks)

    def blocks(self) -> Iterator[Block]:
        """The table, then memory and what is left out."""
        yield f"{self.method}: nothing was sent, predicted or written"
        headings = ("Task", "Images", "Done", "To do", "Requests", "Tokens in", "Tokens out", "Seconds")
        table = new_table(*headings, left=["Task"])
        by_kind = self._by_kind()
        for (task, kind), planned in by_kind.items():
            name = f"  {kind}" if kind else task
            numbers = (sum(of.images for of in planned), sum(of.done for of in planned))
            estimate = Estimate.join(of.estimate for of in planned)
            cells = (*numbers, numbers[0] - numbers[1])
            table.add_row(name, *map(_number, cells), *_cells(estimate), _number(_seconds_of(planned)))
        if len(self.tasks) > 1:
            seconds = [_seconds_of(planned) for planned in by_kind.values()]
            total = None if None in seconds else sum(filter(None, seconds))
            table.add_row("all", *[""] * 3, *_cells(self.estimate), _number(total))
        yield table
        yield "Tokens in: estimated from the text and the size of the image; Tokens out: at most; ?: not known"
        yield "Seconds: rounded up, at the pace of the images of the task that are answered, also by a shorter run"
        held = ", ".join(f"{decimal(held)} of {place}" for place, held in self.memory.items())
        yield f"memory: {held or 'not known'} before the first image, in each worker; more during an image"
        yield from (f"skipped: {task.task.name}: {task.reason}" for task in self.skipped)

    def _by_kind(self) -> dict[tuple[str, str], list[PlannedTask]]:
        """The tasks, and after each task its variants by their kind: (task, kind) -> what is planned."""
        found: dict[tuple[str, str], list[PlannedTask]] = {}
        for planned in self.tasks:
            variant = planned.task.variant
            found.setdefault((planned.task.whole.name, variant.kind if variant else ""), []).append(planned)
        return found


def _seconds_of(planned: Sequence[PlannedTask]) -> int | None:
    """The seconds of a row, rounded up, so that the row of all is the sum of the others; None: not known."""
    seconds = [of.seconds for of in planned]
    return None if None in seconds else math.ceil(round(sum(filter(None, seconds)), 3))


@checked_arguments
def dry_run(
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
    instruction_file: Path | str | None = None,
    instruction_text: str | None = None,
    wordings: str | int | None = None,
    blind: str | Sequence[str] | None = None,
    repeats: int | None = None,
    distractors: str | int | Sequence[int] | None = None,
    protocol: str = "standard",
    progress: Callable[[int, int], None] | None = None,
) -> DryRun:
    """Say what `evaluate` with these arguments would do and use.

    The method is made, as for a run, and asked for its `estimate` of every image that has no prediction yet; replies of
    a language model that are kept use nothing.

    Arguments and errors as for `evaluate`; `progress` is called with the number of images that were looked at, and of
    all.
    """
    if limit is not None and limit < 1:
        raise EarthInstructError(f"limit must be at least 1, got {limit}")
    chosen = Chosen.of(wordings, blind, repeats, distractors)
    chosen.check_protocol(protocol)
    text = instruction_given(instruction_text, instruction_file)
    dataset = dataset_given(dataset, data, images, ImageOptions.of(bands, stretch, nodata), skip_invalid=skip_invalid)
    output, tiling = Path(output).absolute(), Tiling(tile, overlap)
    with secrets_hidden(parameters):
        worker = Worker(MethodSource(method, parameters), Images(dataset))
        try:
            info = worker.ready().method
            windows = cut(dataset, tiling, info)
            tasks = tasks_of(dataset.name, dataset.vocabulary, setting, parent, text)
            runs, skipped = planned_runs(tasks, chosen, worker.skip, info, dataset, output, limit, tiling)
            done = [run.answered_before(overwrite) for run in runs]
            memory = _memory()
            todo = [
                [i for i, image in enumerate(run.image_ids) if image not in answered]
                for run, answered in zip(runs, done, strict=True)
            ]
            estimates = _estimates(worker, Images(dataset), windows, [run.task for run in runs], todo, progress)
        finally:
            worker.close()
    paces = {run.task.name: run.pace_before() for run in runs}
    planned = (
        PlannedTask(run.task, run.n_images, len(answered), estimate, _seconds(run, len(answered), paces))
        for run, answered, estimate in zip(runs, done, estimates, strict=True)
    )
    return DryRun(info.name, tuple(planned), tuple(skipped), memory)


def _seconds(run: Run, done: int, paces: Mapping[str, Pace | None]) -> float | None:
    """The time of the images to do, at the pace of the run itself or, without one, of the task's run."""
    pace = paces[run.task.name] or paces.get(run.task.whole.name)
    todo = run.n_images - done
    return 0.0 if not todo else None if pace is None else pace.seconds * todo


def _estimates(
    worker: Worker,
    images: Images,
    windows: Windows,
    tasks: Sequence[Task],
    todo: Sequence[Sequence[int]],
    progress: Callable[[int, int], None] | None,
) -> list[Estimate]:
    """Estimate the remaining images of each task."""
    method = worker.method
    estimate = optional_member(method, "estimate")
    if estimate is None:  # a control asks nobody
        free = isinstance(method, ControlMethod)
        return [Estimate() if free or not lacking else _UNKNOWN for lacking in todo]
    found: list[list[Estimate]] = [[] for _ in tasks]
    wanted = [set(lacking) for lacking in todo]
    every, reader = sorted(set().union(*wanted)), Reader(images)
    for number, image in enumerate(every, start=1):
        for window in windows.get(image, [None]):
            tile = Tile(image, window)
            pixels = _pixels(reader, tile)
            for task, lacking, of_task in zip(tasks, wanted, found, strict=True):
                if image in lacking and pixels is not None:
                    worker.prepare(task)
                    how = None if task.variant is None else task.variant.pixels
                    shown = pixels if how is None else blinded(pixels, how, images, reader, tile)
                    of_task.append(_estimate(method, shown, task.instruction))
        if progress:
            progress(number, len(every))
    return [Estimate.join(of_task) for of_task in found]


def _estimate(method: Method | ControlMethod, pixels: Pixels, instruction: Instruction) -> Estimate:
    """Ask a method what one image will use.

    Raises:
        DataError: it raises an exception, or returns no `Estimate`.
    """
    try:
        estimate = optional_member(method, "estimate")(pixels, instruction)
    except (EarthInstructError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise DataError(f"method {method.name!r}: estimate() failed: {type(error).__name__}: {error}") from error
    if not isinstance(estimate, Estimate):
        raise DataError(
            f"method {method.name!r}: estimate() returned a {type(estimate).__name__}; expected an Estimate"
        )
    return estimate


def _pixels(reader: Reader, tile: Tile) -> Pixels | None:
    """The pixels of a tile; None if the method is not asked about it, because it has no data or cannot be read."""
    try:
        read = reader.read(tile)
    except Exception:  # a damaged file may raise anything
        return None
    return None if read.valid is not None and not read.valid.any() else read.pixels


def _memory() -> dict[str, int]:
    """Memory of this process and, if a method loaded torch, of its GPU."""
    held = resident_memory()
    places = {} if held is None else {"this process": held}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        places["the GPU"] = int(torch.cuda.memory_allocated())
    return places


def _cells(estimate: Estimate) -> list[str]:
    return [_number(number) for number in (estimate.requests, estimate.input_tokens, estimate.output_tokens)]


def _number(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"
