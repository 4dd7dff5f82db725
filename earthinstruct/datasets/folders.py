"""Read a user's folder as a dataset: a COCO file beside images, a VOC folder, or a YOLO folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from earthinstruct.datasets.coco import parse_coco, read_coco
from earthinstruct.datasets.dataset import Dataset, refuse_other_size
from earthinstruct.datasets.ground_truth import Box, TrueImage, TrueObject, box_of_corners, coco_bytes
from earthinstruct.datasets.voc import parse_voc
from earthinstruct.errors import DataError
from earthinstruct.files import read_bytes
from earthinstruct.images import image_size, images_below


def read_folder(folder: Path, images: Path | None = None) -> Dataset:
    """Read a folder as a dataset, named after the folder.

    These layouts are tried in this order: `annotations.json` (COCO); `Annotations/*.xml` with images in `JPEGImages/`
    (VOC); `labels/` beside `images/`, with class names in `classes.txt` or `data.yaml` (YOLO). VOC and YOLO annotations
    are converted to COCO; `sha256` is the hash of the converted file, and categories have no parents.

    Args:
        folder: the folder.
        images: the folder of the images, if it is not the one of the layout.

    Raises:
        DataError: the folder has none of these layouts, or a file is malformed. A folder with only images is no
            dataset.
    """
    if (folder / "annotations.json").is_file():
        beside = folder / "images"
        return read_coco(
            folder / "annotations.json",
            name=folder.resolve().name,
            image_root=images or (beside if beside.is_dir() else folder),
        )
    if (folder / "Annotations").is_dir():
        root = images or folder / "JPEGImages"
        found, categories = _voc(folder / "Annotations", root)
    elif (folder / "labels").is_dir():
        root = images or folder / "images"
        found, categories = _yolo(folder, root)
    else:
        pictures = images_below(folder)
        if pictures:
            raise DataError(
                f"folder {folder} has {len(pictures)} images but no annotations, so a method cannot be evaluated. To "
                f"see what a method finds: earthinstruct predict --method NAME {folder} --open-ended; to evaluate, add "
                "annotations.json (COCO), Annotations/*.xml (VOC) or labels/*.txt (YOLO)"
            )
        raise DataError(
            f"folder {folder} is not a dataset: expected annotations.json (COCO), Annotations/ with JPEGImages/ "
            "(VOC), or labels/ with images/ (YOLO)"
        )
    return parse_coco(coco_bytes(found, categories), folder, name=folder.resolve().name, image_root=root)


def _pictures(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"image folder {root} does not exist; give the folder of the images with --images DIR")
    pictures = images_below(root)
    if not pictures:
        raise DataError(f"image folder {root} has no images")
    by_name: dict[Path, Path] = {}
    for picture in pictures:
        other = by_name.setdefault(picture.with_suffix(""), picture)
        if other != picture:
            raise DataError(
                f"{other} and {picture} share an annotation file, because their names differ only in the extension; "
                "keep one, or rename one"
            )
    return pictures


def _text(path: Path, what: str) -> str:
    """Read a text file, with or without a byte order mark.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
    """
    try:
        return read_bytes(path, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{what} {path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def _voc(annotations: Path, root: Path) -> tuple[list[TrueImage], list[str]]:
    """Read the images and categories (sorted) of a VOC folder. An image without an XML file has no objects."""
    pictures = _pictures(root)
    _refuse_unused(annotations, {path.relative_to(annotations) for path in annotations.rglob("*.xml")}, pictures, root)
    found = []
    for number, picture in enumerate(pictures, start=1):
        path = annotations / picture.relative_to(root).with_suffix(".xml")
        objects: list[TrueObject] = []
        size = image_size(picture)
        if path.is_file():
            annotation = parse_voc(read_bytes(path, "annotation file"), path)
            if annotation.size is not None:
                refuse_other_size(picture, size, annotation.size, str(path))
            objects = [
                TrueObject(item.name, box_of_corners(item.corners, f"{path}, object {i}"))
                for i, item in enumerate(annotation.objects, start=1)
            ]
        found.append(TrueImage(number, picture.relative_to(root).as_posix(), *size, tuple(objects)))
    return found, sorted({item.category for image in found for item in image.objects})


def _yolo(folder: Path, root: Path) -> tuple[list[TrueImage], list[str]]:
    """Read the images and categories of a YOLO folder. An image without a label file has no objects."""
    categories = _names(folder)
    pictures = _pictures(root)
    labels = folder / "labels"
    texts = {path.relative_to(labels) for path in labels.rglob("*.txt") if path.name != "classes.txt"}
    _refuse_unused(labels, texts, pictures, root)
    found = []
    for number, picture in enumerate(pictures, start=1):
        path = labels / picture.relative_to(root).with_suffix(".txt")
        size = image_size(picture)
        objects = _yolo_objects(path, categories, size) if path.is_file() else ()
        found.append(TrueImage(number, picture.relative_to(root).as_posix(), *size, objects))
    return found, categories


def _refuse_unused(folder: Path, files: set[Path], pictures: Sequence[Path], root: Path) -> None:
    """Refuse annotation files without an image, which indicate a wrong folder."""
    unused = sorted({path.with_suffix("") for path in files} - {p.relative_to(root).with_suffix("") for p in pictures})
    if unused:
        raise DataError(
            f"{folder} annotates images that are not in {root}: {', '.join(str(path) for path in unused[:5])}"
            f"{' ...' if len(unused) > 5 else ''}; add them, or give their folder with --images DIR"
        )


def _yolo_objects(path: Path, categories: Sequence[str], size: tuple[int, int]) -> tuple[TrueObject, ...]:
    """Read a label file with lines `class x y width height` (centre and size) or `class x y x y x y ...` (a polygon).

    Coordinates are shares of the image's width and height.

    Raises:
        DataError: a line is neither.
    """
    objects = []
    for number, line in enumerate(_text(path, "label file").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            category, *values = [float(part) for part in line.split()]
        except ValueError:
            category, values = math.nan, []
        if category not in range(len(categories)):
            raise DataError(f"{where} is {line!r}; expected a class from 0 to {len(categories) - 1}, then numbers")
        if not all(0 <= value <= 1 for value in values):
            raise DataError(f"{where} has a number outside 0 to 1; expected shares of the image's width and height")
        name = categories[int(category)]
        if len(values) == 4:
            objects.append(TrueObject(name, _box_of_centre(values, size)))
        elif len(values) >= 6 and len(values) % 2 == 0:
            polygon = [value * size[i % 2] for i, value in enumerate(values)]
            left, top = min(polygon[::2]), min(polygon[1::2])
            box = (left, top, max(polygon[::2]) - left, max(polygon[1::2]) - top)
            objects.append(TrueObject(name, box, [polygon]))
        else:
            raise DataError(
                f"{where} has {len(values)} numbers after the class; expected 4 (centre x, centre y, width, height) "
                "or the x, y of at least 3 points"
            )
    return tuple(objects)


def _box_of_centre(values: Sequence[float], size: tuple[int, int]) -> Box:
    x, y, width, height = (value * size[i % 2] for i, value in enumerate(values))
    return x - width / 2, y - height / 2, width, height


def _names(folder: Path) -> list[str]:
    """Read the category names of a YOLO folder.

    Raises:
        DataError: the folder has neither `classes.txt` nor a `data.yaml` with names, or a name is empty or repeated.
    """
    next_step = f"write {folder / 'classes.txt'}, one name per line"
    for path in (folder / "classes.txt", folder / "labels" / "classes.txt", folder / "data.yaml"):
        if path.is_file():
            text = _text(path, "names file")
            names = (
                _yaml_names(text, path, next_step)
                if path.suffix == ".yaml"
                else [line.strip() for line in text.rstrip().splitlines()]
            )
            if not any(names):
                raise DataError(f"{path} has no class names; {next_step}")
            for number, name in enumerate(names):
                if not name or name in names[:number]:
                    what = f"the repeated name {name!r}" if name else "no name"
                    raise DataError(f"{path} has {what} for class {number}; give every class a different name")
            return names
    raise DataError(f"YOLO folder {folder} has no class names; {next_step}")


def _yaml_names(text: str, path: Path, next_step: str) -> list[str]:
    """Read the entry `names` of a `data.yaml`: a list, or a mapping from the class numbers 0, 1, ... to names.

    Raises:
        DataError: the entry is neither, or `nc` is not the number of names.
    """
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not YAML: {error}; {next_step}") from error
    content = content if isinstance(content, dict) else {}
    names = content.get("names")
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise DataError(f"{path} names the classes {list(names)}; expected 0 to {len(names) - 1}, each once")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or any(isinstance(name, list | dict) or name is None for name in names):
        raise DataError(f"{path} has no class names; {next_step}")
    if content.get("nc", len(names)) != len(names):
        raise DataError(f"{path} says nc: {content['nc']}, but names {len(names)} classes; correct one of them")
    return [str(name).strip() for name in names]
