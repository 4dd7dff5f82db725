"""Find out how a user's folder is annotated, and read it: COCO, VOC, DOTA, YOLO or CSV, beside images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from earthinstruct.datasets.coco import parse_coco, read_coco
from earthinstruct.datasets.dataset import Dataset, refuse_other_size
from earthinstruct.datasets.dota import dota_objects
from earthinstruct.datasets.ground_truth import TrueImage, TrueObject, box_of_corners, coco_bytes
from earthinstruct.datasets.pairs import Size, annotation_files, pictures_below, read_pairs
from earthinstruct.datasets.rules import TURNED, Form
from earthinstruct.datasets.table import read_table
from earthinstruct.datasets.voc import VocFile, parse_voc
from earthinstruct.datasets.yolo import class_names, has_keypoints, is_names_file, yolo_objects
from earthinstruct.errors import DataError
from earthinstruct.files import read_bytes
from earthinstruct.images import images_below
from earthinstruct.texts import plural

_SPLITS = ("train", "training", "val", "valid", "validation", "test")
_COCO_FILES = ("annotations.json", "annotations.json.gz", "_annotations.coco.json")
_DOTA = "labelTxt*"
_EXPECTED = (
    "a COCO file (*.json), Annotations/*.xml or *.xml beside the images (VOC), labels/*.txt or *.txt beside the images "
    "(YOLO, with classes.txt or data.yaml), labelTxt/*.txt (DOTA) or one *.csv"
)


@dataclass(frozen=True)
class _Layout:
    """Where the annotations and the images of a folder are."""

    read: Callable[[Path, Path], _Read]
    annotations: Path
    images: Path


@dataclass(frozen=True)
class _Read:
    """The content of a folder that is not COCO."""

    images: list[TrueImage]
    categories: list[str]
    form: Form
    notes: tuple[str, ...] = ()


def read_folder(folder: Path, images: Path | None = None, *, skip_invalid: bool = False) -> Dataset:
    """Read a folder as a dataset, named after the folder.

    These layouts are tried in this order: a COCO file (`annotations.json`, `_annotations.coco.json`, otherwise the only
    `*.json` of the folder or of its `annotations/`); `labelTxt*/` (DOTA), `Annotations/` (VOC) or `labels/` (YOLO)
    beside the images; XML files (VOC) or text files (YOLO) in the folder of the images; the only `*.csv`. All but COCO
    are converted to COCO; `sha256` is the hash of the converted file, and categories have no parents.

    Args:
        folder: the folder.
        images: the folder of the images, if it is not the one of the layout.
        skip_invalid: as in `read_coco`.

    Raises:
        DataError: the folder has none of these layouts, several splits, or a malformed file. A folder with only images
            is no dataset.
    """
    name = folder.resolve().name
    file = _coco_file(folder)
    if file is not None:
        beside = folder / "images"
        root = images or (beside if beside.is_dir() else folder)
        return read_coco(file, name=name, image_root=root, skip_invalid=skip_invalid)
    layout = _layout(folder, images)
    if layout is None:
        raise _no_dataset(folder)
    read = layout.read(layout.annotations, layout.images)
    return _dataset(read, layout.annotations, name, layout.images, skip_invalid)


def read_csv(path: Path, images: Path | None = None, *, skip_invalid: bool = False) -> Dataset:
    """Read a CSV file with one box a line as a dataset, named after the file.

    Args:
        path: the file (see `earthinstruct.datasets.table`).
        images: the folder of the images; None: `images` beside the file if it exists, otherwise the file's folder.
        skip_invalid: as in `read_coco`.

    Raises:
        DataError: the file is malformed, or an image does not exist.
    """
    beside = path.parent / "images"
    root = images or (beside if beside.is_dir() else path.parent)
    return _dataset(_csv(path, root), path, path.stem, root, skip_invalid)


def _dataset(read: _Read, source: Path, name: str, root: Path, skip_invalid: bool) -> Dataset:
    if not read.categories:
        raise DataError(f"{source} annotates no object in {len(read.images)} images of {root}; nothing can be scored")
    dataset = parse_coco(
        coco_bytes(read.images, read.categories),
        source,
        name=name,
        image_root=root,
        skip_invalid=skip_invalid,
        form=read.form,
        objects=[item for image in read.images for item in image.objects],
    )
    return dataset.noting(*read.notes)


def _coco_file(folder: Path) -> Path | None:
    """The COCO file of a folder; None if it has none."""
    for name in _COCO_FILES:
        if (folder / name).is_file():
            return folder / name
    found = [
        path
        for place in (folder, folder / "annotations")
        for path in sorted([*place.glob("*.json"), *place.glob("*.json.gz")])
        if path.is_file() and not path.name.startswith(".") and (path.suffix == ".gz" or _is_coco(path))
    ]
    if len(found) > 1:
        raise DataError(f"{folder} has several COCO files: {', '.join(map(str, found[:5]))}; give one with --dataset")
    return found[0] if found else None


def _is_coco(path: Path) -> bool:
    return b'"annotations"' in read_bytes(path, "annotation file").replace(b"\0", b"")  # UTF-16 has zeros


def _layout(folder: Path, images: Path | None) -> _Layout | None:
    """The layout of a folder; None if it has none of those that are known."""
    yolo = partial(_yolo, folder)
    dota = [path for path in sorted(folder.glob(_DOTA)) if path.is_dir()]
    if len(dota) > 1:
        raise DataError(f"{folder} has several folders of labels: {', '.join(path.name for path in dota)}; keep one")
    if dota:
        return _Layout(_dota, dota[0], images or _image_folder(folder, "images", "JPEGImages"))
    for name in ("Annotations", "annotations", "xml"):
        if (folder / name).is_dir() and annotation_files(folder / name, ".xml"):
            return _Layout(_voc, folder / name, images or _image_folder(folder, "JPEGImages", "images"))
    if (folder / "labels").is_dir():
        return _Layout(yolo, folder / "labels", images or _image_folder(folder, "images", "JPEGImages"))
    if (folder / "annotations").is_dir() and annotation_files(folder / "annotations", ".txt"):
        raise DataError(
            f"{folder / 'annotations'} has text files, as VisDrone does, whose own format is not read; convert them to "
            "COCO or to YOLO (labels/*.txt)"
        )
    beside = _labels_of(folder)
    if beside is not None:
        return _Layout(yolo, beside, images or folder)
    _refuse_splits(folder)
    if annotation_files(folder, ".xml"):
        return _Layout(_voc, folder, images or folder)
    tables = [path for path in sorted(folder.glob("*.csv")) if not path.name.startswith(".")]
    if len(tables) > 1:
        raise DataError(f"{folder} has several CSV files: {', '.join(p.name for p in tables)}; give one with --dataset")
    if tables:
        return _Layout(_csv, tables[0], images or _image_folder(folder, "images", "JPEGImages"))
    if any(not is_names_file(path) for path in annotation_files(folder, ".txt").values()):
        return _Layout(yolo, folder, images or folder)
    return None


def _image_folder(folder: Path, *names: str) -> Path:
    return next((folder / name for name in names if (folder / name).is_dir()), folder)


def _labels_of(folder: Path) -> Path | None:
    """The label folder of `images/val` is `labels/val`."""
    whole = folder.absolute()
    if "images" not in whole.parts:
        return None
    at = len(whole.parts) - 1 - whole.parts[::-1].index("images")
    labels = Path(*whole.parts[:at], "labels", *whole.parts[at + 1 :])
    return labels if labels.is_dir() else None


def _refuse_splits(folder: Path) -> None:
    splits = [name for name in _SPLITS if (folder / name).is_dir()]
    found = [name for name in splits if _coco_file(folder / name) or _layout(folder / name, None)]
    if found:
        raise DataError(f"{folder} has the splits {', '.join(found)}; give one, such as --dataset {folder / found[-1]}")


def _no_dataset(folder: Path) -> DataError:
    pictures = images_below(folder)
    if pictures:
        return DataError(
            f"folder {folder} has {plural(len(pictures), 'image')} but no annotations that can be read: expected "
            f"{_EXPECTED}. To see what a method finds without annotations: "
            f"earthinstruct predict --method NAME {folder} --open-ended"
        )
    return DataError(f"folder {folder} is not a dataset: expected images, and {_EXPECTED}")


def _sorted_categories(images: list[TrueImage]) -> list[str]:
    return sorted({item.category for image in images for item in image.objects})


def _voc(annotations: Path, root: Path) -> _Read:
    """Read a VOC folder. Categories are in alphabetical order."""

    def objects(path: Path, picture: Path, size: Size) -> tuple[TrueObject, ...]:
        file = parse_voc(read_bytes(path, "annotation file"), path)
        if file.size is not None:
            refuse_other_size(picture, size, file.size, str(path))
        return voc_objects(file, path)

    images, notes = read_pairs(annotations, ".xml", root, objects)
    return _Read(images, _sorted_categories(images), "corners", notes)


def voc_objects(file: VocFile, path: Path) -> tuple[TrueObject, ...]:
    """The objects of a VOC file, at their places in it."""
    return tuple(
        TrueObject(
            item.name,
            box_of_corners(item.corners),
            ignored=item.difficult,
            place=f"{path}, object {number} ({item.name})",
            problem=TURNED if item.turned and not item.difficult else None,
        )
        for number, item in enumerate(file.objects, start=1)
    )


def _yolo(folder: Path, labels: Path, root: Path) -> _Read:
    """Read a YOLO folder. Categories are in the order of their numbers."""
    categories, names_file = class_names(folder, labels)
    keypoints = has_keypoints(names_file)
    images, notes = read_pairs(
        labels,
        ".txt",
        root,
        lambda path, picture, size: yolo_objects(path, categories, size, keypoints=keypoints),
        leave=is_names_file,
    )
    return _Read(images, categories, "centre", notes)


def _dota(labels: Path, root: Path) -> _Read:
    """Read a DOTA folder. Categories are in alphabetical order."""
    images, notes = read_pairs(labels, ".txt", root, lambda path, picture, size: dota_objects(path))
    return _Read(images, _sorted_categories(images), "corners", notes)


def _csv(path: Path, root: Path) -> _Read:
    """Read a CSV file. Categories are in alphabetical order."""
    objects, sizes = read_table(path)
    images, notes = pictures_below(root, objects, path)
    for image in images:
        if image.file_name in sizes:
            said, where = sizes[image.file_name]
            refuse_other_size(root / image.file_name, (image.width, image.height), said, where)
    return _Read(images, _sorted_categories(images), "corners", notes)
