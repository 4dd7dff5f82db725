"""Pair images with their annotation files, which have the same name in the same subfolder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from earthinstruct.datasets.ground_truth import TrueImage, TrueObject
from earthinstruct.errors import DataError
from earthinstruct.files import is_hidden
from earthinstruct.images import image_size, images_below
from earthinstruct.texts import plural

Size = tuple[int, int]  # width, height
_SHOWN = 5


def annotation_files(folder: Path, suffix: str) -> dict[Path, Path]:
    """The annotation files below a folder: relative path without suffix -> file. Hidden files are left out.

    Args:
        folder: the folder.
        suffix: their suffix, in lower case; files may have it in upper case.

    Raises:
        DataError: two files differ only in the case of the suffix.
    """
    found: dict[Path, Path] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.suffix.lower() == suffix and not is_hidden(name) and path.is_file():
            other = found.setdefault(name.with_suffix(""), path)
            if other != path:
                raise DataError(f"{other} and {path} annotate the same image; keep one of them")
    return found


def read_pairs(
    annotations: Path,
    suffix: str,
    root: Path,
    objects: Callable[[Path, Path, Size], tuple[TrueObject, ...]],
    leave: Callable[[Path], bool] = lambda path: False,
) -> tuple[list[TrueImage], tuple[str, ...]]:
    """Read the annotation file of every image. An image without a file has no objects.

    Args:
        annotations: the folder of the annotation files.
        suffix: as in `annotation_files`.
        root: the folder of the images.
        objects: a function from an annotation file, its image and the size of the image to the objects.
        leave: tells which files annotate no image.

    Returns:
        The images, and sentences on images without a file.

    Raises:
        DataError: an annotation file has no image, two images share a file, or a file is malformed.
    """
    pictures = _pictures(root)
    files = {name: path for name, path in annotation_files(annotations, suffix).items() if not leave(path)}
    unused = sorted(files.keys() - {picture.relative_to(root).with_suffix("") for picture in pictures})
    if unused:
        raise DataError(
            f"{annotations} annotates {plural(len(unused), 'image that is', 'images that are')} not in {root}: "
            f"{_some(unused)}; add them, or give their folder with --images DIR"
        )
    found, bare = [], []
    for number, picture in enumerate(pictures, start=1):
        name = picture.relative_to(root)
        size, path = image_size(picture), files.get(name.with_suffix(""))
        if path is None:
            bare.append(name)
        there = () if path is None else objects(path, picture, size)
        found.append(TrueImage(number, name.as_posix(), *size, there))
    notes = (
        () if not bare else (f"{len(bare)} of {len(found)} images have no {suffix} file, so no object: {_some(bare)}",)
    )
    return found, notes


def pictures_below(
    root: Path, objects: Mapping[str, Sequence[TrueObject]], source: Path
) -> tuple[list[TrueImage], tuple[str, ...]]:
    """The images that a table names, with their objects.

    Args:
        root: the folder of the images.
        objects: path of an image, relative to `root` -> its objects.
        source: the table, for errors.

    Returns:
        The images, and sentences on images that the table does not name.

    Raises:
        DataError: an image does not exist.
    """
    if not root.is_dir():
        raise DataError(f"image folder {root} does not exist; give the folder of the images with --images DIR")
    missing = [Path(name) for name in objects if not (root / name).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(objects)} images of {source} are not in {root}: {_some(missing)}; give their "
            "folder with --images DIR"
        )
    found = [
        TrueImage(number, name, *image_size(root / name), tuple(of_image))
        for number, (name, of_image) in enumerate(sorted(objects.items()), start=1)
    ]
    others = [path.relative_to(root) for path in images_below(root) if path.relative_to(root).as_posix() not in objects]
    notes = (
        ()
        if not others
        else (f"{len(others)} images of {root} are not in {source.name}, and left out: {_some(others)}",)
    )
    return found, notes


def _pictures(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"image folder {root} does not exist; give the folder of the images with --images DIR")
    pictures = images_below(root)
    if not pictures:
        raise DataError(f"image folder {root} has no images; give the folder of the images with --images DIR")
    by_name: dict[Path, Path] = {}
    for picture in pictures:
        other = by_name.setdefault(picture.with_suffix(""), picture)
        if other != picture:
            raise DataError(
                f"{other} and {picture} share an annotation file, because their names differ only in the extension; "
                "keep one, or rename one"
            )
    return pictures


def _some(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:_SHOWN])) + (" ..." if len(paths) > _SHOWN else "")
