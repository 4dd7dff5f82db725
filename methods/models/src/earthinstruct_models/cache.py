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
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Proposals
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.running.predictions import ProposalRecord
from earthinstruct_models.parts import Encoder, Proposer
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
        name = hashlib.sha256(msgspec.json.encode(key, order="deterministic")).hexdigest()
        path = self.folder / stage / name[:2] / f"{name}{codec.suffix}"
        if path.exists():
            try:
                return codec.decode(path.read_bytes())
            except _DAMAGED as error:
                _LOG.warning("cache entry %s is damaged and is made again: %s", path, error)
        value = make()
        try:
            _write_whole(path, codec.encode(value))
        except OSError as error:
            raise DataError(f"cache entry {path} cannot be written: {error.strerror}") from error
        return value


class CachedProposer:
    """A proposer that looks into the cache first."""

    def __init__(self, proposer: Proposer, cache: StageCache) -> None:
        self._proposer = proposer
        self._cache = cache

    def propose(self, image: NDArray[np.uint8]) -> Proposals:
        """Kept proposals, or new ones."""
        key = [self._identity, fingerprint(image)]
        return self._cache.get("proposals", key, PROPOSALS, lambda: self._proposer.propose(image))

    def describe(self) -> dict[str, Any]:
        """That of the proposer."""
        return self._proposer.describe()

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
