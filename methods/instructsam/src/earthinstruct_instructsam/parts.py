"""The counter, the part that only InstructSAM has. Importing this module, or a counter, imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from earthinstruct_models.fingerprints import fingerprint
from earthinstruct_models.store import Form, Kept
from numpy.typing import NDArray

from earthinstruct.contract import MOST_OBJECTS, Instruction
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

    Optional: `count_batch(images, instruction)`, which returns the answer or the error for each image;
    `estimate(image, instruction)`, the `Estimate` of its cost, without which it costs nothing;
    `unknown_words(instruction)`, the words that it does not know, without which it knows any; `close()`.
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
    """A counter whose answers are kept, by image and instruction."""

    _form: ClassVar[Form[Answer]] = Form("counts", Answer)
    _batch = "count_batch"

    def count(self, image: NDArray[np.uint8], instruction: Instruction) -> Answer:
        """As the counter."""
        answer: Answer = self._answer(
            (fingerprint(image), instruction), lambda: self.part.count(image, instruction), image, instruction
        )
        return answer

    def _problem(self, answer: Answer, image: NDArray[np.uint8], *about: Any) -> str | None:
        wrong = next((label for label, count in answer.counts.items() if not 0 <= count <= MOST_OBJECTS), None)
        return None if wrong is None else f"it counts {answer.counts[wrong]} of {wrong!r}"
