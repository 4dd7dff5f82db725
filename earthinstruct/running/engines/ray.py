"""The engine on a Ray cluster: Ray Data maps chunks of tiles over actors, each of which holds the method.

An actor runs the method in a separate process, a `ProcessPool` of one. If the method hangs, dies or uses too much
memory, only that process ends. Ray Data replaces a lost actor, and its tiles are answered again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, cast

import msgspec
import ray
import ray.data
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from earthinstruct.contract import HopelessError
from earthinstruct.errors import EarthInstructError
from earthinstruct.images import Window
from earthinstruct.predictions import Record
from earthinstruct.running.engines import EngineOptions, Stopping, Work
from earthinstruct.running.engines.processes import ProcessPool
from earthinstruct.running.engines.worker import MethodSource, Question, Ready, chunks
from earthinstruct.running.reading import Images, Tile
from earthinstruct.tasks import Task

LOSSES = 3  # lost actors over one chunk of tiles, until their images count as failed
_MOST_BLOCKS = 4_096  # each costs Ray Data some milliseconds, so a larger dataset has several chunks in a block
_BLOCKS_IN_FLIGHT = 2  # tasks of an actor: the next one waits there when one is done
_OBJECT_STORE = 150_000_000  # bytes, if Ray is started here: it holds the list of images and the answers in transit
_SECONDS_TO_CLOSE = 10.0
_SECONDS_TO_NOTICE = 0.2
_RECORDS = msgspec.msgpack.Decoder(list[tuple[str, Record]])  # each with the name of its question


class RayEngine:
    """Workers as actors of Ray Data. If Ray was started here, it is stopped at the end."""

    explain = None

    def __init__(self, options: EngineOptions, source: MethodSource, images: Images) -> None:
        self._options = options
        self._source = source
        self._images = images
        self._owner = False
        self._first: Any = None

    def __enter__(self) -> RayEngine:
        """Connect to the cluster, or start Ray here. A first actor makes the method and describes it.

        Raises:
            EarthInstructError: the cluster does not exist, or the method cannot be made.
        """
        try:
            self._connect()
            alone = EngineOptions(timeout=self._options.timeout, worker_memory=self._options.worker_memory)
            self._parts = [ray.put(part) for part in (alone, self._source, self._images.without_truth())]
            self._first = ray.remote(**self._needs)(_Actor).remote(self._parts)
            ready: Ready = _result_of(self._first.ready.remote())
            self.method, self._batch = ready.method, ready.batch
            if self.method.control:
                self._parts[-1] = ray.put(self._images)
        except BaseException:
            self._disconnect()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self._disconnect()

    def skip(self, task: Task) -> str | None:
        """The method's reason not to run a task, or None."""
        reason: str | None = _result_of(self._first.skip.remote(task))
        return reason

    def ask(self, member: str, *arguments: Any) -> Any:
        """Ask an optional member of the method."""
        return _result_of(self._first.ask.remote(member, *arguments))

    def answers(self, work: Work, stopping: Stopping) -> Iterator[tuple[Question, Record]]:
        """One record for each tile, as they come.

        Raises:
            EarthInstructError: the method cannot be made in an actor, or Ray was lost.
        """
        questions = {question.name: question for question, _ in work}
        rows = [
            {"row": i, "asked": [{"question": question.name, "tiles": _numbers_of(tiles)} for question, tiles in chunk]}
            for i, chunk in enumerate(chunks(work, self._batch, workers=self._options.workers))
        ]
        if not rows:
            return
        self._end_first()  # its resources, perhaps a GPU, are for the actors of Ray Data
        n_blocks = min(len(rows), _MOST_BLOCKS)
        n_actors = min(self._n_actors, n_blocks)
        desk = ray.remote(num_cpus=0, scheduling_strategy=_here())(_Desk).remote()
        answered = ray.data.from_items(rows, override_num_blocks=n_blocks).map(
            _Actor,
            fn_constructor_args=(self._parts, questions, desk),
            compute=ray.data.ActorPoolStrategy(
                size=n_actors, max_tasks_in_flight_per_actor=min(_BLOCKS_IN_FLIGHT, n_blocks // n_actors)
            ),
            **self._needs,
        )
        with _quiet(answered.context), _told(desk, stopping):
            for row in _rows(answered):
                if row["error"]:
                    raise (HopelessError if row["hopeless"] else EarthInstructError)(row["error"])
                yield from ((questions[name], record) for name, record in _RECORDS.decode(row["records"]))

    @property
    def _n_actors(self) -> int:
        """The requested number, at most what the cluster has room for: waiting actors can block the others."""
        cluster = ray.cluster_resources()
        places = [cluster.get(name, 0) / need for name, need in (("CPU", 1), ("GPU", self._needs["num_gpus"])) if need]
        return max(1, min(self._options.workers, *map(int, places)))

    @property
    def _needs(self) -> dict[str, float]:
        """What Ray reserves for an actor."""
        return {"num_cpus": 1, "num_gpus": self._options.gpus_per_worker or 0}

    def _end_first(self) -> None:
        if self._first is not None:
            with suppress(ray.exceptions.RayError):  # it is killed in any case
                ray.get(self._first.close.remote(), timeout=_SECONDS_TO_CLOSE)
            ray.kill(self._first)
            self._first = None

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        self._owner = True
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports unless the user wants them
        quiet: dict[str, Any] = {"include_dashboard": False, "logging_level": "error"}
        if self._options.address is None:
            # one virtual CPU for each actor, and some for Ray's own tasks: with too few, Ray can wait for itself
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
                "or leave out --address to start Ray here"
            ) from error

    def _disconnect(self) -> None:
        self._end_first()
        if self._owner:
            ray.shutdown()
            self._owner = False


class _Desk:
    """Keeps for all actors which rows were started, and whether to start more."""

    def __init__(self) -> None:
        self._lost: Counter[int] = Counter()  # row -> how often it was started and not finished
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def stopped(self) -> bool:
        return self._stopped

    def begin(self, row: int) -> int | None:
        """How often the row was started and lost before; None: do not start it."""
        if self._stopped:
            return None
        self._lost[row] += 1
        return self._lost[row] - 1

    def end(self, row: int) -> None:
        self._lost[row] -= 1


class _Actor:
    """An actor: answers rows of tiles, as the function of a map over them."""

    def __init__(self, parts: list[Any], questions: Mapping[str, Question] | None = None, desk: Any = None) -> None:
        self._parts = parts
        self._questions = questions or {}
        self._desk = desk

    @cached_property
    def _pool(self) -> ProcessPool:
        """The method, made on first use, so that an error reaches the caller."""
        return ProcessPool(*ray.get(self._parts)).__enter__()

    def ready(self) -> Ready:
        """Make the method, and describe it."""
        return self._pool.ready

    def skip(self, task: Task) -> str | None:
        """The method's reason not to run a task, or None."""
        return self._pool.skip(task)

    def ask(self, member: str, *arguments: Any) -> Any:
        """What an optional member of the method answers."""
        return self._pool.ask(member, *arguments)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The records of the tiles of a row; none if the row must not be started."""
        lost = ray.get(self._desk.begin.remote(row["row"]))
        records, problem, hopeless = list[tuple[str, Record]](), "", False
        try:
            if lost is not None:
                asked = [(self._questions[batch["question"]], _tiles_of(batch["tiles"])) for batch in row["asked"]]
                records = [(question.name, record) for question, record in self._records(asked, lost)]
        except EarthInstructError as error:
            problem, hopeless = str(error), isinstance(error, HopelessError)
        self._desk.end.remote(row["row"])
        return {"records": msgspec.msgpack.encode(records), "error": problem, "hopeless": hopeless}

    def _records(self, asked: Work, lost: int) -> Iterator[tuple[Question, Record]]:
        if lost < LOSSES:
            return self._pool.answers(asked, lambda: bool(ray.get(self._desk.stopped.remote())))
        images: Images = ray.get(self._parts[-1])
        reason = f"the Ray actor that had it was lost {LOSSES} times"
        return ((question, Record(images.id_of(t), error=reason)) for question, tiles in asked for t in tiles)

    def close(self) -> None:
        """End the process of the method."""
        if "_pool" in self.__dict__:
            self._pool.__exit__(None, None, None)

    __del__ = close


def _numbers_of(tiles: Sequence[Tile]) -> list[list[int]]:
    """Tiles as lists of numbers of any length, which a table can hold."""
    return [[tile.image, *(tile.window or ())] for tile in tiles]


def _tiles_of(rows: Iterable[Iterable[int]]) -> list[Tile]:
    """The inverse of `_numbers_of`."""
    numbers = [[int(number) for number in row] for row in rows]
    return [Tile(image, cast("Window", tuple(window)) if window else None) for image, *window in numbers]


def _here() -> NodeAffinitySchedulingStrategy:
    """Placement on the machine that started the run: another machine may be lost."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


@contextmanager
def _told(desk: Any, stopping: Stopping) -> Iterator[None]:
    """Tell the desk at once when to stop, and not only when the next row comes."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SECONDS_TO_NOTICE):
            if stopping():
                desk.stop.remote()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


@contextmanager
def _quiet(context: ray.data.DataContext) -> Iterator[None]:
    """Turn off the progress bars of Ray Data."""
    context.enable_progress_bars = False
    log = logging.getLogger("ray.data")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _rows(dataset: ray.data.Dataset) -> Iterator[dict[str, Any]]:
    """The rows of Ray Data, as they come."""
    try:
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from table.to_pylist()
    except ray.exceptions.RayError as error:
        raise EarthInstructError(
            f"Ray Data was lost: {type(error).__name__}: {error}; the predictions so far are kept, and the same "
            "command continues from there"
        ) from error


def _result_of(pending: Any) -> Any:
    try:
        return ray.get(pending)
    except ray.exceptions.RayTaskError as error:  # Ray wraps the error of the work
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise EarthInstructError(f"a Ray worker was lost: {type(error).__name__}: {error}") from error
