"""One run at a time in a folder: a lock that the operating system takes back when its holder ends, however it ends."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from earthinstruct.errors import DataError, EarthInstructError

LOCK = "run.lock"
_FAR = 1 << 30  # Windows locks bytes, and forbids to read them: one beyond the end


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder. The lock file is removed at the end; one that a dead process left behind holds nothing.

    Raises:
        EarthInstructError: another process holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _locked(folder / LOCK)
    except OSError as error:
        raise DataError(
            f"run folder {folder} cannot be written: {error.strerror or error}; give another --output"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file: the next run finds it, and nobody holds it
            (folder / LOCK).unlink()
        file.close()


def _locked(path: Path) -> BinaryIO:
    while True:
        file = path.open("a+b")
        try:
            _take(file)
        except (BlockingIOError, PermissionError) as error:
            holder = path.read_text(errors="replace").strip() or "unknown"
            file.close()
            raise EarthInstructError(
                f"{path.parent} is in use by another run (process {holder}); wait for its end, or give another --output"
            ) from error
        except OSError as error:
            warnings.warn(
                f"{path.parent}: this file system has no locks ({error.strerror}); nothing keeps two runs apart there",
                RuntimeWarning,
                stacklevel=2,
            )
        # between opening and locking, a run that ended may have removed the file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate(0)
                file.write(f"{os.getpid()}\n".encode())
                file.flush()
                return file
        file.close()


def _take(file: BinaryIO) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
