"""JSON files in and out: every malformed one is a `DataError` that names it."""

from __future__ import annotations

import codecs
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import msgspec

from earthinstruct.errors import DataError

_T = TypeVar("_T")

# msgspec reports foreign bytes in text and bottomless nesting by the errors of Python
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_bytes(path: Path, what: str) -> bytes:
    """The content of a file.

    Raises:
        DataError: it cannot be read; `what` names it.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{what} {path} cannot be read: {error.strerror}") from error


def decode_json(content: bytes, decoder: msgspec.json.Decoder[_T], problem: str) -> _T:
    """Decode and check JSON.

    Args:
        content: the JSON text, with or without a byte order mark.
        decoder: of the expected type.
        problem: the message of an error, with `{error}` where the reason goes.

    Raises:
        DataError: it is not JSON of that type.
    """
    try:
        return decoder.decode(content.removeprefix(codecs.BOM_UTF8))
    except _MALFORMED as error:
        raise DataError(problem.replace("{error}", str(error))) from error


def as_json(value: Any) -> bytes:
    """Readable JSON with a final line break, in the order of the fields."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def replace_file(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file as a whole: whoever reads it, and whenever this is interrupted, it is the old one or the new one.

    Args:
        path: the file.
        content: all of it, or its parts in turn.

    Raises:
        OSError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{uuid4().hex}.tmp")  # two processes may write the same file
    try:
        with beside.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut after the renaming may leave an empty file
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(folder: Path, next_step: str) -> Iterator[Path]:
    """A folder to fill, which gets its name when it is whole; when it does not come to that, nothing is left behind.

    Args:
        folder: its name; must not exist, or be empty.
        next_step: what an error says to do where it is not empty.

    Raises:
        DataError: `folder` is not empty or cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"{folder} exists already; {next_step}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            yield part
            part.chmod(0o755)  # mkdtemp makes folders that only the owner can read
            if folder.exists():
                folder.rmdir()
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}") from error
