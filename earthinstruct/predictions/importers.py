"""Read the predictions of other tools, in any format, as records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import msgspec

from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError
from earthinstruct.files import read_json
from earthinstruct.predictions.coco_results import RunLengths, read_coco_results, rle_of
from earthinstruct.predictions.count_files import read_counts
from earthinstruct.predictions.file import Box, ProposalRecord, Record, StoredRecords, prediction_files
from earthinstruct.predictions.image_names import ImageNames
from earthinstruct.regions import ImageId


class _ProposalEntry(msgspec.Struct):
    bboxes: list[Box]
    segmentations: list[RunLengths] | None = None
    scores: list[float] | None = None


def read_predictions(
    path: Path, dataset: Dataset, *, counts: Path | None = None, proposals: Path | None = None
) -> Mapping[ImageId, Record]:
    """Read the predictions in a file or folder of any format: image -> record.

    Predictions files may be large, so their records are read on access.

    Args:
        path: a predictions file or a folder of them (see `prediction_files`), a COCO file (see `read_coco_results`), or
            a folder of count files.
        dataset: the dataset of the predictions.
        counts: a folder of count files to add.
        proposals: a proposals file to add.

    Raises:
        DataError: a file is missing or malformed, or names an image that is not in the dataset.
    """
    records: Mapping[ImageId, Record]
    if files := prediction_files(path):
        records = _of_dataset(StoredRecords(files), path, dataset)
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
        DataError: the file has another format, or an entry belongs to no image of the dataset.
    """
    proposals = read_proposal_file(path)
    images = ImageNames(dataset).find(proposals, lambda name: str(path), ids=False)
    return {images[name].id: _best_first(found) for name, found in proposals.items()}


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
