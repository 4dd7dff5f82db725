"""The predictions file: one JSON line per image, flushed after each, so that a killed run loses at most one image."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import json
import tempfile
import weakref
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import ne
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Prediction, Proposals, Usage
from earthinstruct.errors import ContractError, DataError
from earthinstruct.files import LineFile, decode_checked, decode_counted, decode_json, is_json, replace_file
from earthinstruct.regions import RLE, ImageId
from earthinstruct.texts import shortened

Box = tuple[float, float, float, float]


def as_boxes(boxes: NDArray[np.float64]) -> list[Box]:
    """Boxes (n, 4) as a record has them."""
    return [(x, y, width, height) for x, y, width, height in boxes.tolist()]


class ProposalRecord(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Class-agnostic regions of one image, best first."""

    boxes: list[Box]
    masks: list[RLE] | None = None
    scores: list[float] | None = None

    @staticmethod
    def of(proposals: Proposals) -> ProposalRecord:
        """Make a record from proposals."""
        return ProposalRecord(**_regions(proposals))

    def proposals(self) -> Proposals:
        """Convert to `Proposals`, which checks the values.

        Raises:
            ContractError: a value is malformed.
        """
        return Proposals(
            np.array(self.boxes, dtype=np.float64).reshape(-1, 4),
            None if self.masks is None else tuple(self.masks),
            None if self.scores is None else np.array(self.scores),
        )


class Record(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One line of `predictions.jsonl`: the prediction for one image, or the reason of a failure.

    The fields are those of `Prediction` and its usage. If `error` is set, the image counts as predicted empty.
    """

    image_id: ImageId
    labels: list[str] = []
    boxes: list[Box] | None = None
    masks: list[RLE] | None = None
    scores: list[float] | None = None
    counts: dict[str, int] | None = None
    proposals: ProposalRecord | None = None
    seconds: dict[str, float] = {}
    input_tokens: int = 0
    output_tokens: int = 0
    events: dict[str, int] = {}
    error: str | None = None
    tiles: list[tuple[int, int, int, int]] | None = None
    points: list[tuple[float, float]] | None = None

    @staticmethod
    def of(image_id: ImageId, prediction: Prediction) -> Record:
        """Make a record from a prediction."""
        proposals = prediction.proposals
        return Record(
            image_id=image_id,
            labels=list(prediction.labels),
            counts=None if prediction.counts is None else dict(prediction.counts),
            proposals=None if proposals is None else ProposalRecord.of(proposals),
            tiles=None if prediction.tiles is None else list(prediction.tiles),
            points=None if prediction.points is None else [(x, y) for x, y in prediction.points.tolist()],
            **_regions(prediction),
            **_cost(prediction.usage),
        )

    @staticmethod
    def of_failure(image_id: ImageId, error: str, usage: Usage) -> Record:
        """Make the record of an image without a prediction; `usage` is what was spent on it."""
        return Record(image_id, error=error, **_cost(usage))

    def prediction(self) -> Prediction:
        """Convert to a `Prediction`, which checks the values.

        Raises:
            ContractError: a value is malformed.
        """
        return Prediction(
            tuple(self.labels),
            None if self.boxes is None else np.array(self.boxes, dtype=np.float64).reshape(-1, 4),
            None if self.masks is None else tuple(self.masks),
            None if self.scores is None else np.array(self.scores),
            self.counts,
            None if self.proposals is None else self.proposals.proposals(),
            self.usage,
            None if self.tiles is None else tuple(self.tiles),
            None if self.points is None else np.array(self.points, dtype=np.float64).reshape(-1, 2),
        )

    @property
    def only_counts(self) -> bool:
        """Whether it names no instances: counts without boxes, masks, points and scores."""
        return self.counts is not None and all(
            column is None for column in (self.boxes, self.masks, self.points, self.scores)
        )

    @property
    def usage(self) -> Usage:
        """Seconds and tokens spent on the image.

        Raises:
            DataError: a value is malformed.
        """
        try:
            return Usage(self.seconds, self.input_tokens, self.output_tokens, self.events)
        except ContractError as error:
            raise DataError(f"image {self.image_id!r}: {error}") from error

    def after(self, spent: Usage) -> Record:
        """Add the usage of earlier attempts; returns a copy."""
        return msgspec.structs.replace(self, **_cost(Usage.join([spent, self.usage])))


PLACE = ("x", "y", "width", "height", "score")  # of an instance in a frame
POINT_PLACE = ("point_x", "point_y")  # likewise, where there are points


def places_of(record: Record) -> Iterator[dict[str, float]]:
    """The box, score and point of each instance of a record, as far as it has them, under the names of a frame.

    >>> list(places_of(Record(1, labels=["ship"], points=[(3, 4)])))
    [{'point_x': 3, 'point_y': 4}]
    """
    for i in range(len(record.labels)):
        place = {} if record.boxes is None else dict(zip(PLACE, record.boxes[i], strict=False))
        if record.scores is not None:
            place["score"] = record.scores[i]
        yield place if record.points is None else place | dict(zip(POINT_PLACE, record.points[i], strict=True))


def _cost(usage: Usage) -> dict[str, Any]:
    """Convert usage to fields of a record."""
    return {
        "seconds": dict(usage.seconds),
        "input_tokens": int(usage.input_tokens),
        "output_tokens": int(usage.output_tokens),
        "events": dict(usage.events),
    }


def _regions(found: Prediction | Proposals) -> dict[str, Any]:
    """Convert regions to fields of a record."""
    return {
        "boxes": None if found.boxes is None else [tuple(box) for box in found.boxes.tolist()],
        "masks": None if found.masks is None else list(found.masks),
        "scores": None if found.scores is None else found.scores.tolist(),
    }


def prediction_files(path: Path) -> list[Path]:
    """List the predictions files at a path, in alphabetical order; empty if the path has another format.

    Args:
        path: a file `*.jsonl`, or a folder with either `predictions.jsonl` or shards `predictions-*.jsonl`. Each file
            may be compressed, with `.zst` or `.gz` after its name.

    Raises:
        DataError: the folder has both `predictions.jsonl` and shards, or a file with and without compression.
    """
    if not path.is_dir():
        return [path] if path.name.endswith(_SUFFIXES) else []
    files = sorted({*path.glob("predictions.jsonl*"), *path.glob("predictions-*.jsonl*")})
    files = [file for file in files if file.name.endswith(_SUFFIXES)]
    stems = [file.name.partition(".jsonl")[0] for file in files]
    if len(set(stems)) < len(stems) or ("predictions" in stems and len(stems) > 1):
        raise DataError(
            f"{path} holds {', '.join(file.name for file in files)}; expected either predictions.jsonl or shards "
            "predictions-*.jsonl, each either compressed or not"
        )
    return files


def hash_predictions(files: Sequence[Path]) -> str:
    """SHA-256 of the lines of all files in turn. It does not depend on sharding and compression."""
    digest = hashlib.sha256()
    for file in files:
        for piece in _content(file):
            digest.update(piece)
    return digest.hexdigest()


def _content(path: Path) -> Iterator[bytes]:
    """Read a predictions file in pieces, decompressed.

    Raises:
        DataError: the file cannot be read, or is a damaged or incomplete compressed file.
    """
    try:
        with path.open("rb") as file:
            if path.suffix == ".zst":
                yield from _decompressed(iter(partial(file.read, _PIECE), b""), path)
            elif path.suffix == ".gz":
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield from iter(partial(unpacked.read, _BUFFER), b"")
            else:
                yield from iter(partial(file.read, _BUFFER), b"")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"predictions {path} cannot be decompressed: {error}; copy it again") from error
    except OSError as error:
        raise DataError(f"predictions {path} cannot be read: {error.strerror}") from error


def _decompressed(pieces: Iterator[bytes], path: Path) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    frame, whole = decompressor.decompressobj(), False
    try:
        for piece in pieces:
            while piece:
                if whole:  # a file may hold several frames, one after another
                    frame = decompressor.decompressobj()
                yield frame.decompress(piece)
                whole = frame.eof
                piece = frame.unused_data if whole else b""
    except zstandard.ZstdError as error:
        raise DataError(f"predictions {path} cannot be decompressed: {error}") from error
    if not whole:
        raise DataError(f"predictions {path} cannot be decompressed: the file is incomplete; copy it again")


def _in_utf8(pieces: Iterator[bytes], path: Path) -> Iterator[bytes]:
    """Convert text in any Unicode encoding, with or without a byte order mark, with any line ends, to UTF-8.

    Raises:
        DataError: the text has another encoding.
    """
    pieces = filter(None, pieces)
    first = next(pieces, b"")
    encoding = json.detect_encoding(first)
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    try:
        for text in codecs.iterdecode(chain([first], pieces), encoding, errors="surrogatepass"):
            yield line_ends.decode(text).encode("utf-8", "surrogatepass")
        yield line_ends.decode("", final=True).encode()
    except UnicodeDecodeError as error:
        raise DataError(f"predictions {path} are not {encoding.upper()}: {error.reason}; save them as UTF-8") from error


class StoredRecords(Mapping[ImageId, Record]):
    """The records in predictions files: image -> record. Only their places are in memory; a record is read on access.

    A file that is compressed, not in UTF-8, or whose lines end with a carriage return alone is first converted into a
    temporary file.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """Index the records.

        Raises:
            DataError: a file cannot be read, a line names no image, or two lines name the same image.
        """
        self._files = list(files)
        self._opened: list[BinaryIO] = []
        weakref.finalize(self, _close, self._opened)
        self._row: dict[ImageId, int] = {}
        self._place = array("q")  # three numbers per row: index of the file, line number, byte offset
        for number, path in enumerate(files):
            self._index(number, path)

    def _index(self, number: int, path: Path) -> None:
        stored = _opened(path)
        self._opened.append(stored)
        of_run = (path.parent / "run.json").is_file()
        for line in _lines(stored, path, torn=of_run):
            if line.image_id in self._row:
                raise DataError(
                    f"{path}, line {line.number}: image {line.image_id!r} has two predictions; "
                    "expected one line per image"
                )
            self._row[line.image_id] = len(self._row)
            self._place.extend((number, line.number, line.offset))

    def __getitem__(self, image: ImageId) -> Record:
        """Read the record of an image.

        Raises:
            KeyError: the image has no record.
            DataError: its line is malformed.
        """
        row = 3 * self._row[image]
        number, line_number, offset = self._place[row : row + 3]
        self._opened[number].seek(offset)
        path = self._files[number]
        line = self._opened[number].readline().removeprefix(codecs.BOM_UTF8)
        record = decode_checked(line, _DECODER, _problem(path, line_number))  # checked when it was indexed
        if record.image_id != image:
            raise DataError(f"{path} changed while it was read; score it again when nothing writes to it")
        return record

    def __iter__(self) -> Iterator[ImageId]:
        """The images, in the order of the files."""
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)


def _opened(path: Path) -> BinaryIO:
    """Open a predictions file, or a temporary copy of it: decompressed, in UTF-8, with line feeds."""
    try:
        file = path.open("rb")
        if path.suffix not in _COMPRESSED and json.detect_encoding(file.read(4)).startswith("utf-8"):
            file.seek(0)
            first = file.readline(_LONGEST_LINE)
            file.seek(0)
            if b"\r" not in first.rstrip(b"\r\n"):
                return file
        file.close()
    except OSError as error:
        raise DataError(f"predictions {path} cannot be read: {error.strerror}") from error
    try:
        copy = tempfile.TemporaryFile()  # noqa: SIM115
        copy.writelines(_in_utf8(_content(path), path))
        copy.seek(0)
    except OSError as error:
        raise DataError(
            f"predictions {path} cannot be decompressed into a temporary file in {tempfile.gettempdir()}: "
            f"{error.strerror}; make room there, or set TMPDIR to another folder"
        ) from error
    return copy


def _close(files: Sequence[BinaryIO]) -> None:
    for file in files:
        with suppress(OSError):  # nothing is lost: the files were only read, or are temporary
            file.close()


class _Head(msgspec.Struct):
    image_id: ImageId
    error: str | None = None
    bbox: Any = None  # this and the next: fields of COCO results
    category_id: Any = None


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a predictions file: its place, its image, and whether it records a failure."""

    number: int
    offset: int
    content: bytes
    image_id: ImageId
    failed: bool


def _lines(file: BinaryIO, path: Path, *, torn: bool = True) -> Iterator[_Line]:
    """Read the lines of a predictions file, without blank lines.

    Args:
        file: the file.
        path: its path, for errors.
        torn: whether an incomplete last line is skipped, which a run leaves when it is killed.

    Raises:
        DataError: a line is too long or names no image.
    """
    offset = 0
    for number, content in enumerate(iter(partial(file.readline, _LONGEST_LINE), b""), start=1):
        if len(content) == _LONGEST_LINE:
            raise DataError(
                f"{path}, line {number}: longer than {_LONGEST_LINE >> 20} MiB; expected one prediction per line"
            )
        record = decode_counted(content, _DECODER.decode, _n_texts)
        if record is not None:
            yield _Line(number, offset, content, record.image_id, record.error is not None)
        elif content.strip() and (content.endswith(b"\n") or not torn or is_json(content)):
            head = decode_json(content, _HEADS, _problem(path, number))
            if head.bbox is not None or head.category_id is not None:
                raise DataError(
                    f"{path}, line {number} is one COCO result; expected all predictions of an image, "
                    '{"image_id", "labels", "boxes"}; name the file *.json to read it as COCO results'
                )
            yield _Line(number, offset, content, head.image_id, head.error is not None)
        offset += len(content)


def take_out_failures(path: Path) -> tuple[set[ImageId], dict[ImageId, Usage]]:
    """Remove the failures from a predictions file, so that they are tried again, and an incomplete last line.

    Returns:
        The images with a prediction, and the usage of each failed image.
    """
    done: set[ImageId] = set()
    spent: dict[ImageId, Usage] = {}
    LineFile(path).close()  # cuts off an incomplete last line
    with path.open("rb") as file:
        for line in _lines(file, path):
            if line.failed:
                spent[line.image_id] = decode_json(line.content, _COSTS, _problem(path, line.number))
            else:
                done.add(line.image_id)
        if spent:
            file.seek(0)
            replace_file(path, (line.content for line in _lines(file, path) if not line.failed))
    return done, spent


def sort_records(path: Path, places: Mapping[ImageId, int]) -> None:
    """Sort the lines of a predictions file by the places of their images; unknown images come last."""
    with path.open("rb") as file:
        order = [
            (places.get(line.image_id, len(places)), line.offset, len(line.content)) for line in _lines(file, path)
        ]
        if order != sorted(order):
            replace_file(path, (_read_at(file, offset, size) for _, offset, size in sorted(order)))


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _n_texts(record: Record) -> int:
    """The number of keys that hold another value than the default, and of texts."""
    n = sum(map(bool, map(ne, msgspec.structs.astuple(record), _DEFAULTS))) + isinstance(record.image_id, str)
    n += len(record.labels) + len(record.counts or ()) + len(record.seconds) + len(record.events)
    n += (record.error is not None) + 3 * len(record.masks or ())  # a mask has two keys, and the text of its runs
    if record.proposals is not None:
        n += sum(value is not None for value in msgspec.structs.astuple(record.proposals))
        n += 3 * len(record.proposals.masks or ())
    return n


def _problem(path: Path, line_number: int) -> str:
    expected = 'one prediction as a JSON object with "image_id", the id or the file name of its image'
    return f"{path}, line {line_number}: {{error}}; expected {expected}"


_COMPRESSED = (".zst", ".gz")
_SUFFIXES = (".jsonl", *(f".jsonl{suffix}" for suffix in _COMPRESSED))
_BUFFER = 1 << 20
_PIECE = 1 << 10  # compressed bytes read at once; small, because they may expand to much more
_LARGEST_WINDOW = 1 << 27  # bytes; the default limit of the program zstd
_LONGEST_LINE = 1 << 28  # bytes
_HEADS = msgspec.json.Decoder(_Head)
_COSTS = msgspec.json.Decoder(Usage)
_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
_DEFAULTS = (None, *msgspec.structs.astuple(Record(0))[1:])
_ENCODER = msgspec.json.Encoder()


class RecordWriter:
    """Appends records to a predictions file."""

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def write(self, record: Record) -> None:
        """Append one record.

        Raises:
            OSError: it cannot be written.
        """
        self._file.append(_ENCODER.encode(record))


def readable(record: Record) -> Record:
    """The record, if a reader accepts its line; otherwise the failure of its image. A long reason is shortened."""
    if record.error is not None:
        record = msgspec.structs.replace(record, error=shortened(record.error))
    try:
        line = _ENCODER.encode(record)
        if len(line) >= _LONGEST_LINE - 1:
            raise DataError(f"it takes {len(line) >> 20} MiB, and a line may take {_LONGEST_LINE >> 20}")
        decode_checked(line, _DECODER, "{error}")
    except (DataError, TypeError, ValueError) as error:  # those of msgspec are ValueErrors
        reason = shortened(f"the prediction cannot be kept: {error}")
        tokens = Usage(input_tokens=record.input_tokens, output_tokens=record.output_tokens)
        return Record.of_failure(record.image_id, reason, tokens)
    return record
