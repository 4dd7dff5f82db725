"""Read COCO results, and COCO annotation files with predictions, as records."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from earthinstruct.contract import BOX, bad_boxes
from earthinstruct.datasets import Dataset, ImageRecord
from earthinstruct.errors import ContractError, DataError
from earthinstruct.files import checked_json, decode_checked, read_bytes
from earthinstruct.predictions.file import Box, Record
from earthinstruct.predictions.image_names import ImageNames
from earthinstruct.regions import RLE, ImageId, check_rle, decode_rles, encode_polygons, encode_runs

_T = TypeVar("_T")

_EXPECTED = (
    'Expected COCO results, [{"image_id", "category_id" or "label", "bbox", "segmentation", "score"}]; also read are '
    "predictions.jsonl, run folders, folders of count files, and semantic maps with --classes"
)
_OBJECT = re.compile(rb"\s*\{")
_OTHER_WORDS_FOR_LABEL = ("category", "category_name", "class", "class_name", "name")


class RunLengths(msgspec.Struct):
    """A mask as COCO run lengths, compressed or not."""

    size: tuple[int, int]
    counts: str | list[int]

    def rle(self, where: str) -> RLE:
        """Convert to an RLE.

        Raises:
            DataError: the mask is malformed.
        """
        try:
            if isinstance(self.counts, list):
                return encode_runs(self.counts, self.size)
            return check_rle({"size": self.size, "counts": self.counts}, where)
        except ContractError as error:
            message = str(error)
            raise DataError(message if message.startswith(where) else f"{where}: {message}") from error


class _Result(msgspec.Struct):
    """One predicted object; `file_name` is written by Ultralytics."""

    image_id: ImageId
    bbox: Box | None = None
    segmentation: RunLengths | list[list[float]] | None = None
    score: float | None = None
    label: str | None = None
    category_id: int | str | None = None
    file_name: str | None = None


class _Image(msgspec.Struct):
    id: ImageId
    file_name: str


class _Category(msgspec.Struct):
    id: int | str
    name: str


class _File(msgspec.Struct):
    """A COCO file whose annotations are predictions. `images` and `categories` say what its ids mean."""

    annotations: list[_Result]
    images: list[_Image] = []
    categories: list[_Category] = []


def read_coco_results(path: Path, dataset: Dataset) -> dict[ImageId, Record]:
    """Read a COCO results file, or a COCO file with predictions as annotations.

    Predictions keep the order of the file. Every image of the dataset gets a record, because an image without entries
    was predicted empty. A file without entries counts as one of predictions with scores. A missing box is computed from
    the mask. The ids of a COCO file are those of its own images and categories, which are found in the dataset by name.

    Raises:
        DataError: the file has another format, an image or category is unknown, or only some entries have a field.
    """
    reader = _Reader(path, dataset)
    images, labels = reader.images(), reader.labels()
    with_masks, with_scores = reader.all_or_none("segmentation"), reader.all_or_none("score") or not images
    masks = reader.masks(images) if with_masks else None
    boxes = reader.boxes(masks)
    records = {
        image.id: Record(image.id, boxes=[], masks=[] if with_masks else None, scores=[] if with_scores else None)
        for image in dataset.images
    }
    for i, (image, result) in enumerate(zip(images, reader.results, strict=True)):
        record = records[image.id]
        record.labels.append(labels[i])
        if record.boxes is not None:
            record.boxes.append(boxes[i])
        if record.masks is not None and masks is not None:
            record.masks.append(masks[i])
        if record.scores is not None and result.score is not None:
            record.scores.append(result.score)
    return records


class _Reader:
    """Reads the entries of one file, column by column; its errors name the file and the entry."""

    def __init__(self, path: Path, dataset: Dataset) -> None:
        self._path = path
        self._dataset = dataset
        self._problem = f"COCO results {path}: {{error}}. {_EXPECTED}"
        content = read_bytes(path, "predictions")
        if hashlib.sha256(content).hexdigest() == dataset.sha256:
            raise DataError(f"{path} is the annotation file of dataset {dataset.name!r}; give a file of predictions")
        self._json = checked_json(content, self._problem, lines=True)
        self._in_list = _OBJECT.match(self._json) is None
        self._file = self._decoded()
        self.results = self._file.annotations

    def _decoded(self) -> _File:
        if not self._in_list:
            fields = self._decode(dict[str, msgspec.Raw])
            if "annotations" in fields:
                return self._decode(_File)
            if "image_id" not in fields:
                keys = ", ".join(map(repr, fields)) or "no keys"
                raise DataError(self._problem.replace("{error}", f"the file is an object with {keys}"))
            self._json, self._in_list = b"[" + self._json + b"]", True  # JSON lines, of which there is one
        return _File(self._decode(list[_Result]))

    def _decode(self, kind: type[_T]) -> _T:
        return decode_checked(self._json, msgspec.json.Decoder(kind), self._problem)

    def _where(self, i: int) -> str:
        entry = f"entry {i}" if self._in_list else f"annotations[{i}]"
        return f"{self._path}: {entry} (image id {self.results[i].image_id})"

    def images(self) -> list[ImageRecord]:
        """The image of each entry.

        Raises:
            DataError: an image is unknown.
        """
        names: list[ImageId] = [result.image_id for result in self.results]
        of_file = [result.file_name for result in self.results if result.file_name is not None]
        ids = not self._file.images and (len(of_file) < len(names) or not names)
        if self._file.images:
            own = {str(image.id): image.file_name for image in self._file.images}
            foreign = next((i for i, name in enumerate(names) if str(name) not in own), None)
            if foreign is not None:
                raise DataError(f"{self._where(foreign)} is for an image that is not in 'images' of its own file")
            names = [own[str(name)] for name in names]
        elif not ids:
            names = list(of_file)
        found = ImageNames(self._dataset).find(names, lambda name: self._where(names.index(name)), ids=ids, once=False)
        return [found[name] for name in names]

    def labels(self) -> list[str]:
        """The label of each entry, or the name of its category.

        Raises:
            DataError: an entry has no label, and no known category.
        """
        own = {str(category.id): category.name for category in self._file.categories}
        known = zip(self._dataset.category_ids, self._dataset.vocabulary.categories, strict=True)
        categories = own or {str(number): name for number, name in known}
        labels = [
            result.label if result.label is not None else categories.get(str(result.category_id))
            for result in self.results
        ]
        for i, label in enumerate(labels):
            if label is None:
                raise DataError(f"{self._where(i)} {self._no_label(i)}; known ids: {', '.join(categories)}")
        return [label for label in labels if label is not None]

    def _no_label(self, i: int) -> str:
        number = self.results[i].category_id
        if isinstance(number, str):
            return f"has the category_id {number!r}; give a number, or the name as 'label'"
        if number is not None:
            return f"has the category_id {number}, which is unknown, and no label"
        entries = msgspec.json.decode(self._json)
        entry = (entries if self._in_list else entries["annotations"])[i]
        word = next((word for word in _OTHER_WORDS_FOR_LABEL if word in entry), None)
        if word is not None:
            return f"has {word!r}: {entry[word]!r}, but no category_id and no label; rename {word!r} to 'label'"
        if not entry.keys().isdisjoint({"labels", "boxes", "counts"}):
            return "has no category_id and no label; if it is a line of predictions.jsonl, name the file *.jsonl"
        return "has no category_id and no label"

    def all_or_none(self, field: str) -> bool:
        """Whether the entries have a field.

        Raises:
            DataError: only some have it.
        """
        there = [getattr(result, field) not in (None, []) for result in self.results]
        if any(there) and not all(there):
            raise DataError(
                f"{self._where(there.index(False))} has no {field}, but {sum(there)} of {len(there)} entries have one; "
                "give it for all entries or for none"
            )
        return any(there)

    def masks(self, images: list[ImageRecord]) -> list[RLE]:
        """The mask of each entry.

        Raises:
            DataError: a mask is malformed.
        """
        masks = []
        for i, (result, image) in enumerate(zip(self.results, images, strict=True)):
            where = f"{self._where(i)}: segmentation"
            if isinstance(result.segmentation, RunLengths):
                masks.append(result.segmentation.rle(where))
            else:
                try:
                    masks.append(encode_polygons(result.segmentation or [], (image.height, image.width), where))
                except ContractError as error:
                    raise DataError(str(error)) from error
        return masks

    def boxes(self, masks: list[RLE] | None) -> list[Box]:
        """The box of each entry, given or around its mask.

        Raises:
            DataError: a box is malformed, or there is neither box nor mask.
        """
        boxes = []
        for i, result in enumerate(self.results):
            if result.bbox is not None:
                boxes.append(result.bbox)
            elif masks is not None:
                boxes.append(_box_of(masks[i], f"{self._where(i)}: segmentation"))
            else:
                raise DataError(f"{self._where(i)} has neither a bbox nor a segmentation")
        bad = bad_boxes(np.array(boxes, dtype=np.float64).reshape(-1, 4))
        if bad.any():
            i = int(np.argmax(bad))
            raise DataError(f"{self._where(i)} has the bbox {list(boxes[i])}; expected {BOX}")
        return boxes


def _box_of(mask: RLE, where: str) -> Box:
    try:
        x, y, width, height = decode_rles([mask], where).boxes[0].tolist()
    except ContractError as error:
        raise DataError(str(error)) from error
    return x, y, width, height
