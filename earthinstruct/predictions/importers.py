"""Read the predictions of other tools: COCO results, folders of count files, proposals files."""

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
    """One entry of a COCO results file; free labels use `label` instead of `category_id`."""

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
    """Read the predictions in a file or folder of any format: image -> record.

    Predictions files may be large, so their records are read on access.

    Args:
        path: a predictions file or a folder of them (see `prediction_files`), a COCO results file (`.json`), or a
            folder of count files.
        dataset: the dataset of the predictions.
        counts: a folder of count files to add.
        proposals: a proposals file to add.

    Raises:
        DataError: a file is missing or malformed, or names an image that is not in the dataset.
    """
    records: Mapping[ImageId, Record]
    if files := prediction_files(path):
        records = StoredRecords(files)
        known = {image.id for image in dataset.images}
        unknown = next((image for image in records if image not in known), None)
        if unknown is not None:
            raise DataError(f"{path}: prediction for image {unknown!r}, which is not in dataset {dataset.name!r}")
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
    """Read a COCO results file, `[{"image_id", "category_id" or "label", "bbox", "segmentation", "score"}]`.

    Predictions keep the order of the file. Every image of the dataset gets a record, because an image without entries
    was predicted empty. A missing box is computed from the mask.

    Raises:
        DataError: the file has another format, an image or category is unknown, or only some entries have a field.
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
            raise DataError(f"{where} is for image {result.image_id!r}, which is not in dataset {dataset.name!r}")
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
            raise DataError(
                f"{where}: only some entries have a segmentation or a score; give each for all entries or for none"
            )
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
    """Read a folder of count files, `<image name>.json` with `{"ship": 3}`: image -> counts.

    Raises:
        DataError: the folder is missing or empty, or a file is malformed or belongs to no image of the dataset.
    """
    images = ImagesByName(dataset)
    return {images.take(path.stem, str(path)).id: found for path, found in _count_files(folder).items()}


def read_count_files(folder: Path) -> dict[str, dict[str, int]]:
    """Read a folder of count files: image name without extension -> counts.

    Raises:
        DataError: the folder is missing or empty, or a file is malformed.
    """
    return {path.stem: found for path, found in _count_files(folder).items()}


def _count_files(folder: Path) -> dict[Path, dict[str, int]]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; expected a folder of count files `<image name>.json`")
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
    """Read a proposals file, `{image: {"bboxes", "scores", "segmentations"}}`: image -> proposals.

    Raises:
        DataError: the file has another format, or an entry belongs to no image of the dataset.
    """
    images = ImagesByName(dataset)
    return {images.take(name, str(path)).id: found for name, found in read_proposal_file(path).items()}


def read_proposal_file(path: Path) -> dict[str, ProposalRecord]:
    """Read a proposals file: image name, as in the file -> proposals.

    Raises:
        DataError: the file has another format.
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
    """Looks up images of a dataset by file name, with or without folder and extension, each image once."""

    def __init__(self, dataset: Dataset) -> None:
        """Collect the names.

        Raises:
            DataError: two images have the same name.
        """
        self._dataset = dataset.name
        self._suffixes = {*IMAGE_SUFFIXES, *(Path(image.file_name).suffix.lower() for image in dataset.images)}
        self._images: dict[str, ImageRecord] = {}
        self._taken: dict[str, str] = {}
        for image in dataset.images:
            name = Path(image.file_name).stem
            if name in self._images:
                raise DataError(
                    f"dataset {dataset.name!r} has two images named {name!r}, so files by image name are ambiguous; "
                    "rename one"
                )
            self._images[name] = image

    def take(self, name: str, where: str) -> ImageRecord:
        """Look up an image.

        Raises:
            DataError: no image has this name, or the image was already taken under another name.
        """
        path = Path(name)
        stem = path.stem if path.suffix.lower() in self._suffixes else path.name  # "P0003.2" has no extension
        if stem not in self._images:
            raise DataError(f"{where}: dataset {self._dataset!r} has no image named {stem!r}")
        other = self._taken.setdefault(stem, name)
        if other != name:
            raise DataError(
                f"{where}: {other!r} and {name!r} name the same image of dataset {self._dataset!r}; keep one"
            )
        return self._images[stem]
