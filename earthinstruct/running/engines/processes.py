"""The engine with several processes on this machine, whose workers may die, hang or use too much memory.

It gives batches to workers, enforces the time limits, and gives the tiles of a lost worker to another one.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from earthinstruct.contract import HopelessError
from earthinstruct.errors import EarthInstructError
from earthinstruct.predictions import Record
from earthinstruct.running.engines import EngineOptions, Stopping, Work
from earthinstruct.running.engines.worker import (
    SECONDS_TO_CLOSE,
    Answers,
    Batch,
    MethodSource,
    Question,
    Ready,
    Worker,
    chunks,
    targets_for,
)
from earthinstruct.running.reading import Images, Tile
from earthinstruct.tasks import Task

DEATHS = 2  # of a worker over one tile, until its image counts as failed
_SECONDS_TO_NOTICE = 0.01
_CONTEXT = multiprocessing.get_context("spawn")  # a forked process would share the state of torch and CUDA
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """The current work of a worker: a batch, or None while it makes its method."""

    batch: Batch | None = None
    deadline: float | None = None


class ProcessPool:
    """Workers in separate processes, spawned and not forked. The ground truth stays in this process."""

    explain = None

    def __init__(self, options: EngineOptions, source: MethodSource, images: Images) -> None:
        self._options = options
        self._source = source
        self._images = images
        self._idle: list[_Process] = []
        self._busy: dict[_Process, _Job] = {}

    def __enter__(self) -> ProcessPool:
        """Start all workers; the first one that is ready describes the method.

        Raises:
            EarthInstructError: a process cannot be started, or the method is an object that cannot be sent, or cannot
                be made.
        """
        try:
            for _ in range(self._options.workers):
                self._start()
            self._wait_for_idle()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the idle workers, kill the others."""
        if kind is None:
            for worker in self._idle:
                worker.close()
            self._idle.clear()
        self._kill()

    def skip(self, task: Task) -> str | None:
        """The method's reason not to run a task, or None."""
        reason: str | None = self._answer(f"skip({task.name})", "skip", task)
        return reason

    def ask(self, member: str, *arguments: Any) -> Any:
        """Ask an optional member of the method."""
        return self._answer(f"{member}()", "ask", member, *arguments)

    def _answer(self, what: str, request: str, *arguments: Any) -> Any:
        """The answer of an idle worker."""
        self._wait_for_idle()
        worker = self._idle[-1]
        worker.request(request, *arguments)
        try:
            return worker.answer()
        except WorkerLostError as error:
            raise EarthInstructError(f"method {self.method.name!r}: {what} failed: {error}") from error

    def answers(self, work: Work, stopping: Stopping) -> Iterator[tuple[Question, Record]]:
        """One record for each tile of each question, as they come. The tiles of a lost worker go to another worker.

        A worker gets all questions about some tiles, one batch after another.
        """
        cut = chunks(work, self.ready.batch, first=1, workers=self._options.workers)
        todo = deque(tuple(chunk) for chunk in cut)
        held: dict[_Process, tuple[Batch, ...]] = {}  # the batches that each worker does next
        deaths: Counter[tuple[str, Tile]] = Counter()
        while True:
            while self._idle and (todo or any(held.get(worker) for worker in self._idle)) and not stopping():
                worker = next((worker for worker in self._idle if held.get(worker)), self._idle[-1])
                batch, *rest = held.pop(worker, ()) or todo.popleft()
                held[worker] = tuple(rest)
                following = (*rest, *(todo[0] if todo and self._options.workers == 1 else ()))
                self._begin(worker, batch, [tile for _, tiles in following for tile in tiles])
            if not any(job.batch for job in self._busy.values()) and (stopping() or not (todo or any(held.values()))):
                return
            for worker, (question, tiles), outcome in self._outcomes():
                again: list[Batch] = []
                if isinstance(outcome, Answers):
                    yield from ((question, record) for record in outcome.records)
                elif len(tiles) > 1:  # one tile is the cause: each is tried alone
                    again = [(question, (tile,)) for tile in tiles]
                else:
                    deaths[question.name, tiles[0]] += 1
                    if isinstance(outcome, _OverdueError) or deaths[question.name, tiles[0]] == DEATHS:
                        yield question, Record(self._images.id_of(tiles[0]), error=str(outcome))
                    else:
                        again = [(question, tiles)]
                left = (*again, *held.pop(worker, ()))
                if worker in self._idle:
                    held[worker] = left
                elif left:
                    todo.appendleft(left)

    def _start(self) -> None:
        try:
            worker = _Process(self._source, self._images.without_truth())
        except OSError as error:
            raise EarthInstructError(f"a worker process cannot be started: {error}; give fewer --workers") from error
        self._busy[worker] = _Job()
        worker.request("ready")

    def _begin(self, worker: _Process, batch: Batch, following: Sequence[Tile]) -> None:
        """Give a batch to an idle worker, with the tiles that it can read meanwhile."""
        seconds = self._options.timeout
        deadline = None if seconds is None else time.monotonic() + seconds * len(batch[1])
        self._idle.remove(worker)
        self._busy[worker] = _Job(batch, deadline)
        worker.request("answers", *batch, targets_for(self.method, self._images, *batch), following)

    def _wait_for_idle(self) -> None:
        while not self._idle:
            list(self._outcomes())  # no tiles are asked for, so there are no answers

    def _outcomes(self) -> Iterator[tuple[_Process, Batch, Answers | WorkerLostError]]:
        """Wait for the next outcomes: the worker, its batch, and the answer or the error."""
        by_pipe = {worker.pipe: worker for worker in self._busy}
        for pipe in wait(list(by_pipe), self._seconds_left()):  # an answer, or the worker ended
            worker = by_pipe[cast("Connection", pipe)]
            job = self._busy.pop(worker)
            try:
                answer = worker.answer()
            except WorkerLostError as error:
                worker.kill()
                if job.batch is None:
                    raise EarthInstructError(f"a worker ended while it made the method: {error}") from error
                yield worker, job.batch, self._replaced(error)
                continue
            self._idle.append(worker)
            if job.batch is None:
                self.ready: Ready = answer
                self.method = self.ready.method
            else:
                self._recycle(worker, answer.memory)
                yield worker, job.batch, answer
        now = time.monotonic()
        for worker, job in list(self._busy.items()):
            overdue = job.deadline is not None and job.deadline <= now
            # an answer that is waiting came in time: this process was busy, perhaps starting another worker
            if job.batch is not None and overdue and not worker.pipe.poll():
                del self._busy[worker]
                worker.kill()
                late = _OverdueError(f"no answer within {self._options.timeout:g} s")
                yield worker, job.batch, self._replaced(late)

    def _seconds_left(self) -> float | None:
        deadlines = [job.deadline for job in self._busy.values() if job.deadline is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _replaced(self, error: WorkerLostError) -> WorkerLostError:
        _LOG.info("a worker is replaced: %s", error)
        self._start()
        return error

    def _recycle(self, worker: _Process, memory: int | None) -> None:
        bound = self._options.worker_memory
        if bound is None:
            return
        if memory is None:
            raise EarthInstructError("--worker-memory: this platform does not say how much memory a process holds")
        if memory > bound * 1e9:
            _LOG.info("a worker is replaced: it holds %.2f GB", memory / 1e9)
            self._idle.remove(worker)
            worker.close()
            self._start()

    def _kill(self) -> None:
        for worker in (*self._idle, *self._busy):
            worker.kill()
        self._idle.clear()
        self._busy.clear()


class WorkerLostError(Exception):
    """A worker ended without an answer. The message says why."""


class _OverdueError(WorkerLostError):
    """A worker took too long. Another try would take as long."""


class _Process:
    """A `Worker` in a separate process: one request at a time."""

    def __init__(self, source: MethodSource, images: Images) -> None:
        self.pipe, its_end = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(its_end,))
        self._process.start()
        its_end.close()  # else its death would not close the pipe
        try:
            self.pipe.send((source, images))
        except OSError:
            pass  # it ended already; the first answer says why
        except Exception as error:  # pickling raises anything
            self.kill()
            raise EarthInstructError(
                f"the method cannot be sent to a process of its own ({error}); give it by name, as "
                "package.module:Class or path/file.py:Class, or leave workers at 1 without a timeout"
            ) from error

    def request(self, name: str, *arguments: Any) -> None:
        """Call a method of the worker by its name, without waiting for the answer."""
        with contextlib.suppress(OSError):  # it ended; `answer` says why
            self.pipe.send((name, arguments))

    def answer(self) -> Any:
        """Wait for the answer to the last request.

        Raises:
            WorkerLostError: there will be none.
            EarthInstructError: the worker raised it.
        """
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise WorkerLostError(_how_it_ended(self._exit_code())) from error
        if isinstance(answer, EarthInstructError):
            raise answer
        return answer

    def close(self) -> None:
        """End the process after closing the method."""
        self.pipe.close()
        if self._exit_code() is None:
            _LOG.warning("a worker has not ended after %g s and is killed; everything is kept", SECONDS_TO_CLOSE)
        self.kill()

    def kill(self) -> None:
        """Kill the process."""
        self.pipe.close()
        self._process.kill()
        self._exit_code()

    def _exit_code(self) -> int | None:
        """Wait for the end of the process; `join` would also wait for children that the method forked."""
        ended = time.monotonic() + SECONDS_TO_CLOSE
        while self._process.exitcode is None and time.monotonic() < ended:
            time.sleep(_SECONDS_TO_NOTICE)
        return self._process.exitcode


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the worker process was killed by {signal.Signals(-code).name}"
    return (
        f"the worker process ended with exit code {code}, see its output; a script that evaluates with several workers "
        'must do so under `if __name__ == "__main__":`'
    )


def _serve(pipe: Connection) -> None:
    """Answer requests until the pipe is closed. The parent handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "register_at_fork"):  # else a forked child keeps the pipe open after this process ends
        os.register_at_fork(after_in_child=pipe.close)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker = Worker(*pipe.recv())
    except Exception as error:  # unpickling raises anything
        pipe.recv()
        pipe.send(
            EarthInstructError(
                f"the method cannot be made again in a process of its own ({type(error).__name__}: {error}); give it "
                "by name, as package.module:Class or path/file.py:Class"
            )
        )
        return
    try:
        while (request := _request(pipe)) is not None:
            name, arguments = request
            try:
                answer = getattr(worker, name)(*arguments)
            except EarthInstructError as error:  # its class may be one of the method's, which holds more than a text
                answer = (HopelessError if isinstance(error, HopelessError) else EarthInstructError)(str(error))
            with contextlib.suppress(ConnectionError):  # the next request shows that the pipe is closed
                pipe.send(answer)
    finally:
        worker.close()


def _request(pipe: Connection) -> tuple[str, tuple[Any, ...]] | None:
    """The next request; None when the other end was closed or has died."""
    try:
        request: tuple[str, tuple[Any, ...]] = pipe.recv()
    except (EOFError, ConnectionError):
        return None
    return request


def _end_with_parent() -> None:
    """End this process with its parent: a killed parent sends nothing, and the method here may hang."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
