"""The part that only InstructSAM has. Importing this module, or one that defines a part, imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Instruction
from earthinstruct.tasks import Task


@dataclass(frozen=True)
class Answer:
    """What a counter says of one image.

    Attributes:
        counts: label -> number of objects >= 0, in the counter's own words.
        input_tokens: tokens sent to a language model.
        output_tokens: tokens it wrote.
        seconds: wall time of the answer when it was given, also where it is only remembered now; None: not known.
        events: what a reader should know of the answer, in words -> how often, as in `Usage`.
    """

    counts: Mapping[str, int]
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float | None = None
    events: Mapping[str, int] = field(default_factory=dict)


class Counter(Protocol):
    """Counts objects of an image under an instruction (the LVLM of the paper).

    Optional: `count_batch(images, instruction)`, for each of several images the answer or the error that is the reason
    for none; `close()`.
    """

    def count(self, image: NDArray[np.uint8], instruction: Instruction) -> Answer:
        """Count in one RGB image, uint8 (height, width, 3)."""
        ...

    def skip(self, task: Task) -> str | None:
        """Why this counter cannot answer a task, or None."""
        ...

    def describe(self) -> dict[str, Any]:
        """Parameters, and `weights` [{name, sha256}] where there are any."""
        ...


def count_together(
    counter: Counter, images: Sequence[NDArray[np.uint8]], instruction: Instruction
) -> Sequence[Answer | Exception]:
    """The answers about several images: by the counter's `count_batch` where it has one, else image by image."""
    batch = getattr(counter, "count_batch", None)
    if callable(batch):
        answers: Sequence[Answer | Exception] = batch(images, instruction)
        return answers
    return [counter.count(image, instruction) for image in images]
