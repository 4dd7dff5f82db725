"""What stages gave for images, kept on disk: an ablation over one part then costs that part alone.

An entry is found by the content of the image and by all that its part says of itself (`describe()`, weights' sha256
included, the device left out). Entries are JSON or numpy's npz, never pickle; they are put in place whole.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Proposals
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.running.predictions import ProposalRecord
from earthinstruct_models.parts import Encoder, Proposer, propose_together
from earthinstruct_models.recorded import fingerprint

_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)
_DAMAGED = (msgspec.MsgspecError, EarthInstructError, ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Codec(Generic[_T]):
    """How a kind of value lies in a file."""

    suffix: str
    encode: Callable[[_T], bytes]
    decode: Callable[[bytes], _T]


def json_codec(kind: type[_T]) -> Codec[_T]:
    """JSON of a type that msgspec knows."""
    return Codec(".json", msgspec.json.encode, msgspec.json.Decoder(kind).decode)


def _array_bytes(array: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, array=array)
    return buffer.getvalue()


def _array_from(content: bytes) -> NDArray[np.float32]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        array: NDArray[np.float32] = arrays["array"]
    return array


PROPOSALS: Codec[Proposals] = Codec(
    ".json",
    lambda proposals: msgspec.json.encode(ProposalRecord.of(proposals)),
    lambda content: msgspec.json.decode(content, type=ProposalRecord).proposals(),
)
EMBEDDINGS: Codec[NDArray[np.float32]] = Codec(".npz", _array_bytes, _array_from)


class StageCache:
    """A folder of answers of stages.

    Args:
        folder: made when it is missing. Several processes may share it.

    Raises:
        DataError: it cannot be made.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cache {self.folder} cannot be made: {error.strerror}") from error

    def get(self, stage: str, key: Sequence[Any], codec: Codec[_T], make: Callable[[], _T]) -> _T:
        """The value of a stage, made and kept when it is not there or is damaged (with a warning).

        Args:
            stage: the subfolder.
            key: everything the value depends on, as JSON can hold it.
            codec: how it lies in a file.
            make: gives the value.

        Raises:
            DataError: it cannot be written.
        """
        path = self._path(stage, key, codec)
        value = _read(path, codec)
        if value is None:
            value = make()
            _write(path, codec, value)
        return value

    def get_many(
        self,
        stage: str,
        keys: Sequence[Sequence[Any]],
        codec: Codec[_T],
        make: Callable[[list[int]], Sequence[_T | Exception]],
    ) -> list[_T | Exception]:
        """`get` for several keys; what is missing is made together.

        Args:
            stage: the subfolder.
            keys: everything each value depends on.
            codec: how a value lies in a file.
            make: from positions in `keys`, the values, or why there is none; a reason is returned and not kept.

        Raises:
            DataError: a value cannot be written.
        """
        paths = [self._path(stage, key, codec) for key in keys]
        values: list[_T | Exception | None] = [_read(path, codec) for path in paths]
        missing = [i for i, value in enumerate(values) if value is None]
        for i, made in zip(missing, make(missing) if missing else (), strict=True):
            values[i] = made
            if not isinstance(made, Exception):
                _write(paths[i], codec, made)
        return cast("list[_T | Exception]", values)

    def _path(self, stage: str, key: Sequence[Any], codec: Codec[_T]) -> Path:
        name = hashlib.sha256(msgspec.json.encode(key, order="deterministic")).hexdigest()
        return self.folder / stage / name[:2] / f"{name}{codec.suffix}"


def _read(path: Path, codec: Codec[_T]) -> _T | None:
    """What is kept; None where nothing is, or it is damaged."""
    if not path.exists():
        return None
    try:
        return codec.decode(path.read_bytes())
    except _DAMAGED as error:
        _LOG.warning("cache entry %s is damaged and is made again: %s", path, error)
        return None


def _write(path: Path, codec: Codec[_T], value: _T) -> None:
    try:
        _write_whole(path, codec.encode(value))
    except OSError as error:
        raise DataError(f"cache entry {path} cannot be written: {error.strerror}") from error


class CachedProposer:
    """A proposer that looks into the cache first."""

    def __init__(self, proposer: Proposer, cache: StageCache) -> None:
        self._proposer = proposer
        self._cache = cache

    def propose(self, image: NDArray[np.uint8]) -> Proposals:
        """Kept proposals, or new ones."""
        return self._cache.get("proposals", self._key(image), PROPOSALS, lambda: self._proposer.propose(image))

    def propose_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Proposals]:
        """The same for several images; those that are new go to the proposer together, where it takes several."""
        keys = [self._key(image) for image in images]
        found = self._cache.get_many(
            "proposals", keys, PROPOSALS, lambda new: propose_together(self._proposer, [images[i] for i in new])
        )
        return cast("list[Proposals]", found)

    def describe(self) -> dict[str, Any]:
        """That of the proposer."""
        return self._proposer.describe()

    def _key(self, image: NDArray[np.uint8]) -> list[Any]:
        return [self._identity, fingerprint(image)]

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return identity(self._proposer)


class CachedEncoder:
    """An encoder that looks into the cache first; labels, which cost little, are not kept."""

    def __init__(self, encoder: Encoder, cache: StageCache) -> None:
        self._encoder = encoder
        self._cache = cache

    def embed_crops(self, image: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """Kept embeddings of these boxes, or new ones."""
        key = [self._identity, fingerprint(image), hashlib.sha256(np.ascontiguousarray(boxes).tobytes()).hexdigest()]
        return self._cache.get("embeddings", key, EMBEDDINGS, lambda: self._encoder.embed_crops(image, boxes))

    def embed_labels(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """That of the encoder."""
        return self._encoder.embed_labels(labels)

    def describe(self) -> dict[str, Any]:
        """That of the encoder."""
        return self._encoder.describe()

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return identity(self._encoder)


def identity(part: Any) -> dict[str, Any]:
    """What the answers of a part depend on: what it says of itself, apart from its device, and our version."""
    described = {key: value for key, value in part.describe().items() if key != "device"}
    return {**described, "earthinstruct-models": version("earthinstruct-models")}


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
