"""The default engine: the method runs in this process, and a thread reads the next images meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from earthinstruct.datasets import Dataset
from earthinstruct.predictions import Record
from earthinstruct.running.engines import Stopping, Work
from earthinstruct.running.engines.worker import Chunk, MethodSource, Pixels, Worker, chunks, targets_for
from earthinstruct.tasks import Task

READ_AHEAD = 2  # chunks of images


class InProcess:
    """Runs the method in this process. A thread reads at most `READ_AHEAD` chunks of images ahead."""

    def __init__(self, source: MethodSource, dataset: Dataset) -> None:
        self._worker = Worker(source, dataset)
        self._dataset = dataset

    def __enter__(self) -> InProcess:
        """Make the method."""
        ready = self._worker.ready()
        self.method, self._batch = ready.method, ready.batch
        return self

    def __exit__(self, *_: object) -> None:
        """Close the method if it was made here."""
        self._worker.close()

    def skip(self, task: Task) -> str | None:
        """The method's reason not to run a task, or None."""
        return self._worker.skip(task)

    def answers(self, work: Work, stopping: Stopping) -> Iterator[tuple[Task, Record]]:
        """One record for each image of each task, in the order of the images."""
        ahead: deque[tuple[Chunk, Future[dict[int, Pixels | str]]]] = deque()
        todo = deque(chunks(work, self._batch))
        with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
            try:
                while todo or ahead:
                    while todo and len(ahead) <= READ_AHEAD:
                        following = todo.popleft()
                        ahead.append((following, reader.submit(self._read, following)))
                    chunk, reading = ahead.popleft()
                    for task, images in chunk:
                        if stopping():
                            return
                        read = [reading.result()[i] for i in images]
                        targets = targets_for(self.method, self._dataset, task, images)
                        records = self._worker.records(task, images, read, targets)
                        yield from ((task, record) for record in records)
            finally:
                reader.shutdown(wait=False, cancel_futures=True)

    def _read(self, chunk: Chunk) -> dict[int, Pixels | str]:
        return {i: self._worker.read(i) for i in sorted({i for _, images in chunk for i in images})}
