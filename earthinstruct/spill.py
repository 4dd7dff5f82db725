"""Bytes that are written once and read in pieces, and need not stay in memory."""

from __future__ import annotations

import mmap
import tempfile
import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import BinaryIO

from earthinstruct.errors import DataError


class Spill:
    """Bytes, one behind another: in memory while they are few, then in a temporary file. A pickle holds all of them."""

    def __init__(self, in_memory: int) -> None:
        """Without bytes.

        Args:
            in_memory: how many bytes need no file.
        """
        self._in_memory = in_memory
        self._size = 0
        self._memory = bytearray()
        self._file: BinaryIO | None = None

    def __len__(self) -> int:
        return self._size

    def append(self, content: bytes) -> None:
        """Keep these bytes behind the others.

        Raises:
            DataError: the temporary folder cannot be written.
        """
        self._size += len(content)
        if self._file is None and self._size <= self._in_memory:
            self._memory += content
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115
                weakref.finalize(self, _close, self._file)
                self._file.write(self._memory)
                self._memory = bytearray()
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            raise DataError(
                f"the temporary folder {tempfile.gettempdir()} cannot be written: {error.strerror}; make room there, "
                "or set TMPDIR to a folder that has it"
            ) from error

    def read(self, spans: Iterable[tuple[int, int]]) -> bytes:
        """The bytes from each start to its end, one span behind another."""
        if self._file is None:
            return b"".join(self._memory[start:end] for start, end in spans)
        # mapped for this call only: no position that threads or forks would share, and no pages that stay in memory
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return b"".join(content[start:end] for start, end in spans)

    def __getstate__(self) -> tuple[int, bytes]:
        return self._in_memory, self.read([(0, self._size)])

    def __setstate__(self, state: tuple[int, bytes]) -> None:
        in_memory, content = state
        self.__init__(in_memory)  # type: ignore[misc]
        self.append(content)


def _close(file: BinaryIO) -> None:
    with suppress(OSError):  # of a full disk: nothing that is kept is lost
        file.close()
