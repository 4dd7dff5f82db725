"""`tallies.npz`: the tallies beside a result, used to compare two runs without scoring them again."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.files import DAMAGED_ZIP, decode_json, replace_file
from earthinstruct.metrics import Count, SliceImages, Tally
from earthinstruct.regions import ImageId
from earthinstruct.results.result import Result
from earthinstruct.texts import plural, shortened

TALLIES_FILE = "tallies.npz"
_HEAD, _IMAGES = "head", "images"
_EXTRA = "extra."  # the tallies of metric plug-ins, any finite numbers
_HEADER_OF_ARRAY = 1 << 10  # bytes; an upper bound
_LARGEST_HEAD = 1 << 30  # bytes: ids of many millions of images
# NumPy reads the header of an array as Python
_DAMAGED_HEADER = (ValueError, TypeError, KeyError, SyntaxError, TokenError, OverflowError, MemoryError, RecursionError)


class _Head(msgspec.Struct):
    """Describes the arrays of the file, and identifies the result that they belong to."""

    task: str
    task_version: str
    annotations_sha256: str
    predictions_sha256: str | None
    protocol: str
    threshold: float | list[float | None] | None  # with a cross sweep, that of each fold
    images: list[ImageId]
    categories: list[str]
    groups: dict[str, list[str]]
    protocol_version: int = 1
    slices: dict[str, dict[str, list[ImageId]]] = {}


@dataclass(frozen=True, eq=False)
class StoredTallies:
    """The content of a `tallies.npz`.

    Attributes:
        tallies: name -> tally, as in `earthinstruct.metrics.measuring.Chunk.named_tallies`.
        groups: group -> its categories.
        slices: attribute of the images -> name of a slice -> its images.
    """

    tallies: dict[str, Tally]
    groups: dict[str, tuple[str, ...]]
    slices: Mapping[str, SliceImages] = field(default_factory=dict)


def write_tallies(folder: Path, result: Result, stored: StoredTallies, file_name: str = TALLIES_FILE) -> None:
    """Write the tallies of a result, of which `box` must hold every image. Equal tallies give equal bytes.

    Raises:
        OSError: the folder cannot be written.
    """
    box = stored.tallies["box"]
    groups = {name: list(of) for name, of in stored.groups.items()}
    head = _head(result, list(box.images), list(box.categories), groups)
    head.slices = {name: {part: list(of) for part, of in by.items()} for name, by in stored.slices.items()}
    arrays: dict[str, NDArray[Any]] = {_HEAD: np.frombuffer(msgspec.json.encode(head), dtype=np.uint8)}
    place = {image: i for i, image in enumerate(box.images)}
    for name, tally in stored.tallies.items():
        if tally.images != box.images:  # protocol `paper` counts only in some images
            arrays[f"{_IMAGES}/{name}"] = np.array([place[image] for image in tally.images], dtype=np.int32)
        arrays |= {f"{name}/{column}": values for column, values in tally.compact().columns.items()}
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    replace_file(folder / file_name, content.getvalue())


def read_tallies(folder: Path, result: Result, file_name: str = TALLIES_FILE) -> StoredTallies | None:
    """Read the tallies of a result; None if its folder has none.

    Raises:
        DataError: the file is malformed, or belongs to another result.
    """
    path = folder / file_name
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as file:
            entry = file.getinfo(f"{_HEAD}.npy")
            if entry.file_size > _LARGEST_HEAD:
                raise DataError(f"{entry.filename} has {entry.file_size} bytes; expected at most {_LARGEST_HEAD}")
            content = _read(file, entry)
            head = decode_json(_array(content, entry.filename).tobytes(), msgspec.json.Decoder(_Head), "{error}")
            slices, head.slices = head.slices, {}
            if head != _head(result, head.images, head.categories, head.groups):
                raise DataError("it belongs to another result")
            stored = _tallies(file, head)
            _refuse_other_sums(stored, result)
    except (DataError, OSError, *DAMAGED_ZIP) as error:
        raise DataError(
            f"{path} cannot be used: {shortened(str(error))}; delete it, or score the predictions again"
        ) from error
    return StoredTallies(stored, {name: tuple(of) for name, of in head.groups.items()}, slices)


def _head(result: Result, images: list[ImageId], categories: list[str], groups: dict[str, list[str]]) -> _Head:
    sweep = result.metrics.sweep
    threshold: float | list[float | None] | None = result.metrics.threshold
    if sweep is not None:
        threshold = [fold.threshold for fold in sweep.folds] if sweep.is_cross else sweep.threshold
    return _Head(
        task=result.task.name,
        task_version=result.task.version,
        annotations_sha256=result.task.dataset.annotations_sha256,
        predictions_sha256=result.predictions.sha256,
        protocol=result.protocol,
        threshold=threshold,
        images=images,
        categories=categories,
        groups=groups,
        protocol_version=result.protocol_version,
    )


def _tallies(file: zipfile.ZipFile, head: _Head) -> dict[str, Tally]:
    shape = (len(head.images), len(head.categories))
    most = shape[0] * max(shape[1], 1) * 8 + _HEADER_OF_ARRAY
    columns: dict[str, dict[str, NDArray[Any]]] = {}
    for entry in file.infolist():
        name, _, column = entry.filename.removesuffix(".npy").partition("/")
        if column:
            if entry.file_size > most:  # checked before decompression, against a zip bomb
                raise DataError(f"{entry.filename} has {entry.file_size} bytes; expected at most {most}")
            columns.setdefault(name, {})[column] = _array(_read(file, entry), entry.filename)
    images, categories = tuple(head.images), tuple(head.categories)
    some_images, found = columns.pop(_IMAGES, {}), {}
    for name, of_tally in columns.items():
        chosen = some_images.get(name)
        if chosen is not None and not _are_indices(chosen, len(images)):
            raise DataError(f"{_IMAGES}/{name} must hold indices of {plural(len(images), 'image')}, each once")
        own = images if chosen is None else tuple(images[i] for i in chosen.ravel().tolist())
        for column, values in of_tally.items():
            if values.shape != (len(own), shape[1]) or values.dtype.kind not in "if":
                raise DataError(
                    f"{name}/{column} is {values.dtype} of shape {values.shape}; expected numbers of {shape}"
                )
            if not np.isfinite(values).all() or (not name.startswith(_EXTRA) and (values < 0).any()):
                raise DataError(f"{name}/{column} holds numbers that are no counts")
        found[name] = Tally(own, categories, of_tally)
    if "box" not in found:
        raise DataError("the tally of boxes is missing")
    return found


def _refuse_other_sums(tallies: Mapping[str, Tally], result: Result) -> None:
    """Refuse tallies that do not add up to the result."""
    for name, scores in result.metrics.by_geometry.items():
        if name not in tallies or not scores.tally:
            continue  # without boxes in the answers, the tally of boxes holds the ground truth alone
        tally = tallies[name]
        totals = tally.totals
        sums = {
            category: Count(*(int(totals[column][c]) for column in Count.__struct_fields__))
            for c, category in enumerate(tally.categories)
        }
        if sums != scores.tally:
            raise DataError(f"the tally of {name} does not add up to that of the result")


def _are_indices(values: NDArray[Any], n: int) -> bool:
    """Whether an array holds indices in [0, n), each at most once."""
    right = values.ndim == 1 and values.dtype.kind == "i" and ((values >= 0) & (values < n)).all()
    return bool(right) and len(np.unique(values)) == len(values)


def _read(file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of an entry. Of the compressions of zip files, only these are decompressed in bounded memory."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{entry.filename} is compressed by method {entry.compress_type}; expected deflate")
    return file.read(entry)


def _array(content: bytes, name: str) -> NDArray[Any]:
    """Decode an `.npy` file of version 1; its header is compared with its length before memory is taken."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise DataError(f"{name} has version {version}, expected (1, 0)")
        shape, in_columns, dtype = np.lib.format.read_array_header_1_0(file)
    except _DAMAGED_HEADER as error:
        raise DataError(f"{name} has no readable header ({type(error).__name__})") from error
    if dtype.kind not in "iuf":
        raise DataError(f"{name} holds {dtype}, expected numbers")
    values = content[file.tell() :]
    sides = [side for side in shape if type(side) is not int or not 0 <= side <= len(content)]
    if sides or math.prod(shape) * dtype.itemsize != len(values):
        raise DataError(f"{name} has {len(values)} bytes of values, expected {dtype} of shape {shape}")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if in_columns else "C")
