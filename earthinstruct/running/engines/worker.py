"""A worker makes the method once and runs it on images. Every engine uses it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import (
    ControlMethod,
    HopelessError,
    Method,
    Prediction,
    PredictionError,
    Usage,
    check_prediction,
    optional_member,
)
from earthinstruct.datasets import Dataset, targets_of
from earthinstruct.errors import ContractError, EarthInstructError
from earthinstruct.images import Raster
from earthinstruct.predictions import Record
from earthinstruct.registry import make_method, refuse_incomplete
from earthinstruct.results import MethodInfo, method_info
from earthinstruct.tasks import Task
from earthinstruct.texts import error_in_words, message_of, printable, redacted, secret_values, shortened

BATCH = 8
SECONDS_TO_CLOSE = 10.0
Batch = tuple[Task, tuple[int, ...]]  # a task, and some images
Chunk = Sequence[Batch]  # all tasks of some images, one after another
Pixels = NDArray[np.uint8]
Read = Raster | str  # an image, or the reason why it cannot be read
Targets = Sequence[Prediction | None]  # the ground truth of each image, for controls
_STOPPED = (
    "the run stops, because no other image would be answered. The predictions so far are kept: change this, then "
    "continue with the same command without --overwrite"
)
_LOG = logging.getLogger(__name__)
_LONGEST_ERROR = 1 << 16  # characters that are searched for secrets; far fewer are kept


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
    """The message of a worker that has made its method: the description, and how many images it takes at once."""

    method: MethodInfo
    batch: int


@dataclass(frozen=True)
class Answers:
    """One record for each image, and the memory of the worker afterwards in bytes (None: unknown on this platform)."""

    records: list[Record]
    memory: int | None


class Worker:
    """A method and the images of a dataset in one process. The method is made on first use."""

    def __init__(self, source: MethodSource, dataset: Dataset) -> None:
        self._source = source
        self._dataset = dataset
        self._secrets = secret_values(source.parameters or {})
        self._process = os.getpid()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._read: dict[int, Future[Read]] = {}

    @cached_property
    def method(self) -> Method | ControlMethod:
        """The method, made on first use."""
        return self._source.make()

    def ready(self) -> Ready:
        """Make the method, load the image decoders, and describe the method.

        Raises:
            EarthInstructError: it cannot be made.
        """
        from PIL import Image

        Image.init()  # otherwise the first image would load the decoders, within its time limit
        control = isinstance(self.method, ControlMethod)
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
        except BaseException as error:
            raise EarthInstructError(f"skip() of the method failed for {task.name}: {self._reason(error)}") from error

    def answers(self, task: Task, images: Sequence[int], targets: Targets, following: Sequence[int]) -> Answers:
        """Read and answer images, given by their positions in the dataset; the next ones are read meanwhile.

        The images are held until the next call, which may be another task of the same images.

        Raises:
            HopelessError: the method raised it: no image can be answered.
        """
        wanted = dict.fromkeys((*images, *following))
        self._read = {i: self._read.get(i) or self._reader.submit(self._raster, i) for i in wanted}
        read = [self._read[i].result() for i in images]
        try:
            return Answers(self._records(task, images, read, targets), resident_memory())
        except HopelessError as error:
            raise HopelessError(f"{in_our_words(error, self._secrets)}; {_STOPPED}") from None

    def _raster(self, image: int) -> Read:
        """One image, or the reason why it cannot be read."""
        try:
            return self._dataset.read_raster(image)
        except Exception as error:  # an image that cannot be read is a failed image
            return self._reason(error)

    def _records(self, task: Task, images: Sequence[int], read: Sequence[Read], targets: Targets) -> list[Record]:
        """Answer images that were read; a failed image is recorded with its reason.

        How pixels differ from the stored ones is an event of the image. The method gets copies: it may change them, and
        other tasks use the same pixels.
        """
        copies = [raster if isinstance(raster, str) else raster.pixels.copy() for raster in read]
        records = self._answered(task, images, copies, targets)
        for record, raster in zip(records, read, strict=True):
            if not isinstance(raster, str):
                record.events = {**record.events, **{f"images: {note.of_many}": 1 for note in raster.notes}}
        return records

    def _answered(
        self, task: Task, images: Sequence[int], read: Sequence[Pixels | str], targets: Targets
    ) -> list[Record]:
        spent = 0.0
        if len(images) > 1 and not any(isinstance(pixels, str) for pixels in read):
            started = time.perf_counter()
            try:
                return self._batch(task, images, [pixels for pixels in read if not isinstance(pixels, str)])
            except (KeyboardInterrupt, HopelessError):
                raise
            except BaseException:  # one image of the batch is the cause: each is tried alone
                spent = (time.perf_counter() - started) / len(images)
            finally:
                self._end_copies()
        each = zip(images, read, targets, strict=True)
        return [self._one(task, image, pixels, target, spent) for image, pixels, target in each]

    def close(self) -> None:
        """Read no more, and close the method if it was made here."""
        self._reader.shutdown(wait=False, cancel_futures=True)
        if (method := self.__dict__.get("method")) is not None:
            self._source.close(method)

    def _one(self, task: Task, image: int, pixels: Pixels | str, target: Prediction | None, spent: float) -> Record:
        """Answer one image, for which some seconds were spent before."""
        image_id = self._dataset.images[image].id
        if isinstance(pixels, str):
            return Record(image_id, error=pixels)
        started = time.perf_counter() - spent
        try:
            if isinstance(self.method, ControlMethod):
                prediction = self.method.predict_with_targets(pixels, task.instruction, cast("Prediction", target))
            else:
                prediction = self.method.predict(pixels, task.instruction)
            return self._record(task, image, prediction, time.perf_counter() - started)
        except (KeyboardInterrupt, HopelessError):
            raise
        except BaseException as error:  # also sys.exit() and a panic of a Rust library, which are not Exceptions
            known = error.usage if isinstance(error, PredictionError) else None
            total = Usage({"total": time.perf_counter() - started})
            return Record.of_failure(image_id, self._reason(error), Usage.join([known or Usage(), total]))
        finally:
            self._end_copies()

    def _batch(self, task: Task, images: Sequence[int], read: Sequence[Pixels]) -> list[Record]:
        started = time.perf_counter()
        predictions = optional_member(self.method, "predict_batch")(list(read), task.instruction)
        elapsed = (time.perf_counter() - started) / len(images)
        if len(predictions) != len(images):
            raise ContractError(f"predict_batch returned {len(predictions)} predictions for {len(images)} images")
        return [
            self._record(task, image, each, each.usage.seconds.get("total", elapsed))  # the method may know each share
            for image, each in zip(images, predictions, strict=True)
        ]

    def _record(self, task: Task, image: int, prediction: Prediction, elapsed: float) -> Record:
        described = self._dataset.images[image]
        check_prediction(prediction, task.instruction, described.height, described.width)
        record = Record.of(described.id, prediction)
        record.seconds = {**record.seconds, "total": elapsed}
        record.events = {redacted(event, self._secrets): n for event, n in record.events.items()}
        return record

    def _end_copies(self) -> None:
        """End a copy of this process that a method forked: it would answer, and write, a second time."""
        if os.getpid() != self._process:
            os._exit(1)

    def _reason(self, error: BaseException) -> str:
        return in_words(error, self._secrets)


def in_our_words(error: BaseException, secrets: Sequence[str]) -> str:
    """The text of an error, redacted, without its type where the message is for users."""
    return _shown(message_of(error), secrets) if isinstance(error, EarthInstructError) else in_words(error, secrets)


def in_words(error: BaseException, secrets: Sequence[str]) -> str:
    """The text of an error, redacted: a server or a library may quote a key from a request."""
    return _shown(error_in_words(error), secrets)


def _shown(text: str, secrets: Sequence[str]) -> str:
    text = text[:_LONGEST_ERROR].encode(errors="backslashreplace").decode()  # no lone surrogates
    return shortened(redacted(text, secrets))


def targets_for(method: MethodInfo, dataset: Dataset, task: Task, images: Sequence[int]) -> Targets:
    """The ground truth of each image for a control; None for any other method."""
    return [targets_of(dataset, task, image) if method.control else None for image in images]


def chunks(work: Iterable[tuple[Task, Sequence[int]]], size: int, first: int | None = None) -> list[list[Batch]]:
    """Chunks of `size` images with all their tasks, for each task the images that it still lacks.

    All tasks of an image are together, so that what does not depend on the instruction is computed once. Of several
    chunks, the first may have another size: with one image, the first answer comes soon, and so does an error of all.
    """
    lacking = [(task, set(images)) for task, images in work]
    every = sorted(set().union(*(images for _, images in lacking)))
    n_first = size if first is None or len(every) <= size else first
    starts = [0, *range(n_first, len(every), size)] if every else []
    groups = [every[start:end] for start, end in pairwise([*starts, len(every)])]
    return [
        [(task, tuple(i for i in group if i in images)) for task, images in lacking if not images.isdisjoint(group)]
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
