"""Read JSON files, and write files and folders atomically. Malformed files raise a `DataError` that names the file."""

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

# besides its own error, msgspec raises those of Python for invalid UTF-8 and for nesting that is too deep
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_bytes(path: Path, what: str) -> bytes:
    """Read a file.

    Raises:
        DataError: the file cannot be read; the message starts with `what`.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{what} {path} cannot be read: {error.strerror}") from error


def decode_json(content: bytes, decoder: msgspec.json.Decoder[_T], problem: str) -> _T:
    """Decode and check JSON.

    Args:
        content: the JSON text, with or without a byte order mark.
        decoder: a decoder for the expected type.
        problem: the error message; `{error}` in it is replaced by the reason.

    Raises:
        DataError: the content is not JSON of that type.
    """
    try:
        return decoder.decode(content.removeprefix(codecs.BOM_UTF8))
    except _MALFORMED as error:
        raise DataError(problem.replace("{error}", str(error))) from error


def as_json(value: Any) -> bytes:
    """Encode a value as indented JSON with a final line break, keys in the order of the fields."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def replace_file(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file atomically: readers see the old or the new content, even if the program stops in between.

    Args:
        path: the file.
        content: the bytes, at once or in pieces.

    Raises:
        OSError: the file cannot be written.
    """
    # the random name keeps apart two processes that write the same file
    beside = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        with beside.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())  # otherwise a power cut after the rename could leave an empty file
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def remove_unfinished(folder: Path) -> None:
    """Remove what `replace_file` left in a folder when the program was killed. Nobody else may write there meanwhile.

    Raises:
        OSError: a file cannot be removed.
    """
    for path in folder.glob(f".*.{'[0-9a-f]' * 32}.tmp"):
        path.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: Path, next_step: str) -> Iterator[Path]:
    """Create a folder atomically: fill a temporary folder, which is renamed at the end, or removed after an error.

    Args:
        folder: the final name; must be missing or empty.
        next_step: advice for the error message if the folder is not empty.

    Raises:
        DataError: `folder` is not empty or cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"{folder} exists already; {next_step}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            yield unfinished
            unfinished.chmod(0o755)  # mkdtemp makes folders that only the owner can read
            if folder.exists():
                folder.rmdir()
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}") from error
