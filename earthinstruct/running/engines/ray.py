"""The engine on a Ray cluster: each worker is an actor that holds the method.

Plain actors and not Ray Data: its read tasks wait for the CPUs that its own actors hold, and with few CPUs a run of it
can stand still for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from types import TracebackType
from typing import Any, TypeVar, cast

import ray

from earthinstruct.datasets import Dataset
from earthinstruct.errors import EarthInstructError
from earthinstruct.running.engines import EngineOptions
from earthinstruct.running.engines.pool import Pool, RemoteWorker, WorkerLostError
from earthinstruct.running.engines.worker import MethodSource, Worker
from earthinstruct.running.parallel import Each, ahead

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")

_SECONDS_TO_CLOSE = 10.0
_OBJECT_STORE = 150_000_000  # bytes, of a Ray of our own: it holds the dataset and the answers on their way


class RayPool(Pool):
    """Workers as Ray actors. A Ray that was started here is stopped at the end."""

    def __init__(self, options: EngineOptions, source: MethodSource, dataset: Dataset) -> None:
        super().__init__(options, dataset)
        self._source = source
        self._owner = False

    def __enter__(self) -> RayPool:
        """Connect to the cluster, or start one here, then the workers."""
        try:
            self._connect()
            self._parts = (ray.put(self._source), ray.put(self._dataset))
            super().__enter__()
        except BaseException:
            self._disconnect()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the workers, and disconnect."""
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._disconnect()

    def start(self) -> RemoteWorker:
        """Start an actor; it waits until the cluster has a place for it."""
        return _Actor(self._parts, self._options.gpus_per_worker or 0)

    def wait(self, workers: Sequence[RemoteWorker], seconds: float | None) -> Sequence[RemoteWorker]:
        """The workers whose answer is there, or is known never to come."""
        by_answer = {worker.pending: worker for worker in cast("Sequence[_Actor]", workers)}
        done, _ = ray.wait(list(by_answer), timeout=seconds)
        return [by_answer[answer] for answer in done]

    def spread(self) -> AbstractContextManager[Each]:
        """Answers are scored as tasks of the cluster; their tallies add up here."""
        return nullcontext(self._each)

    def _each(self, work: Callable[[_Piece], _Result], pieces: Iterable[_Piece]) -> Iterator[_Result]:
        task = ray.remote(num_cpus=0)(work)  # the actors hold the CPUs, and rest meanwhile

        def start(piece: _Piece) -> Callable[[], _Result]:
            result = task.remote(piece)
            return lambda: _result_of(result)

        return ahead(start, pieces, 2 * self._options.workers)

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        self._owner = True
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere unasked
        quiet: dict[str, Any] = {"include_dashboard": False, "logging_level": "warning"}
        if self._options.address is None:
            # one virtual CPU for each actor, and some for Ray's own tasks: with fewer it can wait for itself
            cpus = max(4, self._options.workers + 2)
            ray.init(address="local", num_cpus=cpus, object_store_memory=_OBJECT_STORE, **quiet)
            here, wanted = ray.cluster_resources().get("GPU", 0), self._options.gpus_per_worker or 0
            if here < wanted:  # Ray would wait for one to appear
                raise EarthInstructError(
                    f"--gpus-per-worker {wanted:g}: this machine has {here:g} GPUs; ask for fewer, or give the "
                    "--address of a cluster that has them"
                )
            return
        try:
            ray.init(address=self._options.address, logging_level="warning")
        except ConnectionError as error:
            raise EarthInstructError(
                f"there is no Ray cluster at {self._options.address!r}: {error}; start one with `ray start --head`, "
                "or leave out --address for a Ray of its own"
            ) from error

    def _disconnect(self) -> None:
        if self._owner:
            ray.shutdown()
            self._owner = False


def _result_of(task: Any) -> Any:
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:  # wraps what the work raised
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise EarthInstructError(f"a scoring task was lost: {type(error).__name__}: {error}") from error


class _Actor(RemoteWorker):
    def __init__(self, parts: tuple[Any, Any], gpus: float) -> None:
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)(Worker)  # a lost one is replaced by the pool
        self._actor = remote.remote(*parts)

    def request(self, name: str, *arguments: Any) -> None:
        self.pending = getattr(self._actor, name).remote(*arguments)

    def answer(self) -> Any:
        try:
            return ray.get(self.pending)
        except ray.exceptions.RayError as error:
            raise WorkerLostError(f"the Ray worker was lost: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        with suppress(ray.exceptions.RayError):  # it is ended all the same
            ray.get(self._actor.close.remote(), timeout=_SECONDS_TO_CLOSE)
        self.kill()

    def kill(self) -> None:
        ray.kill(self._actor, no_restart=True)
