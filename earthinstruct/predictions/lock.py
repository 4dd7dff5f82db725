"""Lock a run folder for one process. The operating system releases the lock even if the process is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.files import replace_file

LOCK, HOLDER = "run.lock", "run.pid"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Lock a folder. Meanwhile it holds a lock file and a file with the process id; both are removed at the end.

    Raises:
        EarthInstructError: another process holds the lock, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock_file, holder = folder / LOCK, folder / HOLDER
    lock = FileLock(lock_file, timeout=0, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        replace_file(holder, f"{os.getpid()}\n".encode())
    except Timeout as error:
        process = holder.read_text(errors="replace").strip() if holder.exists() else "unknown"
        raise EarthInstructError(
            f"{folder} is in use by another run (process {process}); wait until it ends, or give another --output"
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
        # Remove the file before the release: a waiting process then sees that the file it opened is gone, and makes a
        # new one. Windows cannot remove an open file; there, the release removes it.
        with suppress(OSError):
            lock_file.unlink()
        lock.release()
