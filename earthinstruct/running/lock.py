"""One run at a time in a folder, by a lock that the operating system releases when its holder ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from earthinstruct.errors import DataError, EarthInstructError

LOCK, HOLDER = "run.lock", "run.pid"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder. The number of the process is in it meanwhile; the empty lock file stays, and holds nothing.

    Raises:
        EarthInstructError: another process holds it, or the folder cannot be written.
    """
    lock = FileLock(folder / LOCK, timeout=0, thread_local=False)
    holder = folder / HOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        holder.write_text(f"{os.getpid()}\n")
    except Timeout as error:
        process = holder.read_text(errors="replace").strip() if holder.exists() else "unknown"
        raise EarthInstructError(
            f"{folder} is in use by another run (process {process}); wait for its end, or give another --output"
        ) from error
    except OSError as error:
        lock.release()
        raise DataError(
            f"run folder {folder} cannot be written: {error.strerror or error}; give another --output"
        ) from error
    try:
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
