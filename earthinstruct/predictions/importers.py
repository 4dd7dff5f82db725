"""Read the predictions of other tools, in any format, as records."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import msgspec
import numpy as np

from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.files import checked_json, is_hidden, read_bytes, read_json
from earthinstruct.predictions.coco_results import RunLengths, read_coco_results, rle_of
from earthinstruct.predictions.count_files import read_counts
from earthinstruct.predictions.file import Box, ProposalRecord, Record, StoredRecords, prediction_files
from earthinstruct.predictions.image_names import ImageNames
from earthinstruct.predictions.replies import read_replies
from earthinstruct.predictions.result_folders import read_dota_results, read_inferences, read_results_in_files
from earthinstruct.predictions.semantic import read_semantic_maps
from earthinstruct.regions import BoxForm, ImageId, are_read_otherwise


class _ProposalEntry(msgspec.Struct):
    bboxes: list[Box]
    segmentations: list[RunLengths] | None = None
    scores: list[float] | None = None


@dataclass(frozen=True)
class Conventions:
    """What the files of another tool mean, where they do not say it.

    Attributes:
        classes: a JSON file, class number -> label, or null for classes that are left out.
        order: the numbers of a box, as `BoxForm.order`; None: as the format has it.
        frame: what they refer to, as `BoxForm.frame`; None: as the format has it.
        min_area: for semantic maps, ignore regions with fewer pixels.

    Raises:
        UnknownNameError: no such order or frame.
        EarthInstructError: `min_area` is given without `classes`.
    """

    classes: Path | None = None
    order: str | None = None
    frame: str | None = None
    min_area: int = 1

    def __post_init__(self) -> None:
        if self.classes is None and self.min_area != 1:
            raise EarthInstructError("min_area is for semantic maps; give --classes too, or leave it out")
        self.form()

    @property
    def given(self) -> bool:
        """Whether there are any: predictions in the format of this project need none."""
        return self != Conventions()

    def form(self, order: str = "xywh") -> BoxForm:
        """What the numbers of a box mean; `order` is that of the format."""
        return BoxForm(self.order or order, self.frame or "pixels")

    def refuse(self, what: str, *names: str) -> None:
        """Refuse conventions that say nothing about files.

        Raises:
            EarthInstructError: one of the attributes is given.
        """
        for name in names:
            if getattr(self, name) != getattr(Conventions(), name):
                raise EarthInstructError(f"--{name.replace('_', '-')} says nothing about {what}; leave it out")

    @cached_property
    def names(self) -> Mapping[int, str | None] | None:
        """The label of each class number.

        Raises:
            DataError: the file is missing or malformed.
        """
        if self.classes is None:
            return None
        form = 'an object of class number to category or null, {"0": null, "1": "ship"}'
        return read_json(self.classes, dict[int, str | None], "class map", form)


_NONE = Conventions()
_LEAST = 10  # proposals: fewer may leave their image by mistake
_LONGEST_REPLY, _LONGEST_NAME = 1_000_000, 10_000  # bytes
_OBJECT_OF_OBJECTS = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*"[^"]*"\s*:\s*\{')
_NOT_PLAIN = (b"\x1f\x8b", codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # gzip, and other encodings


def read_predictions(
    path: Path,
    dataset: Dataset,
    *,
    counts: Path | None = None,
    proposals: Path | None = None,
    conventions: Conventions = _NONE,
) -> Mapping[ImageId, Record]:
    """Read the predictions in a file or folder of any format: image -> record.

    Predictions files may be large, so their records are read on access.

    Args:
        path: a predictions file or a folder of them (see `prediction_files`), a COCO file (see `read_coco_results`),
            replies (see `read_replies`), semantic maps (see `read_semantic_maps`), counts (see `read_count_files`), or
            a folder of detections (see `result_folders`).
        dataset: the dataset of the predictions.
        counts: counts to add (see `read_count_files`).
        proposals: a proposals file to add.
        conventions: what files of another tool mean.

    Raises:
        DataError: a file is missing or malformed, or names an image that is not in the dataset.
        EarthInstructError: the conventions do not fit the format.
    """
    records: Mapping[ImageId, Record]
    if not conventions.given and (files := prediction_files(path)):
        if path.suffix == ".jsonl" and "answer" in _keys_of(_first_line(path)):
            raise _of_unknown_form(path)
        records = _of_dataset(StoredRecords(files), path, dataset)
    elif path.is_dir():
        records = _of_folder(path, dataset, conventions)
    else:
        records = _of_file(path, dataset, conventions)
    if counts is None and proposals is None:
        return records
    records = dict(records)
    if counts is not None:
        for image, found in read_counts(counts, dataset).items():
            records.setdefault(image, Record(image)).counts = found
    if proposals is not None:
        for image, regions in read_proposals(proposals, dataset).items():
            records.setdefault(image, Record(image)).proposals = regions
    return records


def _of_file(path: Path, dataset: Dataset, conventions: Conventions) -> Mapping[ImageId, Record]:
    """Read a file of another tool. What it holds is looked up where conventions are given."""
    if path.suffix.lower() == ".csv":
        raise DataError(
            f"{path} is a CSV file, which predictions are not read from; write counts as JSON, "
            '{"a.png": {"ship": 3}}, and boxes as COCO results, [{"image_id", "label", "bbox", "score"}]'
        )
    if _is_counts(path):
        return _of_counts(path, dataset, conventions)
    keys = _keys_of_first(path) if conventions.given else set()
    if "answer" in keys:
        conventions.refuse("replies, which name their objects", "classes", "min_area")
        if conventions.order is None or conventions.frame is None:
            raise _of_unknown_form(path)
        return read_replies(path, dataset, conventions.form())
    if keys & {"labels", "boxes", "points"}:
        conventions.refuse("predictions.jsonl", "classes", "order", "frame", "min_area")
    if conventions.classes is not None and "file_name" in keys and "image_id" not in keys:
        return _of_maps(path, dataset, conventions.classes, conventions)
    conventions.refuse("COCO results", "min_area")
    return read_coco_results(path, dataset, conventions.form(), conventions.names)


def _of_folder(path: Path, dataset: Dataset, conventions: Conventions) -> Mapping[ImageId, Record]:
    """Read a folder of another tool; the first file says what the others are."""
    if files := sorted(path.glob("Task[12]_*.txt")):
        conventions.refuse("results of DOTA", "classes", "order", "frame", "min_area")
        return read_dota_results(files, dataset)
    below = [file for file in sorted(path.rglob("*")) if not is_hidden(file.relative_to(path))]
    files = [file for file in below if file.name.lower().endswith((".json", ".json.gz"))]
    if conventions.classes is not None and (not files or any(file.suffix.lower() == ".png" for file in below)):
        return _of_maps(path, dataset, conventions.classes, conventions)
    if files and _is_list(files[0]) and any(map(_keys_of_first, files)):
        conventions.refuse("COCO results", "min_area")
        return read_results_in_files(files, dataset, conventions.form(), conventions.names)
    if files and {"labels", "bboxes"} <= _keys_of_first(files[0]):
        conventions.refuse("files of detections", "min_area")
        if conventions.names is None:
            raise EarthInstructError(f"{files[0]} has class numbers; say with --classes FILE which categories they are")
        return read_inferences(files, path, dataset, conventions.form("xyxy"), conventions.names)
    return _of_counts(path, dataset, conventions)


def _of_counts(path: Path, dataset: Dataset, conventions: Conventions) -> Mapping[ImageId, Record]:
    conventions.refuse("count files", "classes", "order", "frame", "min_area")
    return {image: Record(image, counts=found) for image, found in read_counts(path, dataset).items()}


def _of_maps(path: Path, dataset: Dataset, classes: Path, conventions: Conventions) -> Mapping[ImageId, Record]:
    conventions.refuse("semantic maps", "order", "frame")
    return read_semantic_maps(path, dataset, classes, conventions.min_area)


def _json_of(path: Path) -> bytes:
    return checked_json(read_bytes(path, "predictions"), f"predictions {path}: {{error}}", lines=True).lstrip()


def _is_counts(path: Path) -> bool:
    """Whether a file is an object of objects alone, as the counts of all images are."""
    start = _start(path, _LONGEST_NAME)
    if not (_OBJECT_OF_OBJECTS.match(start) or start.startswith(_NOT_PLAIN)):
        return False  # a large file of another format is not read twice
    try:
        values = msgspec.json.decode(_json_of(path), type=dict[str, msgspec.Raw]).values()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # for the reader of the format
        return False
    return len(values) > 0 and all(bytes(value).startswith(b"{") for value in values)


def _is_list(path: Path) -> bool:
    return _json_of(path).startswith(b"[")


def _keys_of_first(path: Path) -> set[str]:
    """The keys of a JSON object, or of the first object of a list or of JSON lines."""
    return _keys_of(_json_of(path))


def _keys_of(content: bytes) -> set[str]:
    try:
        if content.startswith(b"["):
            content = bytes(msgspec.json.decode(content, type=list[msgspec.Raw])[0])
        return set(msgspec.json.decode(content, type=dict[str, msgspec.Raw]))
    except (IndexError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # for the reader of the format
        return set()


def _first_line(path: Path) -> bytes:
    return _start(path, _LONGEST_REPLY).partition(b"\n")[0]


def _start(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError:  # the reader of the format will say it
        return b""


def _of_unknown_form(path: Path) -> EarthInstructError:
    return EarthInstructError(f"{path} holds replies; say with --order and --frame what the numbers of boxes mean")


def _of_dataset(records: StoredRecords, path: Path, dataset: Dataset) -> Mapping[ImageId, Record]:
    """Give the records the image ids of the dataset, if they name images in another way."""
    known = {image.id for image in dataset.images}
    if all(name in known for name in records):
        return records
    images = ImageNames(dataset).find(records, lambda name: str(path))
    return _Renamed(records, {image.id: name for name, image in images.items()})


class _Renamed(Mapping[ImageId, Record]):
    """Records under other image ids."""

    def __init__(self, records: Mapping[ImageId, Record], names: Mapping[ImageId, ImageId]) -> None:
        """Rename the records; `names` maps a new id to the one in `records`."""
        self._records = records
        self._names = names

    def __getitem__(self, image: ImageId) -> Record:
        return msgspec.structs.replace(self._records[self._names[image]], image_id=image)

    def __iter__(self) -> Iterator[ImageId]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_proposals(path: Path, dataset: Dataset) -> dict[ImageId, ProposalRecord]:
    """Read a proposals file, `{image: {"bboxes", "scores", "segmentations"}}`: image -> proposals, best first.

    Raises:
        DataError: the file has another format, an entry belongs to no image of the dataset, or boxes have another form.
    """
    proposals = read_proposal_file(path)
    images = ImageNames(dataset).find(proposals, lambda name: str(path), ids=False)
    sizes = [(images[name].width, images[name].height) for name, found in proposals.items() for _ in found.boxes]
    _refuse_other_forms(path, [box for found in proposals.values() for box in found.boxes], sizes)
    return {images[name].id: _best_first(found) for name, found in proposals.items()}


def _refuse_other_forms(path: Path, given: list[Box], sizes: list[tuple[int, int]]) -> None:
    """Refuse proposals most of which are likely to be corners, or fractions of their image."""
    boxes, size = np.array(given).reshape(-1, 4), np.array(sizes).reshape(-1, 2)
    first, last = boxes[:, :2], boxes[:, 2:]
    leaving = int((first + last > size + 1).any(axis=1).sum())
    corners = int(((first < last) & (last <= size + 1)).all(axis=1).sum())
    if leaving >= _LEAST and are_read_otherwise(leaving, corners, len(boxes)):
        raise DataError(
            f"{path}: {leaving} of {len(boxes)} proposals leave their image, and {corners} fit if they are x1, y1, x2, "
            "y2; expected x, y, width, height"
        )
    if len(boxes) and (boxes <= 1).all() and (size > 2).all():
        raise DataError(
            f"{path}: all {len(boxes)} proposals lie within the first pixel; expected pixels, not fractions"
        )


def _best_first(proposals: ProposalRecord) -> ProposalRecord:
    """Sort proposals by score; those with equal scores, or without, keep their order."""
    if proposals.scores is None:
        return proposals
    order = sorted(range(len(proposals.scores)), key=[-score for score in proposals.scores].__getitem__)
    return ProposalRecord(
        [proposals.boxes[i] for i in order],
        None if proposals.masks is None else [proposals.masks[i] for i in order],
        [proposals.scores[i] for i in order],
    )


def read_proposal_file(path: Path) -> dict[str, ProposalRecord]:
    """Read a proposals file: image name, as in the file -> proposals.

    Raises:
        DataError: the file has another format.
    """
    form = '{"image.png": {"bboxes": [[x, y, width, height]], "scores": [0.9], "segmentations": [{"size", "counts"}]}}'
    entries = read_json(path, dict[str, _ProposalEntry], "proposals file", form)
    records = {}
    for name, entry in entries.items():
        masks = None
        if entry.segmentations is not None:
            where = f"{path}: {name} segmentations"
            masks = [rle_of(mask, partial("{}[{}]".format, where, i)) for i, mask in enumerate(entry.segmentations)]
        for field, values in (("segmentations", masks), ("scores", entry.scores)):
            if values is not None and len(values) != len(entry.bboxes):
                raise DataError(f"{path}: {name} has {len(entry.bboxes)} bboxes and {len(values)} {field}")
        records[name] = ProposalRecord(entry.bboxes, masks, entry.scores)
    return records
