"""The predictions file: one JSON line an image, appended and flushed, so that a killed run loses one image at most."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Prediction, Proposals
from earthinstruct.errors import DataError
from earthinstruct.files import decode_json
from earthinstruct.instances import ImageId
from earthinstruct.masks import RLE

Box = tuple[float, float, float, float]


class ProposalRecord(msgspec.Struct, omit_defaults=True):
    """Class-agnostic regions of one image, best first."""

    boxes: list[Box]
    masks: list[RLE] | None = None
    scores: list[float] | None = None

    @staticmethod
    def of(proposals: Proposals) -> ProposalRecord:
        """The record of proposals."""
        return ProposalRecord(
            _boxes(proposals.boxes),
            None if proposals.masks is None else list(proposals.masks),
            None if proposals.scores is None else proposals.scores.tolist(),
        )

    def proposals(self) -> Proposals:
        """The proposals, checked by the contract.

        Raises:
            ContractError: a value is malformed.
        """
        return Proposals(
            np.array(self.boxes, dtype=np.float64).reshape(-1, 4),
            None if self.masks is None else tuple(self.masks),
            None if self.scores is None else np.array(self.scores),
        )


class Record(msgspec.Struct, omit_defaults=True):
    """One line of `predictions.jsonl`: what a method answered for one image, or why it did not.

    The fields are those of `Prediction`; `error` is the reason of a failure, and the image then counts as
    predicted empty.
    """

    image_id: ImageId
    labels: list[str] = []
    boxes: list[Box] = []
    masks: list[RLE] | None = None
    scores: list[float] | None = None
    counts: dict[str, int] | None = None
    proposals: ProposalRecord | None = None
    seconds: dict[str, float] = {}
    input_tokens: int = 0
    output_tokens: int = 0
    error: str | None = None

    @staticmethod
    def of(image_id: ImageId, prediction: Prediction) -> Record:
        """The record of a prediction."""
        proposals = prediction.proposals
        return Record(
            image_id=image_id,
            labels=list(prediction.labels),
            boxes=_boxes(prediction.boxes),
            masks=None if prediction.masks is None else list(prediction.masks),
            scores=None if prediction.scores is None else prediction.scores.tolist(),
            counts=None if prediction.counts is None else dict(prediction.counts),
            proposals=None if proposals is None else ProposalRecord.of(proposals),
            seconds=dict(prediction.usage.seconds),
            input_tokens=int(prediction.usage.input_tokens),
            output_tokens=int(prediction.usage.output_tokens),
        )


def _boxes(boxes: NDArray[np.float64]) -> list[Box]:
    return [(x, y, width, height) for x, y, width, height in boxes.tolist()]


def read_records(path: Path, *, drop_torn_line: bool = False) -> Iterator[Record]:
    """The records of a predictions file, one by one.

    Args:
        path: a `.jsonl` file.
        drop_torn_line: leave out a last line that does not end with a line break (a run killed while writing).

    Raises:
        DataError: the file cannot be read or a line is malformed; the message names the line.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip() or (drop_torn_line and not line.endswith(b"\n")):
                    continue
                problem = f"{path}, line {number}: {{error}}; expected one prediction as a JSON object"
                yield decode_json(line, _DECODER, problem)
    except OSError as error:
        raise DataError(f"predictions {path} cannot be read: {error.strerror}") from error


_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class RecordWriter:
    """Appends records to a predictions file; a torn last line is removed first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encoder = msgspec.json.Encoder()

    def __enter__(self) -> RecordWriter:
        """Open the file for appending."""
        self._file = self._path.open("a+b")
        self._drop_torn_line()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def write(self, record: Record) -> None:
        """Append one record and hand it to the operating system."""
        self._file.write(self._encoder.encode(record) + b"\n")
        self._file.flush()

    def _drop_torn_line(self) -> None:
        end = self._file.seek(0, os.SEEK_END)
        position, keep = end, 0
        while position > 0 and not keep:
            start = max(0, position - (1 << 16))
            self._file.seek(start)
            keep = self._file.read(position - start).rfind(b"\n") + 1
            keep += start if keep else 0
            position = start
        if keep != end:
            self._file.truncate(keep)
        self._file.seek(0, os.SEEK_END)


def records_by_image(records: Sequence[Record] | Iterator[Record], where: str) -> dict[ImageId, Record]:
    """The records by image.

    Raises:
        DataError: two records of one image.
    """
    found: dict[ImageId, Record] = {}
    for record in records:
        if record.image_id in found:
            raise DataError(f"{where}: image {record.image_id!r} has two predictions; every image must be there once")
        found[record.image_id] = record
    return found
