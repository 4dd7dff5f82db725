"""Workers that may die, hang or grow: who does what, until when, and what becomes of the images of a lost one."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from earthinstruct.datasets import Dataset
from earthinstruct.errors import EarthInstructError
from earthinstruct.results import MethodInfo
from earthinstruct.running.engines import EngineOptions, Stopping
from earthinstruct.running.engines.worker import Answers, Ready, batches
from earthinstruct.running.parallel import Each, in_order
from earthinstruct.running.predictions import Record
from earthinstruct.tasks import Task

DEATHS = 2  # of a worker over one image, until that image counts as failed
_LOG = logging.getLogger(__name__)


class WorkerLostError(Exception):
    """A worker ended without an answer. The message says how."""


class RemoteWorker(ABC):
    """A `Worker` elsewhere: one request at a time."""

    @abstractmethod
    def request(self, name: str, *arguments: Any) -> None:
        """Call a method of the worker by its name, without waiting for the answer."""

    @abstractmethod
    def answer(self) -> Any:
        """Wait for the answer to the last request.

        Raises:
            WorkerLostError: there will be none.
        """

    @abstractmethod
    def close(self) -> None:
        """End it in an orderly way: the method is closed."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once."""


@dataclass(frozen=True)
class _Job:
    """What a worker is at: these images, or none while it makes its method."""

    images: tuple[int, ...] = ()
    deadline: float | None = None


class Pool(ABC):
    """An engine of several workers. A subclass says how one is started, and how to wait for several."""

    def __init__(self, options: EngineOptions, dataset: Dataset) -> None:
        self._options = options
        self._dataset = dataset
        self._idle: list[RemoteWorker] = []
        self._busy: dict[RemoteWorker, _Job] = {}
        self._ready: Ready | None = None

    @abstractmethod
    def start(self) -> RemoteWorker:
        """Start a worker, without waiting for it."""

    @abstractmethod
    def wait(self, workers: Sequence[RemoteWorker], seconds: float | None) -> Sequence[RemoteWorker]:
        """The workers that have an answer or are lost; empty when there is none after `seconds`."""

    def __enter__(self) -> Pool:
        """Start all workers; the first that is ready says what the method is."""
        try:
            for _ in range(self._options.workers):
                self._start()
            self._wait_for_idle()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the idle workers, kill the others."""
        if kind is None:
            for worker in self._idle:
                worker.close()
            self._idle.clear()
        self._kill()

    @property
    def method(self) -> MethodInfo:
        """What the method says of itself."""
        return self._described.method

    def skip(self, task: Task) -> str | None:
        """The method's reason not to run a task, or None."""
        self._wait_for_idle()
        worker = self._idle[-1]
        worker.request("skip", task)
        try:
            reason: str | None = worker.answer()
        except WorkerLostError as error:
            raise EarthInstructError(f"method {self.method.name!r}: skip({task.name}) failed: {error}") from error
        return reason

    def answers(self, task: Task, images: Sequence[int], stopping: Stopping) -> Iterator[Record]:
        """One record for each image, as they come. The images of a lost worker go to another."""
        todo = deque(batches(images, self._described.batch))
        deaths: Counter[int] = Counter()
        while True:
            while todo and self._idle and not stopping():
                self._begin(task, todo.popleft())
            if not any(job.images for job in self._busy.values()) and (not todo or stopping()):
                return
            for batch, outcome in self._outcomes():
                if isinstance(outcome, Answers):
                    yield from outcome.records
                elif len(batch) > 1:  # one of them is at fault: alone, each is answered or named
                    todo.extendleft((image,) for image in reversed(batch))
                else:
                    deaths[batch[0]] += 1
                    if isinstance(outcome, _Overdue) or deaths[batch[0]] == DEATHS:
                        yield Record(self._dataset.images[batch[0]].id, error=str(outcome))
                    else:
                        todo.appendleft(batch)

    def spread(self) -> AbstractContextManager[Each]:
        """Answers are scored in this process."""
        return in_order(1)

    @property
    def _described(self) -> Ready:
        if self._ready is None:
            raise RuntimeError("the engine has not been entered")
        return self._ready

    def _start(self) -> None:
        worker = self.start()
        self._busy[worker] = _Job()
        worker.request("ready")

    def _begin(self, task: Task, batch: tuple[int, ...]) -> None:
        seconds = self._options.timeout
        deadline = None if seconds is None else time.monotonic() + seconds * len(batch)
        worker = self._idle.pop()
        self._busy[worker] = _Job(batch, deadline)
        worker.request("answers", task, batch)

    def _wait_for_idle(self) -> None:
        while not self._idle:
            for _ in self._outcomes():
                raise RuntimeError("an image was answered outside of answers()")

    def _outcomes(self) -> Iterator[tuple[tuple[int, ...], Answers | WorkerLostError]]:
        """Wait for what comes next; what became of each batch of images."""
        for worker in self.wait(list(self._busy), self._seconds_left()):
            job = self._busy.pop(worker)
            try:
                answer = worker.answer()
            except WorkerLostError as error:
                worker.kill()
                if not job.images:
                    raise EarthInstructError(f"a worker ended while it made the method: {error}") from error
                yield job.images, self._replaced(error)
                continue
            self._idle.append(worker)
            if isinstance(answer, Answers):
                self._recycle(worker, answer.memory)
                yield job.images, answer
            elif isinstance(answer, Ready):
                self._ready = answer
            else:
                raise EarthInstructError(answer)
        now = time.monotonic()
        for worker, job in list(self._busy.items()):
            if job.deadline is not None and job.deadline <= now:
                del self._busy[worker]
                worker.kill()
                yield job.images, self._replaced(_Overdue(f"no answer within {self._options.timeout:g} s"))

    def _seconds_left(self) -> float | None:
        deadlines = [job.deadline for job in self._busy.values() if job.deadline is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _replaced(self, error: WorkerLostError) -> WorkerLostError:
        _LOG.info("a worker is replaced: %s", error)
        self._start()
        return error

    def _recycle(self, worker: RemoteWorker, memory: int | None) -> None:
        bound = self._options.worker_memory
        if bound is None:
            return
        if memory is None:
            raise EarthInstructError("--worker-memory: this platform does not say how much memory a process holds")
        if memory > bound:
            _LOG.info("a worker is replaced: it holds %.2f GB", memory / 1e9)
            self._idle.remove(worker)
            worker.close()
            self._start()

    def _kill(self) -> None:
        for worker in (*self._idle, *self._busy):
            worker.kill()
        self._idle.clear()
        self._busy.clear()


class _Overdue(WorkerLostError):
    """A worker that took too long. Another try would take as long."""
