"""Ground truth to be written as COCO: the common result of all readers and preparers of other formats."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from earthinstruct.files import read_bytes
from earthinstruct.regions import RLE, ImageId

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class TrueObject:
    """One annotated object.

    Attributes:
        category: name of its category.
        box: COCO xywh, pixels; None for a prediction that is a point alone.
        segmentation: polygons (x, y, x, y, ... in pixels), an RLE, or None.
        area: area in pixels; None: the area of the box.
        score: score of a prediction; None for ground truth.
        ignored: whether it is neither found nor missed.
        place: where it is annotated ("a.txt, line 3"), for errors.
        problem: what its reader found wrong with it, or None.
        point: x and y of a prediction, pixels, or None.
    """

    category: str
    box: Box | None
    segmentation: Sequence[Sequence[float]] | RLE | None = None
    area: float | None = None
    score: float | None = None
    ignored: bool = False
    place: str = ""
    problem: str | None = None
    point: tuple[float, float] | None = None


@dataclass(frozen=True)
class TrueImage:
    """One image with its objects; `file_name` is relative to the image folder, sizes are in pixels."""

    id: ImageId
    file_name: str
    width: int
    height: int
    objects: tuple[TrueObject, ...]


def coco_bytes(
    images: Sequence[TrueImage],
    categories: Sequence[str],
    parents: Mapping[str, Sequence[str]] | None = None,
    info: Mapping[str, Any] | None = None,
) -> bytes:
    """Encode images as COCO JSON; arguments as in `as_coco`."""
    return msgspec.json.encode(as_coco(images, categories, parents, info))


def as_coco(
    images: Sequence[TrueImage],
    categories: Sequence[str],
    parents: Mapping[str, Sequence[str]] | None = None,
    info: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Convert images to one COCO object, with category and annotation ids from 1 in the given order.

    Args:
        images: the images.
        categories: all categories, in the order of their ids.
        parents: parent category -> members, written as `supercategory`.
        info: the `info` of the file.
    """
    ids = {name: i for i, name in enumerate(categories, start=1)}
    objects = [(image, found) for image in images for found in image.objects]
    return {
        "info": dict(info or {}),
        "images": [coco_image(image) for image in images],
        "categories": coco_categories(categories, parents),
        "annotations": [
            coco_annotation(number, image.id, ids[found.category], found)
            for number, (image, found) in enumerate(objects, start=1)
        ],
    }


def coco_image(image: TrueImage) -> dict[str, Any]:
    """The COCO entry of an image."""
    return {"id": image.id, "file_name": image.file_name, "width": image.width, "height": image.height}


def coco_categories(
    categories: Sequence[str], parents: Mapping[str, Sequence[str]] | None = None
) -> list[dict[str, Any]]:
    """The COCO entries of all categories, with ids from 1."""
    parent_of = {member: parent for parent, members in (parents or {}).items() for member in members}
    return [
        {"id": i, "name": name, "supercategory": parent_of.get(name, "")} for i, name in enumerate(categories, start=1)
    ]


def coco_annotation(number: int, image_id: ImageId, category_id: int, found: TrueObject) -> dict[str, Any]:
    """The COCO entry of an object; a point is its one keypoint, which is visible."""
    entry: dict[str, Any] = {"id": number, "image_id": image_id, "category_id": category_id}
    if found.box is not None:
        entry |= {
            "bbox": found.box,
            "area": found.box[2] * found.box[3] if found.area is None else found.area,
            "iscrowd": 0,
        }
    if found.point is not None:
        entry |= {"keypoints": [*found.point, 2], "num_keypoints": 1}
    if found.segmentation is not None:
        entry["segmentation"] = found.segmentation
    if found.score is not None:
        entry["score"] = found.score
    if found.ignored:
        entry["ignore"] = 1
    return entry


def box_of_corners(corners: Sequence[float]) -> Box:
    """Convert corners x1, y1, x2, y2 to a box; its sides are negative if the corners are swapped."""
    x1, y1, x2, y2 = corners
    return x1, y1, x2 - x1, y2 - y1


def box_of_polygon(polygon: Sequence[float]) -> Box:
    """The bounding box of a polygon x, y, x, y, ..."""
    left, top = min(polygon[::2]), min(polygon[1::2])
    return left, top, max(polygon[::2]) - left, max(polygon[1::2]) - top


class Sources:
    """Reads the source files of a dataset and records their hashes.

    Args:
        root: files in this folder are recorded by their relative path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hashes: dict[str, dict[str, str]] = {}  # kind of file -> name -> sha256

    def read(self, path: Path, what: str) -> bytes:
        """Read a file and record its hash under the kind `what`.

        Raises:
            DataError: the file cannot be read.
        """
        content = read_bytes(path, what)
        name = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        self.hashes.setdefault(what, {})[name.as_posix()] = hashlib.sha256(content).hexdigest()
        return content

    def info(self) -> list[dict[str, Any]]:
        """For each kind of file, the number of files and the sha256 of their lines `<sha256>  <name>`, sorted by name.

        This is the output of `sha256sum FILE... | sha256sum`. For a single file, it is the hash of the file.
        """
        summary = []
        for what, hashes in self.hashes.items():
            lines = "".join(f"{value}  {name}\n" for name, value in sorted(hashes.items()))
            total = next(iter(hashes.values())) if len(hashes) == 1 else hashlib.sha256(lines.encode()).hexdigest()
            summary.append({"what": what, "files": len(hashes), "first": min(hashes), "sha256": total})
        return summary
