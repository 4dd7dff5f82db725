"""`predict`: a method on your own images, with the files that the answers are saved to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct import tasks
from earthinstruct.contract import ControlMethod, HopelessError, Instruction, Method, Prediction, optional_member
from earthinstruct.errors import DataError, EarthInstructError, checked_arguments
from earthinstruct.files import as_json
from earthinstruct.images import IMAGE_SUFFIXES, ImageOptions, Raster, draw_overlay, images_below, read_raster
from earthinstruct.predictions import Found, Record, check_places, coco_of, geojson_of
from earthinstruct.redaction import redacted, secret_values, secrets_hidden
from earthinstruct.results import Shown, method_info
from earthinstruct.running.engines.worker import MethodSource, in_our_words, in_words
from earthinstruct.running.tiles import TILE, TILED_ABOVE, predict_tiled

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

    from earthinstruct.results import Block

_PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, eq=False)
class Answer(Shown):
    """The answer for one image.

    Attributes:
        path: the image.
        prediction: what was found; None: the image failed.
        problem: why it failed; None if it did not.
        notes: how the pixels were read.
    """

    path: Path
    prediction: Prediction | None
    problem: str | None = None
    notes: tuple[str, ...] = ()

    def blocks(self) -> Iterator[Block]:
        """A line with the number of each label, then notes."""
        if self.prediction is None:
            yield f"failed: {self.path}: {self.problem}"
        else:
            counts = _counts(self.prediction)
            yield f"{self.path}: {', '.join(f'{label} {n}' for label, n in counts.items()) or 'nothing found'}"
        yield from (f"note: {self.path}: {note}" for note in self.notes)


@dataclass(frozen=True, eq=False)
class Answers(Shown):
    """The answers of a method for some images. They iterate in the order of the images.

    Attributes:
        answers: one for each image.
        notes: what happened on the way, and what the method says of itself.
    """

    answers: tuple[Answer, ...]
    notes: tuple[str, ...]

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
        """The notes, and how many images failed."""
        yield from (f"note: {note}" for note in self.notes)
        if self.n_failed:
            yield f"{self.n_failed} of {len(self)} images failed"

    def to_pandas(self) -> pd.DataFrame:
        """Every instance, one a row: `image`, `label`, `x`, `y`, `width`, `height` in pixels, and `score`."""
        import pandas as pd

        rows = [
            (str(answer.path), label, *found.boxes[i], None if found.scores is None else found.scores[i])
            for answer in self.answers
            if (found := answer.prediction) is not None
            for i, label in enumerate(found.labels)
        ]
        columns = ("image", "label", "x", "y", "width", "height", "score")
        return pd.DataFrame(rows, columns=list(columns)).astype({"score": float})


@checked_arguments
def predict(
    method: str | Method,
    images: Path | str | Sequence[Path | str],
    *,
    categories: str | Sequence[str] | None = None,
    open_ended: bool = False,
    parent: str | None = None,
    instruction: str | Instruction | None = None,
    parameters: Mapping[str, Any] | None = None,
    save: Path | str | Sequence[Path | str] = (),
    tile: int | None = None,
    overlap: int | None = None,
    bands: str | Sequence[int] | None = None,
    stretch: str | Sequence[float] | None = None,
    nodata: float | None = None,
    explain: Path | str | None = None,
    progress: Callable[[float, int], None] | None = None,
    answered: Callable[[Answer], None] | None = None,
) -> Answers:
    """Run a method on your own images. What to find is given in exactly one way.

    Of several images, one that fails is named and the others go on.

    Args:
        method: a method, or the name of one.
        images: image files, or folders of them.
        categories: find these; a sequence, or text with commas.
        open_ended: find everything.
        parent: find every kind of one category, such as "sports field".
        instruction: what to find, in your own words, or as an `Instruction`.
        parameters: keyword arguments of the method, when it is given by name.
        save: where to save the answers, by suffix: `.png` or `.jpg`, a picture; `.json`; `.coco.json`; `.geojson`;
            without a suffix, a folder of pictures.
        tile: side of the tiles in pixels; 0: never cut; None: 1024, where a side is longer than 2048.
        overlap: pixels that neighbouring tiles share; None: an eighth of a tile.
        bands: the bands of a raster to show, from 1; a sequence, or text with commas; None: those that the file names
            as red, green and blue, otherwise the first three.
        stretch: how values of more than 8 bits are shown: "joint", "band", "none", or the two values that become 0 and
            255; None: see `earthinstruct.images.ImageOptions`.
        nodata: pixels with this value in every band have no data, beside those that the file marks.
        explain: where to save a picture of how the method decided, as for `save`.
        progress: called after each tile with the images done, also in part, and their number.
        answered: called with each answer as soon as it is there and its pictures are saved.

    Raises:
        EarthInstructError: invalid input, or the only image failed.
    """
    asked = asked_instruction(categories, open_ended, parent, instruction)
    options = ImageOptions.of(bands, stretch, nodata)
    paths = images_given(images)
    targets = [Path(save)] if isinstance(save, str | Path) else [Path(target) for target in save]
    saved = _Targets(targets, None if explain is None else Path(explain), paths)
    source = MethodSource(method, parameters)
    secrets = secret_values(parameters or {})
    with secrets_hidden(parameters):
        ready = _answering(source, saved.explain is not None)
        try:
            found: list[Found] = []
            answers: list[Answer] = []
            events: Counter[str] = Counter()
            hopeless: str | None = None  # why no further image is asked about
            for number, path in enumerate(paths):
                try:
                    if hopeless is not None:
                        raise EarthInstructError(hopeless)
                    raster = read_raster(path, options)
                    if saved.on_ground:
                        _check_place(path, raster)
                        check_places([*((image.path, image.place) for image in found), (path, raster.place)])
                    prediction = _predict(
                        ready, raster.pixels, asked, tile, overlap, _part(progress, number, len(paths))
                    )
                    picture = None if saved.explain is None else optional_member(ready, "explain")(raster.pixels, asked)
                except Exception as error:  # the reason is given, and the other images go on
                    if len(paths) == 1 and isinstance(error, EarthInstructError):
                        raise
                    if len(paths) == 1:
                        raise EarthInstructError(f"image {path}: {in_words(error, secrets)}") from error
                    answer = Answer(path, None, in_our_words(error, secrets))
                    if isinstance(error, HopelessError):
                        hopeless = f"not tried, after the error of {path}: {answer.problem}"
                else:
                    saved.save_pictures(path, raster, prediction, picture)
                    height, width = raster.pixels.shape[:2]
                    found.append(Found(path, height, width, raster.place, prediction))
                    events.update(prediction.usage.events)
                    answer = Answer(path, prediction, notes=tuple(map(str, raster.notes)))
                answers.append(answer)
                if answered is not None:
                    answered(answer)
            saved.save_files(found)
            notes = (
                *(f"{n} {redacted(event, secrets)}" for event, n in events.items()),
                *method_info(ready, parameters=parameters).notes,
            )
            return Answers(tuple(answers), notes)
        finally:
            source.close(ready)


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


def refuse_to_replace(option: str, target: Path, images: Sequence[Path]) -> None:
    """Refuse a file to write that is one of the images.

    Raises:
        EarthInstructError: it is one.
    """
    if target.resolve() in {image.resolve() for image in images}:
        raise EarthInstructError(f"--{option} {target} would replace that image; give another name")


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
    pixels: NDArray[np.uint8],
    instruction: Instruction,
    tile: int | None,
    overlap: int | None,
    progress: Callable[[int, int], None] | None,
) -> Prediction:
    """The answer for one image, cut into tiles where that is asked for, or where it is large."""
    longest = max(pixels.shape[:2])
    if tile is None:
        tile = TILE if longest > TILED_ABOVE else 0
    if tile == 0:
        return predict_tiled(method, pixels, instruction, tile=longest, overlap=0, progress=progress)
    overlap = tile // 8 if overlap is None else overlap
    return predict_tiled(method, pixels, instruction, tile=tile, overlap=overlap, progress=progress)


def _counts(prediction: Prediction) -> dict[str, int]:
    counts = prediction.counts or dict(sorted(Counter(prediction.labels).items()))
    return {label: count for label, count in counts.items() if count}


def _check_place(path: Path, raster: Raster) -> None:
    """Refuse an image whose place in a GeoJSON file would be missing or wrong.

    Raises:
        DataError: it has no georeference, or does not name its coordinate reference system.
    """
    if raster.place is None:
        raise DataError(
            f"image {path} has no georeference, which GeoJSON needs: {raster.no_place_reason}. Give a georeferenced "
            "image, or save pixel coordinates as NAME.coco.json"
        )
    if raster.place.crs is None:
        raise DataError(
            f"image {path} does not name its coordinate reference system, and GeoJSON would be read as longitude and "
            f"latitude; assign it, for example: gdal_edit.py -a_srs EPSG:32631 {path.name}"
        )


class _Targets:
    """Where answers are saved: pictures image by image, files of all images at the end.

    Raises:
        EarthInstructError: a target would replace an image, has an unknown suffix, or cannot hold every picture.
    """

    def __init__(self, targets: Sequence[Path], explain: Path | None, images: Sequence[Path]) -> None:
        self.explain = explain
        self._pictures = [target for target in targets if _format(target) is None]
        self._files = [(target, suffix) for target in targets if (suffix := _format(target)) is not None]
        if explain is not None:
            refuse_to_replace("explain", explain, images)
        for target in targets:
            refuse_to_replace("save", target, images)
        for target in (*self._pictures, *([explain] if explain else [])):
            _check_pictures(target, images)

    @property
    def on_ground(self) -> bool:
        """Whether images must know their place on the ground."""
        return any(suffix == ".geojson" for _, suffix in self._files)

    def save_pictures(
        self, path: Path, raster: Raster, prediction: Prediction, explanation: NDArray[np.uint8] | None
    ) -> None:
        """Save the pictures of one image."""
        from PIL.Image import fromarray

        for target in self._pictures:
            _save_picture(draw_overlay(raster.pixels, prediction), target, path)
        if self.explain is not None and explanation is not None:
            _save_picture(fromarray(explanation), self.explain, path)

    def save_files(self, found: Sequence[Found]) -> None:
        """Save what was found in all images, in the format of each target's suffix."""
        for target, suffix in self._files:
            content = as_json(_FORMATS[suffix](found))
            with _saving(target):
                target.write_bytes(content)


def _save_picture(picture: Image, target: Path, path: Path) -> None:
    """Save the picture of an image: under the target's name, or into the folder that it is."""
    file = target if _is_picture(target) else target / f"{path.stem}.png"
    with _saving(file):
        picture.save(file)


@contextmanager
def _saving(target: Path) -> Iterator[None]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}") from error


def _records(found: Sequence[Found]) -> list[Record]:
    return [Record.of(str(image.path), image.prediction) for image in found]


_FORMATS: Mapping[str, Callable[[Sequence[Found]], Any]] = {
    ".coco.json": coco_of,
    ".geojson": geojson_of,
    ".json": _records,
}


def _format(target: Path) -> str | None:
    """The suffix of a file of all images; None: pictures are saved there."""
    return next((suffix for suffix in _FORMATS if target.name.lower().endswith(suffix)), None)


def _check_pictures(target: Path, images: Sequence[Path]) -> None:
    """Refuse a target that cannot hold a picture of every image."""
    if _is_picture(target):
        if len(images) > 1:
            raise EarthInstructError(f"{target} is one picture, and there are {len(images)} images; name a folder")
    elif target.suffix and not target.is_dir():
        raise EarthInstructError(
            f"{target} has an unknown suffix; expected .png, .jpg, .json, .coco.json, .geojson, or a folder"
        )
    names = [image.stem for image in images]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None and not _is_picture(target):
        raise EarthInstructError(
            f"two images are named {repeated!r}, and {target} can hold one picture of that name; give them apart"
        )


def _is_picture(target: Path) -> bool:
    return target.suffix.lower() in _PICTURES and not target.is_dir()
