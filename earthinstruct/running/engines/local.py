"""The default engine: the method runs in this process, and a thread reads the next tiles meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from earthinstruct.contract import optional_member
from earthinstruct.predictions import Record
from earthinstruct.running.engines import Explain, Stopping, Work
from earthinstruct.running.engines.worker import MethodSource, Question, Worker, chunks, targets_for
from earthinstruct.running.reading import Images
from earthinstruct.tasks import Task

READ_AHEAD = 2  # chunks of tiles


class InProcess:
    """Runs the method in this process. A thread reads at most `READ_AHEAD` chunks of tiles ahead."""

    def __init__(self, source: MethodSource, images: Images) -> None:
        self._worker = Worker(source, images)
        self._images = images

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

    def ask(self, member: str, *arguments: Any) -> Any:
        """Ask an optional member of the method."""
        return self._worker.ask(member, *arguments)

    @property
    def explain(self) -> Explain | None:
        """Draws how the method decides on an image; None: it does not draw."""
        explain: Explain | None = optional_member(self._worker.method, "explain")
        return explain

    def answers(self, work: Work, stopping: Stopping) -> Iterator[tuple[Question, Record]]:
        """One record for each tile of each question, in the order of the images."""
        todo = chunks(work, self._batch, first=1)
        for number, chunk in enumerate(todo):
            near = [tile for later in todo[number : number + 1 + READ_AHEAD] for _, tiles in later for tile in tiles]
            for question, tiles in chunk:
                if stopping():
                    return
                targets = targets_for(self.method, self._images, question, tiles)
                answers = self._worker.answers(question, tiles, targets, near)
                yield from ((question, record) for record in answers.records)
