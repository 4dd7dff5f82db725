"""`earthinstruct predict`: run a method on images of your own, and look at the answer."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthinstruct.cli import options
from earthinstruct.cli.progress import progress_bars

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from earthinstruct.contract import Instruction, Method, Prediction
    from earthinstruct.predictions import Found

_PICTURES = (".png", ".jpg", ".jpeg")


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("predict", help="run a method on images of your own", description=__doc__)
    options.add_method(parser)
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="JPEG, PNG, TIFF or GeoTIFF files, or folders of them"
    )
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--categories", metavar='"A, B"', help="find these categories")
    asked.add_argument("--open-ended", action="store_true", help="find everything")
    asked.add_argument("--parent", metavar="CATEGORY", help='find every kind of one category, such as "sports field"')
    asked.add_argument("--instruction", metavar="TEXT", help='in your own words, such as "count the ships and harbors"')
    parser.add_argument(
        "--save",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="save the answer, by suffix: .png or .jpg, a picture of what was found; .json, all of it; .coco.json, for "
        "annotation tools; .geojson, outlines on the ground; without a suffix: a folder of pictures. May be repeated",
    )
    parser.add_argument(
        "--tile",
        type=int,
        metavar="N",
        help="cut images into tiles of N pixels; 0: never (default: 1024, where a side is longer than 2048)",
    )
    parser.add_argument(
        "--overlap", type=int, metavar="N", help="pixels that neighbouring tiles share (default: an eighth of a tile)"
    )
    parser.add_argument(
        "--bands", metavar="R,G,B", help="the bands of a raster to look at, from 1 (default: the first three)"
    )
    parser.add_argument(
        "--explain", type=Path, metavar="PATH", help="save a picture of how the method decided, where it can draw one"
    )
    options.add_json(parser, "one line an image")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when one of several images failed."""
    from PIL.Image import fromarray

    from earthinstruct.errors import EarthInstructError
    from earthinstruct.images import draw_overlay, read_raster
    from earthinstruct.predictions import Found, Record, check_places
    from earthinstruct.results import method_info

    instruction = _instruction(arguments)
    bands = _bands(arguments.bands)
    images = _images(arguments.images)
    _check_kept(arguments, images)
    pictures = [target for target in arguments.save if _kind(target) == "picture"]
    files = [target for target in arguments.save if target not in pictures]
    to_ground = any(_kind(target) == "geojson" for target in files)
    for target in (*pictures, *([arguments.explain] if arguments.explain else [])):
        _check_pictures(target, images)
    method = _method(arguments)
    explain = getattr(method, "explain", None) if arguments.explain is not None else None
    if arguments.json not in (None, "-"):
        Path(arguments.json).unlink(missing_ok=True)
    found: list[Found] = []
    events: Counter[str] = Counter()
    failed = 0
    with _progress(len(images)) as progress:
        for number, path in enumerate(images):
            try:
                raster = read_raster(path, bands)
                if to_ground:
                    check_places([*((image.path, image.place) for image in found), (path, raster.place)])
                prediction = _predict(method, raster.pixels, instruction, arguments, progress(number))
                explanation = explain(raster.pixels, instruction) if explain is not None else None
            except Exception as error:  # the reason is given, and the other images go on
                if len(images) == 1:
                    raise
                failed += 1
                print(f"failed: {path}: {error if isinstance(error, EarthInstructError) else repr(error)}")
                continue
            print(f"{path}: {_counted(prediction)}")
            for note in raster.notes:
                print(f"note: {path}: {note}")
            events.update(prediction.usage.events)
            for target in pictures:
                _save_picture(draw_overlay(raster.pixels, prediction), target, path)
            if explanation is not None:
                _save_picture(fromarray(explanation), arguments.explain, path)
            options.write_json_line(arguments, Record.of(str(path), prediction))
            if files:
                height, width = raster.pixels.shape[:2]
                found.append(Found(path, height, width, raster.place, prediction))
    for target in files:
        _save_file(target, found)
    for note in (*(f"{n} {event}" for event, n in events.items()), *method_info(method).notes):
        print(f"note: {note}")
    if failed:
        print(f"{failed} of {len(images)} images failed")
    return 1 if failed else 0


def _method(arguments: argparse.Namespace) -> Method:
    """The method, which must answer from pixels, and draw an explanation where one is asked for."""
    from earthinstruct.contract import ControlMethod
    from earthinstruct.errors import EarthInstructError
    from earthinstruct.registry import make_method, parse_parameters

    method = make_method(arguments.method, parse_parameters(arguments.parameters))
    if isinstance(method, ControlMethod):
        raise EarthInstructError(
            f"method {arguments.method!r} is a control: it answers from ground truth, and your images have none"
        )
    if arguments.explain is not None and not callable(getattr(method, "explain", None)):
        raise EarthInstructError(f"method {arguments.method!r} draws no explanation; leave --explain out")
    return method


def _predict(
    method: Method,
    pixels: NDArray[np.uint8],
    instruction: Instruction,
    arguments: argparse.Namespace,
    progress: Callable[[int, int], None],
) -> Prediction:
    """The answer for one image, cut into tiles where that is asked for, or where it is large."""
    from earthinstruct.running import TILE, TILED_ABOVE, predict_tiled

    longest = max(pixels.shape[:2])
    tile = arguments.tile
    if tile is None:
        tile = TILE if longest > TILED_ABOVE else 0
    if tile == 0:
        return predict_tiled(method, pixels, instruction, tile=longest, overlap=0, progress=progress)
    overlap = tile // 8 if arguments.overlap is None else arguments.overlap
    return predict_tiled(method, pixels, instruction, tile=tile, overlap=overlap, progress=progress)


def _save_picture(picture: Image, target: Path, path: Path) -> None:
    """Save the picture of an image: under the target's name, or into the folder that it is."""
    with _saving(target):
        if not _is_picture(target):
            target = target / f"{path.stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.save(target)


def _save_file(target: Path, found: Sequence[Found]) -> None:
    """Save what was found in all images, in the format of the target's suffix."""
    from earthinstruct.files import as_json
    from earthinstruct.predictions import Record, coco_of, geojson_of

    content: Any
    match _kind(target):
        case "coco":
            content = coco_of(found)
        case "geojson":
            content = geojson_of(found)
        case _:
            content = [Record.of(str(image.path), image.prediction) for image in found]
    with _saving(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(as_json(content))


@contextmanager
def _saving(target: Path) -> Iterator[None]:
    from earthinstruct.errors import DataError

    try:
        yield
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}") from error


def _counted(prediction: Prediction) -> str:
    counts = prediction.counts or {label: prediction.labels.count(label) for label in sorted(set(prediction.labels))}
    return ", ".join(f"{label} {count}" for label, count in counts.items() if count) or "nothing found"


def _images(given: Sequence[Path]) -> list[Path]:
    """The image files, those of a folder in its place.

    Raises:
        DataError: a folder has no images.
    """
    from earthinstruct.errors import DataError
    from earthinstruct.images import images_below

    images: list[Path] = []
    for path in given:
        inside = images_below(path) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"folder {path} has no images; expected JPEG, PNG or TIFF files")
        images += inside
    return images


def _bands(text: str | None) -> tuple[int, ...] | None:
    from earthinstruct.errors import EarthInstructError

    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise EarthInstructError(f"--bands is {text!r}; expected numbers from 1, such as 4,3,2") from None


def _kind(target: Path) -> str:
    """What is saved under a name: json, coco, geojson or picture."""
    if target.name.endswith(".coco.json"):
        return "coco"
    return {".json": "json", ".geojson": "geojson"}.get(target.suffix.lower(), "picture")


def _check_pictures(target: Path, images: Sequence[Path]) -> None:
    """Refuse a target that cannot hold a picture of every image."""
    from earthinstruct.errors import EarthInstructError

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


def _check_kept(arguments: argparse.Namespace, images: Sequence[Path]) -> None:
    """Refuse to write over one of the images."""
    from earthinstruct.errors import EarthInstructError

    given = {image.resolve() for image in images}
    for option in ("json", "explain", "save"):
        targets = getattr(arguments, option)
        for target in targets if isinstance(targets, list) else [targets]:
            if target is not None and Path(target).resolve() in given:
                raise EarthInstructError(f"--{option} {target} would replace that image; give another name")


def _is_picture(target: Path) -> bool:
    return target.suffix.lower() in _PICTURES and not target.is_dir()


def _instruction(arguments: argparse.Namespace) -> Instruction:
    from earthinstruct.tasks import free as free_instruction

    if arguments.instruction is not None:
        instruction = free_instruction.read_instruction(arguments.instruction)
        what = instruction.parent or ", ".join(instruction.categories)
        print(f"understood as {instruction.setting}{f': {what}' if what else ''}")
        return instruction
    if arguments.categories is not None:
        names = (name.strip() for name in arguments.categories.split(","))
        return free_instruction.open_vocabulary(tuple(name for name in names if name))
    return free_instruction.open_ended() if arguments.open_ended else free_instruction.open_subclass(arguments.parent)


@contextmanager
def _progress(n_images: int) -> Iterator[Callable[[int], Callable[[int, int], None]]]:
    """A bar over images and their tiles: number of the image -> what is called after each tile."""
    with progress_bars() as update:
        yield lambda number: lambda done, tiles: update("predicting", number + done / tiles, n_images, 0)
