"""Where a method runs: in this process, in several processes, or on a Ray cluster. The answers are the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Instruction
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.predictions import Record
from earthinstruct.results import MethodInfo
from earthinstruct.running.engines.worker import MethodSource, Question
from earthinstruct.running.reading import Images, Tile
from earthinstruct.tasks import Task

ENGINES = ("local", "ray")
Stopping = Callable[[], bool]
Work = Sequence[tuple[Question, Sequence[Tile]]]
Explain = Callable[[NDArray[np.uint8], Instruction], NDArray[np.uint8]]


@dataclass(frozen=True)
class EngineOptions:
    """How a run is spread.

    Attributes:
        name: `local`, this machine, or `ray`, a Ray cluster.
        workers: processes, each of which makes the method once.
        timeout: most seconds for a tile (an image that is not cut is one), without the start of the worker. After that
            the image counts as failed and the worker is replaced. None: no limit.
        worker_memory: GB; a worker that holds more after a tile is replaced. None: no limit.
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

    @staticmethod
    def of(engine: str | EngineOptions, **options: Any) -> EngineOptions:
        """The options as `evaluate` and `predict` are given them: an engine's name with options, or all at once.

        Raises:
            EarthInstructError: options are given beside an `EngineOptions`, or a value is wrong.
        """
        given = {name: value for name, value in options.items() if value is not None}
        if not isinstance(engine, EngineOptions):
            return EngineOptions(engine, **given)
        for name in given:
            raise EarthInstructError(f"{name} is given beside engine; set it in the EngineOptions")
        return engine

    @property
    def in_this_process(self) -> bool:
        """Whether the method runs in this process."""
        return self.name == "local" and self.workers == 1 and self.timeout is None and self.worker_memory is None


class Engine(Protocol):
    """Runs a method on images.

    Attributes:
        method: the method's description of itself, once the engine is entered.
        explain: draws how the method decides on an image; None: it does not draw, or runs in other processes.
    """

    method: MethodInfo

    @property
    def explain(self) -> Explain | None:
        """See above."""
        ...

    def skip(self, task: Task) -> str | None:
        """The method's reason not to run a task, or None."""
        ...

    def ask(self, member: str, *arguments: Any) -> Any:
        """Ask an optional member of the method, such as `unknown_words`."""
        ...

    def answers(self, work: Work, stopping: Stopping) -> Iterator[tuple[Question, Record]]:
        """One record for each tile of each question, as they come.

        Args:
            work: the questions, and the tiles of each.
            stopping: once it returns true, the current tiles are finished and no other is started.
        """
        ...


def unknown_words(engine: Engine, instruction: Instruction) -> tuple[str, ...]:
    """A sentence on the words of an instruction that the method does not know, if there are any."""
    words = engine.ask("unknown_words", instruction)
    return (f"{engine.method.name} does not know {', '.join(map(repr, words))}, and will find none",) if words else ()


def engine(options: EngineOptions, source: MethodSource, images: Images) -> AbstractContextManager[Engine]:
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
        return RayEngine(options, source, images)
    if not options.in_this_process:
        from earthinstruct.running.engines.processes import ProcessPool

        return ProcessPool(options, source, images)
    from earthinstruct.running.engines.local import InProcess

    return InProcess(source, images)
