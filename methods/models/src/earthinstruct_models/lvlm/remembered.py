"""Replies kept: what was asked once, and paid for, is not asked again."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.files import decode_json
from earthinstruct_models.lvlm.interface import Arrived, Lvlm, LvlmError, Reply
from earthinstruct_models.recorded import fingerprint

_IN_MEMORY = 10_000  # replies without a file: more than any method asks for at once


class _Line(msgspec.Struct):
    """One line of the file."""

    key: str
    reply: Reply


_DECODER = msgspec.json.Decoder(_Line)


class RememberedLvlm(Lvlm):
    """A language model whose replies are kept, by image, prompt, schema and parameters (but the device).

    Every reply that came is kept, also a refusal or one that cannot be read: nearly the same would come again. Delete
    its line, or the file, to ask anew. A request that is under way is not made a second time; both get its reply.
    Processes may share a file on one machine; each knows what was in it when it started.

    Args:
        lvlm: whom to ask.
        replies: a `.jsonl` file, one line a reply, made when there is none; a torn last line (a process killed while
            writing) is removed. None: the last 10,000 replies are kept, as long as this object.

    Raises:
        DataError: the file cannot be read or written, or another line than the last is malformed.
    """

    def __init__(self, lvlm: Lvlm, replies: Path | str | None = None) -> None:
        self.lvlm = lvlm
        self.file = None if replies is None else Path(replies)
        self._lock = threading.Lock()
        self._known: dict[str, Future[Reply]] = {}
        described = {name: value for name, value in lvlm.describe().items() if name != "device"}
        self._parameters = msgspec.json.encode(described, order="deterministic")
        try:
            if self.file is not None:
                self._read(self.file)
        except OSError as error:
            raise DataError(f"replies {self.file} cannot be read or written: {error.strerror}") from error

    def ask_many(
        self,
        images: Sequence[NDArray[np.uint8]],
        text: str,
        schema: Mapping[str, Any] | None = None,
        *,
        arrived: Arrived | None = None,
    ) -> list[Reply | LvlmError]:
        """For each image the kept reply, or a new one, or why there is none, in order.

        Raises:
            DataError: a reply cannot be written.
        """
        keys = [self._key(image, text, schema) for image in images]
        ours: dict[str, int] = {}  # the key of each request that is to be made here -> its first image
        with self._lock:
            for i, key in enumerate(keys):
                if key not in self._known:
                    self._known[key] = Future()
                    ours[key] = i
            replies = [self._known[key] for key in keys]
        if ours:
            self._request(list(ours), [images[i] for i in ours.values()], text, schema)
        outcomes = [_outcome(reply) for reply in replies]
        for i, outcome in enumerate(outcomes):
            if arrived is not None and isinstance(outcome, Reply):
                arrived(i, outcome)
        if self.file is None:
            self._forget_oldest()
        return outcomes

    def describe(self) -> dict[str, Any]:
        """That of the language model: where replies are kept changes none of them."""
        return self.lvlm.describe()

    def close(self) -> None:
        """Close the language model."""
        close = getattr(self.lvlm, "close", None)
        if callable(close):
            close()

    def _request(
        self, keys: Sequence[str], images: Sequence[NDArray[np.uint8]], text: str, schema: Mapping[str, Any] | None
    ) -> None:
        """Ask, keep every reply at once, and hand it to whoever waits for it."""

        def keep(i: int, reply: Reply) -> None:
            if self.file is not None:
                self._write(self.file, keys[i], reply)
            self._known[keys[i]].set_result(reply)

        outcomes: Sequence[Reply | LvlmError] = ()
        try:
            outcomes = self.lvlm.ask_many(images, text, schema, arrived=keep)
        finally:
            errors = [out if isinstance(out, LvlmError) else None for out in outcomes] or [None] * len(keys)
            for key, error in zip(keys, errors, strict=True):
                with self._lock:
                    future = self._known.get(key)
                    unanswered = future is not None and not future.done()
                    if unanswered:
                        del self._known[key]  # the next one asks again
                if future is not None and unanswered:
                    future.set_exception(error or LvlmError("the request was interrupted"))

    def _forget_oldest(self) -> None:
        with self._lock:
            for key in list(islice(self._known, max(0, len(self._known) - _IN_MEMORY))):
                if self._known[key].done():
                    del self._known[key]

    def _key(self, image: NDArray[np.uint8], text: str, schema: Mapping[str, Any] | None) -> str:
        asked = msgspec.json.encode([fingerprint(image), text, schema])
        return hashlib.sha256(self._parameters + asked).hexdigest()

    def _write(self, path: Path, key: str, reply: Reply) -> None:
        line = msgspec.json.encode(_Line(key, reply)) + b"\n"
        try:
            with self._lock, path.open("ab", buffering=0) as file:
                file.write(line)
        except OSError as error:
            raise DataError(f"replies {path} cannot be written: {error.strerror}") from error

    def _read(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        whole, _, torn = content.rpartition(b"\n")  # one line, one write: a torn one is the last
        if torn:
            with path.open("r+b") as file:
                file.truncate(len(content) - len(torn))
        for number, line in enumerate(whole.split(b"\n") if whole else (), start=1):
            problem = f"replies {path}, line {number}: {{error}}; delete the line, and its image is asked about again"
            kept = decode_json(line, _DECODER, problem)
            future: Future[Reply] = Future()
            future.set_result(kept.reply)
            self._known[kept.key] = future


def _outcome(future: Future[Reply]) -> Reply | LvlmError:
    try:
        return future.result()
    except LvlmError as error:
        return error
