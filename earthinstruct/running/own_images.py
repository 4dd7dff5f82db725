"""`predict`: a method on your own images, with the files that the answers are saved to.

Every image, and every tile of a large one, is kept in a run folder as soon as it is predicted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct import tasks
from earthinstruct.contract import (
    ControlMethod,
    HopelessError,
    Instruction,
    Method,
    Prediction,
    Usage,
    optional_member,
)
from earthinstruct.errors import DataError, EarthInstructError, checked_arguments
from earthinstruct.images import IMAGE_SUFFIXES, ImageOptions, Scene, images_below, open_scene, scene_of
from earthinstruct.predictions import (
    Found,
    OnGround,
    areas_of,
    counts_of,
    geodataframe_of,
    undrawn_and_uncounted,
)
from earthinstruct.regions import decode_rles
from earthinstruct.results import MethodInfo, Shown, method_info
from earthinstruct.running.area import Area, AreaOfScene
from earthinstruct.running.engines.worker import MethodSource, in_our_words, in_words
from earthinstruct.running.image_run import Asked, ImageRun, read_asked, state_of
from earthinstruct.running.targets import Targets, check_place, overlay_of
from earthinstruct.running.tiles import TILE, TILED_ABOVE, predict_windows, tile_windows
from earthinstruct.texts import message_of, redacted, secret_values, secrets_hidden

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    from PIL.Image import Image

    from earthinstruct.results import Block


@dataclass(frozen=True, eq=False)
class Answer(Shown):
    """The answer for one image.

    Attributes:
        path: the image; for pixels in memory, "image 0", "image 1", ...
        prediction: what was found; None: the image failed.
        problem: why it failed; None if it did not.
        notes: how the pixels were read.
        scene: opens the image again.
    """

    path: Path
    prediction: Prediction | None
    problem: str | None = None
    notes: tuple[str, ...] = ()
    scene: Callable[[], AbstractContextManager[Scene]] | None = field(default=None, repr=False)

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
            return overlay_of(scene, self.prediction)

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


@dataclass(frozen=True, eq=False)
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
        yield from self.remarks()

    def remarks(self) -> Iterator[str]:
        """The notes, how many images failed, and where the answers are kept."""
        yield from (f"note: {note}" for note in self.notes)
        if self.n_failed:
            yield f"{self.n_failed} of {len(self)} images failed"
        if self.folder is not None:
            yield f"kept in {self.folder}"

    def to_pandas(self) -> pd.DataFrame:
        """Every instance, one a row: `image`, `label`, `x`, `y`, `width`, `height` in pixels, and `score`."""
        import pandas as pd

        rows = [
            (str(answer.path), label, *found.boxes[i], None if found.scores is None else found.scores[i])
            for answer in self.answers
            if (found := answer.prediction) is not None and found.boxes is not None
            for i, label in enumerate(found.labels)
        ]
        columns = ("image", "label", "x", "y", "width", "height", "score")
        return pd.DataFrame(rows, columns=list(columns)).astype({"score": float})

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
    min_score: float | None = None,
    min_area: str | float | None = None,
    crs: str | None = None,
    simplify: float = 0.0,
    explain: Path | str | None = None,
    output: Path | str | None = "runs",
    overwrite: bool = False,
    progress: Callable[[float, int], None] | None = None,
    answered: Callable[[Answer], None] | None = None,
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
        tile: side of the tiles in pixels; 0: never cut; None: 1024, where a side is longer than 2048.
        overlap: pixels that neighbouring tiles share; None: an eighth of a tile.
        bands: the bands of a raster to show, from 1; a sequence, or text with commas; None: those that the file names
            as red, green and blue, otherwise the first three.
        stretch: how values of more than 8 bits are shown: "joint", "band", "none", or the two values that become 0 and
            255; None: see `earthinstruct.images.ImageOptions`.
        nodata: pixels with this value in every band have no data, beside those that the file marks.
        window: predict this part of each image: column, row, width and height in pixels.
        aoi: a vector file; predict what lies in its areas, whatever their reference system. Pixels outside are shown to
            the method as pixels without data.
        min_score: leave instances with a lower score out of all that is shown and saved; they stay in the run folder.
        min_area: likewise, smaller ones: a number of pixels, or text such as "20 m2".
        crs: the coordinate reference system of vector files; None: longitude and latitude in GeoJSON, as RFC 7946 asks,
            and that of the images in others, if they share one.
        simplify: by how many pixels outlines in vector files may move to have fewer points.
        explain: where to save a picture of how the method decided, as for `save`.
        output: where answers are kept, in a folder of this run below `<output>/predict/`; None: nowhere.
        overwrite: forget what an earlier run found.
        progress: called after each tile with the images done, also in part, and their number.
        answered: called with each answer as soon as it is there and its pictures are saved.

    Raises:
        EarthInstructError: invalid input, the only image failed, a file cannot be written, or the run folder is of a
            run with other parameters.
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
    area = Area.of(window, aoi)
    least = _Least.of(min_score, min_area)
    saved = Targets(save, explain, paths, OnGround(crs, simplify))
    source = MethodSource(method, parameters)
    with secrets_hidden(parameters):
        ready = _answering(source, saved.explain is not None)
        try:
            saved.check()
            states = {str(path): state_of(arrays.get(path, path)) for path in paths}
            asked = Asked(
                to_find,
                method_info(ready, parameters=parameters),
                states,
                reading,
                tile,
                overlap,
                area.window,
                None if area.aoi is None else (str(area.aoi), state_of(area.aoi)),
            )
            folder = None if output is None else asked.place(Path(output))
            secrets = secret_values(parameters or {})
            hopeless: str | None = None  # why the method is asked no more
            with nullcontext() if folder is None else ImageRun(folder).open(asked, overwrite=overwrite) as run:

                def find(path: Path, scene: Scene, number: int) -> _Answered:
                    nonlocal hopeless
                    kept = None if run is None else run.prediction(path)
                    prediction, picture = kept, None
                    if hopeless is not None and (kept is None or saved.explain is not None):
                        raise EarthInstructError(hopeless)
                    try:
                        if prediction is None:
                            part = area.of_scene(path, scene)
                            part_done = _part(progress, number, len(paths))
                            prediction = _predict(ready, part, asked, run, path, part_done, secrets)
                            if run is not None:
                                run.keep(path, prediction)
                        if progress is not None:
                            progress(number + 1, len(paths))
                        if saved.explain is not None:
                            picture = optional_member(ready, "explain")(scene.read()[0], to_find)
                    except HopelessError as error:
                        hopeless = f"not tried, after the error of {path}: {message_of(error)}"
                        raise
                    return _Answered(prediction, picture, kept is not None)

                return _answers(paths, asked, least, saved, find, secrets, answered, folder, arrays)
        finally:
            source.close(ready)


@checked_arguments
def saved_again(
    run: Path | str,
    *,
    save: Path | str | Sequence[Path | str] = (),
    min_score: float | None = None,
    min_area: str | float | None = None,
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
    saved = Targets(save, None, paths, OnGround(crs, simplify))
    saved.check()
    stored = ImageRun(folder)

    def find(path: Path, scene: Scene, number: int) -> _Answered:
        if asked.images[str(path)].startswith("("):
            raise DataError(f"{path} was given as pixels in memory; save it from what `predict` returned")
        if state_of(path) != asked.images[str(path)]:
            raise DataError(f"image {path} has changed since it was predicted; predict it again")
        prediction = stored.prediction(path)
        if prediction is None:
            raise DataError(f"image {path} has no prediction in {folder}; go on with the command that began this run")
        return _Answered(prediction, None, False)

    with stored.locked():
        return _answers(paths, asked, least, saved, find, (), answered, folder)


@dataclass(frozen=True, eq=False)
class _Answered:
    """What was found in an image, the picture that explains it, and whether it was found by an earlier run."""

    prediction: Prediction
    picture: NDArray[np.uint8] | None
    before: bool


def _answers(
    paths: Sequence[Path],
    asked: Asked,
    least: _Least,
    saved: Targets,
    find: Callable[[Path, Scene, int], _Answered],
    secrets: Sequence[str],
    answered: Callable[[Answer], None] | None,
    folder: Path | None,
    arrays: Mapping[Path, NDArray[np.uint8]] = MappingProxyType({}),
) -> Answers:
    """Find, save and tell, image by image; then save the files of all images."""
    found: list[Found] = []
    answers: list[Answer] = []
    events: Counter[str] = Counter()
    n_before = n_left_out = 0
    remarks = _remarks(asked.method)
    for number, path in enumerate(paths):
        try:
            pixels = arrays.get(path)
            again = partial(open_scene, path, asked.reading) if pixels is None else partial(_in_memory, pixels)
            with again() as scene:
                if saved.on_ground:
                    check_place(path, scene)
                one = find(path, scene, number)
                shown = least.of_image(Found(path, scene.height, scene.width, scene.place, one.prediction))
                prediction = _with_counts(shown.prediction, asked.instruction)
                n_left_out += len(one.prediction) - len(prediction)
                saved.save_pictures(path, scene, prediction, one.picture, remarks)
                found.append(replace(shown, prediction=prediction))
                answer = Answer(path, prediction, notes=tuple(map(str, scene.notes)), scene=again)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also sys.exit() in a method; the reason is given, and the other images go on
            if len(paths) == 1 and isinstance(error, EarthInstructError):
                raise
            if len(paths) == 1:
                raise EarthInstructError(f"image {path}: {in_words(error, secrets)}") from error
            answer = Answer(path, None, in_our_words(error, secrets))
        else:
            events.update(one.prediction.usage.events)
            n_before += one.before
        answers.append(answer)
        if answered is not None:
            answered(answer)
    about: dict[str, Any] = {
        "method": asked.method.name,
        "version": asked.method.version,
        "run": None if folder is None else str(folder),
        "instruction": asked.instruction.text,
        "notes": [*remarks, *asked.method.notes],
        "failed": {str(answer.path): answer.problem for answer in answers if answer.prediction is None},
    }
    saved.save_files(found, about)
    notes = [f"{n} {event}" for event, n in events.items()]
    if n_left_out:
        notes.append(f"{n_left_out} objects are left out by --min-score or --min-area")
    if n_before:
        notes.append(f"{n_before} of {len(paths)} images were predicted before; --overwrite predicts them again")
    return Answers(tuple(answers), (*notes, *about["notes"]), folder, tuple(found), about)


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


def _answering(source: MethodSource, explains: bool) -> Method:
    """The method, which must answer from pixels, and draw an explanation if one is asked for."""
    method = source.make()
    named = source.method if isinstance(source.method, str) else method.name
    if isinstance(method, ControlMethod):
        raise EarthInstructError(
            f"method {named!r} is a control: it answers from ground truth, and your images have none"
        )
    if explains and optional_member(method, "explain") is None:
        raise EarthInstructError(f"method {named!r} draws no explanation; leave --explain out")
    return method


def _part(
    progress: Callable[[float, int], None] | None, number: int, n_images: int
) -> Callable[[int, int], None] | None:
    """The progress within one image."""
    return None if progress is None else lambda done, tiles: progress(number + done / tiles, n_images)


def _predict(
    method: Method,
    part: AreaOfScene,
    asked: Asked,
    run: ImageRun | None,
    path: Path,
    progress: Callable[[int, int], None] | None,
    secrets: Sequence[str],
) -> Prediction:
    """The prediction for a part of an image, cut into tiles where that is asked for, or where it is large.

    Its events hold no secrets.
    """
    x0, y0, x1, y1 = part.window
    longest = max(x1 - x0, y1 - y0)
    tile = asked.tile
    if tile is None:
        tile = TILE if longest > TILED_ABOVE else 0
    overlap = tile // 8 if asked.overlap is None else asked.overlap
    windows = [
        (left + x0, top + y0, right + x0, bottom + y0)
        for left, top, right, bottom in tile_windows(y1 - y0, x1 - x0, tile or longest, overlap if tile else 0)
    ]
    return predict_windows(
        _Discreet(method, secrets),
        part.read,
        asked.instruction,
        windows,
        part.scene.height,
        part.scene.width,
        kept=None if run is None or len(windows) == 1 else run.tiles(path),
        progress=progress,
    )


class _Discreet:
    """A method whose events hold no secrets."""

    def __init__(self, method: Method, secrets: Sequence[str]) -> None:
        self.name, self._method, self._secrets = method.name, method, secrets

    def predict(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Prediction:
        """Predict with the method."""
        prediction = self._method.predict(image, instruction)
        usage = getattr(prediction, "usage", None)
        if not isinstance(usage, Usage) or not usage.events:
            return prediction
        events = {redacted(event, self._secrets): n for event, n in usage.events.items()}
        return replace(prediction, usage=replace(usage, events=events))


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
            DataError: the prediction has no scores, or areas on the ground are not known.
        """
        prediction = found.prediction
        if prediction.boxes is None or not len(prediction):
            return found
        kept = np.ones(len(prediction), dtype=bool)
        if self.score is not None:
            if prediction.scores is None:
                raise DataError(f"image {found.path}: the method gives no scores; leave --min-score out")
            kept &= prediction.scores >= self.score
        if self.pixels is not None:
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
                boxes=prediction.boxes[chosen],
                masks=None if prediction.masks is None else tuple(prediction.masks[i] for i in chosen),
                scores=None if prediction.scores is None else prediction.scores[chosen],
            ),
        )


def _remarks(method: MethodInfo) -> tuple[str, ...]:
    """What every output says: that the method was made for other images."""
    if method.made_for is None:
        return ()
    return (f"{method.name} was made for {', '.join(method.made_for)}; other images are out of its domain",)
