"""One store for the answers of parts, so that nothing is computed, or paid for, twice.

The key of an answer is the description of its part, the content of the image and the question. An answer is looked up
in memory first, then in files if the user names a folder. Files hold JSON, never pickles.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

import msgspec
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from earthinstruct.contract import Estimate, Proposals
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.files import LineFile, decode_json, replace_file
from earthinstruct.predictions import ProposalRecord
from earthinstruct.texts import printable
from earthinstruct_models.fingerprints import fingerprint
from earthinstruct_models.lvlm.interface import Arrived, Images, Lvlm, LvlmError, Outcome, Reply, Schema

_T = TypeVar("_T")
# what decoders raise for damaged files; memory and recursion run out for absurd sizes and depths
_DAMAGED = (
    *(msgspec.MsgspecError, EarthInstructError, ValueError, TypeError, OSError),
    *(OverflowError, MemoryError, RecursionError),
)
_LOG = logging.getLogger(__name__)

IMAGES_IN_MEMORY = 256
REPLIES_IN_MEMORY = 10_000  # more than any method requests at once

Keep = Callable[[int, _T], None]
Make = Callable[[list[int], Keep[_T]], Sequence[_T | Exception]]
Problem = Callable[[int, _T], str | None]  # what is wrong with a stored answer, by its place among the keys


class _Place(Protocol[_T]):
    """A place for answers beyond the memory of a process."""

    def read(self, key: Any, problem: Callable[[_T], str | None]) -> _T | None: ...

    def write(self, key: Any, answer: _T) -> None: ...


class Store(Generic[_T]):
    """The answers of one part, by key.

    Args:
        place: files behind the memory; None: memory only.
        in_memory: how many answers are held in memory, the most recently used.
    """

    def __init__(self, place: _Place[_T] | None, in_memory: int = IMAGES_IN_MEMORY) -> None:
        self._place = place
        self._in_memory = in_memory
        self._known: OrderedDict[Hashable, Future[_T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, keys: Sequence[Hashable], make: Make[_T], problem: Problem[_T] = lambda _place, _answer: None
    ) -> list[_T | Exception]:
        """For each key the kept answer, a new answer, or the error, in order.

        If another thread already computes an answer, this call waits for it. Errors are not kept.

        Args:
            keys: the keys of the answers.
            make: computes the answers at some positions in `keys`; it may also pass an answer on as soon as it arrives,
                with its index among these positions.
            problem: says what is wrong with a stored answer, which is then made again.

        Raises:
            DataError: an answer cannot be written.
            Exception: what `make` raises.
        """
        ours: dict[Hashable, int] = {}
        with self._lock:
            for i, key in enumerate(keys):
                if key not in self._known:
                    self._known[key] = Future()
                    ours[key] = i
                self._known.move_to_end(key)
            futures = [self._known[key] for key in keys]
        if ours:
            self._fill(ours, {key: futures[i] for key, i in ours.items()}, make, problem)
        outcomes = [cast("_T | Exception", future.exception() or future.result()) for future in futures]
        self._forget_oldest()
        return outcomes

    def holds(self, key: Hashable) -> bool:
        """Whether an answer is kept, so that `get` would not make it."""
        with self._lock:
            if key in self._known:
                return True
        return self._place is not None and self._place.read(key, lambda _: None) is not None

    def _fill(
        self,
        ours: Mapping[Hashable, int],
        futures: Mapping[Hashable, Future[_T]],
        make: Make[_T],
        problem: Problem[_T],
    ) -> None:
        """Read or make answers, and give each to all threads that wait for it."""
        failures: dict[Hashable, Exception] = {}
        reason: Exception = EarthInstructError("the work was interrupted")
        try:
            for key, place in ours.items() if self._place is not None else ():
                kept = self._place.read(key, partial(problem, place))  # type: ignore[union-attr]
                if kept is not None:
                    futures[key].set_result(kept)
            new = [key for key in ours if not futures[key].done()]

            def keep(number: int, answer: _T) -> None:
                if self._place is not None:
                    self._place.write(new[number], answer)
                futures[new[number]].set_result(answer)

            for number, outcome in enumerate(make([ours[key] for key in new], keep) if new else ()):
                if isinstance(outcome, Exception):
                    failures[new[number]] = outcome
                elif not futures[new[number]].done():
                    keep(number, outcome)
        except Exception as error:
            reason = error
            raise
        finally:
            for key, future in futures.items():
                if not future.done():
                    with self._lock:
                        self._known.pop(key, None)  # the next caller tries again
                    future.set_exception(failures.get(key, reason))

    def _forget_oldest(self) -> None:
        with self._lock:
            spare = len(self._known) - self._in_memory
            for key in [key for key, future in self._known.items() if future.done()][: max(0, spare)]:
                del self._known[key]


@dataclass(frozen=True)
class Form(Generic[_T]):
    """How one kind of answer is stored in a file: as a record, of a type that msgspec can encode."""

    folder: str
    record: type
    pack: Callable[[_T], Any] = lambda answer: answer
    unpack: Callable[[Any], _T] = lambda record: cast("_T", record)


class Folder(Generic[_T]):
    """A file for each answer: JSON and, on a second line, the sha256 of the file's name and the JSON.

    Files are put in place as a whole, so several processes may share a folder. A damaged file is made again, with a
    warning.

    Args:
        folder: made if it is missing.
        form: of the answers.
        describe: the description of the part; all of it except the device belongs to the key.

    Raises:
        DataError: the folder cannot be made.
    """

    def __init__(self, folder: Path | str, form: Form[_T], describe: Callable[[], Mapping[str, Any]]) -> None:
        self._folder = Path(folder) / form.folder
        self._form = form
        self._describe = describe
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(form.record)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cache {folder} cannot be made: {error.strerror}") from error

    def read(self, key: tuple[Any, ...], problem: Callable[[_T], str | None]) -> _T | None:
        """The answer; None if it is missing or damaged, or if `problem` finds something wrong with it."""
        path = self._path(key)
        try:
            content, _, checksum = path.read_bytes().partition(b"\n")
            if checksum != _checksum(path, content):
                raise DataError("its content does not have its checksum")
            answer = self._form.unpack(self._decoder.decode(content))
            wrong = problem(answer)
            if wrong is not None:
                raise DataError(wrong)
        except FileNotFoundError:
            return None
        except _DAMAGED as error:
            why = printable(str(error)) or type(error).__name__
            _LOG.warning("cache entry %s is damaged and is made again: %s", path, why)
            return None
        return answer

    def write(self, key: tuple[Any, ...], answer: _T) -> None:
        """Keep an answer.

        Raises:
            DataError: it cannot be written.
        """
        path = self._path(key)
        content = msgspec.json.encode(self._form.pack(answer))
        try:
            path.parent.mkdir(exist_ok=True)
            replace_file(path, (content, b"\n", _checksum(path, content)))
        except OSError as error:
            raise DataError(f"cache entry {path} cannot be written: {error.strerror}") from error

    def _path(self, key: tuple[Any, ...]) -> Path:
        name = hashlib.sha256(msgspec.json.encode([self._identity, *key], order="deterministic")).hexdigest()
        return self._folder / name[:2] / f"{name}.json"

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return {**_but_device(self._describe()), "earthinstruct-models": version("earthinstruct-models")}


def _checksum(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(path.stem.encode() + content).hexdigest().encode()


def _but_device(described: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in described.items() if name != "device"}


class _Line(msgspec.Struct):
    """One line of a file of replies."""

    key: str
    reply: Reply
    asked: str = ""  # a hash of the parameters of the language model; lines of the first version have none


class Replies:
    """A `.jsonl` file of replies, one line each, made if it is missing.

    Processes on one machine may share it; each knows the replies that were in it when it started. A reply that cannot
    be written, because the disk is full, waits in memory: it is written before the next one, or at the end.

    Args:
        path: the file.
        asked: a hash of the parameters of the language model that is asked.

    Attributes:
        models: the models that the replies to these parameters named when the file was opened, each once.

    Raises:
        DataError: it cannot be read or written, or a line before the last is malformed.
    """

    def __init__(self, path: Path | str, asked: str = "") -> None:
        self.path = Path(path)
        self._asked = asked
        self.models: list[str] = []
        self._waiting: list[bytes] = []  # lines, in order
        self._writing = threading.Lock()
        self._lines = msgspec.json.Decoder(_Line)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
            with self._lock:
                if self.path.exists():
                    LineFile(self.path).close()  # cuts off what a killed process left
                content = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise DataError(f"replies {self.path} cannot be read or written: {error.strerror}") from error
        self._known = dict(self._read_lines(content.split(b"\n")[:-1]))

    def read(self, key: str, problem: Callable[[Reply], str | None]) -> Reply | None:
        """Return the reply, or None; replies are checked when the file is opened."""
        return self._known.get(key)

    def write(self, key: str, reply: Reply) -> None:
        """Append a reply, after those that wait; say so if it waits from now on."""
        self._known[key] = reply
        with self._writing:
            waited = bool(self._waiting)
            self._waiting.append(msgspec.json.encode(_Line(key, reply, self._asked)))
            problem = self._write_waiting()
        if problem is not None and not waited:
            _LOG.warning(
                "replies %s cannot be written: %s; new ones are used, and written as soon as that is possible",
                *(self.path, problem),
            )

    def close(self) -> None:
        """Write the replies that wait; say which are lost."""
        with self._writing:
            problem = self._write_waiting()
            lost, self._waiting = len(self._waiting), []
        if lost:
            _LOG.warning("%d replies are not in %s, and would be asked for again: %s", lost, self.path, problem)

    def _write_waiting(self) -> str | None:
        """Write the lines that wait; the reason why some still do."""
        if not self._waiting:
            return None
        try:
            with self._lock, LineFile(self.path) as file:  # opened anew: another process may have been killed meanwhile
                while self._waiting:
                    file.append(self._waiting[0])
                    del self._waiting[0]
        except OSError as error:
            return error.strerror or str(error)
        return None

    def _read_lines(self, lines: Sequence[bytes]) -> Iterator[tuple[str, Reply]]:
        for number, line in enumerate(lines, start=1):
            problem = f"replies {self.path}, line {number}: {{error}}; delete the line to ask about its image again"
            read = decode_json(line, self._lines, problem)
            if read.asked == self._asked and read.reply.model not in ("", *self.models):
                self.models.append(read.reply.model)
            yield read.key, read.reply


def answer_or_raise(outcome: _T | Exception) -> _T:
    """Return the answer, or raise the error in its place."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class Kept:
    """A part whose answers are kept. All other attributes, including its parameters, are those of the part.

    Args:
        part: the part.
        cache: a folder that keeps the answers for the next run; None: in memory only.
    """

    _form: ClassVar[Form[Any]]
    _batch: ClassVar[str] = ""  # the name of the call about several images, which a part may lack
    _repeat: int = 0  # each repeat has answers of its own

    def __init__(self, part: Any, cache: Path | str | None = None) -> None:
        self.part = part
        self._store: Store[Any] = Store(None if cache is None else Folder(cache, self._form, part.describe))
        if callable(getattr(part, self._batch, None)):
            setattr(self, self._batch, self._answers)

    def __getattr__(self, name: str) -> Any:
        if name == "part":  # not initialised yet: copy or pickle is making it
            raise AttributeError(name)
        return getattr(self.part, name)

    def repeat(self, number: int) -> None:
        """Share no answer with another repeat, and tell the part, which may take another seed."""
        self._repeat = number
        repeat = getattr(self.part, "repeat", None)
        if callable(repeat):
            repeat(number)

    def _of_repeat(self, key: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*key, self._repeat) if self._repeat else key

    def _problem(self, answer: Any, image: NDArray[np.uint8], *about: Any) -> str | None:
        """What is wrong with a stored answer to a question about an image, or None."""
        return None

    def _answer(self, key: tuple[Any, ...], make: Callable[[], Any], image: NDArray[np.uint8], *about: Any) -> Any:
        (outcome,) = self._store.get(
            [self._of_repeat(key)],
            lambda _new, _keep: [make()],
            lambda _place, answer: self._problem(answer, image, *about),
        )
        return answer_or_raise(outcome)

    def _answers(self, images: Images, *about: Any) -> list[Any]:
        """For each image the answer or the error."""
        keys = [self._of_repeat((fingerprint(image), *about)) for image in images]
        make = getattr(self.part, self._batch)
        return self._store.get(
            keys,
            lambda new, _keep: make([images[i] for i in new], *about),
            lambda place, answer: self._problem(answer, images[place], *about),
        )


class KeptProposer(Kept):
    """A proposer whose proposals are kept."""

    _form: ClassVar[Form[Proposals]] = Form("proposals", ProposalRecord, ProposalRecord.of, ProposalRecord.proposals)
    _batch = "propose_batch"

    def propose(self, image: NDArray[np.uint8]) -> Proposals:
        """As the proposer."""
        proposals: Proposals = self._answer((fingerprint(image),), lambda: self.part.propose(image), image)
        return proposals

    def _problem(self, answer: Proposals, image: NDArray[np.uint8], *about: Any) -> str | None:
        return _other_size(answer, image)

    def _answers(self, images: Images, *about: Any) -> list[Proposals]:
        return [answer_or_raise(outcome) for outcome in super()._answers(images, *about)]


class KeptLabelProposer(Kept):
    """A proposer that needs labels, whose proposals are kept for each label of an image."""

    _form: ClassVar[Form[Proposals]] = Form("labelled", ProposalRecord, ProposalRecord.of, ProposalRecord.proposals)

    def propose_for(self, image: NDArray[np.uint8], labels: Sequence[str]) -> list[Proposals]:
        """As the proposer, which is asked about new labels alone."""
        outcomes = self._store.get(
            [self._of_repeat((fingerprint(image), label)) for label in labels],
            lambda new, _keep: self.part.propose_for(image, [labels[i] for i in new]),
            lambda _place, answer: _other_size(answer, image),
        )
        return [answer_or_raise(outcome) for outcome in outcomes]


def _other_size(proposals: Proposals, image: NDArray[np.uint8]) -> str | None:
    """Whether stored masks have another size than their image."""
    height, width = image.shape[:2]
    sizes = {tuple(mask["size"]) for mask in proposals.masks or ()} - {(height, width)}
    return f"a mask has the size {sizes.pop()}, expected {(height, width)}" if sizes else None


class _Embeddings(msgspec.Struct):
    """float32 embeddings: the shape (n, d), and the bytes."""

    shape: tuple[int, int]
    values: bytes

    def array(self) -> NDArray[np.float32]:
        """The embeddings.

        Raises:
            DataError: the shape is not that of the values.
        """
        rows, columns = self.shape
        if rows < 0 or columns < 1 or rows * columns * 4 != len(self.values):
            raise DataError(f"its shape {self.shape} is not that of {len(self.values)} bytes of float32")
        return np.frombuffer(self.values, "<f4").reshape(self.shape)


class KeptEncoder(Kept):
    """An encoder whose embeddings of crops are kept; the encoder itself keeps those of labels."""

    _form: ClassVar[Form[NDArray[np.float32]]] = Form(
        "embeddings",
        _Embeddings,
        lambda array: _Embeddings(array.shape, np.ascontiguousarray(array, "<f4").tobytes()),
        lambda record: record.array(),
    )

    def embed_crops(self, image: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """As the encoder."""
        key = fingerprint(image), hashlib.sha256(np.ascontiguousarray(boxes).tobytes()).hexdigest()
        embeddings: NDArray[np.float32] = self._answer(key, lambda: self.part.embed_crops(image, boxes), image, boxes)
        return embeddings

    def _problem(self, answer: NDArray[np.float32], image: NDArray[np.uint8], *about: Any) -> str | None:
        (boxes,) = about
        if len(answer) != len(boxes):
            return f"it has {len(answer)} embeddings, expected {len(boxes)}"
        return None if np.isfinite(answer).all() else "an embedding is not finite"


class KeptLvlm(Kept, Lvlm):
    """A language model whose replies are kept, by image, prompt, schema and parameters (except the device).

    Every reply is kept, also a refusal or an unreadable one, because nearly the same would come again. Delete its line,
    or the file, to ask again.

    Args:
        part: the language model.
        replies: a `.jsonl` file that keeps them, see `Replies`.
        cache: a folder; without `replies` they are kept in its `replies.jsonl`. With neither: in memory only.

    Raises:
        DataError: the file cannot be read or written, or is malformed.
    """

    def __init__(self, part: Lvlm, replies: Path | str | None = None, cache: Path | str | None = None) -> None:
        self.part = part
        if replies is None and cache is not None:
            replies = Path(cache) / "replies.jsonl"
        self._parameters = msgspec.json.encode(_but_device(part.describe()), order="deterministic")
        asked = hashlib.sha256(self._parameters).hexdigest()[:16]
        self._replies = None if replies is None else Replies(replies, asked)
        self._store = Store(self._replies, REPLIES_IN_MEMORY)
        self._models = [] if self._replies is None else list(self._replies.models)  # that the replies name
        self._naming = threading.Lock()

    def ask_many(
        self, images: Images, text: str, schema: Schema | None = None, *, arrived: Arrived | None = None
    ) -> list[Outcome]:
        """For each image the kept reply, a new reply, or the error, in order."""
        outcomes = self._store.get(
            [self._key(image, text, schema) for image in images],
            lambda new, keep: self.part.ask_many([images[i] for i in new], text, schema, arrived=keep),
        )
        for i, outcome in enumerate(outcomes):
            if isinstance(outcome, Reply):
                self._compare_model(outcome.model)
                if arrived is not None:
                    arrived(i, outcome)
            elif not isinstance(outcome, LvlmError):
                raise outcome
        return cast("list[Outcome]", outcomes)

    def _compare_model(self, model: str) -> None:
        """Warn once about each model beyond those that earlier replies name, kept ones included."""
        with self._naming:
            if not model or model in self._models:
                return
            self._models.append(model)
            if len(self._models) == 1:
                return
        _LOG.warning(
            "the replies name different models, and all are used: %s; with a new file of replies, all are asked again",
            printable(" and ".join(map(repr, self._models))),
        )

    def estimate(self, image: NDArray[np.uint8], text: str, schema: Schema | None = None) -> Estimate:
        """What a reply will cost; nothing if it is kept."""
        if self._store.holds(self._key(image, text, schema)):
            return Estimate()
        estimate: Estimate = getattr(self.part, "estimate", super().estimate)(image, text, schema)
        return estimate

    def close(self) -> None:
        """Write replies that could not be written before, and release the language model."""
        if self._replies is not None:
            self._replies.close()
        close = getattr(self.part, "close", None)
        if callable(close):
            close()

    def describe(self) -> dict[str, Any]:
        """The description of the language model: where replies are kept does not change them."""
        return dict(self.part.describe())

    def _key(self, image: NDArray[np.uint8], text: str, schema: Schema | None) -> str:
        asked = msgspec.json.encode(self._of_repeat((fingerprint(image), text, schema)))
        return hashlib.sha256(self._parameters + asked).hexdigest()
