"""A worker makes the method once and runs it on images. Every engine uses it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import (
    ControlMethod,
    HopelessError,
    Instruction,
    Method,
    Prediction,
    PredictionError,
    Usage,
    check_prediction,
    optional_member,
)
from earthinstruct.datasets import targets_of
from earthinstruct.errors import ContractError, EarthInstructError
from earthinstruct.images import Raster
from earthinstruct.predictions import Record
from earthinstruct.registry import make_method, refuse_incomplete
from earthinstruct.results import MethodInfo, method_info
from earthinstruct.running.blind import blinded
from earthinstruct.running.reading import Images, Reader, Tile
from earthinstruct.tasks import Task, Variant
from earthinstruct.texts import error_in_words, message_of, printable, redacted, secret_values, shortened

BATCH = 8
SECONDS_TO_CLOSE = 10.0
NOT_ASKED = "tiles without data, not asked about"  # an event
OF_IMAGE = "images: "  # how an event begins that is about the pixels of an image, and not about a call of the method
Pixels = NDArray[np.uint8]
Read = Raster | str  # a tile, or the reason why it cannot be read
Targets = Sequence[Prediction | None]  # the ground truth of each image, for controls
_LOG = logging.getLogger(__name__)
_LONGEST_ERROR = 1 << 16  # characters that are searched for secrets; far fewer are kept


class Question(Protocol):
    """What a method is asked about images: a task of a dataset, or an instruction of the user."""

    @property
    def name(self) -> str:
        """Its name, which no other question of the run has."""
        ...

    @property
    def instruction(self) -> Instruction:
        """What to find."""
        ...

    @property
    def variant(self) -> Variant | None:
        """How it differs from another question about the same images; None: it is no variant."""
        ...


Batch = tuple[Question, tuple[Tile, ...]]
Chunk = Sequence[Batch]  # all questions about some tiles, one after another


@dataclass(frozen=True)
class MethodSource:
    """A method object, or the name and parameters to make it from.

    Raises:
        EarthInstructError: parameters are given for a method object.
    """

    method: str | Method | ControlMethod
    parameters: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.parameters and not isinstance(self.method, str):
            raise EarthInstructError(
                f"parameters {sorted(self.parameters)} are for a method given by name; this one is made already"
            )

    def make(self) -> Method | ControlMethod:
        """The method.

        Raises:
            EarthInstructError: the name is unknown, the method cannot be made, or something that it needs is missing.
        """
        if isinstance(self.method, str):
            return make_method(self.method, self.parameters)
        refuse_incomplete(self.method)
        return self.method

    def close(self, method: Method | ControlMethod) -> None:
        """Release what a method holds that was made here.

        A failure is logged, because every answer is already kept, and so is a `close` that does not return.
        """
        if not isinstance(self.method, str):
            return
        secrets = secret_values(self.parameters or {})

        def close() -> None:
            try:
                optional_member(method, "close")()
            except BaseException as error:
                _LOG.warning("close() of the method failed: %s", printable(in_words(error, secrets)))

        closing = threading.Thread(target=close, daemon=True, name="close")
        closing.start()
        closing.join(SECONDS_TO_CLOSE)
        if closing.is_alive():
            _LOG.warning("close() of the method has not returned after %g s; nobody waits for it", SECONDS_TO_CLOSE)


@dataclass(frozen=True)
class Ready:
    """The message of a worker that has made its method: the description, and how many tiles it takes at once."""

    method: MethodInfo
    batch: int


@dataclass(frozen=True)
class Answers:
    """One record for each tile, and the memory of the worker afterwards in bytes (None: unknown on this platform)."""

    records: list[Record]
    memory: int | None


class Worker:
    """A method and the images of a run in one process. The method is made on first use."""

    def __init__(self, source: MethodSource, images: Images) -> None:
        self._source = source
        self._images = images
        self._secrets = secret_values(source.parameters or {})
        self._process = os.getpid()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._read: dict[Tile, Future[Read]] = {}
        self._repeat = 0

    @cached_property
    def method(self) -> Method | ControlMethod:
        """The method, made on first use."""
        return self._source.make()

    @cached_property
    def _reader(self) -> Reader:
        return Reader(replace(self._images, area=self._images.area.for_method(self.method)))

    def ready(self) -> Ready:
        """Make the method, load the image decoders, and describe the method.

        Raises:
            EarthInstructError: it cannot be made.
        """
        from PIL import Image

        Image.init()  # otherwise the first image would load the decoders, within its time limit
        control = isinstance(self.method, ControlMethod)
        _ = self._reader
        info = method_info(self.method, control=control, parameters=self._source.parameters)
        return Ready(info, BATCH if optional_member(self.method, "predict_batch") else 1)

    def skip(self, task: Task) -> str | None:
        """The method's reason not to run a task, or None.

        Raises:
            EarthInstructError: the method raised.
        """
        try:
            reason = optional_member(self.method, "skip")(task)
            return None if reason is None else redacted(str(reason), self._secrets)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also sys.exit() in a method
            reason = in_words(error, self._secrets)
            raise EarthInstructError(f"skip() of the method failed for {task.name}: {reason}") from error

    def ask(self, member: str, *arguments: Any) -> Any:
        """Ask an optional member of the method.

        Raises:
            EarthInstructError: the method raised.
        """
        try:
            return optional_member(self.method, member)(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise EarthInstructError(f"{member}() of the method failed: {in_words(error, self._secrets)}") from error

    def answers(
        self, question: Question, tiles: Sequence[Tile], targets: Targets, following: Sequence[Tile]
    ) -> Answers:
        """Read and answer tiles; the following ones are read meanwhile.

        The pixels are held until the next call, which may be another question about the same tiles.

        Raises:
            HopelessError: the method raised it: no image can be answered.
        """
        wanted = dict.fromkeys((*tiles, *following))
        self._read = {tile: self._read.get(tile) or self._thread.submit(self._raster, tile) for tile in wanted}
        read = [self._read[tile].result() for tile in tiles]
        try:
            return Answers(self._records(question, tiles, read, targets), resident_memory())
        except HopelessError as error:
            raise HopelessError(in_our_words(error, self._secrets)) from None

    def _raster(self, tile: Tile) -> Read:
        """One tile, or the reason why it cannot be read."""
        try:
            return self._reader.read(tile)
        except Exception as error:  # an image that cannot be read is a failed image
            return in_our_words(error, self._secrets)

    def _records(
        self, question: Question, tiles: Sequence[Tile], read: Sequence[Read], targets: Targets
    ) -> list[Record]:
        """Answer tiles that were read; one that failed is recorded with its reason.

        How pixels differ from the stored ones is an event of the image. The method gets copies: it may change them, and
        other questions are about the same pixels.
        """
        self.prepare(question)
        read = [self._shown(question, tile, raster) for tile, raster in zip(tiles, read, strict=True)]
        known = [self._without_asking(tile, raster) for tile, raster in zip(tiles, read, strict=True)]
        asked = [i for i, record in enumerate(known) if record is None]
        copies = [raster.pixels.copy() for i in asked if isinstance(raster := read[i], Raster)]
        answered = iter(self._answered(question, [tiles[i] for i in asked], copies, [targets[i] for i in asked]))
        records = [next(answered) if record is None else record for record in known]
        for record, raster in zip(records, read, strict=True):
            if not isinstance(raster, str):
                record.events = {**record.events, **{f"{OF_IMAGE}{note.of_many}": 1 for note in raster.notes}}
        return records

    def prepare(self, question: Question) -> None:
        """Tell the method which repeat the next calls belong to, if it is another than before.

        Raises:
            EarthInstructError: the method raised.
        """
        repeat = 0 if question.variant is None else question.variant.repeat
        if repeat != self._repeat:
            self.ask("repeat", repeat)
            self._repeat = repeat

    def _shown(self, question: Question, tile: Tile, read: Read) -> Read:
        """What the method sees of a tile: in a blind run, other pixels."""
        if isinstance(read, str) or question.variant is None or question.variant.pixels is None:
            return read
        how = question.variant.pixels
        seen = self._thread.submit(blinded, read.pixels, how, self._images, self._reader, tile)
        try:
            return replace(read, pixels=seen.result())
        except Exception as error:  # an image that cannot be read is a failed image
            return in_our_words(error, self._secrets)

    def _without_asking(self, tile: Tile, read: Read) -> Record | None:
        """The record of a tile that the method is not asked about: it cannot be read, or has no data."""
        if isinstance(read, str):
            return Record(self._images.id_of(tile), error=read)
        if read.valid is None or read.valid.any() or isinstance(self.method, ControlMethod):
            return None
        nothing = Prediction(counts={}, usage=Usage(events={NOT_ASKED: 1}))  # no instance, and of no kind
        return Record.of(self._images.id_of(tile), nothing)

    def _answered(
        self, question: Question, tiles: Sequence[Tile], pixels: Sequence[Pixels], targets: Targets
    ) -> list[Record]:
        spent = 0.0
        if len(tiles) > 1:
            started = time.perf_counter()
            try:
                return self._batch(question, tiles, pixels)
            except (KeyboardInterrupt, HopelessError):
                raise
            except BaseException:  # one tile of the batch is the cause: each is tried alone
                spent = (time.perf_counter() - started) / len(tiles)
            finally:
                self._end_copies()
        each = zip(tiles, pixels, targets, strict=True)
        return [self._one(question, tile, shown, target, spent) for tile, shown, target in each]

    def close(self) -> None:
        """Read no more, and close the method if it was made here."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if (method := self.__dict__.get("method")) is not None:
            self._source.close(method)

    def _one(self, question: Question, tile: Tile, pixels: Pixels, target: Prediction | None, spent: float) -> Record:
        """Answer one tile, for which some seconds were spent before."""
        started = time.perf_counter() - spent
        try:
            if isinstance(self.method, ControlMethod):
                truth = cast("Prediction", target)
                prediction = self.method.predict_with_targets(pixels, question.instruction, truth)
            else:
                prediction = self.method.predict(pixels, question.instruction)
            return self._record(question, tile, prediction, time.perf_counter() - started)
        except (KeyboardInterrupt, HopelessError):
            raise
        except BaseException as error:  # also sys.exit() and a panic of a Rust library, which are not Exceptions
            known = error.usage if isinstance(error, PredictionError) else None
            total = Usage.join([known or Usage(), Usage({"total": time.perf_counter() - started})])
            return Record.of_failure(self._images.id_of(tile), in_words(error, self._secrets), total)
        finally:
            self._end_copies()

    def _batch(self, question: Question, tiles: Sequence[Tile], pixels: Sequence[Pixels]) -> list[Record]:
        started = time.perf_counter()
        predictions = optional_member(self.method, "predict_batch")(list(pixels), question.instruction)
        elapsed = (time.perf_counter() - started) / len(tiles)
        if len(predictions) != len(tiles):
            raise ContractError(f"predict_batch returned {len(predictions)} predictions for {len(tiles)} images")
        return [
            self._record(question, tile, each, each.usage.seconds.get("total", elapsed))  # it may know each share
            for tile, each in zip(tiles, predictions, strict=True)
        ]

    def _record(self, question: Question, tile: Tile, prediction: Prediction, elapsed: float) -> Record:
        check_prediction(prediction, question.instruction, *self._images.size_of(tile))
        record = Record.of(self._images.id_of(tile), prediction)
        record.seconds = {**record.seconds, "total": elapsed}
        record.events = {redacted(event, self._secrets): n for event, n in record.events.items()}
        return record

    def _end_copies(self) -> None:
        """End a copy of this process that a method forked: it would answer, and write, a second time."""
        if os.getpid() != self._process:
            os._exit(1)


def in_our_words(error: BaseException, secrets: Sequence[str]) -> str:
    """The text of an error, redacted, without its type where the message is for users."""
    return _shown(message_of(error), secrets) if isinstance(error, EarthInstructError) else in_words(error, secrets)


def in_words(error: BaseException, secrets: Sequence[str]) -> str:
    """The text of an error, redacted: a server or a library may quote a key from a request."""
    return _shown(error_in_words(error), secrets)


def _shown(text: str, secrets: Sequence[str]) -> str:
    text = text[:_LONGEST_ERROR].encode(errors="backslashreplace").decode()  # no lone surrogates
    return shortened(redacted(text, secrets))


def targets_for(method: MethodInfo, images: Images, question: Question, tiles: Sequence[Tile]) -> Targets:
    """The ground truth of each tile for a control, whose images are not cut; None for any other method."""
    if not method.control:
        return [None] * len(tiles)
    return [targets_of(images.dataset, cast("Task", question), tile.image) for tile in tiles]


def chunks(
    work: Iterable[tuple[Question, Sequence[Tile]]], size: int, *, first: int | None = None, workers: int = 1
) -> list[list[Batch]]:
    """Chunks of `size` tiles with all questions about them, for each question the tiles that it still lacks.

    All questions about a tile are together, so that what does not depend on the instruction is computed once. Of
    several chunks, the first may have another size: with one tile, the first answer comes soon, and so does an error of
    all. Chunks are smaller where some workers would get none; where images are cut, each tile is one.
    """
    lacking = [(question, dict.fromkeys(tiles)) for question, tiles in work]
    every = list(dict.fromkeys(tile for _, tiles in lacking for tile in tiles))
    if any(tile.window is not None for tile in every):
        size = 1  # the tile of a large image fills a model, and is kept as soon as it is answered
    size = max(1, min(size, len(every) // workers))
    n_first = size if first is None or len(every) <= size else first
    starts = [0, *range(n_first, len(every), size)] if every else []
    groups = [every[start:end] for start, end in pairwise([*starts, len(every)])]
    return [
        [
            (question, tuple(t for t in group if t in tiles))
            for question, tiles in lacking
            if not tiles.keys().isdisjoint(group)
        ]
        for group in groups
    ]


def resident_memory() -> int | None:
    """Memory of this process in bytes; its peak where only the peak is known."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes, on macOS
