"""What happens where the method is: it is made once, and answers for images. Every engine runs this."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import ControlMethod, Method, Prediction, Usage, check_prediction
from earthinstruct.datasets import Dataset, targets_of
from earthinstruct.errors import ContractError, EarthInstructError, PredictionError
from earthinstruct.predictions import Record
from earthinstruct.registry import make_method, refuse_incomplete
from earthinstruct.results import MethodInfo, method_info, redacted, secret_values
from earthinstruct.tasks import Task

BATCH = 8
Batch = tuple[Task, tuple[int, ...]]  # what is asked of some images
Chunk = Sequence[Batch]  # all that is asked of some images, one task after another
Pixels = NDArray[np.uint8]
Targets = Sequence[Prediction | None]  # the ground truth of each image, for controls
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class MethodSource:
    """A method, or what it is made from."""

    method: str | Method | ControlMethod
    parameters: Mapping[str, Any] | None = None

    def make(self) -> Method | ControlMethod:
        """The method.

        Raises:
            EarthInstructError: there is none of that name, it cannot be made, or something that it needs is missing.
        """
        if isinstance(self.method, str):
            return make_method(self.method, self.parameters)
        refuse_incomplete(self.method)
        return self.method


@dataclass(frozen=True)
class Ready:
    """What a worker says when it has made its method: what that is, and how many images it takes at once."""

    method: MethodInfo
    batch: int


@dataclass(frozen=True)
class Answers:
    """One record for each image, and the bytes that the worker then held (None: not known on this platform)."""

    records: list[Record]
    memory: int | None


class Worker:
    """A method and the images of a dataset in one process. The method is made on first use."""

    def __init__(self, source: MethodSource, dataset: Dataset) -> None:
        self._source = source
        self._dataset = dataset
        self._secrets = secret_values(source.parameters or {})
        self._process = os.getpid()
        self._read: dict[int, Future[Pixels | str]] = {}

    @cached_property
    def _method(self) -> Method | ControlMethod:
        return self._source.make()

    def ready(self) -> Ready:
        """Make the method, load the image decoders, and say what the method is.

        Raises:
            EarthInstructError: it cannot be made.
        """
        from PIL import Image

        Image.init()  # else the first image would load the decoders, within its own time limit
        info = method_info(self._method, control=isinstance(self._method, ControlMethod))
        return Ready(info, BATCH if callable(getattr(self._method, "predict_batch", None)) else 1)

    def skip(self, task: Task) -> str | None:
        """The method's reason not to run a task, or None.

        Raises:
            EarthInstructError: the method raised.
        """
        skip = getattr(self._method, "skip", None)
        try:
            reason = skip(task) if callable(skip) else None
        except (Exception, SystemExit) as error:
            raise EarthInstructError(f"skip() of the method failed for {task.name}: {self._reason(error)}") from error
        return None if reason is None else str(reason)

    def answers(self, task: Task, images: Sequence[int], targets: Targets, following: Sequence[int]) -> Answers:
        """Read and answer images, by their positions in the dataset; the following ones are read meanwhile.

        What was read is held until the next call, which may ask something else of the same images.
        """
        wanted = dict.fromkeys((*images, *following))
        self._read = {i: self._read.get(i) or self._reader.submit(self.read, i) for i in wanted}
        return Answers(
            self.records(task, images, [self._read[i].result() for i in images], targets), _resident_memory()
        )

    @cached_property
    def _reader(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="read-ahead")

    def read(self, image: int) -> Pixels | str:
        """The pixels of one image; or in words why there are none."""
        try:
            return self._dataset.read_image(image)
        except Exception as error:  # an image that cannot be read is a failure of that image
            return self._reason(error)

    def records(
        self, task: Task, images: Sequence[int], read: Sequence[Pixels | str], targets: Targets
    ) -> list[Record]:
        """Answer images that were read; a failing image is recorded with its reason.

        The method gets copies: other tasks are asked of the same pixels, and it may draw on what it is given.
        """
        read = [pixels if isinstance(pixels, str) else pixels.copy() for pixels in read]
        spent = 0.0
        if len(images) > 1 and not any(isinstance(pixels, str) for pixels in read):
            started = time.perf_counter()
            try:
                return self._batch(task, images, read)
            except KeyboardInterrupt:
                raise
            except BaseException:  # one image of the batch is at fault: alone, each is answered or named
                spent = (time.perf_counter() - started) / len(images)
            finally:
                self._end_copies()
        each = zip(images, read, targets, strict=True)
        return [self._one(task, image, pixels, target, spent) for image, pixels, target in each]

    def close(self) -> None:
        """Release what the method holds, where it was made here."""
        close = getattr(self.__dict__.get("_method"), "close", None)
        if isinstance(self._source.method, str) and callable(close):
            try:
                close()
            except (Exception, SystemExit) as error:  # every answer is there
                _LOG.warning("close() of the method failed: %s", self._reason(error))

    def _one(self, task: Task, image: int, pixels: Pixels | str, target: Prediction | None, spent: float) -> Record:
        """Answer one image, on which some seconds were spent before."""
        image_id = self._dataset.images[image].id
        if isinstance(pixels, str):
            return Record(image_id, error=pixels)
        started = time.perf_counter() - spent
        try:
            if isinstance(self._method, ControlMethod):
                prediction = self._method.predict_with_targets(pixels, task.instruction, cast("Prediction", target))
            else:
                prediction = self._method.predict(pixels, task.instruction)
            return self._record(task, image, prediction, time.perf_counter() - started)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit(), a panic of a library in Rust: those are no Exceptions
            known = error.usage if isinstance(error, PredictionError) else None
            total = Usage({"total": time.perf_counter() - started})
            return Record.of_failure(image_id, self._reason(error), Usage.join([known or Usage(), total]))
        finally:
            self._end_copies()

    def _batch(self, task: Task, images: Sequence[int], read: Sequence[Pixels | str]) -> list[Record]:
        started = time.perf_counter()
        predictions = self._method.predict_batch(list(read), task.instruction)  # type: ignore[union-attr]
        elapsed = (time.perf_counter() - started) / len(images)
        if len(predictions) != len(images):
            raise ContractError(f"predict_batch returned {len(predictions)} predictions for {len(images)} images")
        records = [self._record(task, image, p, elapsed) for image, p in zip(images, predictions, strict=True)]
        for record, prediction in zip(records, predictions, strict=True):
            record.seconds["total"] = prediction.usage.seconds.get("total", elapsed)  # the method may know each share
        return records

    def _record(self, task: Task, image: int, prediction: Prediction, elapsed: float) -> Record:
        described = self._dataset.images[image]
        check_prediction(prediction, task.instruction, described.height, described.width)
        record = Record.of(described.id, prediction)
        record.seconds = {**record.seconds, "total": elapsed}
        return record

    def _end_copies(self) -> None:
        """End a copy of this process that a method forked and let go on: it would answer, and write, a second time."""
        if os.getpid() != self._process:
            os._exit(1)

    def _reason(self, error: BaseException) -> str:
        """An error in words. What a server or a library quotes of a request may hold a key."""
        try:
            text = f"{type(error).__name__}: {error}"
        except Exception:  # an error that cannot say what it is
            text = type(error).__name__
        text = text.encode(errors="backslashreplace").decode()  # no half characters
        return redacted(text, self._secrets)


def targets_for(method: MethodInfo, dataset: Dataset, task: Task, images: Sequence[int]) -> Targets:
    """What a method is told of the ground truth of each image: a control all, any other nothing."""
    return [targets_of(dataset, task, image) if method.control else None for image in images]


def chunks(work: Iterable[tuple[Task, Sequence[int]]], size: int) -> list[list[Batch]]:
    """What is asked of `size` images at a time, of each task those that it lacks.

    All tasks of an image stand together: what does not depend on the instruction is then made once.
    """
    lacking = [(task, set(images)) for task, images in work]
    every = sorted(set().union(*(images for _, images in lacking)))
    groups = [every[start : start + size] for start in range(0, len(every), size)]
    return [
        [(task, tuple(i for i in group if i in images)) for task, images in lacking if not images.isdisjoint(group)]
        for group in groups
    ]


def _resident_memory() -> int | None:
    """Bytes of this process in memory; where only the peak is known, the peak."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes, on macOS
