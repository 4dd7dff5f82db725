"""Read COCO annotation files, and refuse inconsistent ones before they can cause wrong scores."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import attrgetter
from pathlib import Path, PurePosixPath
from types import NoneType
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import BOX, bad_boxes
from earthinstruct.datasets.dataset import AnnotationMasks, Dataset, IgnoredObjects, ImageRecord, refuse_other_size
from earthinstruct.datasets.ground_truth import Box, TrueObject
from earthinstruct.datasets.rules import SCORE_WORDS, TURNED, Form, Rules, is_turn
from earthinstruct.errors import ContractError, DataError
from earthinstruct.files import checked_json, decode_checked, decode_counted, is_clear_beside, kinds_of, read_bytes
from earthinstruct.images import image_size
from earthinstruct.regions import (
    MOST_PIXELS,
    RLE,
    ImageId,
    Instances,
    MaskRuns,
    StoredMasks,
    check_rle,
    decode_rles,
    encode_outlines,
    encode_polygons,
    encode_runs,
)
from earthinstruct.tasks import Vocabulary, forms

_T = TypeVar("_T")
_Flag = bool | int | str | None


class _Image(msgspec.Struct):
    id: ImageId
    file_name: str
    width: int
    height: int


class _Category(msgspec.Struct):
    id: int
    name: str
    supercategory: str | None = None


class _Annotation(msgspec.Struct, gc=False):
    image_id: ImageId
    category_id: int
    id: ImageId | None = None
    bbox: Box | None = None
    segmentation: list[list[float]] | dict[str, Any] | None = None
    iscrowd: _Flag = None
    ignore: _Flag = None
    difficult: _Flag = None
    area: Any = None  # not used; nearly all files have it


class _PlainAnnotation(_Annotation, gc=False):
    """An annotation whose mask, if any, is polygons or a compressed RLE, as nearly all are."""

    segmentation: list[list[float]] | RLE | None = None  # type: ignore[assignment]


@dataclass(frozen=True)
class _Entries:
    """The fields of some annotations, each in one list."""

    image_id: list[ImageId]
    category_id: list[int]
    id: list[ImageId | None]
    bbox: list[Box | None]
    segmentation: list[list[list[float]] | dict[str, Any] | None]
    iscrowd: list[_Flag]
    ignore: list[_Flag]
    difficult: list[_Flag]
    area: list[Any]

    @classmethod
    def of(cls, annotations: Sequence[_Annotation]) -> _Entries:
        return cls(*(list(map(attrgetter(name), annotations)) for name in cls.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def n_texts(self) -> int:
        """The number of keys that hold a value, and of texts, if all masks are plain."""
        n = 0
        for kinds in map(kinds_of, vars(self).values()):  # an RLE has two keys, and the text of its runs
            n += sum(kinds.values()) - kinds.get(NoneType, 0) + kinds.get(str, 0) + 3 * kinds.get(dict, 0)
        return n


class _Turned(msgspec.Struct):
    """What CVAT and others write of a box that is turned."""

    attributes: Any = None

    @property
    def is_turned(self) -> bool:
        return isinstance(self.attributes, dict) and is_turn(self.attributes.get("rotation"))


class _File(msgspec.Struct):
    """A COCO file. `annotations` are left encoded, and decoded some at a time to save memory."""

    images: list[_Image]
    annotations: list[msgspec.Raw]
    categories: list[_Category]
    info: Any = None


class _DecodedFile(_File):
    annotations: list[_Annotation]  # type: ignore[assignment]


_DECODER = msgspec.json.Decoder(_File)
_COPIES = 0.1  # share of the objects
_MIX = np.sqrt([2, 3, 5, 7, 11, 13])  # makes one number of an image, a category and a box
_ANNOTATIONS_DECODER = msgspec.json.Decoder(list[_Annotation])
_PLAIN_DECODER = msgspec.json.Decoder(list[_PlainAnnotation])
_ANNOTATIONS_AT_ONCE = 10_000
_PLAIN_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)  # is inside the image folder
_NO_PARENT = ("", "none")  # written by tools as supercategory of categories without one
_LARGEST_ID = 2**63 - 1  # such annotation ids are stored as int64
_UNMASKED = RLE(size=(1, 1), counts="1")  # the mask of an object without one, where others have masks
_CVAT = 'CVAT writes "iscrowd": 1 for every mask. If each is one object, write "iscrowd": 0 in the file'
_FLAGS: Mapping[str, bool] = {"0": False, "false": False, "1": True, "true": True}


def read_coco(
    path: Path,
    *,
    name: str,
    image_root: Path | None,
    vocabulary: Vocabulary | None = None,
    renamed: dict[str, str] | None = None,
    skip_invalid: bool = False,
) -> Dataset:
    """Read a COCO annotation file as a `Dataset`.

    Args:
        path: the JSON file, plain or in gzip. Ids may start at 0; image ids may be numbers or text.
        name: the dataset's name.
        image_root: the folder of the images, or None.
        vocabulary: the categories that the file must have. None: take the categories from the file, with their
            `supercategory` as parents.
        renamed: category name in the file -> name in the vocabulary.
        skip_invalid: leave out the objects that no method can find (see `earthinstruct.datasets.rules`).

    Raises:
        DataError: the file is missing, is not COCO, or is inconsistent; the message names the entry.
    """
    dataset = parse_coco(
        read_bytes(path, "annotation file"),
        path,
        name=name,
        image_root=image_root,
        vocabulary=vocabulary,
        renamed=renamed,
        skip_invalid=skip_invalid,
    )
    return replace(dataset, annotation_file=path.absolute())


def parse_coco(
    content: bytes,
    path: Path,
    *,
    name: str,
    image_root: Path | None,
    vocabulary: Vocabulary | None = None,
    renamed: dict[str, str] | None = None,
    skip_invalid: bool = False,
    form: Form = "xywh",
    objects: Sequence[TrueObject] = (),
) -> Dataset:
    """Parse the content of a COCO annotation file as a `Dataset`.

    Args:
        content: the JSON.
        path: the file, or the folder from which the content was made, for errors.
        name: as in `read_coco`.
        image_root: as in `read_coco`.
        vocabulary: as in `read_coco`.
        renamed: as in `read_coco`.
        skip_invalid: as in `read_coco`.
        form: how the original format writes boxes, for errors.
        objects: the objects from which the annotations were made, in their order; they name their places in errors.

    Raises:
        DataError: the content is not COCO, or is inconsistent; the message names the entry.
    """
    reader = _Reader(path, content, renamed or {}, objects)
    known = reader.vocabulary(vocabulary)
    reader.check_images()
    rules = Rules(str(path), form, skip_invalid)
    columns = _Columns(reader, known, rules)
    try:
        notes = rules.conclude()
    except DataError:
        if image_root is not None:
            reader.refuse_other_sizes(sorted(columns.doubtful), image_root)
        raise
    ids = {category.name: category.id for category in reader.file.categories}
    return Dataset(
        name=name,
        vocabulary=known,
        images=tuple(ImageRecord(i.id, i.file_name, i.width, i.height) for i in reader.file.images),
        annotations=columns.scored.instances(),
        masks=columns.masks(columns.scored),
        no_masks_reason=columns.no_masks_reason,
        image_root=None if image_root is None else image_root.absolute(),  # a method may change the working folder
        sha256=hashlib.sha256(reader.content).hexdigest(),
        category_ids=tuple(ids[category] for category in known.categories),
        ignored=columns.ignored_objects(),
        notes=(*notes, *columns.notes(), *reader.notes(known)),
        valid=columns.valid,
        images_from=reader.images_from(),
    )


def check_file_name(file_name: str, where: str) -> None:
    """Refuse a file name that is no path inside the image folder.

    Raises:
        DataError: the name is empty or absolute, or has `..`, a drive, a backslash or an address.
    """
    if _PLAIN_NAME.fullmatch(file_name):
        return
    parts = PurePosixPath(file_name)
    if "\\" in file_name:
        right = file_name.replace("\\", "/")
        problem = f"has a backslash; write {right!r}"
    elif not file_name:
        problem = "is empty; give the path of the image, relative to the image folder"
    elif "\0" in file_name:
        problem = "has the character 0; give the path of the image, relative to the image folder"
    elif re.match("[A-Za-z][A-Za-z0-9+.-]*://", file_name):
        problem = "is an address; download the image, and give its path relative to the image folder"
    elif parts.is_absolute() or re.match("[A-Za-z]:", file_name):
        problem = "is an absolute path; give a path relative to the image folder, and the folder with --images DIR"
    elif ".." in parts.parts:
        problem = "leads out of the image folder by '..'; give a path inside it, and the folder with --images DIR"
    else:
        return
    raise DataError(f"{where}: file name {file_name!r} {problem}")


@dataclass
class _Objects:
    """Some annotations in columns."""

    image: array[int] = field(default_factory=lambda: array("q"))
    category: array[int] = field(default_factory=lambda: array("q"))
    boxes: array[float] = field(default_factory=lambda: array("d"))
    crowd: array[int] = field(default_factory=lambda: array("b"))
    whole: StoredMasks = field(default_factory=StoredMasks)
    several: array[int] = field(default_factory=lambda: array("q"))  # indices of the masks of several polygons
    first: StoredMasks = field(default_factory=StoredMasks)  # the first polygon of each of these

    def instances(self) -> Instances:
        """The annotations without masks, as views of the columns."""
        return Instances(
            np.frombuffer(self.image, dtype=np.int64),
            np.frombuffer(self.category, dtype=np.int64),
            np.frombuffer(self.boxes, dtype=np.float64).reshape(-1, 4),
        )


class _Columns:
    """The annotations of a file in columns, read some at a time to save memory."""

    def __init__(self, reader: _Reader, vocabulary: Vocabulary, rules: Rules) -> None:
        self.no_masks_reason: str | None = None
        self.scored, self.ignored = _Objects(), _Objects()
        self._reader, self._ids, self._other_ids = reader, array("q"), dict[ImageId, int]()
        self._unscored_rles = self._scored_masks = 0
        self.doubtful = set[int]()  # images with an invalid annotation
        valid = []
        place = {category.id: vocabulary.categories.index(category.name) for category in reader.file.categories}
        for start, entries, index in reader.annotations(place):
            self._add_ids(start, entries.id)
            valid.append(self._add(start, entries, index, place, rules))
        self.valid: NDArray[np.bool_] = np.concatenate([np.zeros(0, dtype=bool), *valid])
        self._refuse_repeated_ids()

    def _add(
        self, start: int, entries: _Entries, index: list[int], place: dict[int, int], rules: Rules
    ) -> NDArray[np.bool_]:
        reader, images = self._reader, self._reader.file.images
        masked = np.array(list(map(bool, entries.segmentation)), dtype=bool)
        flags = {name: reader.flags(entries, name, start) for name in ("iscrowd", "ignore", "difficult")}
        ignored = np.logical_or.reduce(list(flags.values()))
        problems = reader.problems(start, entries, index, ignored)
        whole, first = reader.masks(entries, index, start, problems)
        masks = reader.decoded_masks(whole, start) if masked.any() else None
        boxes = reader.boxes(start, entries, masks)
        image = np.array(index, dtype=np.int64)
        sizes = reader.sizes[image].astype(np.float64)[:, ::-1]
        valid = rules.check(boxes, sizes, masks, masked, lambda i: reader.place(start + i, entries.id[i]), problems)
        self.doubtful.update(image[~valid].tolist())
        bare = np.flatnonzero(valid & ~ignored & ~masked)
        if len(bare) and self.no_masks_reason is None:
            where = reader.place(start + int(bare[0]), entries.id[bare[0]])
            self.no_masks_reason = (
                f"{where if reader.is_converted else f'{reader.path.name}: {where}'} has no segmentation"
            )
        self._scored_masks += int((masked & ~ignored).sum())
        self._unscored_rles += sum(isinstance(entries.segmentation[i], dict) for i in np.flatnonzero(ignored))
        category = np.array([place[number] for number in entries.category_id], dtype=np.int64)
        for side, chosen in ((self.scored, valid & ~ignored), (self.ignored, valid & ignored)):
            here = np.flatnonzero(chosen).tolist()
            side.image.frombytes(image[chosen].tobytes())
            side.category.frombytes(category[chosen].tobytes())
            side.boxes.frombytes(boxes[chosen].tobytes())
            side.crowd.frombytes(flags["iscrowd"][chosen].tobytes())
            if self.no_masks_reason is None:
                before = len(side.whole)
                several = [k for k, i in enumerate(here) if i in first] if first else []
                side.several.extend(before + k for k in several)
                side.first.append(first[here[k]] for k in several)
                for i in np.flatnonzero(chosen & ~masked).tolist():
                    whole[i] = reader.mask_of_box(boxes[i], images[index[i]])
                side.whole.append([whole[i] for i in here])
        return valid

    def masks(self, side: _Objects) -> AnnotationMasks | None:
        """The masks of one side; None unless every scored annotation has one."""
        if self.no_masks_reason is not None:
            return None
        return AnnotationMasks(side.whole, np.frombuffer(side.several, dtype=np.int64), side.first)

    def ignored_objects(self) -> IgnoredObjects | None:
        """The ignored annotations, or None."""
        side = self.ignored
        if not side.image:
            return None
        return IgnoredObjects(side.instances(), np.frombuffer(side.crowd, dtype=np.bool_), self.masks(side))

    def notes(self) -> Iterator[str]:
        """Sentences on ignored objects.

        Raises:
            DataError: every object, or every mask, is a crowd, as in the files of CVAT.
        """
        n, crowds = len(self.ignored.image), sum(self.ignored.crowd)
        total, what = n + len(self.scored.image), []
        if crowds and (not self.scored.image or (self._unscored_rles and not self._scored_masks)):
            raise self._reader.error(
                f"{crowds} of {total} objects are crowds (iscrowd 1), with all masks, and crowds are not scored. "
                f"{_CVAT}, or export polygons"
            )
        if crowds:
            what.append(f"{crowds} crowds (iscrowd 1; {_CVAT})")
        if n > crowds:
            what.append(f"{n - crowds} marked `ignore` or `difficult`")
        if what:
            nothing = "" if self.scored.image else "; no other is there, so that no score is defined"
            yield f"{n} of {total} objects are ignored, neither found nor missed: {' and '.join(what)}{nothing}"
        objects = self.scored.instances()
        keys = np.column_stack([objects.image, objects.category, objects.boxes]) @ _MIX
        copies = len(keys) - len(np.unique(keys))
        if copies and copies >= _COPIES * total:
            yield f"{copies} of {total} objects are copies of others, with the same box and category; remove them"
        if not total:
            yield f"{self._reader.path.name} has no objects, so that no score is defined"

    def _add_ids(self, start: int, ids: list[ImageId | None]) -> None:
        try:
            self._ids.extend(array("q", ids))  # type: ignore[arg-type]
        except (TypeError, OverflowError):  # some are text, missing or huge
            for i, one in enumerate(ids, start):
                if isinstance(one, int) and abs(one) <= _LARGEST_ID:
                    self._ids.append(one)
                elif one is not None:
                    if one in self._other_ids:
                        raise self._reader.repeated(one, f"annotations[{i}]", "id") from None
                    self._other_ids[one] = i

    def _refuse_repeated_ids(self) -> None:
        ids = np.frombuffer(self._ids, dtype=np.int64)
        order = np.argsort(ids, kind="stable")
        repeated = order[1:][np.diff(ids[order]) == 0]
        if len(repeated):
            i = int(repeated.min())
            raise self._reader.repeated(self._ids[i], f"annotations[{i}]", "id")


class _Reader:
    """Reads and checks one file; its errors name the file."""

    def __init__(self, path: Path, content: bytes, renamed: dict[str, str], objects: Sequence[TrueObject]) -> None:
        self.path = path
        self._problem = f"{path} is not a COCO annotation file: {{error}}"
        self._objects = objects
        # keys that are there twice are found by counting, batch by batch, or else by a slower look at the whole file
        self._is_counted = not objects and is_clear_beside(content, "annotations")
        self.content = content if objects or self._is_counted else checked_json(content, self._problem)
        self.file = file = self.decoded(self.content, _DECODER)
        self.turned = self._turned()
        self.sizes = np.array([(image.height, image.width) for image in file.images]).reshape(-1, 2)
        for category in file.categories:
            category.name = renamed.get(category.name, category.name)

    def decoded(self, content: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
        try:
            return decode_checked(content, decoder, self._problem)
        except DataError as error:
            if "segmentation" not in str(error):
                raise DataError(f"{error}. Expected an object with 'images', 'annotations' and 'categories'") from error
            raise DataError(
                f"{error}. A segmentation is a list of polygons, each one list of numbers: [[x1, y1, x2, y2, x3, y3]]"
            ) from error

    def _turned(self) -> frozenset[int]:
        """The annotations whose box is that of a turned object before it is turned."""
        if b'"rotation"' not in self.content:
            return frozenset()
        raw = b"[" + b",".join(self.file.annotations) + b"]"
        found = self.decoded(raw, msgspec.json.Decoder(list[_Turned]))
        return frozenset(i for i, one in enumerate(found) if one.is_turned)

    def notes(self, vocabulary: Vocabulary) -> Iterator[str]:
        """Sentences on what looks like a mistake and may be none."""
        numbers = [name for name in vocabulary.categories if not any(map(str.isalpha, name))]
        if numbers:
            yield (
                f"{len(numbers)} of {len(vocabulary.categories)} categories have names without a letter, such as "
                f"{numbers[0]!r}, and methods are asked for these names: write the names of the objects"
            )
        first = msgspec.json.decode(self.file.annotations[0]) if self.file.annotations else {}
        words = SCORE_WORDS if isinstance(first, dict) else ()
        word = next((word for word in words if first.get(word) is not None), None)
        if word is not None:
            yield f"annotations[0] has a {word}, as predictions have: is this a file of annotations?"

    def images_from(self) -> tuple[str, ...] | None:
        """The training sets that the images are from; None: the file does not say."""
        info = self.file.info
        given = info.get("images_from") if isinstance(info, dict) else None
        if given is None:
            return None
        if not isinstance(given, list) or not all(isinstance(name, str) and name.strip() for name in given):
            raise self.error(
                f"info.images_from is {given!r}; expected a list of names of training sets, or [] where the images are "
                "of none"
            )
        return tuple(given)

    def entries(self, start: int) -> _Entries:
        """Decode a batch of annotations, starting at `start`."""
        raw = b"[" + b",".join(self.file.annotations[start : start + _ANNOTATIONS_AT_ONCE]) + b"]"
        if self._is_counted:
            counted = decode_counted(raw, lambda raw: _Entries.of(_PLAIN_DECODER.decode(raw)), lambda of: of.n_texts)
            if counted is not None:
                return counted
            checked_json(self.content, self._problem)
            self._is_counted = False
        try:
            annotations = self.decoded(raw, _ANNOTATIONS_DECODER)
        except DataError:
            self.decoded(
                self.content, msgspec.json.Decoder(_DecodedFile)
            )  # raises an error with the place in the whole file
            raise
        return _Entries.of(annotations)

    def place(self, i: int, number: ImageId | None) -> str:
        """Where annotation `i` is, in the file that the user knows."""
        if self._objects:
            return self._objects[i].place
        return f"annotations[{i}]" + ("" if number is None else f" (id {number})")

    @property
    def is_converted(self) -> bool:
        """Whether the annotations were made from another format."""
        return bool(self._objects)

    def problems(
        self, start: int, entries: _Entries, image_index: list[int], ignored: NDArray[np.bool_]
    ) -> dict[int, str]:
        """What is wrong with entries besides their boxes and the pixels of their masks: index -> problem."""
        found = {}
        limits = (2 * self.sizes.max(axis=1)).tolist()  # `encode_polygons` refuses what is farther
        for i, (polygons, index) in enumerate(zip(entries.segmentation, image_index, strict=True)):
            if self._objects and (problem := self._objects[start + i].problem):
                found[i] = problem
                continue
            if self.turned and start + i in self.turned and not polygons and not ignored[i]:
                found[i] = TURNED
            for polygon in polygons if isinstance(polygons, list) else ():
                if polygon and (max(polygon) > limits[index] or min(polygon) < -limits[index]):
                    found[i] = "with a polygon far outside their image"
        return found

    def flags(self, entries: _Entries, name: str, start: int) -> NDArray[np.bool_]:
        """A flag of a batch of entries: bool (n,)."""
        values = list(getattr(entries, name))
        for i, value in enumerate(values if str in set(map(type, values)) else ()):
            if isinstance(value, str):
                if value.lower() not in _FLAGS:
                    raise self.error(f"{self.place(start + i, entries.id[i])} has {name} {value!r}; expected 0 or 1")
                values[i] = _FLAGS[value.lower()]
        return np.array(values, dtype=bool)

    def boxes(self, start: int, entries: _Entries, masks: MaskRuns | None) -> NDArray[np.float64]:
        """The boxes of a batch, float64 (n, 4); a missing box is that of the mask."""
        missing = [i for i, box in enumerate(entries.bbox) if box is None]
        for i in missing:
            if not entries.segmentation[i]:
                raise self.error(f"{self.place(start + i, entries.id[i])} has neither bbox nor segmentation")
        given = chain.from_iterable(box or (0, 0, 0, 0) for box in entries.bbox)
        boxes = np.fromiter(given, dtype=np.float64, count=4 * len(entries)).reshape(-1, 4)
        if masks is not None and missing:
            boxes[missing] = masks.boxes[missing]
        bad = bad_boxes(np.hstack([boxes[:, :2], np.abs(boxes[:, 2:])]))  # a negative side is for the rules
        if bad.any():
            i = int(np.argmax(bad))
            raise self.error(f"{self.place(start + i, entries.id[i])} has the box {boxes[i].tolist()}; expected {BOX}")
        return boxes

    def mask_of_box(self, box: NDArray[np.float64], image: _Image) -> RLE:
        x, y, right, bottom = *box[:2], *(box[:2] + box[2:])
        return self.mask_of_polygons([[x, y, right, y, right, bottom, x, bottom]], image, "box")

    def decoded_masks(self, whole: list[RLE], start: int) -> MaskRuns:
        try:
            return decode_rles(whole, "annotations", before=start)
        except ContractError as error:
            raise self.error(f"segmentation of {error}") from error

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
        by_name: dict[str, _Category] = {}
        places = {item.category: item.place for item in reversed(self._objects)}  # in the files of another format
        for i, category in enumerate(self.file.categories):
            if not category.name.strip():
                raise self.error(f"categories[{i}] (id {category.id}) has no name; give every category a name")
            other = by_name.setdefault(forms(category.name)[-1], category)
            if other is not category:
                same = unicodedata.normalize("NFC", other.name) == unicodedata.normalize("NFC", category.name)
                alike = "have the same name" if same else "differ in case or separators alone"
                found = [places[name] for name in (other.name, category.name) if name in places]
                first = f" (first at {' and '.join(found)})" if found else ""
                raise self.error(
                    f"the categories {other.id} and {category.id} {alike}, {other.name!r} and {category.name!r}{first}"
                    "; rename one, or give their objects one category"
                )
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

    def refuse_other_sizes(self, chosen: Iterable[int], root: Path) -> None:
        """Refuse images whose size is not that of their files, as far as these are in the folder."""
        for image in (self.file.images[i] for i in chosen):
            picture = root / image.file_name
            if picture.is_file():
                refuse_other_size(picture, image_size(picture), (image.width, image.height), str(self.path))

    def annotations(self, known_categories: Container[int]) -> Iterator[tuple[int, _Entries, list[int]]]:
        """Check the annotations in batches; yields the index of the first, the batch, and the image index of each."""
        image_index = {image.id: i for i, image in enumerate(self.file.images)}
        for start in range(0, len(self.file.annotations), _ANNOTATIONS_AT_ONCE):
            entries = self.entries(start)
            for i, (image, category) in enumerate(zip(entries.image_id, entries.category_id, strict=True)):
                if image in image_index and category in known_categories:
                    continue
                where = f"annotations[{start + i}]" + ("" if entries.id[i] is None else f" (id {entries.id[i]})")
                if image not in image_index:
                    given, known = (isinstance(one, str) for one in (image, self.file.images[0].id))
                    kinds = ("this is a number, the ids there are text", "this is text, the ids there are numbers")
                    hint = f"; {kinds[given]}" if given != known else ""
                    raise self.error(f"{where} names image {image!r}, which is not in 'images'{hint}")
                ids = sorted(category.id for category in self.file.categories)
                raise self.error(f"{where} names category {category}, which is not in 'categories' ({ids})")
            yield start, entries, [image_index[image] for image in entries.image_id]

    def masks(
        self, entries: _Entries, image_index: list[int], start: int, problems: Container[int]
    ) -> tuple[list[RLE], dict[int, RLE]]:
        """Encode the masks of a batch of entries; the first entry is annotation `start`, `problems` are left out.

        Returns:
            A mask for each entry, `_UNMASKED` for those without a segmentation, and for entries with several polygons:
            index in `entries` -> mask of the first polygon.
        """
        whole = [_UNMASKED] * len(entries)
        first: dict[int, RLE] = {}
        outlines: defaultdict[tuple[int, int], list[int]] = defaultdict(list)  # objects of one polygon, by image size
        sizes = [(image.height, image.width) for image in self.file.images]
        rles = cast(list[RLE], entries.segmentation)
        if kinds_of(rles).keys() == {dict} and [rle.get("size") for rle in rles] == [sizes[i] for i in image_index]:
            return list(rles), first  # all are plain: others have a list
        for i, (segmentation, index) in enumerate(zip(entries.segmentation, image_index, strict=True)):
            size = sizes[index]
            if isinstance(segmentation, dict):
                if segmentation.get("size") == size:
                    whole[i] = cast(RLE, segmentation)
                else:
                    whole[i] = self.mask_of_rle(segmentation, size, i, start, entries)
            elif segmentation and i not in problems:
                if len(segmentation) == 1 and len(segmentation[0]) >= 6 and len(segmentation[0]) % 2 == 0:
                    outlines[size].append(i)
                    continue
                image, where = self.file.images[index], self.place(start + i, entries.id[i])
                whole[i] = self.mask_of_polygons(segmentation, image, where)
                if len(segmentation) > 1:
                    first[i] = self.mask_of_polygons(segmentation[:1], image, where)
        for size, some in outlines.items():
            polygons = [cast(list[list[float]], entries.segmentation[i])[0] for i in some]
            for i, rle in zip(some, encode_outlines(polygons, size), strict=True):
                whole[i] = rle
        return whole, first

    def mask_of_rle(self, value: dict[str, Any], size: tuple[int, int], i: int, start: int, entries: _Entries) -> RLE:
        where, crowd = self.place(start + i, entries.id[i]), bool(entries.iscrowd[i])
        try:
            if isinstance(value.get("counts"), list):
                rle = check_rle({**value, "counts": ""}, f"{where} segmentation")
                rle = encode_runs(value["counts"], rle["size"])
            else:
                rle = check_rle(value, f"{where} segmentation")
        except ContractError as error:
            message = str(error) if where in str(error) else f"{where} segmentation: {error}"
            raise self.error(message + (f". It is also a crowd (iscrowd 1): {_CVAT}" if crowd else "")) from error
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
