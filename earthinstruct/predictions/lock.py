"""One run at a time in a folder, by a lock that the operating system releases when its holder ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from earthinstruct.errors import DataError, EarthInstructError

LOCK, HOLDER = "run.lock", "run.pid"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder; meanwhile it has the lock, and a file with the number of the process. Both are removed at the end.

    Raises:
        EarthInstructError: another process holds it, or the folder cannot be written.
    """
    lock_file, holder = folder / LOCK, folder / HOLDER
    lock = FileLock(lock_file, timeout=0, thread_local=False)
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
        with suppress(OSError):  # Windows removes no open file; there, releasing removes it
            lock_file.unlink()  # before the release: a run that opened it sees that it is gone, and makes another
        lock.release()
