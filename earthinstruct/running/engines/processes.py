"""The engine of several processes on this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from earthinstruct.datasets import Dataset
from earthinstruct.errors import EarthInstructError
from earthinstruct.running.engines import EngineOptions
from earthinstruct.running.engines.pool import Pool, RemoteWorker, WorkerLostError
from earthinstruct.running.engines.worker import MethodSource, Worker

_SECONDS_TO_CLOSE = 10.0
_CONTEXT = multiprocessing.get_context("spawn")  # a forked process would share the state of torch and CUDA


class ProcessPool(Pool):
    """Workers in processes of their own, started anew and not forked."""

    def __init__(self, options: EngineOptions, source: MethodSource, dataset: Dataset) -> None:
        super().__init__(options, dataset)
        self._source = source

    def start(self) -> RemoteWorker:
        """Start a process, and hand it the method and the dataset.

        Raises:
            EarthInstructError: there can be no further process, or the method is an object that cannot be sent.
        """
        try:
            return _Process(self._source, self._dataset)
        except OSError as error:
            raise EarthInstructError(f"a worker process cannot be started: {error}; give fewer --workers") from error

    def wait(self, workers: Sequence[RemoteWorker], seconds: float | None) -> Sequence[RemoteWorker]:
        """The workers whose pipe has an answer, or was closed by their end."""
        by_pipe = {worker.pipe: worker for worker in cast("Sequence[_Process]", workers)}
        return [by_pipe[cast("Connection", pipe)] for pipe in wait(list(by_pipe), seconds)]


class _Process(RemoteWorker):
    def __init__(self, source: MethodSource, dataset: Dataset) -> None:
        self.pipe, its_end = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(its_end,))
        self._process.start()
        its_end.close()  # else its death would not close the pipe
        try:
            self.pipe.send((source, dataset))
        except OSError:
            pass  # it ended already; the first answer says how
        except Exception as error:  # pickling raises anything
            self.kill()
            raise EarthInstructError(
                f"the method cannot be sent to a process of its own ({error}); give it by name, as "
                "package.module:Class or path/file.py:Class, or leave workers at 1 without a timeout"
            ) from error

    def request(self, name: str, *arguments: Any) -> None:
        with contextlib.suppress(OSError):  # it ended; `answer` says how
            self.pipe.send((name, arguments))

    def answer(self) -> Any:
        try:
            return self.pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(_SECONDS_TO_CLOSE)
            raise WorkerLostError(_how_it_ended(self._process.exitcode)) from error

    def close(self) -> None:
        self.pipe.close()
        self._process.join(_SECONDS_TO_CLOSE)
        self.kill()

    def kill(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join()


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the worker process was killed by {signal.Signals(-code).name}"
    return (
        f"the worker process ended with exit code {code}, see its output; a script that evaluates with several workers "
        'must do so under `if __name__ == "__main__":`'
    )


def _serve(pipe: Connection) -> None:
    """Answer requests until the pipe is closed. An interrupt of the terminal is for the parent to heed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker = Worker(*pipe.recv())
    except Exception as error:  # unpickling raises anything
        pipe.recv()
        pipe.send(
            f"the method cannot be made again in a process of its own ({type(error).__name__}: {error}); give it by "
            "name, as package.module:Class or path/file.py:Class"
        )
        return
    try:
        while (request := _request(pipe)) is not None:
            name, arguments = request
            answer = getattr(worker, name)(*arguments)
            with contextlib.suppress(ConnectionError):  # the next request says that there is no more
                pipe.send(answer)
    finally:
        worker.close()


def _request(pipe: Connection) -> tuple[str, tuple[Any, ...]] | None:
    """The next request; None when the other end was closed, or is no more."""
    try:
        request: tuple[str, tuple[Any, ...]] = pipe.recv()
    except (EOFError, ConnectionError):
        return None
    return request


def _end_with_parent() -> None:
    """A parent that was killed tells nobody, and this process may hang in its method."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
