"""Read COCO annotation files, and refuse inconsistent ones before they can cause wrong scores."""

from __future__ import annotations

import hashlib
import unicodedata
from array import array
from collections.abc import Collection, Container, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import msgspec
import numpy as np

from earthinstruct.contract import BOX, bad_boxes
from earthinstruct.datasets.dataset import AnnotationMasks, Dataset, ImageRecord
from earthinstruct.errors import ContractError, DataError
from earthinstruct.files import decode_json, read_bytes
from earthinstruct.regions import (
    MOST_PIXELS,
    RLE,
    ImageId,
    Instances,
    StoredMasks,
    check_rle,
    decode_rles,
    encode_polygons,
    encode_runs,
)
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
    """A COCO file. `annotations` are left encoded, and decoded some at a time to save memory."""

    images: list[_Image]
    annotations: list[msgspec.Raw]
    categories: list[_Category]


class _DecodedFile(_File):
    annotations: list[_Annotation]  # type: ignore[assignment]


_DECODER = msgspec.json.Decoder(_File)
_ANNOTATIONS_DECODER = msgspec.json.Decoder(list[_Annotation])
_ANNOTATIONS_AT_ONCE = 2_000
_NO_PARENT = ("", "none")  # written by tools as supercategory of categories without one
_LARGEST_ID = 2**63 - 1  # annotation ids are stored as int64


def read_coco(
    path: Path,
    *,
    name: str,
    image_root: Path | None,
    vocabulary: Vocabulary | None = None,
    renamed: dict[str, str] | None = None,
) -> Dataset:
    """Read a COCO annotation file as a `Dataset`.

    Args:
        path: the JSON file. Ids may start at 0; image ids may be numbers or text.
        name: the dataset's name.
        image_root: the folder of the images, or None.
        vocabulary: the categories that the file must have. None: take the categories from the file, with their
            `supercategory` as parents.
        renamed: category name in the file -> name in the vocabulary.

    Raises:
        DataError: the file is missing, is not COCO, or is inconsistent; the message names the entry.
    """
    content = read_bytes(path, "annotation file")
    return parse_coco(content, path, name=name, image_root=image_root, vocabulary=vocabulary, renamed=renamed)


def parse_coco(
    content: bytes,
    path: Path,
    *,
    name: str,
    image_root: Path | None,
    vocabulary: Vocabulary | None = None,
    renamed: dict[str, str] | None = None,
) -> Dataset:
    """Parse the content of a COCO annotation file as a `Dataset`.

    Args:
        content: the JSON.
        path: the file, or the folder from which the content was made, for errors.
        name: as in `read_coco`.
        image_root: as in `read_coco`.
        vocabulary: as in `read_coco`.
        renamed: as in `read_coco`.

    Raises:
        DataError: the content is not COCO, or is inconsistent; the message names the entry.
    """
    reader = _Reader(path, content, renamed or {})
    known = reader.vocabulary(vocabulary)
    reader.check_images()
    columns = _Columns(reader, known)
    ids = {category.name: category.id for category in reader.file.categories}
    return Dataset(
        name=name,
        vocabulary=known,
        images=tuple(ImageRecord(i.id, i.file_name, i.width, i.height) for i in reader.file.images),
        annotations=columns.annotations(),
        masks=columns.masks(),
        no_masks_reason=columns.no_masks_reason,
        image_root=None if image_root is None else image_root.absolute(),  # a method may change the working folder
        sha256=hashlib.sha256(content).hexdigest(),
        category_ids=tuple(ids[category] for category in known.categories),
    )


def check_file_name(file_name: str, where: str) -> None:
    """Refuse a file name that could lead out of its folder.

    Raises:
        DataError: the name is empty or absolute, or has `..`, a drive or a backslash.
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
        raise DataError(f"{where}: file name {file_name!r} leads out of the image folder; give a path relative to it")


class _Columns:
    """The annotations of a file in columns, read some at a time to save memory."""

    def __init__(self, reader: _Reader, vocabulary: Vocabulary) -> None:
        self.no_masks_reason: str | None = None
        self._image, self._category, self._id, self._boxes = array("q"), array("q"), array("q"), array("d")
        self._whole, self._first, self._several = StoredMasks(), StoredMasks(), array("q")
        place = {category.id: vocabulary.categories.index(category.name) for category in reader.file.categories}
        for start, entries, index in reader.annotations(place):
            self._id.extend(entry.id for entry in entries)
            self._image.extend(index)
            self._category.extend(place[entry.category_id] for entry in entries)
            for entry in entries:
                self._boxes.extend(entry.bbox)
            bare = next((i for i, entry in enumerate(entries) if not entry.segmentation), None)
            if bare is not None and self.no_masks_reason is None:
                where = f"annotations[{start + bare}] (id {entries[bare].id})"
                self.no_masks_reason = f"{reader.path.name}: {where} has no segmentation"
            if self.no_masks_reason is None:
                whole, first = reader.masks(entries, index, start)
                self._whole.append(whole)
                self._first.append(first.values())
                self._several.extend(start + i for i in first)
        self._refuse_repeated_ids(reader)

    def annotations(self) -> Instances:
        """The annotations without masks, as views of the columns."""
        return Instances(
            np.frombuffer(self._image, dtype=np.int64),
            np.frombuffer(self._category, dtype=np.int64),
            np.frombuffer(self._boxes, dtype=np.float64).reshape(-1, 4),
        )

    def masks(self) -> AnnotationMasks | None:
        """The masks; None unless every annotation has one."""
        if self.no_masks_reason is not None:
            return None
        return AnnotationMasks(self._whole, np.frombuffer(self._several, dtype=np.int64), self._first)

    def _refuse_repeated_ids(self, reader: _Reader) -> None:
        ids = np.frombuffer(self._id, dtype=np.int64)
        order = np.argsort(ids, kind="stable")
        repeated = order[1:][np.diff(ids[order]) == 0]
        if len(repeated):
            i = int(repeated.min())
            raise reader.repeated(self._id[i], f"annotations[{i}]", "id")


class _Reader:
    """Reads and checks one file; its errors name the file."""

    def __init__(self, path: Path, content: bytes, renamed: dict[str, str]) -> None:
        self.path = path
        self.content = content
        self.file = file = self.decoded(content, _DECODER)
        for category in file.categories:
            category.name = renamed.get(category.name, category.name)

    def decoded(self, content: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
        problem = (
            "is not a COCO annotation file: {error}; expected an object with 'images', 'annotations' and 'categories'"
        )
        return decode_json(content, decoder, f"{self.path} {problem}")

    def entries(self, start: int) -> list[_Annotation]:
        """Decode a batch of annotations, starting at `start`."""
        raw = self.file.annotations[start : start + _ANNOTATIONS_AT_ONCE]
        try:
            return self.decoded(b"[" + b",".join(raw) + b"]", _ANNOTATIONS_DECODER)
        except DataError:
            self.decoded(
                self.content, msgspec.json.Decoder(_DecodedFile)
            )  # raises an error with the place in the whole file
            raise

    def error(self, message: str) -> DataError:
        return DataError(f"{self.path}: {message}")

    def repeated(self, value: object, where: str, what: str) -> DataError:
        return self.error(f"{where} repeats the {what} {value!r}; every {what} must be unique")

    def refuse_repeated(self, values: Iterable[object], where: str, what: str) -> None:
        seen = set()
        for i, value in enumerate(values):
            if value in seen:
                raise self.repeated(value, f"{where}[{i}]", what)
            seen.add(value)

    def vocabulary(self, expected: Vocabulary | None) -> Vocabulary:
        names = [category.name for category in self.file.categories]
        self.refuse_repeated([category.id for category in self.file.categories], "categories", "id")
        self.refuse_repeated(names, "categories", "name")
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
        categories = sorted(self.file.categories, key=lambda category: category.id)
        for category in categories:
            parent = category.supercategory or ""
            if parent.lower() not in _NO_PARENT and parent not in names:
                parents[parent] = (*parents.get(parent, ()), category.name)
        for i, name in enumerate((*names, *parents)):
            if any(unicodedata.category(character) == "Cc" for character in name):
                raise self.error(
                    f"the {'category' if i < len(names) else 'supercategory'} {name!r} has a control character"
                )
        self.refuse_repeated([parent.replace("_", " ") for parent in parents], "supercategories", "name")
        return Vocabulary(tuple(category.name for category in categories), parents=parents)

    def check_images(self) -> None:
        images = self.file.images
        if not images:
            raise self.error("'images' is empty")
        self.refuse_repeated((image.id for image in images), "images", "id")
        self.refuse_repeated((str(image.id) for image in images), "images", "id as text")
        # results and count files may name an image by either, so both must be unique
        self.refuse_repeated((image.file_name for image in images), "images", "file_name")
        for i, image in enumerate(images):
            check_file_name(image.file_name, f"{self.path}: images[{i}]")
            if image.width <= 0 or image.height <= 0:
                raise self.error(f"images[{i}] has size {image.width}x{image.height}; both sides must be positive")
            if image.width * image.height > MOST_PIXELS:
                raise self.error(f"images[{i}] has size {image.width}x{image.height}; expected at most 2^32 - 1 pixels")

    def annotations(self, known_categories: Collection[int]) -> Iterator[tuple[int, list[_Annotation], list[int]]]:
        """Check the annotations in batches; yields the index of the first, the batch, and the image index of each."""
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

    def masks(self, entries: list[_Annotation], image_index: list[int], start: int) -> tuple[list[RLE], dict[int, RLE]]:
        """Encode and check the masks of a batch of entries; the first entry is annotation `start`.

        Returns:
            The masks, and for entries with several polygons: index in `entries` -> mask of the first polygon.
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
        if any(isinstance(entry.segmentation, dict) for entry in entries):  # masks from polygons are valid
            try:
                decode_rles(whole, "annotations", before=start)
            except ContractError as error:
                raise self.error(f"segmentation of {error}") from error
        return whole, first

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
                f"{where} has a mask of size {list(rle['size'])}; expected {list(size)} (height, width) of its image"
            )
        return rle

    def mask_of_polygons(self, polygons: list[list[float]], image: _Image, where: str) -> RLE:
        try:
            return encode_polygons(polygons, (image.height, image.width), where)
        except ContractError as error:
            raise self.error(str(error)) from error
