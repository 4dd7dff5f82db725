"""Prepare DIOR from its official layout (Li et al. 2020), optionally with the masks of SAMRS."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from earthinstruct.datasets.ground_truth import Box, Sources, TrueImage, TrueObject, box_of_corners
from earthinstruct.datasets.prepare import (
    PREFIX,
    GtBoxes,
    Prepared,
    Progress,
    check_gt_boxes,
    check_stem,
    existing,
    write_prepared,
)
from earthinstruct.datasets.samrs import SamrsObject, parse_samrs
from earthinstruct.datasets.voc import VocObject, parse_voc
from earthinstruct.errors import DataError, UnknownNameError, checked_arguments
from earthinstruct.files import decode_text
from earthinstruct.images import image_size
from earthinstruct.regions import RLE, decode_rles
from earthinstruct.tasks import DIOR

SPLITS = {"train": 5862, "val": 5863, "test": 11738}  # images
_IMAGES = {"train": "JPEGImages-trainval", "val": "JPEGImages-trainval", "test": "JPEGImages-test"}
_ANNOTATIONS = ("Annotations/Horizontal Bounding Boxes", "Annotations")
_SUFFIXES = (".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG")
# objects of the validation split in the file of the authors of InstructSAM, which is made from masks
_VAL = (650, 334, 1139, 516, 861, 307, 543, 318, 260, 274, 597, 1217, 753, 14323, 302, 1705, 2665, 255, 7016, 1404)
_NOTES_SHOWN = 5


def file_name(split: str) -> str:
    """The name of the prepared file of a split."""
    return f"{PREFIX}dior-{split}.json"


@checked_arguments
def prepare_dior(
    root: Path | str,
    split: str = "val",
    *,
    masks: Path | str | None = None,
    gt_boxes: GtBoxes = "annotated",
    skip_invalid: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Make one annotation file of a split: `ROOT/earthinstruct-dior-<split>.json`.

    Every image of the split must exist. Boxes are made from the corners in the XML files, with width xmax - xmin.

    Args:
        root: the folder with `JPEGImages-trainval`, `JPEGImages-test`, `Annotations/Horizontal Bounding Boxes` and
            `ImageSets/Main` (or `Main`).
        split: train, val or test.
        masks: a folder of SAMRS mask files, `<image>.pkl`; None: objects have no masks.
        gt_boxes: `annotated`: the boxes of the XML files; `mask`: the bounding boxes of the masks. Objects without a
            mask are then left out.
        skip_invalid: leave out the objects that no method can find, and count them in the notes.
        progress: a callback `(done, total)`, called after each image.

    Raises:
        UnknownNameError: `split` or `gt_boxes` has another value.
        DataError: a file is missing or malformed.
    """
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    check_gt_boxes(gt_boxes)
    if gt_boxes == "mask" and masks is None:
        raise DataError("boxes of masks need masks: give the folder of the SAMRS files (<image>.pkl) with --masks DIR")
    root, masks = Path(root), None if masks is None else Path(masks)
    sources = Sources(root)
    list_file = existing(root, (f"ImageSets/Main/{split}.txt", f"Main/{split}.txt"), "DIOR split list")
    stems = _stems(sources.read(list_file, "split list"), list_file)
    annotations = existing(root, _ANNOTATIONS, "DIOR annotations")
    folder = _image_folder(root, _IMAGES[split], stems[0])
    differences: dict[str, list[str]] = {}
    images = []
    for done, stem in enumerate(stems, start=1):
        mask_file = None if masks is None else masks / f"{stem}.pkl"
        images.append(
            _image(_picture(folder, stem), annotations / f"{stem}.xml", mask_file, gt_boxes, sources, differences)
        )
        if progress is not None:
            progress(done, len(stems))
    return write_prepared(
        root / file_name(split),
        images,
        DIOR,
        sources,
        name="dior" if split == "val" else f"dior-{split}",
        gt_boxes=gt_boxes,
        settings={"split": split, "masks": None if masks is None else "SAMRS"},
        known=dict(zip(DIOR.categories, _VAL, strict=True)) if split == "val" else None,
        known_images=SPLITS[split],
        notes=_notes(differences, gt_boxes),
        skip_invalid=skip_invalid,
    )


def _image(
    picture: Path,
    annotation_file: Path,
    mask_file: Path | None,
    gt_boxes: GtBoxes,
    sources: Sources,
    differences: dict[str, list[str]],
) -> TrueImage:
    """Read one image from its picture, its annotations and, optionally, its mask file, which may not exist.

    Inconsistencies are added to `differences`: kind -> sentences.
    """
    size = image_size(picture)
    annotation = parse_voc(sources.read(annotation_file, "annotations"), annotation_file)
    if annotation.size not in (None, size):
        said = f"{annotation_file.name} says {annotation.size}, the image is {size}"
        differences.setdefault("sizes", []).append(said)
    segments = None
    if mask_file is not None:
        segments = parse_samrs(sources.read(mask_file, "masks"), mask_file) if mask_file.is_file() else []
    width, height = size
    objects = _objects(annotation.objects, segments, (height, width), annotation_file, gt_boxes, differences)
    stem = picture.stem
    name = picture.relative_to(sources.root).as_posix()
    return TrueImage(int(stem) if stem.isdecimal() else stem, name, width, height, objects)


def _notes(differences: Mapping[str, list[str]], gt_boxes: GtBoxes) -> list[str]:
    """Summarise the inconsistencies, one sentence per kind."""
    fate = "left out" if gt_boxes == "mask" else "kept without one, so that mask scores will be null"
    kinds = {
        "sizes": "images have another size than their annotation says; the image's own was taken",
        "unmasked": f"objects have no mask and were {fate}",
        "unmatched": "masks belong to no annotated object and were left out",
    }
    notes = []
    for kind, what in kinds.items():
        entries = differences.get(kind)
        if entries:
            more = "; ..." if len(entries) > _NOTES_SHOWN else ""
            notes.append(f"{len(entries)} {what}: {'; '.join(entries[:_NOTES_SHOWN])}{more}")
    return notes


def _stems(content: bytes, path: Path) -> list[str]:
    stems: dict[str, int] = {}
    for number, line in enumerate(decode_text(content, str(path)).splitlines(), start=1):
        if not line.strip():
            continue
        name = line.split()[0]
        stem = name.removesuffix(Path(name).suffix) if Path(name).suffix in (*_SUFFIXES, ".xml") else name
        check_stem(stem, f"{path}, line {number}")
        if stem in stems:
            raise DataError(f"{path}, line {number}, repeats the image {stem} of line {stems[stem]}; keep one of them")
        stems[stem] = number
    if not stems:
        raise DataError(f"{path} is empty; expected one image name per line")
    return list(stems)


def _picture(folder: Path, stem: str) -> Path:
    """The image file of a name in a split list. Without such a file, the path where it should be."""
    names = (folder / f"{stem}{suffix}" for suffix in _SUFFIXES)
    return next((path for path in names if path.is_file()), folder / f"{stem}.jpg")


def _image_folder(root: Path, name: str, stem: str) -> Path:
    """Find the image folder of a split: `name`, perhaps with the suffix of an archive, and perhaps nested twice."""
    folders = sorted(path for path in root.glob(f"{name}*") if path.is_dir())
    for folder in [*folders, *(folder / name for folder in folders)]:
        if _picture(folder, stem).is_file():
            return folder
    looked = " and ".join(str(folder) for folder in folders) or f"{root / name} (also with a suffix such as -001)"
    raise DataError(f"DIOR image {stem}.jpg not found: looked in {looked}. Unpack the images of {name} there")


def _category(name: str, where: str) -> str:
    """Look up a category by its VOC or SAMRS spelling; only letters count, in upper or lower case."""
    category = _SPELT.get(re.sub("[^a-z]", "", name.lower()))
    if category is None:
        raise DataError(f"{where} is a {name!r}, which is not a DIOR category; expected one of {', '.join(_SPELT)}")
    return category


_SPELT = {name.replace(" ", ""): name for name in DIOR.categories}


def _objects(
    annotated: Sequence[VocObject],
    segments: Sequence[SamrsObject] | None,
    size: tuple[int, int],
    path: Path,
    gt_boxes: GtBoxes,
    differences: dict[str, list[str]],
) -> tuple[TrueObject, ...]:
    """Pair the objects of one image with masks of the same category and box; `segments` is None without masks."""
    waiting: dict[tuple[str, tuple[int, ...]], list[RLE]] = {}
    for i, segment in enumerate(segments or ()):
        if segment.mask["size"] != size:
            raise DataError(f"mask {i} of {path.stem} has size {segment.mask['size']}; expected {size} of the image")
        category = _category(segment.category, f"mask {i} of {path.stem}")
        waiting.setdefault((category, _rounded(segment.corners)), []).append(segment.mask)
    objects = []
    for i, item in enumerate(annotated, start=1):
        where = f"{path.name}, object {i}"
        category = _category(item.name, where)
        masks = waiting.get((category, _rounded(item.corners)))
        mask = masks.pop(0) if masks else None
        mask_box = None if mask is None else _mask_box(mask, where)
        if segments is not None and mask_box is None:
            mask = None  # an empty mask counts as missing
            differences.setdefault("unmasked", []).append(where)
        box = box_of_corners(item.corners) if gt_boxes == "annotated" else mask_box
        if box is not None:
            place = f"{path}, object {i} ({category})"
            objects.append(TrueObject(category, box, mask, ignored=item.difficult, place=place))
    left = sum(len(masks) for masks in waiting.values())
    if left:
        differences.setdefault("unmatched", []).append(f"{path.stem} ({left})")
    return tuple(objects)


def _rounded(corners: Sequence[float]) -> tuple[int, ...]:
    return tuple(int(value) for value in np.rint(corners))


def _mask_box(mask: RLE, where: str) -> Box | None:
    """The bounding box of a mask; None for an empty mask."""
    x, y, width, height = decode_rles([mask], f"mask of {where}").boxes[0].tolist()
    return (x, y, width, height) if width else None
