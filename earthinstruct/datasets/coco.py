"""Reads COCO annotation files, and refuses what is inconsistent before it can become a wrong number."""

from __future__ import annotations

import hashlib
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, TypeVar

import msgspec
import numpy as np

from earthinstruct.contract import BOX, bad_boxes
from earthinstruct.datasets.dataset import AnnotationMasks, Dataset, ImageRecord
from earthinstruct.errors import ContractError, DataError
from earthinstruct.files import decode_json, read_bytes
from earthinstruct.instances import ImageId, Instances
from earthinstruct.masks import MOST_PIXELS, RLE, MaskRuns, StoredMasks, check_rle, decode_rles, encode_runs
from earthinstruct.tasks import Vocabulary

_T = TypeVar("_T")


class _Image(msgspec.Struct):
    id: ImageId
    file_name: str
    width: int
    height: int


class _Category(msgspec.Struct):
    id: int
    name: str
    supercategory: str | None = None


class _Annotation(msgspec.Struct):
    id: int
    image_id: ImageId
    category_id: int
    bbox: tuple[float, float, float, float]
    segmentation: list[list[float]] | dict[str, Any] | None = None
    iscrowd: int = 0


class _File(msgspec.Struct):
    """`annotations` as they stand in the file: decoded some at a time, so that never all are Python objects."""

    images: list[_Image]
    annotations: list[msgspec.Raw]
    categories: list[_Category]


class _DecodedFile(_File):
    annotations: list[_Annotation]  # type: ignore[assignment]


_DECODER = msgspec.json.Decoder(_File)
_ANNOTATIONS_DECODER = msgspec.json.Decoder(list[_Annotation])
_ANNOTATIONS_AT_ONCE = 2_000
_WHOLE, _SHARDS = "annotations.json", "annotations-*.json"
_NO_PARENT = ("", "none")  # what tools write as supercategory where there is none
_LARGEST_ID = 2**63 - 1  # of an annotation: what a column holds


def read_coco(
    path: Path,
    *,
    name: str,
    image_root: Path | None,
    vocabulary: Vocabulary | None = None,
    renamed: dict[str, str] | None = None,
) -> Dataset:
    """Read a COCO annotation file, or a folder of its shards, as a `Dataset`.

    Args:
        path: the JSON file, or a folder (see `annotation_files`). Ids may start at 0; image ids may be numbers or text.
            Shards are read one at a time, and amount to one file with the images and annotations of all in turn.
        name: the dataset's name.
        image_root: the folder of the images, or None.
        vocabulary: the categories the file must have; None: the file's own, with its `supercategory` as parents.
        renamed: category name in the file -> name in the vocabulary.

    Raises:
        DataError: the file is missing, is not COCO, or contradicts itself; the message names the entry.
    """
    files = annotation_files(path)
    if not files:
        raise DataError(f"folder {path} has no annotation file; expected {_WHOLE}, or shards {_SHARDS}")
    truth = _GroundTruth(vocabulary, renamed or {}, sharded=len(files) > 1)
    for file in files:
        truth.add(file, read_bytes(file, "annotation file"))
    return truth.dataset(name, image_root)


def annotation_files(path: Path) -> list[Path]:
    """The COCO files that a path stands for, in the order of their names; none where a folder has none.

    Args:
        path: a file, or a folder with `annotations.json`, or with shards `annotations-*.json`.

    Raises:
        DataError: the folder has both.
    """
    if not path.is_dir():
        return [path]
    shards, whole = sorted(path.glob(_SHARDS)), path / _WHOLE
    if not whole.is_file():
        return shards
    if shards:
        raise DataError(f"folder {path} has {_WHOLE} and {shards[0].name}; expected {_WHOLE}, or shards {_SHARDS}")
    return [whole]


def parse_coco(
    content: bytes,
    path: Path,
    *,
    name: str,
    image_root: Path | None,
    vocabulary: Vocabulary | None = None,
    renamed: dict[str, str] | None = None,
) -> Dataset:
    """The content of a COCO annotation file as a `Dataset`.

    Args:
        content: JSON.
        path: what an error calls it: the file, or the folder that it was made from.
        name: as in `read_coco`, and so are the rest.
        image_root: the folder of the images, or None.
        vocabulary: the categories it must have, or None.
        renamed: category name in the content -> name in the vocabulary.

    Raises:
        DataError: it is not COCO, or contradicts itself; the message names the entry.
    """
    truth = _GroundTruth(vocabulary, renamed or {})
    truth.add(path, content)
    return truth.dataset(name, image_root)


def check_file_name(file_name: str, where: str) -> None:
    """Refuse a file name from data that could leave its folder.

    Raises:
        DataError: the name is empty, absolute, or has a `..` part, a drive or a backslash.
    """
    parts = PurePosixPath(file_name)
    if (
        not file_name
        or parts.is_absolute()
        or ".." in parts.parts
        or "\\" in file_name
        or ":" in file_name
        or "\0" in file_name
    ):
        raise DataError(f"{where}: file name {file_name!r} leaves the image folder; give a path relative to it")


class _Once:
    """Values of which each may be there once, in one file or in several."""

    def __init__(self, expected: str) -> None:
        self.expected = expected
        self._seen: defaultdict[str, set[object]] = defaultdict(set)

    def refuse_repeated(self, values: Iterable[object], path: Path, where: str, what: str) -> None:
        seen = self._seen[f"{where} {what}"]
        for i, value in enumerate(values):
            if value in seen:
                self.refuse(value, path, f"{where}[{i}]", what)
            seen.add(value)

    def refuse(self, value: object, path: Path, where: str, what: str) -> NoReturn:
        raise DataError(f"{path}: {where} repeats the {what} {value!r}; every {what} must be there {self.expected}")


class _GroundTruth:
    """What the files of a dataset add up to. The text of each is dropped when it is read, and masks are stored."""

    def __init__(self, vocabulary: Vocabulary | None, renamed: dict[str, str], *, sharded: bool = False) -> None:
        self.expected, self.renamed = vocabulary, renamed
        self.vocabulary = Vocabulary(())  # known with the first file
        self.files: list[tuple[Path, int]] = []  # and the annotations before those of each
        self.categories: list[_Category] = []
        self.images: list[ImageRecord] = []
        self.image, self.category, self.id, self.boxes = array("q"), array("q"), array("q"), array("d")
        self.whole, self.first, self.several = StoredMasks(), StoredMasks(), array("q")
        self.no_masks_reason: str | None = None
        self._digest = hashlib.sha256()
        self._once = _Once("once, in all shards together" if sharded else "once")

    def add(self, path: Path, content: bytes) -> None:
        """Read a file."""
        reader = _Reader(path, content, self.renamed)
        if not self.files:
            self.vocabulary = reader.vocabulary(self.expected)
            self.categories = reader.categories
        elif reader.categories != self.categories:
            raise reader.error(
                f"its categories are {_listed(reader.categories)}, those of {self.files[0][0].name} are "
                f"{_listed(self.categories)}; expected the same id, name and supercategory in every shard"
            )
        self._digest.update(content)
        self.files.append((path, len(self.id)))
        reader.check_images(self._once)
        self._add_annotations(reader)
        self.images += [ImageRecord(i.id, i.file_name, i.width, i.height) for i in reader.file.images]

    def _add_annotations(self, reader: _Reader) -> None:
        place = {category.id: self.vocabulary.categories.index(category.name) for category in self.categories}
        for start, entries, index in reader.annotations(place):
            before = len(self.id)
            self.id.extend(entry.id for entry in entries)
            self.image.extend(len(self.images) + i for i in index)
            self.category.extend(place[entry.category_id] for entry in entries)
            for entry in entries:
                self.boxes.extend(entry.bbox)
            bare = next((i for i, entry in enumerate(entries) if not entry.segmentation), None)
            if bare is not None and self.no_masks_reason is None:
                where = f"annotations[{start + bare}] (id {entries[bare].id})"
                self.no_masks_reason = f"{reader.path.name}: {where} has no segmentation"
                self.whole, self.first, self.several = StoredMasks(), StoredMasks(), array("q")
            if self.no_masks_reason is None:
                whole, first = reader.masks(entries, index, start)
                self.whole.append(whole)
                self.first.append(decode_rles(list(first.values())))
                self.several.extend(before + i for i in first)

    def dataset(self, name: str, image_root: Path | None) -> Dataset:
        """All that was read."""
        self._refuse_repeated_ids()
        ids = {category.name: category.id for category in self.categories}
        masks = AnnotationMasks(self.whole, np.frombuffer(self.several, dtype=np.int64), self.first)
        return Dataset(
            name=name,
            vocabulary=self.vocabulary,
            images=tuple(self.images),
            annotations=Instances(  # views, no copies
                np.frombuffer(self.image, dtype=np.int64),
                np.frombuffer(self.category, dtype=np.int64),
                np.frombuffer(self.boxes, dtype=np.float64).reshape(-1, 4),
            ),
            masks=masks if self.no_masks_reason is None else None,
            no_masks_reason=self.no_masks_reason,
            image_root=None if image_root is None else image_root.absolute(),  # a method may change where it is
            sha256=self._digest.hexdigest(),
            category_ids=tuple(ids[category] for category in self.vocabulary.categories),
        )

    def _refuse_repeated_ids(self) -> None:
        ids = np.frombuffer(self.id, dtype=np.int64)
        order = np.argsort(ids, kind="stable")
        repeated = order[1:][np.diff(ids[order]) == 0]
        if len(repeated):
            i = int(repeated.min())
            path, before = next((path, before) for path, before in reversed(self.files) if before <= i)
            self._once.refuse(self.id[i], path, f"annotations[{i - before}]", "id")


def _listed(categories: list[_Category]) -> str:
    return ", ".join(f"{c.id} {c.name!r}" + (f" ({c.supercategory})" if c.supercategory else "") for c in categories)


class _Reader:
    """The checks of one file, so that every message can name it."""

    def __init__(self, path: Path, content: bytes, renamed: dict[str, str]) -> None:
        self.path = path
        self.content = content
        self.file = file = self.decoded(content, _DECODER)
        for category in file.categories:
            category.name = renamed.get(category.name, category.name)
        self.categories = sorted(file.categories, key=lambda category: category.id)

    def decoded(self, content: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
        problem = (
            "is not a COCO annotation file: {error}; expected an object with 'images', 'annotations' and 'categories'"
        )
        return decode_json(content, decoder, f"{self.path} {problem}")

    def entries(self, start: int) -> list[_Annotation]:
        """Some annotations from `start` on."""
        raw = self.file.annotations[start : start + _ANNOTATIONS_AT_ONCE]
        try:
            return self.decoded(b"[" + b",".join(raw) + b"]", _ANNOTATIONS_DECODER)
        except DataError:
            self.decoded(self.content, msgspec.json.Decoder(_DecodedFile))  # names the place in the whole file
            raise

    def error(self, message: str) -> DataError:
        return DataError(f"{self.path}: {message}")

    def vocabulary(self, expected: Vocabulary | None) -> Vocabulary:
        names = [category.name for category in self.file.categories]
        once = _Once("once")
        once.refuse_repeated([category.id for category in self.file.categories], self.path, "categories", "id")
        once.refuse_repeated(names, self.path, "categories", "name")
        if not names:
            raise self.error("'categories' is empty")
        if expected is not None:
            unknown = [name for name in names if name not in expected.categories]
            missing = [name for name in expected.categories if name not in names]
            if unknown or missing:
                raise self.error(
                    f"its categories are not those of the dataset: unknown {unknown}, missing {missing}; "
                    f"expected {list(expected.categories)}"
                )
            return expected
        parents: dict[str, tuple[str, ...]] = {}
        for category in self.categories:
            parent = category.supercategory or ""
            if parent.lower() not in _NO_PARENT and parent not in names:
                parents[parent] = (*parents.get(parent, ()), category.name)
        for i, name in enumerate((*names, *parents)):
            if any(unicodedata.category(character) == "Cc" for character in name):
                raise self.error(
                    f"the {'category' if i < len(names) else 'supercategory'} {name!r} has a control character"
                )
        once.refuse_repeated([parent.replace("_", " ") for parent in parents], self.path, "supercategories", "name")
        return Vocabulary(tuple(category.name for category in self.categories), parents=parents)

    def check_images(self, once: _Once) -> None:
        images = self.file.images
        if not images:
            raise self.error("'images' is empty")
        once.refuse_repeated((image.id for image in images), self.path, "images", "id")
        once.refuse_repeated((str(image.id) for image in images), self.path, "images", "id as text")
        # results and count files may name an image by either, so both must be unique
        once.refuse_repeated((image.file_name for image in images), self.path, "images", "file_name")
        for i, image in enumerate(images):
            check_file_name(image.file_name, f"{self.path}: images[{i}]")
            if image.width <= 0 or image.height <= 0:
                raise self.error(f"images[{i}] has size {image.width}x{image.height}; both sides must be positive")
            if image.width * image.height > MOST_PIXELS:
                raise self.error(f"images[{i}] has size {image.width}x{image.height}; expected at most 2^32 - 1 pixels")

    def annotations(self, known_categories: Collection[int]) -> Iterator[tuple[int, list[_Annotation], list[int]]]:
        """The annotations, some at a time: the index of the first, themselves, and the index of the image of each."""
        image_index = {image.id: i for i, image in enumerate(self.file.images)}
        for start in range(0, len(self.file.annotations), _ANNOTATIONS_AT_ONCE):
            entries = self.entries(start)
            bad = bad_boxes(np.array([entry.bbox for entry in entries], dtype=np.float64))
            if bad.any():
                i = int(np.argmax(bad))
                raise self.error(
                    f"annotations[{start + i}] (id {entries[i].id}) has the box {list(entries[i].bbox)}; expected {BOX}"
                )
            for i, entry in enumerate(entries, start):
                self.check(entry, f"annotations[{i}] (id {entry.id})", image_index, known_categories)
            yield start, entries, [image_index[entry.image_id] for entry in entries]

    def check(
        self, entry: _Annotation, where: str, known_images: Container[ImageId], known_categories: Collection[int]
    ) -> None:
        if abs(entry.id) > _LARGEST_ID:
            raise self.error(f"{where} has an id beyond 64 bits; number the annotations from 0 or 1")
        if entry.image_id not in known_images:
            raise self.error(f"{where} names image {entry.image_id!r}, which is not in 'images'")
        if entry.category_id not in known_categories:
            raise self.error(
                f"{where} names category {entry.category_id}, which is not in 'categories' ({sorted(known_categories)})"
            )
        if entry.iscrowd:
            raise self.error(
                f"{where} is a crowd region (iscrowd 1), which cannot be counted; split it into instances or remove it"
            )

    def masks(self, entries: list[_Annotation], image_index: list[int], start: int) -> tuple[MaskRuns, dict[int, RLE]]:
        """The masks of some entries, the first of them annotation `start`.

        Returns:
            The masks; and index into `entries` -> the mask of the first polygon alone, of those with several.
        """
        whole: list[RLE] = []
        first: dict[int, RLE] = {}
        for i, (entry, index) in enumerate(zip(entries, image_index, strict=True)):
            image = self.file.images[index]
            where = f"annotations[{start + i}] (id {entry.id})"
            if isinstance(entry.segmentation, dict):
                whole.append(self.mask_of_rle(entry.segmentation, (image.height, image.width), where))
            elif entry.segmentation:
                whole.append(self.mask_of_polygons(entry.segmentation, image, where))
                if len(entry.segmentation) > 1:
                    first[i] = self.mask_of_polygons(entry.segmentation[:1], image, where)
        try:
            return decode_rles(whole, "annotations", before=start), first
        except ContractError as error:
            raise self.error(f"segmentation of {error}") from error

    def mask_of_rle(self, value: dict[str, Any], size: tuple[int, int], where: str) -> RLE:
        try:
            if isinstance(value.get("counts"), list):
                rle = check_rle({**value, "counts": ""}, f"{where} segmentation")
                rle = encode_runs(value["counts"], rle["size"])
            else:
                rle = check_rle(value, f"{where} segmentation")
        except ContractError as error:
            message = str(error) if where in str(error) else f"{where} segmentation: {error}"
            raise self.error(message) from error
        if rle["size"] != size:
            raise self.error(
                f"{where} has a mask of size {list(rle['size'])}, its image is {list(size)} (height, width)"
            )
        return rle

    def mask_of_polygons(self, polygons: list[list[float]], image: _Image, where: str) -> RLE:
        from pycocotools import mask as coco_mask

        limit = 2 * max(image.width, image.height)
        for polygon in polygons:
            if len(polygon) < 6 or len(polygon) % 2:
                raise self.error(f"{where} has a polygon of {len(polygon)} numbers; expected x, y of at least 3 points")
            if max(polygon) > limit or min(polygon) < -limit:
                far = max(polygon, key=abs)
                raise self.error(
                    f"{where} has a polygon vertex at {far}, far outside its {image.width}x{image.height} image"
                )
        parts = coco_mask.frPyObjects(polygons, image.height, image.width)
        whole = parts[0] if len(parts) == 1 else coco_mask.merge(parts)
        return RLE(size=(image.height, image.width), counts=whole["counts"].decode())
