"""Shared code of the preparers of official datasets: the report they return, and the file they write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from earthinstruct.datasets.coco import check_file_name, parse_coco
from earthinstruct.datasets.dataset import Dataset
from earthinstruct.datasets.ground_truth import Sources, TrueImage, coco_bytes
from earthinstruct.errors import DataError, UnknownNameError
from earthinstruct.files import replace_file, writing
from earthinstruct.tasks import Vocabulary

Progress = Callable[[int, int], None]  # images read, total images
GtBoxes = Literal["annotated", "mask"]
GT_BOXES = ("annotated", "mask")
PREFIX = "earthinstruct-"  # marks prepared files; their image paths are relative to the folder of the file


@dataclass(frozen=True)
class Prepared:
    """The report of a preparer on the file that it wrote.

    Attributes:
        path: the annotation file.
        n_images: number of images.
        counts: category -> number of objects.
        known: category -> published number of objects; None if it is not published.
        known_images: published number of images.
        masks: whether every object has a mask.
        notes: sentences on what was left out or differs.
    """

    path: Path
    n_images: int
    counts: Mapping[str, int]
    known: Mapping[str, int] | None
    known_images: int
    masks: bool
    notes: tuple[str, ...]


def check_gt_boxes(gt_boxes: str) -> None:
    """Refuse an unknown choice of boxes.

    Raises:
        UnknownNameError: the choice is neither `annotated` nor `mask`.
    """
    if gt_boxes not in GT_BOXES:
        raise UnknownNameError("choice of boxes (--gt-boxes)", gt_boxes, GT_BOXES)


def existing(root: Path, names: Sequence[str], what: str) -> Path:
    """Find the first existing path of several below `root`.

    Raises:
        DataError: none exists; the message lists them.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    looked = " and ".join(str(root / name) for name in names)
    raise DataError(f"{what} not found: looked for {looked}. Unpack the official download there, or give its folder")


def check_stem(stem: str, where: str) -> None:
    """Refuse an image name that is a path.

    Raises:
        DataError: the name contains a folder or leads out of one.
    """
    check_file_name(stem, where)
    if "/" in stem:
        raise DataError(f"{where}: {stem!r} is not a plain image name")


def _valid(images: Sequence[TrueImage], dataset: Dataset) -> list[TrueImage]:
    valid = iter(() if dataset.valid is None else dataset.valid.tolist())
    return [replace(image, objects=tuple(item for item in image.objects if next(valid))) for image in images]


def write_prepared(
    path: Path,
    images: Sequence[TrueImage],
    vocabulary: Vocabulary,
    sources: Sources,
    *,
    name: str,
    gt_boxes: GtBoxes,
    settings: Mapping[str, Any],
    known: Mapping[str, int] | None,
    known_images: int,
    notes: Sequence[str],
    skip_invalid: bool,
) -> Prepared:
    """Validate ground truth with the checks of an evaluation, and write it atomically.

    Args:
        path: the file to write; image paths are relative to its folder.
        images: the ground truth.
        vocabulary: the dataset's categories.
        sources: the files that were read.
        name: the dataset's name.
        gt_boxes: the kind of its boxes.
        settings: other choices, stored in the file's `info`.
        known: category -> published number of objects, or None.
        known_images: published number of images.
        notes: sentences on what was left out or differs.
        skip_invalid: leave out the objects that no method can find.

    Raises:
        DataError: the ground truth is inconsistent, or the file cannot be written.
    """
    dataset = parse_coco(
        coco_bytes(images, vocabulary.categories),
        path.parent,
        name=name,
        image_root=path.parent,
        vocabulary=vocabulary,
        skip_invalid=skip_invalid,
        form="corners",
        objects=[item for image in images for item in image.objects],
    )
    images, notes = _valid(images, dataset), (*notes, *dataset.notes)
    info = {
        "description": f"{name}, prepared by `earthinstruct data prepare`",
        "gt_boxes": gt_boxes,
        **settings,
        "read": sources.info(),
        "notes": list(notes),
    }
    content = coco_bytes(images, vocabulary.categories, vocabulary.parents, info)
    found = Counter(item.category for image in images for item in image.objects)
    with writing(path):
        replace_file(path, content)
    return Prepared(
        path=path,
        n_images=len(images),
        counts={category: found[category] for category in vocabulary.categories},
        known=known,
        known_images=known_images,
        masks=dataset.masks is not None,
        notes=tuple(notes),
    )
