"""Read COCO results, and COCO annotation files with predictions, as records."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from operator import attrgetter
from pathlib import Path
from types import NoneType
from typing import Any, Generic, TypedDict, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import BOX, POINT, bad_boxes, bad_points
from earthinstruct.datasets import SCORE_WORDS, Dataset, ImageRecord
from earthinstruct.errors import ContractError, DataError
from earthinstruct.files import Kinds, checked_json, decode_checked, decode_counted, kinds_of, read_bytes
from earthinstruct.predictions.file import Box, Record, as_boxes
from earthinstruct.predictions.image_names import ImageNames
from earthinstruct.regions import RLE, BoxForm, ImageId, are_sizes, check_rle, decode_rles, encode_polygons, encode_runs
from earthinstruct.tasks import forms

_T = TypeVar("_T")
_Numbers = TypeVar("_Numbers")

_EXPECTED = (
    'Expected COCO results, [{"image_id", "category_id" or "label", "bbox", "segmentation", "keypoints", "score"}], '
    "with boxes [x, y, width, height] or as --order and --frame say; also read are predictions.jsonl, run folders, "
    'counts ({"a.png": {"ship": 3}}, or a folder of files a.json, each {"ship": 3}), and with --classes semantic maps'
)
NO_CATEGORY = "objects of classes without a category"
_OBJECT = re.compile(rb"\s*\{")
_LABEL_WORDS = ("category", "category_name", "class", "class_name", "name")  # of tools, for what is `label` here
_OTHER_SCORES = tuple(word for word in SCORE_WORDS if word != "score")
_OtherWords: Any = msgspec.defstruct(
    "_OtherWords", [(word, Any, None) for word in (*_LABEL_WORDS, *_OTHER_SCORES)], gc=False
)
_OTHER_WORDS: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[_OtherWords])


class RunLengths(TypedDict):
    """A mask as COCO run lengths, compressed or not."""

    size: tuple[int, int]
    counts: str | list[int]


def rle_of(mask: RunLengths, where: Callable[[], str]) -> RLE:
    """Convert a mask to an RLE; `where` names it in errors.

    Raises:
        DataError: the mask is malformed.
    """
    try:
        if isinstance(mask["counts"], list):
            return encode_runs(mask["counts"], mask["size"])
        return check_rle(mask, "mask")
    except ContractError as error:
        raise DataError(f"{where()}: {str(error).removeprefix('mask: ')}") from error


class _Result(msgspec.Struct, Generic[_Numbers], gc=False):
    """One predicted object; `file_name` is written by Ultralytics."""

    image_id: ImageId
    bbox: _Numbers | None = None
    segmentation: RunLengths | list[list[float]] | None = None
    score: float | None = None
    label: str | None = None
    category_id: int | str | None = None
    file_name: str | None = None
    keypoints: list[float] | None = None


class _PlainResult(_Result[_Numbers], Generic[_Numbers], gc=False):
    """A result whose mask, if any, is compressed run lengths or polygons, as nearly all are."""

    segmentation: RLE | list[list[float]] | None = None  # type: ignore[assignment]


@dataclass(frozen=True)
class _Columns:
    """The fields of all results, each in one list."""

    image_id: list[ImageId]
    bbox: list[Any]  # Box, or list[float] of another form, or None
    segmentation: list[RunLengths | list[list[float]] | None]
    score: list[float | None]
    label: list[str | None]
    category_id: list[int | str | None]
    file_name: list[str | None]
    keypoints: list[list[float] | None]

    @classmethod
    def of(cls, results: Sequence[_Result[Any]]) -> _Columns:
        return cls(*(list(map(attrgetter(name), results)) for name in _Result.__struct_fields__))

    @cached_property
    def kinds(self) -> dict[str, Kinds]:
        """How many values of each type a field has."""
        return {name: kinds_of(getattr(self, name)) for name in _Result.__struct_fields__}

    @property
    def n_texts(self) -> int:
        """The number of keys that hold a value, and of texts, if all masks are plain."""
        n = 0
        for kinds in self.kinds.values():  # a mask has two keys, and the text of its runs
            n += sum(kinds.values()) - kinds.get(NoneType, 0) + kinds.get(str, 0) + 3 * kinds.get(dict, 0)
        return n


class _Image(msgspec.Struct):
    id: ImageId
    file_name: str


class _Category(msgspec.Struct):
    id: int | str
    name: str


class _File(msgspec.Struct, Generic[_Numbers]):
    """A COCO file whose annotations are predictions. `images` and `categories` say what its ids mean."""

    annotations: list[_Result[_Numbers]]
    images: list[_Image] = []
    categories: list[_Category] = []


_PLAIN_RESULTS = msgspec.json.Decoder(list[_PlainResult[Box]])
_COCO_BOXES = BoxForm()


class ColumnRecords(Mapping[ImageId, Record]):
    """Records of instances, kept in columns: image -> record, which is made on access.

    Attributes:
        images: all images, in the order of their instances.
        n: number of instances of each image.
        labels: the label of each instance.
        boxes: float64 (n, 4), COCO xywh.
        masks: the mask of each instance, or None.
        scores: float64 (n,), or None.
        points: the point of each instance, or None; without points, there are boxes.
        left_out: image -> number of entries that were left out, because their class has no category.
    """

    def __init__(
        self,
        images: Sequence[ImageId],
        image: Sequence[int],
        labels: list[str],
        boxes: NDArray[np.float64],
        masks: list[RLE] | None,
        scores: NDArray[np.float64] | None,
        left_out: Mapping[ImageId, int],
        points: list[tuple[float, float]] | None,
        with_boxes: bool,
    ) -> None:
        """Sort instances by image; `image` is the index of the image of each."""
        self.images, self.left_out, self._with_boxes = images, left_out, with_boxes
        self._index = {name: i for i, name in enumerate(images)}
        own = np.array(image, dtype=np.int64)
        self.n = np.bincount(own, minlength=len(images))
        self._first = np.append(0, np.cumsum(self.n))
        if (np.diff(own) < 0).any():
            order = np.argsort(own, kind="stable")
            boxes, scores = boxes[order], None if scores is None else scores[order]
            places = order.tolist()
            labels = [labels[i] for i in places]
            masks = None if masks is None else [masks[i] for i in places]
            points = None if points is None else [points[i] for i in places]
        self.labels, self.boxes, self.masks, self.scores, self.points = labels, boxes, masks, scores, points

    def __getitem__(self, image: ImageId) -> Record:
        i = self._index[image]
        own = slice(*self._first[i : i + 2].tolist())
        return Record(
            image,
            self.labels[own],
            [tuple(box) for box in self.boxes[own].tolist()] if self._with_boxes else None,
            None if self.masks is None else self.masks[own],
            None if self.scores is None else self.scores[own].tolist(),
            events={NO_CATEGORY: self.left_out[image]} if image in self.left_out else {},
            points=None if self.points is None else self.points[own],
        )

    def __iter__(self) -> Iterator[ImageId]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)


def read_coco_results(
    path: Path, dataset: Dataset, form: BoxForm = _COCO_BOXES, classes: Mapping[int, str | None] | None = None
) -> ColumnRecords:
    """Read a COCO results file, or a COCO file with predictions as annotations.

    Predictions keep the order of the file. Every image of the dataset gets a record, because an image without entries
    was predicted empty. A file without entries counts as one of predictions with scores. A missing box is computed from
    the mask. Where each entry has one keypoint, [x, y, visibility], these are points; otherwise keypoints are ignored.
    The ids of a COCO file are those of its own images and categories, which are found in the dataset by name.

    Args:
        path: the file.
        dataset: the dataset of the predictions.
        form: what the numbers of a box mean.
        classes: category_id -> label; None leaves entries out, and an event of the record has their number. Without
            `classes`, ids are those of the dataset.

    Raises:
        DataError: the file has another format, an image or category is unknown, or only some entries have a field.
    """
    return _Reader(path, dataset, form, classes).records()


class _Reader:
    """Reads the entries of one file, column by column; its errors name the file and the entry."""

    def __init__(self, path: Path, dataset: Dataset, form: BoxForm, classes: Mapping[int, str | None] | None) -> None:
        self._path = path
        self._dataset = dataset
        self._form = form
        self._classes = None if classes is None else {str(number): name for number, name in classes.items()}
        self._problem = f"COCO results {path}: {{error}}. {_EXPECTED}"
        content = read_bytes(path, "predictions")
        if _OBJECT.match(content) and hashlib.sha256(content).hexdigest() == dataset.sha256:
            raise DataError(f"{path} is the annotation file of dataset {dataset.name!r}; give a file of predictions")
        self._json, self._in_list = content, True
        self._file: _File[Any] = _File([])
        plain = _PLAIN_RESULTS if form == _COCO_BOXES else msgspec.json.Decoder(list[_PlainResult[list[float]]])
        found = decode_counted(
            content, lambda content: _Columns.of(plain.decode(content)), lambda columns: columns.n_texts
        )
        self._is_plain = found is not None
        if found is None:
            self._json = checked_json(content, self._problem, lines=True)
            self._in_list = _OBJECT.match(self._json) is None
            self._file = self._decoded()
            found = _Columns.of(self._file.annotations)
        self._entries = found

    def _decoded(self) -> _File[Any]:
        if not self._in_list:
            fields = self._decode(dict[str, msgspec.Raw])
            if "annotations" in fields:
                return self._decode(_File[Box] if self._form == _COCO_BOXES else _File[list[float]])
            if "image_id" not in fields:
                keys = ", ".join(map(repr, fields)) or "no keys"
                raise DataError(self._problem.replace("{error}", f"the file is an object with {keys}"))
            self._json, self._in_list = b"[" + self._json + b"]", True  # JSON lines, of which there is one
        return _File(self._decode(list[_Result[Box]] if self._form == _COCO_BOXES else list[_Result[list[float]]]))

    def _decode(self, kind: type[_T]) -> _T:
        return decode_checked(self._json, msgspec.json.Decoder(kind), self._problem)

    def _where(self, i: int) -> str:
        entry = f"entry {i}" if self._in_list else f"annotations[{i}]"
        return f"{self._path}: {entry} (image id {self._entries.image_id[i]})"

    def _where_mask(self, i: int) -> str:
        return f"{self._where(i)}: segmentation"

    def records(self) -> ColumnRecords:
        """The entries as records."""
        images, labels = self.images(), self.labels()
        with_masks, with_scores = self.all_or_none("segmentation"), self.all_or_none("score") or not images
        if not with_scores:
            self._refuse_other_scores()
        masks = self.masks(images) if with_masks else None
        points = self.points(images)
        boxes = np.zeros((len(images), 4))
        with_boxes = not points or with_masks or self.all_or_none("bbox")
        if with_boxes:
            boxes = self.boxes(images, masks)
        elif self._form.order != _COCO_BOXES.order:
            raise DataError(f"{self._path} has keypoints and no boxes: --order says nothing about them; leave it out")
        scores = np.array(self._entries.score, dtype=np.float64) + 0.0 if with_scores else None  # -0.0 becomes 0.0
        left_out: Counter[ImageId] = Counter()
        kept = [label for label in labels if label is not None]
        if len(kept) < len(labels):
            chosen = [i for i, label in enumerate(labels) if label is not None]
            left_out.update(image.id for image, label in zip(images, labels, strict=True) if label is None)
            images, boxes = [images[i] for i in chosen], boxes[chosen]
            points = points and [points[i] for i in chosen]
            masks, scores = masks and [masks[i] for i in chosen], None if scores is None else scores[chosen]
        ids = [image.id for image in self._dataset.images]
        place = {image: i for i, image in enumerate(ids)}
        return ColumnRecords(
            ids, [place[image.id] for image in images], kept, boxes, masks, scores, left_out, points, with_boxes
        )

    def images(self) -> list[ImageRecord]:
        """The image of each entry.

        Raises:
            DataError: an image is unknown.
        """
        names: list[ImageId] = self._entries.image_id
        of_file = [name for name in self._entries.file_name if name is not None]
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

    def labels(self) -> list[str | None]:
        """The label of each entry, or the name of its category; None: it is left out.

        Raises:
            DataError: an entry has no label, and no known category.
        """
        own = {str(category.id): category.name for category in self._file.categories}
        known = zip(self._dataset.category_ids, self._dataset.vocabulary.categories, strict=True)
        categories: Mapping[str, str | None] = self._classes or own or {str(number): name for number, name in known}
        of_id = {number: categories.get(str(number)) for number in set(self._entries.category_id)}
        of_entries = zip(self._entries.label, self._entries.category_id, strict=True)
        labels = [of_id[number] if label is None else label for label, number in of_entries]
        for i, label in enumerate(labels):
            if label is None and str(self._entries.category_id[i]) not in categories:
                raise DataError(f"{self._where(i)} {self._no_label(i)}; known ids: {', '.join(categories)}")
        if self._entries.kinds["label"].keys() != {NoneType} != self._entries.kinds["category_id"].keys():
            self._refuse_contradictions("label", self._entries.label, of_id)
        if NoneType in self._entries.kinds["label"]:
            for word in _LABEL_WORDS:
                given = self._others(word)
                if any(given):
                    beside = zip(given, self._entries.label, strict=True)  # a label is used instead
                    names = [name if label is None and isinstance(name, str) else None for name, label in beside]
                    self._refuse_contradictions(word, names, of_id)
        return labels

    def _refuse_other_scores(self) -> None:
        for word in _OTHER_SCORES:
            i = next((i for i, value in enumerate(self._others(word)) if value is not None), None)
            if i is not None:
                raise DataError(f"{self._where(i)} has {word!r}, but no score; rename {word!r} to 'score'")

    def _refuse_contradictions(
        self, word: str, given: Sequence[str | None], of_id: Mapping[int | str | None, str | None]
    ) -> None:
        """Refuse the name of a category beside the id of another one."""
        ids = self._entries.category_id
        names = [name for name in of_id.values() if name is not None]
        known = {form for name in (*self._dataset.vocabulary.categories, *names) for form in forms(name)}
        for name, number in dict.fromkeys(zip(given, ids, strict=True)):
            of_number = of_id[number]
            if name is None or of_number is None or known.isdisjoint(forms(name)):
                continue
            if set(forms(name)).isdisjoint(forms(of_number)):
                i = next(i for i, pair in enumerate(zip(given, ids, strict=True)) if pair == (name, number))
                raise DataError(
                    f"{self._where(i)} has the {word} {name!r} and the category_id {number!r}, which is {of_number!r}: "
                    "is it an id of another list? Correct one, or give 'label' alone"
                )

    @property
    def _list(self) -> bytes | msgspec.Raw:
        """The list of entries as it is in the file."""
        if self._in_list:
            return self._json
        return msgspec.json.decode(self._json, type=dict[str, msgspec.Raw])["annotations"]

    @cached_property
    def _other_words(self) -> list[Any]:
        """What each entry has under words of other tools; a plain file has no such words."""
        return [] if self._is_plain else _OTHER_WORDS.decode(self._list)

    def _others(self, word: str) -> list[Any]:
        return list(map(attrgetter(word), self._other_words))

    def _no_label(self, i: int) -> str:
        number = self._entries.category_id[i]
        if isinstance(number, str):
            return f"has the category_id {number!r}; give a number, or the name as 'label'"
        if number is not None:
            return f"has the category_id {number}, which is unknown, and no label"
        entry = msgspec.json.decode(msgspec.json.decode(self._list, type=list[msgspec.Raw])[i])
        word = next((word for word in _LABEL_WORDS if word in entry), None)
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
        if self._entries.kinds[field].keys().isdisjoint((NoneType, list)):
            return bool(self._entries.image_id)
        there = [
            value is not None and not (type(value) is list and not value) for value in getattr(self._entries, field)
        ]
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
        given: list[Any] = self._entries.segmentation
        is_plain = self._is_plain and self._entries.kinds["segmentation"].keys() == {dict}
        if is_plain and are_sizes([*{mask["size"] for mask in given}]):
            return given
        masks = []
        for i, (mask, image) in enumerate(zip(self._entries.segmentation, images, strict=True)):
            where = partial(self._where_mask, i)
            if isinstance(mask, dict):
                masks.append(rle_of(mask, where))
            else:
                try:
                    masks.append(encode_polygons(mask or [], (image.height, image.width), where()))
                except ContractError as error:
                    raise DataError(str(error)) from error
        return masks

    def points(self, images: list[ImageRecord]) -> list[tuple[float, float]] | None:
        """The point of each entry, in the frame of boxes; None if any entry has no keypoint, [0, 0, 0], or several.

        Raises:
            DataError: a point is too far away, or [0, 0, 0] where entries have neither boxes nor masks.
        """
        keypoints = [found for found in self._entries.keypoints if found is not None and len(found) == 3]
        if not keypoints or len(keypoints) < len(self._entries.keypoints):
            return None
        missing = next((i for i, found in enumerate(keypoints) if not any(found)), None)
        if missing is not None:
            if all(map(any, zip(self._entries.bbox, self._entries.segmentation, strict=True))):
                return None
            raise DataError(
                f"{self._where(missing)} has the keypoint [0, 0, 0], which means that there is none; leave the entry "
                "out, or give each entry a bbox"
            )
        places = np.array(keypoints)[:, :2]
        if self._form.side is not None:
            self._refuse(self._form.misfit_of_places(places, "points"))
            places *= np.array([(image.width, image.height) for image in images]) / self._form.side
        bad = bad_points(places)
        if bad.any():
            i = int(np.argmax(bad))
            raise DataError(f"{self._where(i)} has the keypoint {keypoints[i][:2]}; expected {POINT}")
        return [(x, y) for x, y in places.tolist()]

    def boxes(self, images: list[ImageRecord], masks: list[RLE] | None) -> NDArray[np.float64]:
        """The box of each entry, given or around its mask: float64 (n, 4).

        Raises:
            DataError: a box is malformed, or there is neither box nor mask.
        """
        given: list[Any] = self._entries.bbox if self._form == _COCO_BOXES else self._converted(images)
        if self._form != _COCO_BOXES or NoneType in self._entries.kinds["bbox"]:
            given = [box or self._box_of(i, masks) for i, box in enumerate(given)]
        boxes = np.fromiter(chain.from_iterable(given), dtype=np.float64).reshape(-1, 4)
        bad = bad_boxes(boxes)
        if bad.any():
            i = int(np.argmax(bad))
            in_form = "" if self._form == _COCO_BOXES else f", which is {self._entries.bbox[i]} as {self._form.order}"
            raise DataError(f"{self._where(i)} has the bbox {boxes[i].tolist()}{in_form}; expected {BOX}")
        return boxes

    def _refuse(self, misfit: str | None) -> None:
        if misfit is not None:
            raise DataError(f"{self._path}: {misfit}")

    def _converted(self, images: list[ImageRecord]) -> list[Box | None]:
        """The boxes that are given, in another form, as COCO boxes."""
        given = [i for i, numbers in enumerate(self._entries.bbox) if numbers]
        for i in given:
            if len(self._entries.bbox[i]) != self._form.n_numbers:
                raise DataError(
                    f"{self._where(i)} has a bbox of {len(self._entries.bbox[i])} numbers, {self._entries.bbox[i]}; "
                    f"a box as {self._form.order} has {self._form.n_numbers}: give another --order"
                )
        sizes = [(images[i].width, images[i].height) for i in given]
        self._refuse(self._form.misfit([self._entries.bbox[i] for i in given]))
        boxes: list[Box | None] = [None] * len(images)
        converted = as_boxes(self._form.boxes([self._entries.bbox[i] for i in given], sizes))
        for i, box in zip(given, converted, strict=True):
            boxes[i] = box
        return boxes

    def _box_of(self, i: int, masks: list[RLE] | None) -> Box:
        if masks is None:
            raise DataError(
                f"{self._where(i)} has neither a bbox nor a segmentation, nor one keypoint [x, y, visibility]"
            )
        try:
            x, y, width, height = decode_rles([masks[i]], self._where_mask(i)).boxes[0].tolist()
        except ContractError as error:
            raise DataError(str(error)) from error
        return x, y, width, height
