"""`predict`: a method on your own images, with the files that the answers are saved to.

Every image, and every tile of a large one, is kept in a run folder as soon as it is predicted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct import tasks
from earthinstruct.contract import HopelessError, Instruction, Method, Prediction
from earthinstruct.datasets import ImageRecord, images_alone
from earthinstruct.errors import DataError, EarthInstructError, checked_arguments
from earthinstruct.images import IMAGE_SUFFIXES, ImageOptions, Scene, Window, images_below, open_scene, scene_of
from earthinstruct.predictions import (
    PLACE,
    POINT_PLACE,
    Found,
    OnGround,
    Record,
    areas_of,
    check_crs,
    check_place,
    counts_of,
    geodataframe_of,
    places_of,
    undrawn_and_uncounted,
)
from earthinstruct.regions import decode_rles
from earthinstruct.results import MethodInfo, Shown
from earthinstruct.running.area import METHOD, Area, resized
from earthinstruct.running.cut_images import answers_of_images
from earthinstruct.running.engines import Engine, EngineOptions, Explain
from earthinstruct.running.engines import engine as open_engine
from earthinstruct.running.engines.worker import OF_IMAGE, MethodSource, in_our_words
from earthinstruct.running.image_run import IN_MEMORY, Asked, ImageRun, read_asked, state_of
from earthinstruct.running.outputs import Outputs, overlay_of
from earthinstruct.running.reading import Images, Tile
from earthinstruct.running.tiles import TILED_ABOVE, Tiling
from earthinstruct.texts import message_of, secret_values, secrets_hidden

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    from PIL.Image import Image

    from earthinstruct.results import Block


@dataclass(frozen=True, eq=False, repr=False)
class Answer(Shown):
    """The answer for one image.

    Attributes:
        path: the image; for pixels in memory, "image 0", "image 1", ...
        prediction: what was found; None: the image failed.
        problem: why it failed; None if it did not.
        notes: how the pixels were read.
        scene: opens the image again.
        remarks: lines below the picture.
    """

    path: Path
    prediction: Prediction | None
    problem: str | None = None
    notes: tuple[str, ...] = ()
    scene: Callable[[], AbstractContextManager[Scene]] | None = field(default=None, repr=False)
    remarks: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The count of each label; empty if the image failed."""
        return {} if self.prediction is None else counts_of(self.prediction)

    def overlay(self) -> Image:
        """Draw what was found over the image, as `save` does.

        Raises:
            DataError: the image failed, or cannot be read again.
        """
        if self.prediction is None or self.scene is None:
            raise DataError(f"image {self.path} failed: {self.problem}")
        with self.scene() as scene:
            return overlay_of(scene, self.prediction, self.remarks)

    def blocks(self) -> Iterator[Block]:
        """A line with the number of each label, then notes."""
        if self.prediction is None:
            yield f"failed: {self.path}: {self.problem}"
        else:
            counts = ", ".join(f"{label} {n}" for label, n in self.counts.items())
            undrawn, uncounted = undrawn_and_uncounted(self.prediction)
            apart = f" ({undrawn} counted but not drawn, {uncounted} drawn but not counted)"
            yield f"{self.path}: {counts or 'nothing found'}{apart if undrawn or uncounted else ''}"
        yield from (f"note: {self.path}: {note}" for note in self.notes)


@dataclass(frozen=True, eq=False, repr=False)
class Answers(Shown):
    """The answers of a method for some images. They iterate in the order of the images.

    Attributes:
        answers: one for each image.
        notes: what happened on the way, and what the method says of itself.
        folder: the run folder, which `saved_again` reads; None: nothing was kept.
        found: the predictions, with the sizes and places of their images.
        about: what made them.
    """

    answers: tuple[Answer, ...]
    notes: tuple[str, ...]
    folder: Path | None = None
    found: tuple[Found, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_failed(self) -> int:
        """How many images failed."""
        return sum(answer.prediction is None for answer in self.answers)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, number: int) -> Answer:
        return self.answers[number]

    def blocks(self) -> Iterator[Block]:
        """A line for each image, then notes."""
        for answer in self.answers:
            yield from answer.blocks()
        yield from self.closing_lines()

    def closing_lines(self) -> Iterator[str]:
        """The notes, how many images failed, and where the answers are kept."""
        yield from (f"note: {note}" for note in self.notes)
        if self.n_failed:
            yield f"{self.n_failed} of {len(self)} images failed"
        if self.folder is not None:
            yield f"kept in {self.folder}"

    def to_pandas(self) -> pd.DataFrame:
        """Every instance, one a row: `image`, `label`, `x`, `y`, `width`, `height` in pixels, and `score`.

        Where a method points, also `point_x` and `point_y`; without boxes, `x` to `height` are missing.
        """
        import pandas as pd

        rows = [
            {"image": str(answer.path), "label": label, **place}
            for answer in self.answers
            if (found := answer.prediction) is not None
            for label, place in zip(found.labels, places_of(Record.of(0, found)), strict=True)
        ]
        columns = ["image", "label", *PLACE]
        columns += [name for name in POINT_PLACE if any(name in row for row in rows)]
        return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:], float))

    def to_geodataframe(self, crs: str | None = None, simplify: float = 0.0) -> gpd.GeoDataFrame:
        """Every instance with its outline on the ground, one a row; see `earthinstruct.predictions.geodataframe_of`."""
        return geodataframe_of(self.found, self.about, OnGround(crs, simplify))


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
    reading = ImageOptions.of(bands, stretch, nodata)
    given = [images] if isinstance(images, str | Path | np.ndarray) else images
    arrays = _arrays([one for one in given if isinstance(one, np.ndarray)])
    names = iter(arrays)
    paths = [
        path for one in given for path in ([next(names)] if isinstance(one, np.ndarray) else images_given(one))
    ] or images_given([])
    _refuse_repeated(paths)
    area, tiling = Area.of(window, aoi, resolution), Tiling(tile, overlap, TILED_ABOVE)
    _check_source_crs(source_crs)
    least = _Least.of(min_score, min_area)
    saved = Outputs(save, explain, paths, OnGround(crs, simplify))
    spread = EngineOptions.of(
        engine,
        workers=workers,
        timeout=timeout,
        worker_memory=worker_memory,
        gpus_per_worker=gpus_per_worker,
        address=address,
    )
    _refuse_other_processes(spread, arrays, saved)
    source = MethodSource(method, parameters)
    here = Path.cwd()  # a method may change the working directory
    states = {str(path): state_of(arrays.get(path, path)) for path in paths}
    aoi_and_state = None if area.aoi is None else (str(area.aoi), state_of(area.aoi))
    opened = _Opened(paths, arrays, reading, source_crs, area, saved)
    with secrets_hidden(parameters), open_engine(spread, source, opened.images) as ready:
        _refuse_method(source, ready, saved)
        saved.check()
        if area.resolution == METHOD:
            area = area.at_resolution_of(ready.method.name, ready.ask("resolution"))
        warnings = _warnings(ready, to_find)
        asked = Asked(
            to_find,
            ready.method,
            states,
            reading,
            tile,
            overlap,
            area.window,
            aoi_and_state,
            None if area.resolution is None else float(area.resolution),
            source_crs,
            warnings,
        )
        if warned is not None:
            for warning in warnings:
                warned(warning)
        folder = None if output is None else asked.place(Path(output))
        secrets = secret_values(parameters or {})
        found = _Answering(paths, asked, least, saved, answered, folder, area, arrays, here, secrets)
        with nullcontext() if folder is None else ImageRun(here / folder).open(asked, overwrite=overwrite) as run:
            opened.cut(area, tiling, ready.method.largest_side)
            _find(ready, opened, run, found, progress, stopping)
            return found.answers()


def _find(
    engine: Engine,
    opened: _Opened,
    run: ImageRun | None,
    found: _Answering,
    progress: Callable[[int, int], None] | None,
    stopping: Callable[[], bool],
) -> None:
    """Ask about the images that have no prediction, and give each answer to `found` as soon as it is there."""
    paths, question = found.paths, _Question(found.asked.instruction)
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
                found.add(path, before, engine.explain, before=True)
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
                found.add(path, record.prediction(), engine.explain, before=False)
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


class _Opened:
    """The images as an engine reads them.

    Attributes:
        images: the images that can be opened, and empty entries for the others.
        problems: why the others cannot.
        windows: the tiles of the images that are cut, or of which a part is predicted.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        arrays: Mapping[Path, NDArray[np.uint8]],
        reading: ImageOptions,
        source_crs: str | None,
        area: Area,
        saved: Outputs,
    ) -> None:
        """Open each image.

        Raises:
            EarthInstructError: the only image cannot be opened, or has no place where one is needed.
        """
        self.problems: dict[Path, str] = {}
        self.windows: dict[int, list[Window]] = {}
        self._paths = paths
        records = []
        for path in paths:
            height = width = 0
            with self._named(path), _opening(path, arrays, reading, source_crs)() as scene:
                if saved.on_ground:
                    check_place(path, scene.place, scene.no_place_reason)
                height, width = scene.height, scene.width
            records.append(ImageRecord(str(path), str(path), width, height))
        pixels = {i: arrays[path] for i, path in enumerate(paths) if path in arrays}
        dataset = images_alone(records, Path.cwd(), reading)  # workers may have another working directory
        self.images = Images(dataset, area, source_crs, in_memory=pixels)

    def cut(self, area: Area, tiling: Tiling, largest_side: int | None) -> None:
        """Find the part of each image that is looked at, and cut it into tiles.

        Raises:
            EarthInstructError: the only image does not reach into the area, or the overlap is out of range.
        """
        self.images, seen = replace(self.images, area=area), {}
        for i, path in enumerate(self._paths):
            if path in self.problems:
                continue
            part = None
            with self._named(path), self.images.open(i) as opened:
                part, size = opened.window, (opened.scene.height, opened.scene.width)
            if part is None:
                continue
            stored = self.images.size_of(Tile(i))
            tiles = tiling.windows(part, largest_side)
            if size != stored:
                seen[i] = size
            if size != stored or tiles != [(0, 0, stored[1], stored[0])]:
                self.windows[i] = tiles
        self.images = replace(self.images, seen=seen)

    def as_stored(self, image: int, record: Record) -> Record:
        """The record of an image in the pixels of its file."""
        if image not in self.images.seen or record.error is not None:
            return record
        stored = self.images.dataset.images[image]
        found = resized(record.prediction(), self.images.seen[image], (stored.height, stored.width))
        return Record.of(record.image_id, found)

    @contextmanager
    def _named(self, path: Path) -> Iterator[None]:
        """Note why an image cannot be opened; the other images go on."""
        try:
            yield
        except Exception as error:
            if len(self._paths) == 1:
                raise
            self.problems[path] = in_our_words(error, ())


def _opening(
    path: Path,
    arrays: Mapping[Path, NDArray[np.uint8]],
    reading: ImageOptions,
    source_crs: str | None,
    root: Path = Path(),
) -> Callable[[], AbstractContextManager[Scene]]:
    """What opens an image, whose path is relative to a folder."""
    return (
        partial(_in_memory, arrays[path]) if path in arrays else partial(open_scene, root / path, reading, source_crs)
    )


def _refuse_other_processes(spread: EngineOptions, arrays: Mapping[Path, NDArray[np.uint8]], saved: Outputs) -> None:
    """Refuse other processes for what they would need whole images for."""
    if spread.in_this_process:
        return
    for given, what in ((arrays, "pixels in memory stay"), (saved.explain, "--explain draws")):
        if given:
            raise EarthInstructError(
                f"{what} in this process; leave workers, timeout, worker memory and the engine ray out"
                + ("" if given is saved.explain else ", or give files")
            )


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
    least = _Least.of(min_score, min_area)
    saved = Outputs(save, None, paths, OnGround(crs, simplify))
    saved.check()
    if source_crs is not None:
        _check_source_crs(source_crs)
        asked = msgspec.structs.replace(asked, source_crs=source_crs)
    stored = ImageRun(folder)

    aoi = None if asked.aoi is None else Path(asked.aoi[0])
    seen = Area(asked.window, aoi, asked.resolution)  # for the notes that say so
    found = _Answering(paths, asked, least, saved, answered, folder, seen, root=Path.cwd())
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


class _Answering:
    """The answers so far. Each is told, and its pictures are saved, as soon as it is there."""

    def __init__(
        self,
        paths: Sequence[Path],
        asked: Asked,
        least: _Least,
        saved: Outputs,
        answered: Callable[[Answer], None] | None,
        folder: Path | None,
        area: Area | None = None,
        arrays: Mapping[Path, NDArray[np.uint8]] = MappingProxyType({}),
        root: Path = Path(),
        secrets: Sequence[str] = (),
    ) -> None:
        self.paths = paths
        self.asked = asked
        self._least = least
        self._saved = saved
        self._answered = answered
        self._folder = folder
        self._area = area or Area()
        self._root = root
        self._arrays = arrays
        self._secrets = secrets
        self._remarks = _remarks(asked.method)
        self._found: dict[Path, Found] = {}
        self._answers: dict[Path, Answer] = {}
        self._events: Counter[str] = Counter()
        self._n_before = self._n_left_out = self.n_tiles_before = 0

    def add(self, path: Path, prediction: Prediction, explain: Explain | None = None, *, before: bool = False) -> None:
        """Add what was found in an image, and save its pictures.

        Args:
            path: the image.
            prediction: what was found.
            explain: what draws how the method decided.
            before: whether an earlier run found it.

        Raises:
            HopelessError: the explanation raised it.
            EarthInstructError: the only image failed, because it cannot be read again, or a picture cannot be saved.
        """
        opening = _opening(path, self._arrays, self.asked.reading, self.asked.source_crs, self._root)
        try:
            with opening() as scene:
                if self._saved.on_ground:
                    check_place(path, scene.place, scene.no_place_reason)
                shown = self._least.of_image(Found(path, scene.height, scene.width, scene.place, prediction))
                kept = _with_counts(shown.prediction, self.asked.instruction)
                picture = None
                if explain is not None and self._saved.explain is not None:
                    seen = self._area.of_scene(path, scene)
                    picture = explain(seen.read(seen.window)[0], self.asked.instruction)
                notes = (*map(str, self._area.notes(scene)), *self._unused_crs(scene))
                remarks = (*self._remarks, *notes)
                self._saved.save_pictures(path, scene, kept, picture, remarks)
                answer = Answer(path, kept, notes=notes, scene=opening, remarks=remarks)
        except (HopelessError, KeyboardInterrupt):
            raise
        except BaseException as error:  # also sys.exit() in a method; the reason is given, and the other images go on
            self.fail(path, in_our_words(error, self._secrets))
            return
        self._found[path] = replace(shown, prediction=kept, notes=notes)
        self._n_left_out += len(prediction) - len(kept)
        self._n_before += before
        self._events.update(prediction.usage.events)
        self._add(answer)

    def _unused_crs(self, scene: Scene) -> Iterator[str]:
        """A note where --source-crs is not used, because the image names its reference system."""
        given, place = self.asked.source_crs, scene.place
        if given is not None and place is not None and place.crs is not None and place.crs.upper() != given.upper():
            yield f"it names its coordinate reference system, {place.crs[:80]}: --source-crs {given} is not used"

    def fail(self, path: Path, problem: str) -> None:
        """Add the reason why an image failed.

        Raises:
            EarthInstructError: it is the only image.
        """
        if len(self.paths) == 1:  # `from None`: what the method raised is in the words
            raise EarthInstructError(problem if str(path) in problem else f"image {path}: {problem}") from None
        self._add(Answer(path, None, problem))

    def _add(self, answer: Answer) -> None:
        self._answers[answer.path] = answer
        if self._answered is not None:
            self._answered(answer)

    def answers(self) -> Answers:
        """Save the files of all images, and return the answers in the order of the images."""
        asked, answers = self.asked, tuple(self._answers[path] for path in self.paths)
        found = tuple(self._found[path] for path in self.paths if path in self._found)
        about: dict[str, Any] = {
            "method": asked.method.name,
            "version": asked.method.version,
            "run": None if self._folder is None else str(self._folder),
            "instruction": asked.instruction.text,
            "notes": [*asked.warnings, *self._remarks, *asked.method.notes],
            "failed": {str(answer.path): answer.problem for answer in answers if answer.prediction is None},
        }
        self._saved.save_files(found, about)
        notes = [f"{event}: {n}" for event, n in self._events.items()]
        if self._n_left_out:
            notes.append(f"{self._n_left_out} objects are left out by --min-score or --min-area")
        if self._n_before:
            n_all = len(self.paths)
            notes.append(f"{self._n_before} of {n_all} images were predicted before; --overwrite predicts them again")
        if self.n_tiles_before:
            notes.append(f"{self.n_tiles_before} tiles were answered before; --overwrite asks about them again")
        return Answers(answers, (*notes, *about["notes"]), self._folder, found, about)


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


def _arrays(arrays: Sequence[NDArray[np.uint8]]) -> dict[Path, NDArray[np.uint8]]:
    """The images that are given as pixels, with their names.

    Raises:
        EarthInstructError: an array is no image.
    """
    for number, pixels in enumerate(arrays):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise EarthInstructError(
                f"image {number} is an array of {pixels.dtype} and shape {pixels.shape}; expected uint8 RGB, "
                "(height, width, 3)"
            )
    return {Path(f"image {number}"): pixels for number, pixels in enumerate(arrays)}


def _refuse_repeated(paths: Sequence[Path]) -> None:
    path, times = Counter(paths).most_common(1)[0]
    if times > 1:
        raise EarthInstructError(f"image {path} is given {times} times; give it once")


def _in_memory(pixels: NDArray[np.uint8]) -> AbstractContextManager[Scene]:
    return nullcontext(scene_of(pixels))


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


def _with_counts(prediction: Prediction, instruction: Instruction) -> Prediction:
    """Give a prediction counts: 0 for categories that were asked for and not found, and for no other label."""
    counted = {label: n for label, n in counts_of(prediction).items() if n}
    return replace(prediction, counts=dict.fromkeys(instruction.categories, 0) | counted)


@dataclass(frozen=True)
class _Least:
    """The least score and area of an instance that is shown and saved; None: any."""

    score: float | None = None
    pixels: float | None = None
    square_metres: float | None = None

    @staticmethod
    def of(score: float | None, area: str | float | None) -> _Least:
        """Read the options.

        Raises:
            EarthInstructError: the area is neither a number of pixels nor of m2.
        """
        number, unit = str(area).removesuffix("m2"), str(area).endswith("m2")
        try:
            least = 0.0 if area is None else float(number)
            if not 0 <= least < math.inf:
                raise ValueError
        except ValueError:
            raise EarthInstructError(f"--min-area is {area!r}; expected pixels, such as 20, or '20 m2'") from None
        return _Least(score, None if area is None or unit else least, least if unit else None)

    def of_image(self, found: Found) -> Found:
        """Leave smaller instances, and those with a lower score, out of one image.

        Raises:
            DataError: the prediction has no scores, or areas are not known.
        """
        prediction = found.prediction
        if not len(prediction):
            return found
        if prediction.boxes is None and not (self.pixels is None and self.square_metres is None):
            raise DataError(f"image {found.path}: points have no area; leave --min-area out")
        kept = np.ones(len(prediction), dtype=bool)
        if self.score is not None:
            if prediction.scores is None:
                raise DataError(f"image {found.path}: the method gives no scores; leave --min-score out")
            kept &= prediction.scores >= self.score
        if self.pixels is not None and prediction.boxes is not None:
            boxes = prediction.boxes[:, 2:].prod(axis=1)
            areas = boxes if prediction.masks is None else decode_rles(prediction.masks).areas
            kept &= areas >= self.pixels
        if self.square_metres is not None:
            kept &= areas_of(found) >= self.square_metres
        chosen = np.flatnonzero(kept)
        if len(chosen) == len(prediction):
            return found
        labels = tuple(prediction.labels[i] for i in chosen)
        left_out = Counter(prediction.labels) - Counter(labels)
        counts = {label: max(0, n - left_out[label]) for label, n in (prediction.counts or {}).items()}
        return replace(
            found,
            prediction=replace(
                prediction,
                labels=labels,
                counts=None if prediction.counts is None else counts,
                boxes=None if prediction.boxes is None else prediction.boxes[chosen],
                points=None if prediction.points is None else prediction.points[chosen],
                masks=None if prediction.masks is None else tuple(prediction.masks[i] for i in chosen),
                scores=None if prediction.scores is None else prediction.scores[chosen],
                tiles=None if prediction.tiles is None else tuple(prediction.tiles[i] for i in chosen),
            ),
        )


def _remarks(method: MethodInfo) -> tuple[str, ...]:
    """What every output says: that the method was made for other images."""
    if method.made_for is None:
        return ()
    return (f"{method.name} was made for {', '.join(method.made_for)}; other images are out of its domain",)


def _warnings(engine: Engine, instruction: Instruction) -> tuple[str, ...]:
    """What is known before the first image: words that the method does not know."""
    words = engine.ask("unknown_words", instruction)
    return (f"{engine.method.name} does not know {', '.join(map(repr, words))}, and will find none",) if words else ()


def _check_source_crs(crs: str | None) -> None:
    if crs is not None:
        check_crs(crs, "--source-crs")
