"""Reads predictions of other tools: COCO results, folders of count files, proposal files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from earthinstruct.datasets import Dataset, ImageRecord
from earthinstruct.errors import ContractError, DataError
from earthinstruct.files import decode_json, read_bytes
from earthinstruct.images import IMAGE_SUFFIXES
from earthinstruct.predictions.file import Box, ProposalRecord, Record, StoredRecords, prediction_files
from earthinstruct.regions import RLE, ImageId, check_rle, encode_runs

_T = TypeVar("_T")


class _RunLengths(msgspec.Struct):
    size: tuple[int, int]
    counts: str | list[int]


class _Result(msgspec.Struct):
    """One entry of a COCO results file; `label` stands in for `category_id` where labels are free."""

    image_id: ImageId
    bbox: Box | None = None
    segmentation: _RunLengths | None = None
    score: float | None = None
    label: str | None = None
    category_id: int | None = None


class _ProposalEntry(msgspec.Struct):
    bboxes: list[Box]
    segmentations: list[_RunLengths] | None = None
    scores: list[float] | None = None


def read_predictions(
    path: Path, dataset: Dataset, *, counts: Path | None = None, proposals: Path | None = None
) -> Mapping[ImageId, Record]:
    """The predictions in a file or folder, whatever its format, by image.

    Of predictions files, which may be large, a record is read when it is asked for.

    Args:
        path: a predictions file or a folder that holds some (see `prediction_files`), a COCO results file (`.json`),
            or a folder of count files.
        dataset: the dataset predicted on.
        counts: a folder of count files to add.
        proposals: a proposals file to add.

    Raises:
        DataError: something is missing, malformed, or names an image that the dataset does not have.
    """
    records: Mapping[ImageId, Record]
    if files := prediction_files(path):
        records = StoredRecords(files)
        known = {image.id for image in dataset.images}
        unknown = next((image for image in records if image not in known), None)
        if unknown is not None:
            raise DataError(f"{path}: prediction for image {unknown!r}, which dataset {dataset.name!r} does not have")
    elif path.is_dir():
        records = {image: Record(image, counts=found) for image, found in read_counts(path, dataset).items()}
    else:
        records = read_coco_results(path, dataset)
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


def read_coco_results(path: Path, dataset: Dataset) -> dict[ImageId, Record]:
    """A COCO results file, `[{"image_id", "category_id" or "label", "bbox", "segmentation", "score"}]`, by image.

    Predictions keep the order of the file. Every image of the dataset gets a record: one without predictions is an
    answer too. A missing box is taken from the mask.

    Raises:
        DataError: not such a file, an unknown image or category, or fields that only some entries have.
    """
    results = _decode(path, list[_Result], "COCO results file (a list of predictions)")
    records = {image.id: Record(image.id, masks=[], scores=[]) for image in dataset.images}
    with_mask = any(result.segmentation is not None for result in results)
    with_score = any(result.score is not None for result in results)
    categories = dict(zip(dataset.category_ids, dataset.vocabulary.categories, strict=True))
    for i, result in enumerate(results):
        where = f"{path}: results[{i}]"
        record = records.get(result.image_id)
        if record is None:
            raise DataError(f"{where} is for image {result.image_id!r}, which dataset {dataset.name!r} does not have")
        if result.label is not None:
            label = result.label
        elif result.category_id in categories:
            label = categories[result.category_id]
        else:
            raise DataError(
                f"{where} has category_id {result.category_id!r} and no label; "
                f"known ids: {', '.join(map(str, categories))}"
            )
        mask = None if result.segmentation is None else _rle(result.segmentation, f"{where} segmentation")
        if (mask is None) == with_mask or (result.score is None) == with_score:
            raise DataError(f"{where}: either all entries have a segmentation (and a score) or none has")
        box = result.bbox
        if box is None and mask is None:
            raise DataError(f"{where} has neither a bbox nor a segmentation")
        record.labels.append(label)
        record.boxes.append(box if box is not None else _box_of(mask, where))
        if record.masks is not None and mask is not None:
            record.masks.append(mask)
        if record.scores is not None and result.score is not None:
            record.scores.append(result.score)
    for record in records.values():
        record.masks = record.masks if with_mask else None
        record.scores = record.scores if with_score else None
    return records


def read_counts(folder: Path, dataset: Dataset) -> dict[ImageId, dict[str, int]]:
    """A folder of count files, `<image name>.json` with `{"ship": 3}`, by image.

    Raises:
        DataError: the folder is missing or empty, a file is malformed or belongs to no image of the dataset.
    """
    images = ImagesByName(dataset)
    return {images.take(path.stem, str(path)).id: found for path, found in _count_files(folder).items()}


def read_count_files(folder: Path) -> dict[str, dict[str, int]]:
    """A folder of count files by image name without extension.

    Raises:
        DataError: the folder is missing or empty, or a file is malformed.
    """
    return {path.stem: found for path, found in _count_files(folder).items()}


def _count_files(folder: Path) -> dict[Path, dict[str, int]]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; expected count files `<image name>.json` in it")
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise DataError(
            f'{folder} has no count files; expected `<image name>.json`, each {{"category": number}}, '
            "predictions of this project, predictions.jsonl, or semantic maps with --classes"
        )
    files = {
        path: _decode(path, dict[str, int], "count file (an object of category to whole number)") for path in paths
    }
    for path, found in files.items():
        for label, count in found.items():
            if count < 0:
                raise DataError(f"{path}: the count of {label!r} is {count}; expected a whole number >= 0")
    return files


def read_proposals(path: Path, dataset: Dataset) -> dict[ImageId, ProposalRecord]:
    """A proposals file, `{image: {"bboxes", "scores", "segmentations"}}`, by image.

    Raises:
        DataError: not such a file, or an entry belongs to no image of the dataset.
    """
    images = ImagesByName(dataset)
    return {images.take(name, str(path)).id: found for name, found in read_proposal_file(path).items()}


def read_proposal_file(path: Path) -> dict[str, ProposalRecord]:
    """A proposals file by image name as it stands there.

    Raises:
        DataError: not such a file.
    """
    entries = _decode(path, dict[str, _ProposalEntry], "proposals file (image -> bboxes, scores, segmentations)")
    records = {}
    for name, entry in entries.items():
        masks = None
        if entry.segmentations is not None:
            masks = [_rle(rle, f"{path}: {name} segmentations[{i}]") for i, rle in enumerate(entry.segmentations)]
        for field, values in (("segmentations", masks), ("scores", entry.scores)):
            if values is not None and len(values) != len(entry.bboxes):
                raise DataError(f"{path}: {name} has {len(entry.bboxes)} bboxes and {len(values)} {field}")
        records[name] = ProposalRecord(entry.bboxes, masks, entry.scores)
    return records


def _decode(path: Path, kind: type[_T], what: str) -> _T:
    content = read_bytes(path, what.split(" (")[0])
    return decode_json(content, msgspec.json.Decoder(kind), f"{path} is not a {what}: {{error}}")


def _rle(value: _RunLengths, where: str) -> RLE:
    try:
        if isinstance(value.counts, list):
            return encode_runs(value.counts, value.size)
        return check_rle({"size": value.size, "counts": value.counts}, where)
    except ContractError as error:
        message = str(error)
        raise DataError(message if message.startswith(where) else f"{where}: {message}") from error


def _box_of(mask: RLE | None, where: str) -> Box:
    from earthinstruct.regions import decode_rles

    try:
        x, y, width, height = decode_rles([mask] if mask is not None else [], where).boxes[0].tolist()
    except ContractError as error:
        raise DataError(str(error)) from error
    return x, y, width, height


class ImagesByName:
    """The images of a dataset by the names of their files, with or without folder and extension; each once."""

    def __init__(self, dataset: Dataset) -> None:
        """Collect the names.

        Raises:
            DataError: two images have one name.
        """
        self._dataset = dataset.name
        self._suffixes = {*IMAGE_SUFFIXES, *(Path(image.file_name).suffix.lower() for image in dataset.images)}
        self._images: dict[str, ImageRecord] = {}
        self._taken: dict[str, str] = {}
        for image in dataset.images:
            name = Path(image.file_name).stem
            if name in self._images:
                raise DataError(
                    f"dataset {dataset.name!r} has two images named {name!r}; files by image name are ambiguous"
                )
            self._images[name] = image

    def take(self, name: str, where: str) -> ImageRecord:
        """The image of a name.

        Raises:
            DataError: there is none, or it was taken by another name.
        """
        path = Path(name)
        stem = path.stem if path.suffix.lower() in self._suffixes else path.name  # "P0003.2" has no extension
        if stem not in self._images:
            raise DataError(f"{where}: dataset {self._dataset!r} has no image named {stem!r}")
        other = self._taken.setdefault(stem, name)
        if other != name:
            raise DataError(f"{where}: {other!r} and {name!r} are one image of dataset {self._dataset!r}; keep one")
        return self._images[stem]
