"""Prepare NWPU VHR-10 from its official layout, or from the COCO re-annotation of Su et al. 2019, which has masks."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from earthinstruct.datasets.coco import parse_coco
from earthinstruct.datasets.ground_truth import Sources, TrueImage, TrueObject, box_of_corners
from earthinstruct.datasets.prepare import PREFIX, GtBoxes, Prepared, Progress, check_gt_boxes, existing, write_prepared
from earthinstruct.errors import DataError, checked_arguments
from earthinstruct.files import decode_json, decode_text
from earthinstruct.images import image_size
from earthinstruct.tasks import NWPU

FILE_NAME = f"{PREFIX}nwpu.json"
RENAMED = (("baseball_diamond", "baseball_field"), ("ground_track_field", "track_field"))
_N_IMAGES = 650
_REANNOTATED = (757, 298, 662, 391, 524, 159, 163, 239, 124, 604)  # objects per category, in the order of NWPU
_OFFICIAL = (757, 302, 655, 390, 524, 159, 163, 224, 124, 477)  # 3,775 objects, by the readme
_CIRCULATING = (*_OFFICIAL[:-1], 598)  # 3,896 objects, in the text files
_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_LINE = re.compile(rf"\({_NUMBER},{_NUMBER}\)\s*,\s*\({_NUMBER},{_NUMBER}\)\s*,\s*(\d+)")


@checked_arguments
def prepare_nwpu(
    root: Path | str,
    *,
    annotations: Path | str | None = None,
    gt_boxes: GtBoxes = "annotated",
    skip_invalid: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Make one annotation file of the 650 positive images: `ROOT/earthinstruct-nwpu.json`.

    With the COCO re-annotation (`annotations`, or `ROOT/annotations.json` if it exists), objects have masks, image ids
    are kept (from 0), and the images may be missing. Without it, the text files in `ground truth` are read: they have
    only boxes, of width x2 - x1, and image 001 gets id 0 as well. The negative images are not used.

    Args:
        root: the folder with `positive image set` and `ground truth`.
        annotations: the COCO re-annotation.
        gt_boxes: `annotated`: the boxes as annotated; `mask`: the bounding boxes of the masks.
        skip_invalid: leave out the objects that no method can find, and count them in the notes.
        progress: a callback `(done, total)`, called after each image.

    Raises:
        UnknownNameError: `gt_boxes` has another value.
        DataError: a file is missing or malformed.
    """
    check_gt_boxes(gt_boxes)
    root, annotations = Path(root), None if annotations is None else Path(annotations)
    if annotations is None and (root / "annotations.json").is_file():
        annotations = root / "annotations.json"
    if annotations is None and gt_boxes == "mask":
        raise DataError(
            f"boxes of masks need the COCO re-annotation, but {root / 'annotations.json'} does not exist; give it with "
            "--annotations FILE"
        )
    if not root.is_dir():
        raise DataError(f"folder {root} does not exist; give the folder into which NWPU VHR-10 was unpacked")
    sources = Sources(root)
    notes: list[str] = []
    if annotations is not None:
        images = _of_coco(root, annotations, sources, gt_boxes, notes, skip_invalid, progress)
        known: tuple[int, ...] = _REANNOTATED
    else:
        images = _of_text(root, sources, progress)
        known = _published(images, notes)
    return write_prepared(
        root / FILE_NAME,
        images,
        NWPU,
        sources,
        name="nwpu",
        gt_boxes=gt_boxes,
        settings={"annotations": "text files" if annotations is None else "COCO re-annotation"},
        known=dict(zip(NWPU.categories, known, strict=True)),
        known_images=_N_IMAGES,
        notes=notes,
        skip_invalid=skip_invalid,
    )


def _published(images: list[TrueImage], notes: list[str]) -> tuple[int, ...]:
    """The published counts of each category: the readme's, or those of all copies of the text files if these fit."""
    counts = Counter(item.category for image in images for item in image.objects)
    if tuple(counts[name] for name in NWPU.categories) != _CIRCULATING:
        return _OFFICIAL
    notes.append(
        f"{sum(_CIRCULATING):,} objects, as in all copies of the text files; the readme says {sum(_OFFICIAL):,}, with "
        f"{_OFFICIAL[-1]} vehicles in place of {_CIRCULATING[-1]}"
    )
    return _CIRCULATING


def _of_text(root: Path, sources: Sources, progress: Progress | None) -> list[TrueImage]:
    folder = existing(root, ("positive image set",), "NWPU images")
    texts = existing(root, ("ground truth",), "NWPU annotations")
    files = sorted(folder.glob("*.jpg"))
    if not files:
        raise DataError(f"{folder} has no .jpg images; unpack the positive image set there")
    unused = sorted({path.stem for path in texts.glob("*.txt")} - {path.stem for path in files})
    if unused:
        raise DataError(
            f"{texts} annotates images that are not in {folder}: {', '.join(unused[:5])}; unpack the positive image "
            "set there"
        )
    for path in files:
        if not path.stem.isdecimal():
            raise DataError(f"the name of {path} is not a number; expected 001.jpg, 002.jpg, ...")
    images = []
    for done, picture in enumerate(files, start=1):
        text = texts / f"{picture.stem}.txt"
        objects = parse_text(sources.read(text, "ground truth"), text)
        name = picture.relative_to(root).as_posix()
        images.append(TrueImage(int(picture.stem) - 1, name, *image_size(picture), objects))
        if progress is not None:
            progress(done, len(files))
    return images


def parse_text(content: bytes, path: Path) -> tuple[TrueObject, ...]:
    """Parse the lines `(x1,y1),(x2,y2),category` of a text file; spaces and blank lines are ignored."""
    objects = []
    for number, line in enumerate(decode_text(content, str(path)).splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        where = f"{path}, line {number}"
        if match is None:
            raise DataError(f"{where} is {line!r}; expected (x1,y1),(x2,y2),category")
        *corners, category = match.groups()
        if not 1 <= int(category) <= len(NWPU.categories):
            raise DataError(f"{where} has category {category}; expected 1 to {len(NWPU.categories)}")
        box, name = box_of_corners([float(value) for value in corners]), NWPU.categories[int(category) - 1]
        objects.append(TrueObject(name, box, place=f"{where} ({name})"))
    return tuple(objects)


def _of_coco(
    root: Path,
    path: Path,
    sources: Sources,
    gt_boxes: GtBoxes,
    notes: list[str],
    skip_invalid: bool,
    progress: Progress | None,
) -> list[TrueImage]:
    content = sources.read(path, "COCO re-annotation")
    dataset = parse_coco(
        content,
        path,
        name="nwpu",
        image_root=None,
        vocabulary=NWPU,
        renamed=dict(RENAMED),
        skip_invalid=skip_invalid,
    )
    if dataset.ignored is not None or dataset.valid is None:
        raise DataError(f"{path}: {dataset.notes[-1]}; NWPU VHR-10 has no such objects: give the original file")
    notes += dataset.notes
    boxes = dataset.annotations.boxes
    if gt_boxes == "mask":
        if dataset.masks is None:
            raise DataError(f"boxes of masks need masks: {dataset.no_masks_reason}")
        boxes = dataset.masks.take().boxes
    folder = next((name for name in ("positive image set", "images") if (root / name).is_dir()), None)
    if folder is None:
        notes.append(
            f"the images are not there ({root / 'positive image set'}): predictions can be scored, "
            "but no method can be run before they are"
        )
    decoded = decode_json(content, msgspec.json.Decoder(dict[str, Any]), f"{path}: {{error}}")["annotations"]
    entries = [entry for entry, valid in zip(decoded, dataset.valid.tolist(), strict=True) if valid]
    of_image: dict[int, list[int]] = {}
    for i, index in enumerate(dataset.annotations.image.tolist()):
        of_image.setdefault(index, []).append(i)
    images, other_size = [], []
    for index, record in enumerate(dataset.images):
        name = f"{folder or 'positive image set'}/{record.file_name}"
        if folder is not None and image_size(root / name) != (record.width, record.height):
            other_size.append(name)
        objects = tuple(
            TrueObject(
                NWPU.categories[dataset.annotations.category[i]],
                tuple(boxes[i].tolist()),
                entries[i].get("segmentation"),
                place=f"{path}, annotation {entries[i].get('id')}",
            )
            for i in of_image.get(index, ())
        )
        images.append(TrueImage(record.id, name, record.width, record.height, objects))
        if progress is not None:
            progress(index + 1, len(dataset.images))
    if other_size:
        raise DataError(f"{len(other_size)} images differ in size from {path}: {', '.join(other_size[:5])}")
    return images
