"""What the preparers of official datasets share: the outcome they report, and the file they write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from earthinstruct.datasets.coco import check_file_name, parse_coco
from earthinstruct.datasets.ground_truth import Sources, TrueImage, coco_bytes
from earthinstruct.errors import DataError, UnknownNameError
from earthinstruct.files import replace_file
from earthinstruct.tasks import Vocabulary

GtBoxes = Literal["annotated", "mask"]
GT_BOXES = ("annotated", "mask")
PREFIX = "earthinstruct-"  # of the names of prepared files, which name images from their own folder on


@dataclass(frozen=True)
class Prepared:
    """What a preparer wrote.

    Attributes:
        path: the annotation file.
        n_images: images in it.
        counts: category -> objects.
        known: the published category -> objects, or None where none are published.
        known_images: the published number of images, or None.
        masks: whether every object has a mask.
        notes: what was left out or differs, in sentences.
    """

    path: Path
    n_images: int
    counts: Mapping[str, int]
    known: Mapping[str, int] | None
    known_images: int | None
    masks: bool
    notes: tuple[str, ...]


def check_gt_boxes(gt_boxes: str) -> None:
    """Refuse an unknown choice of boxes.

    Raises:
        UnknownNameError: it is neither `annotated` nor `mask`.
    """
    if gt_boxes not in GT_BOXES:
        raise UnknownNameError("choice of boxes (--gt-boxes)", gt_boxes, GT_BOXES)


def existing(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of several paths below `root` that exists.

    Raises:
        DataError: none does; the message lists where it looked.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    looked = " and ".join(str(root / name) for name in names)
    raise DataError(f"{what} not found: looked for {looked}. Unpack the official download there, or name its folder")


def journal_of(path: Path) -> Path:
    """Where a preparer keeps what it has read so far, beside the file it makes."""
    return path.with_name(f".{path.name}.part")


def check_stem(stem: str, where: str) -> None:
    """Refuse an image name from a list that is not a plain name.

    Raises:
        DataError: it names a folder, or leaves one.
    """
    check_file_name(stem, where)
    if "/" in stem:
        raise DataError(f"{where}: {stem!r} is not a plain image name")


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
    known_images: int | None,
    notes: Sequence[str],
) -> Prepared:
    """Validate ground truth as an evaluation would, and write it under its final name only when it is whole.

    Args:
        path: where to; image names are relative to its folder.
        images: the ground truth.
        vocabulary: the dataset's categories.
        sources: what was read.
        name: the dataset's name.
        gt_boxes: which boxes it has.
        settings: what else was chosen, kept in the file's `info`.
        known: published category -> objects, or None.
        known_images: published number of images, or None.
        notes: what was left out or differs.

    Raises:
        DataError: the ground truth contradicts itself, or the file cannot be written.
    """
    info = {
        "description": f"{name}, prepared by `earthinstruct data prepare`",
        "gt_boxes": gt_boxes,
        **settings,
        "read": sources.info(),
        "notes": list(notes),
    }
    content = coco_bytes(images, vocabulary.categories, vocabulary.parents, info)
    dataset = parse_coco(content, path, name=name, image_root=path.parent, vocabulary=vocabulary)
    found = Counter(item.category for image in images for item in image.objects)
    try:
        replace_file(path, content)
        journal_of(path).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error
    return Prepared(
        path=path,
        n_images=len(images),
        counts={category: found[category] for category in vocabulary.categories},
        known=known,
        known_images=known_images,
        masks=dataset.masks is not None,
        notes=tuple(notes),
    )
