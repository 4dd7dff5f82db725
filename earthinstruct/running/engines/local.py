"""The default engine: the method runs in this process, and a thread reads the next images meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

from earthinstruct.datasets import Dataset
from earthinstruct.predictions import Record
from earthinstruct.running.engines import Stopping, Work
from earthinstruct.running.engines.worker import MethodSource, Worker, chunks, targets_for
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
        todo = chunks(work, self._batch, first=1)
        for number, chunk in enumerate(todo):
            near = [i for later in todo[number : number + 1 + READ_AHEAD] for _, images in later for i in images]
            for task, images in chunk:
                if stopping():
                    return
                targets = targets_for(self.method, self._dataset, task, images)
                yield from ((task, record) for record in self._worker.answers(task, images, targets, near).records)
