"""Where a method works: in this process, in several, or on the machines of a Ray cluster. All give the same answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from earthinstruct.datasets import Dataset
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.predictions import Record
from earthinstruct.results import MethodInfo
from earthinstruct.running.engines.worker import MethodSource
from earthinstruct.tasks import Task

ENGINES = ("local", "ray")
Stopping = Callable[[], bool]
Work = Sequence[tuple[Task, Sequence[int]]]  # what is asked of which images, by their positions in the dataset


@dataclass(frozen=True)
class EngineOptions:
    """How a run is spread.

    Attributes:
        name: `local`, this machine, or `ray`, a Ray cluster.
        workers: processes, each of which makes the method once.
        timeout: seconds an image may take in a worker that has made the method; the worker is then replaced, and the
            image counts as failed. None: no end.
        worker_memory: GB; a worker that holds more after an image is replaced. None: no bound.
        gpus_per_worker: GPUs that Ray reserves for each worker.
        address: of a running Ray cluster; `auto` finds the one this machine belongs to. None: a Ray of its own.

    Raises:
        UnknownNameError: no such engine.
        EarthInstructError: a value is out of range, or belongs to the other engine.
    """

    name: str = "local"
    workers: int = 1
    timeout: float | None = None
    worker_memory: float | None = None
    gpus_per_worker: float | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise UnknownNameError("engine", self.name, ENGINES)
        if self.workers < 1:
            raise EarthInstructError(f"workers must be at least 1, got {self.workers}")
        for what, value in (("timeout", self.timeout), ("worker memory", self.worker_memory)):
            if value is not None and not 0 < value < math.inf:
                raise EarthInstructError(f"{what} must be above 0, got {value}")
        if self.gpus_per_worker is not None and not 0 <= self.gpus_per_worker < math.inf:
            raise EarthInstructError(f"GPUs per worker must be 0 or more, got {self.gpus_per_worker}")
        if self.name != "ray":
            for option, given in (("--gpus-per-worker", self.gpus_per_worker), ("--address", self.address)):
                if given is not None:
                    raise EarthInstructError(f"{option} belongs to the engine ray; give --engine ray, or leave it out")


class Engine(Protocol):
    """Something that answers for images. `method` is what the method says of itself."""

    @property
    def method(self) -> MethodInfo:
        """What the method says of itself."""
        ...

    def skip(self, task: Task) -> str | None:
        """The method's reason not to run a task, or None."""
        ...

    def answers(self, work: Work, stopping: Stopping) -> Iterator[tuple[Task, Record]]:
        """One record for each image of each task, as they come.

        Args:
            work: the tasks, and the images of each.
            stopping: once it says yes, the images in hand are finished and no other is begun.
        """
        ...


def engine(options: EngineOptions, source: MethodSource, dataset: Dataset) -> AbstractContextManager[Engine]:
    """The engine that options ask for; it makes the method on entry and closes it on exit.

    Raises:
        EarthInstructError: Ray is asked for and not installed.
    """
    if options.name == "ray":
        try:
            from earthinstruct.running.engines.ray import RayEngine
        except ModuleNotFoundError as error:
            if error.name not in ("ray", "pyarrow"):
                raise
            raise EarthInstructError(
                "--engine ray needs Ray Data; install it: pip install 'earthinstruct[ray]'"
            ) from error
        return RayEngine(options, source, dataset)
    if options.workers > 1 or options.timeout is not None or options.worker_memory is not None:
        from earthinstruct.running.engines.processes import ProcessPool

        return ProcessPool(options, source, dataset)
    from earthinstruct.running.engines.local import InProcess

    return InProcess(source, dataset)
