"""The counter, the part that only InstructSAM has. Importing this module, or a counter, imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from earthinstruct_models.fingerprints import fingerprint
from earthinstruct_models.store import Folder, Form, Kept, Store, answer_or_raise
from numpy.typing import NDArray

from earthinstruct.contract import Instruction
from earthinstruct.tasks import Task


@dataclass(frozen=True)
class Answer:
    """A counter's answer for one image.

    Attributes:
        counts: label -> number of objects >= 0, in the counter's own words.
        input_tokens: tokens sent to a language model.
        output_tokens: tokens it wrote.
        seconds: wall time when the answer was computed, also if it now comes from the cache; None: unknown.
        events: events that a reader should know of -> how often, as in `Usage`.
    """

    counts: Mapping[str, int]
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float | None = None
    events: Mapping[str, int] = field(default_factory=dict)


class Counter(Protocol):
    """Counts the objects of an image under an instruction (the LVLM of the paper).

    Optional: `count_batch(images, instruction)`, which returns the answer or the error for each image; `close()`.
    """

    def count(self, image: NDArray[np.uint8], instruction: Instruction) -> Answer:
        """Count in one RGB image, uint8 (height, width, 3)."""
        ...

    def skip(self, task: Task) -> str | None:
        """Why this counter cannot answer a task, or None."""
        ...

    def describe(self) -> dict[str, Any]:
        """Parameters, and `weights` [{name, sha256}] if it has any."""
        ...


class KeptCounter(Kept):
    """A counter whose answers are kept, by image and instruction.

    Args:
        counter: the counter.
        cache: a folder that keeps them for the next run; None: in memory only.
    """

    def __init__(self, counter: Counter, cache: Path | str | None = None) -> None:
        super().__init__(counter)
        place = None if cache is None else Folder(cache, Form[Answer]("counts", Answer), counter.describe)
        self._store: Store[Answer] = Store(place)
        if callable(getattr(counter, "count_batch", None)):
            self.count_batch = self._count_batch

    def count(self, image: NDArray[np.uint8], instruction: Instruction) -> Answer:
        """As the counter."""
        key = fingerprint(image), instruction
        (answer,) = self._store.get([key], lambda _new, _keep: [self.part.count(image, instruction)])
        return answer_or_raise(answer)

    def _count_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction) -> list[Answer | Exception]:
        keys = [(fingerprint(image), instruction) for image in images]
        return self._store.get(keys, lambda new, _keep: self.part.count_batch([images[i] for i in new], instruction))
