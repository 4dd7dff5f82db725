"""Where a method runs: in this process, in several processes, or on a Ray cluster. The answers are the same."""

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
Work = Sequence[tuple[Task, Sequence[int]]]  # tasks, and the images of each, as positions in the dataset


@dataclass(frozen=True)
class EngineOptions:
    """How a run is spread.

    Attributes:
        name: `local`, this machine, or `ray`, a Ray cluster.
        workers: processes, each of which makes the method once.
        timeout: most seconds for an image, without the start of the worker. After that the image counts as failed and
            the worker is replaced. None: no limit.
        worker_memory: GB; a worker that holds more after an image is replaced. None: no limit.
        gpus_per_worker: GPUs that Ray reserves for each worker.
        address: of a running Ray cluster; `auto` finds the cluster of this machine. None: Ray is started here.

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
    """Runs a method on images. `method` is the method's description of itself, once the engine is entered."""

    method: MethodInfo

    def skip(self, task: Task) -> str | None:
        """The method's reason not to run a task, or None."""
        ...

    def answers(self, work: Work, stopping: Stopping) -> Iterator[tuple[Task, Record]]:
        """One record for each image of each task, as they come.

        Args:
            work: the tasks, and the images of each.
            stopping: once it returns true, the current images are finished and no other is started.
        """
        ...


def engine(options: EngineOptions, source: MethodSource, dataset: Dataset) -> AbstractContextManager[Engine]:
    """The engine that the options name. It makes the method on entry and closes it on exit.

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
