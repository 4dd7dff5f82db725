"""`predict`: a method on your own images, with the files that the answers are saved to.

Every image, and every tile of a large one, is kept in a run folder as soon as it is predicted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct import tasks
from earthinstruct.contract import HopelessError, Instruction, Method
from earthinstruct.errors import DataError, EarthInstructError, checked_arguments
from earthinstruct.images import IMAGE_SUFFIXES, ImageOptions, images_below
from earthinstruct.predictions import OnGround, Record, check_crs
from earthinstruct.running.answers import Answer, Answering, Answers, Least
from earthinstruct.running.area import METHOD, Area
from earthinstruct.running.cut_images import answers_of_images
from earthinstruct.running.engines import Engine, EngineOptions, unknown_words
from earthinstruct.running.engines import engine as open_engine
from earthinstruct.running.engines.worker import OF_IMAGE, MethodSource
from earthinstruct.running.image_run import IN_MEMORY, Asked, ImageRun, read_asked, state_of
from earthinstruct.running.opened import OpenedImages, OwnImages
from earthinstruct.running.outputs import Outputs
from earthinstruct.running.tiles import TILED_ABOVE, Tiling
from earthinstruct.texts import message_of, secret_values, secrets_hidden


@checked_arguments
def predict(
    method: str | Method,
    images: Path | str | NDArray[np.uint8] | Sequence[Path | str | NDArray[np.uint8]],
    instruction: str | Instruction | None = None,
    *,
    categories: str | Sequence[str] | None = None,
    open_ended: bool = False,
    parent: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    save: Path | str | Sequence[Path | str] = (),
    tile: int | None = None,
    overlap: int | None = None,
    bands: str | Sequence[int] | None = None,
    stretch: str | Sequence[float] | None = None,
    nodata: float | None = None,
    window: str | Sequence[int] | None = None,
    aoi: Path | str | None = None,
    resolution: str | float | None = None,
    source_crs: str | None = None,
    min_score: float | None = None,
    min_area: str | float | None = None,
    crs: str | None = None,
    simplify: float = 0.0,
    explain: Path | str | None = None,
    output: Path | str | None = "runs",
    overwrite: bool = False,
    engine: str | EngineOptions = "local",
    workers: int | None = None,
    timeout: float | None = None,
    worker_memory: float | None = None,
    gpus_per_worker: float | None = None,
    address: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    answered: Callable[[Answer], None] | None = None,
    warned: Callable[[str], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Answers:
    """Run a method on your own images. What to find is given in exactly one way.

    Of several images, one that fails is named and the others go on; after a `HopelessError` the method is not asked
    about further images. The same call goes on where an earlier one stopped.

    Args:
        method: a method, or the name of one.
        images: image files, or folders of them, or pixels in memory, uint8 RGB (height, width, 3).
        instruction: what to find, in your own words, or as an `Instruction`.
        categories: find these; a sequence, or text with commas.
        open_ended: find everything.
        parent: find every kind of one category, such as "sports field".
        parameters: keyword arguments of the method, when it is given by name.
        save: where to save the answers, by suffix: `.png` or `.jpg`, a picture; `.json`; `.coco.json`; `.csv`, counts;
            `.geojson`, `.gpkg`, `.shp`, `.fgb` or `.parquet`, outlines on the ground; `.tif`, a raster of labels;
            without a suffix, a folder of pictures.
        tile: side of the tiles in pixels; 0: never cut; None: an image larger than the method takes is cut into tiles
            of the size that it takes; where it does not say, a side longer than 2048 is cut into tiles of 1024.
        overlap: pixels that neighbouring tiles share; None: an eighth of a tile.
        bands: the bands of a raster to show, from 1; a sequence, or text with commas; None: those that the file names
            as red, green and blue, otherwise the first three.
        stretch: how values of more than 8 bits are shown: "joint", "band", "none", or the two values that become 0 and
            255; None: see `earthinstruct.images.ImageOptions`.
        nodata: pixels with this value in every band have no data, beside those that the file marks.
        window: predict this part of each image: column, row, width and height in pixels.
        aoi: a vector file; predict what lies in its areas, whatever their reference system. Pixels outside are shown to
            the method as pixels without data.
        resolution: metres a pixel that the method sees, or "method": those that it was made for. Images are resampled
            while they are read, and answers are in pixels of the images all the same. None: as stored.
        source_crs: the coordinate reference system of images that have coordinates and do not name their system.
        min_score: leave instances with a lower score out of all that is shown and saved; they stay in the run folder.
        min_area: likewise, smaller ones: a number of pixels, or text such as "20 m2".
        crs: the coordinate reference system of vector files; None: longitude and latitude in GeoJSON, as RFC 7946 asks,
            and that of the images in others, if they share one.
        simplify: by how many pixels outlines in vector files may move to have fewer points.
        explain: where to save a picture of how the method decided, as for `save`.
        output: where answers are kept, in a folder of this run below `<output>/predict/`; None: nowhere.
        overwrite: forget what an earlier run found.
        engine: where the method runs, as for `evaluate`, like the next five; the unit of work is a tile.
        workers: processes, each with the method in memory; None: this process.
        timeout: seconds that a tile may take before its image counts as failed; None: no limit.
        worker_memory: GB; a worker that holds more after a tile is replaced. None: no limit.
        gpus_per_worker: GPUs that Ray reserves for each worker.
        address: of a running Ray cluster, or `auto`; None: a Ray of its own, on this machine.
        progress: called after each tile with the tiles done and their number; an image that is not cut is one tile.
        answered: called with each answer as soon as it is there and its pictures are saved.
        warned: called before the first image with each remark on what was asked for, such as words that the method
            does not know.
        stopping: called before each tile; when it returns true, the current tiles are finished and kept, and
            KeyboardInterrupt is raised.

    Raises:
        EarthInstructError: invalid input, the only image failed, a file cannot be written, or the run folder is of a
            run with other parameters.
        KeyboardInterrupt: see `stopping`.
    """
    to_find = asked_instruction(categories, open_ended, parent, instruction)
    own = _own_images(images, ImageOptions.of(bands, stretch, nodata), source_crs)
    area, tiling = Area.of(window, aoi, resolution), Tiling(tile, overlap, TILED_ABOVE)
    _check_source_crs(source_crs)
    least = Least.of(min_score, min_area)
    saved = Outputs(save, explain, own.paths, OnGround(crs, simplify))
    spread = EngineOptions.of(
        engine,
        workers=workers,
        timeout=timeout,
        worker_memory=worker_memory,
        gpus_per_worker=gpus_per_worker,
        address=address,
    )
    _refuse_other_processes(spread, own, saved)
    source = MethodSource(method, parameters)
    states = {str(path): state_of(own.in_memory.get(path, path)) for path in own.paths}
    aoi_and_state = None if area.aoi is None else (str(area.aoi), state_of(area.aoi))
    opened = OpenedImages(own, area, on_ground=saved.on_ground)
    own = replace(own, root=Path.cwd())  # a method may change the working directory
    with secrets_hidden(parameters), open_engine(spread, source, opened.images) as ready:
        _refuse_method(source, ready, saved)
        saved.check()
        if area.resolution == METHOD:
            area = area.at_resolution_of(ready.method.name, ready.ask("resolution"))
        warnings = (*unknown_words(ready, to_find), *_names_of_one_kind(to_find))
        asked = Asked(
            instruction=to_find,
            method=ready.method,
            images=states,
            reading=own.reading,
            tile=tile,
            overlap=overlap,
            window=area.window,
            aoi=aoi_and_state,
            resolution=None if area.resolution is None else float(area.resolution),
            source_crs=source_crs,
            warnings=warnings,
        )
        if warned is not None:
            for warning in warnings:
                warned(warning)
        folder = None if output is None else asked.place(Path(output))
        secrets = secret_values(parameters or {})
        found = Answering(own, asked, least, saved, area, answered, folder, ready.explain, secrets)
        with nullcontext() if folder is None else ImageRun(own.root / folder).open(asked, overwrite=overwrite) as run:
            opened.cut(area, tiling, ready.method.largest_side)
            _find(ready, opened, run, found, progress, stopping)
            return found.answers()


def _find(
    engine: Engine,
    opened: OpenedImages,
    run: ImageRun | None,
    found: Answering,
    progress: Callable[[int, int], None] | None,
    stopping: Callable[[], bool],
) -> None:
    """Ask about the images that have no prediction, and give each answer to `found` as soon as it is there."""
    paths, question = found.own.paths, _Question(found.asked.instruction)
    windows = opened.windows
    n_tiles = [len(windows.get(i, "1")) for i in range(len(paths))]
    done, todo = 0, list[int]()
    left = dict.fromkeys(paths)
    try:
        for i, path in enumerate(paths):
            before = None if run is None else run.prediction(path)
            if path in opened.problems:
                found.fail(path, opened.problems[path])
            elif before is not None:
                found.add(path, before, before=True)
            else:
                todo.append(i)
                continue
            del left[path]
            done += n_tiles[i]
            if progress is not None:
                progress(done, sum(n_tiles))
        kept = {} if run is None else {question.name: run.tiles}
        for answer in answers_of_images(engine, opened.images, [(question, todo)], windows, kept, stopping):
            done, path = done + 1, paths[answer.image]
            if progress is not None:
                progress(done, sum(n_tiles))
            tile, record = answer.tile, answer.whole
            found.n_tiles_before += tile is None
            if done == len(paths) == 1 and tile is not None and tile.error is not None:
                record = tile  # the other tiles are likely to fail too, and the run with them
            if record is None:
                continue
            record = opened.as_stored(answer.image, _without_notes(record))
            record = record if run is None else run.keep(record)
            if record.error is None:
                found.add(path, record.prediction())
            else:
                found.fail(path, record.error)
            del left[path]
    except HopelessError as error:
        if len(paths) == 1:
            raise
        first, *others = left
        found.fail(first, message_of(error))
        for path in others:
            found.fail(path, f"not tried, after the error of {first}: {message_of(error)}")
    if stopping():
        raise KeyboardInterrupt


def _names_of_one_kind(asked: Instruction) -> Iterator[str]:
    for names in tasks.names_of_one_kind(asked.categories):
        yield f"{' and '.join(map(repr, names))} name one kind: an object may count under each; keep one of them"


@dataclass(frozen=True)
class _Question:
    """The instruction of the user, as a question to an engine."""

    instruction: Instruction
    name: str = "predict"
    variant: None = None


def _without_notes(record: Record) -> Record:
    """Leave out how the pixels were read: `Answer.notes` has it."""
    events = {event: n for event, n in record.events.items() if not event.startswith(OF_IMAGE)}
    return msgspec.structs.replace(record, events=events)


def _refuse_other_processes(spread: EngineOptions, own: OwnImages, saved: Outputs) -> None:
    """Refuse other processes for what they would need whole images for."""
    if spread.in_this_process:
        return
    next_step = "leave workers, timeout, worker memory and the engine ray out"
    if own.in_memory:
        raise EarthInstructError(f"pixels in memory stay in this process; {next_step}, or give files")
    if saved.explain is not None:
        raise EarthInstructError(f"--explain draws in this process; {next_step}")


def _refuse_method(source: MethodSource, engine: Engine, saved: Outputs) -> None:
    """Refuse a method that cannot answer from pixels, or cannot draw an explanation if one is asked for."""
    named = source.method if isinstance(source.method, str) else engine.method.name
    if engine.method.control:
        raise EarthInstructError(
            f"method {named!r} is a control: it answers from ground truth, and your images have none"
        )
    if saved.explain is not None and engine.explain is None:
        raise EarthInstructError(f"method {named!r} draws no explanation; leave --explain out")


@checked_arguments
def saved_again(
    run: Path | str,
    *,
    save: Path | str | Sequence[Path | str] = (),
    min_score: float | None = None,
    min_area: str | float | None = None,
    source_crs: str | None = None,
    crs: str | None = None,
    simplify: float = 0.0,
    answered: Callable[[Answer], None] | None = None,
) -> Answers:
    """Save the answers of an earlier `predict` again, in other formats for example. No method is asked.

    Args:
        run: its run folder.
        save: as for `predict`, like all that follow.
        min_score: the least score.
        min_area: the least area.
        source_crs: the reference system of images that name none; None: as for the run.
        crs: the reference system of vector files.
        simplify: how much simpler outlines may be.
        answered: called with each answer.

    Raises:
        EarthInstructError: the folder is not of a run of `predict`, an image is not where it was or has changed, or a
            file cannot be written.
    """
    folder = Path(run)
    asked = read_asked(folder)
    paths = [Path(path) for path in asked.images]
    least = Least.of(min_score, min_area)
    saved = Outputs(save, None, paths, OnGround(crs, simplify))
    saved.check()
    if source_crs is not None:
        _check_source_crs(source_crs)
        asked = msgspec.structs.replace(asked, source_crs=source_crs)
    stored = ImageRun(folder)
    own = OwnImages(paths, reading=asked.reading, source_crs=asked.source_crs, root=Path.cwd())
    aoi = None if asked.aoi is None else Path(asked.aoi[0])
    seen = Area(asked.window, aoi, asked.resolution)  # for the notes that say so
    found = Answering(own, asked, least, saved, seen, answered, folder)
    with stored.locked():
        for path in paths:
            prediction = stored.prediction(path)
            if asked.images[str(path)].startswith(IN_MEMORY):
                found.fail(path, f"{path} was given as pixels in memory; save it from what `predict` returned")
            elif state_of(path) != asked.images[str(path)]:
                found.fail(path, f"image {path} has changed since it was predicted; predict it again")
            elif prediction is None:
                found.fail(path, f"image {path} has no prediction in {folder}; give the command of the run again")
            else:
                found.add(path, prediction)
        return found.answers()


def images_of_run(run: Path | str) -> list[Path]:
    """The images of a run of `predict`, also those that were given as pixels in memory.

    Raises:
        DataError: the folder is not of a run of `predict`.
    """
    return [Path(path) for path in read_asked(Path(run)).images]


def asked_instruction(
    categories: str | Sequence[str] | None, open_ended: bool, parent: str | None, instruction: str | Instruction | None
) -> Instruction:
    """The instruction of the one way in which it is given.

    Raises:
        EarthInstructError: none is given, several are, or it names nothing to find.
    """
    ways = {"categories": categories, "open_ended": open_ended or None, "parent": parent, "instruction": instruction}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise EarthInstructError(f"give one of {', '.join(ways)}; given: {', '.join(given) or 'none'}")
    if categories is not None:
        names = categories.split(",") if isinstance(categories, str) else categories
        return tasks.free_instruction("open_vocabulary", tuple(name.strip() for name in names if name.strip()))
    if parent is not None:
        return tasks.free_instruction("open_subclass", parent=parent)
    if instruction is None:
        return tasks.free_instruction("open_ended")
    return tasks.read_instruction(instruction) if isinstance(instruction, str) else instruction


def _own_images(
    images: Path | str | NDArray[np.uint8] | Sequence[Path | str | NDArray[np.uint8]],
    reading: ImageOptions,
    source_crs: str | None,
) -> OwnImages:
    """The images of `predict`, with names for those that are given as pixels.

    Raises:
        EarthInstructError: an array is no image, an image is given twice, or none is.
    """
    paths, in_memory = list[Path](), dict[Path, NDArray[np.uint8]]()
    for one in [images] if isinstance(images, str | Path | np.ndarray) else images:
        if isinstance(one, np.ndarray):
            name = Path(f"image {len(in_memory)}")
            _check_pixels(name, one)
            in_memory[name] = one
            paths.append(name)
        else:
            paths += images_given(one)
    path, times = Counter(paths or images_given([])).most_common(1)[0]
    if times > 1:
        raise EarthInstructError(f"image {path} is given {times} times; give it once")
    return OwnImages(paths, in_memory, reading, source_crs)


def _check_pixels(name: Path, pixels: NDArray[np.uint8]) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise EarthInstructError(
            f"{name} is an array of {pixels.dtype} and shape {pixels.shape}; expected uint8 RGB, (height, width, 3)"
        )


def images_given(images: Path | str | Sequence[Path | str]) -> list[Path]:
    """The image files; a folder stands for the files in it.

    Raises:
        DataError: a folder has no images, or none is given.
    """
    found: list[Path] = []
    for path in map(Path, [images] if isinstance(images, str | Path) else images):
        inside = images_below(path) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"folder {path} has no images; expected files named {', '.join(IMAGE_SUFFIXES)}")
        found += inside
    if not found:
        raise DataError("no image is given; give a file, several, or a folder")
    return found


def _check_source_crs(crs: str | None) -> None:
    if crs is not None:
        check_crs(crs, "--source-crs")
