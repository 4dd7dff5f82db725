"""Counts from a vision-language model: the counter of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from earthinstruct_models.devices import working_memory
from earthinstruct_models.lvlm import Lvlm, LvlmError, Reply, closed_object, read_counts
from earthinstruct_models.store import KeptLvlm
from numpy.typing import NDArray

from earthinstruct.contract import Estimate, Instruction
from earthinstruct.tasks import Task, normalised
from earthinstruct_instructsam.parts import Answer

ANSWER_FORMAT = "Answer with one JSON object of names and whole numbers, and nothing else."


class LvlmCounter:
    """Sends the text of the instruction to a language model, and reads the counts from its reply.

    If the text does not mention JSON, a line that asks for JSON is added. A model that supports a schema must answer
    with integers, for the categories of an open_vocabulary instruction or for any names. Labels stay in the model's
    words. Under open_vocabulary, a label that differs from a category only in case, underscores, hyphens or the plural
    becomes that category.

    Args:
        lvlm: the language model. Its replies are kept, so that none is paid for twice.
    """

    def __init__(self, lvlm: Lvlm) -> None:
        self.lvlm = lvlm if isinstance(lvlm, KeptLvlm) else KeptLvlm(lvlm)

    def count(self, image: NDArray[np.uint8], instruction: Instruction) -> Answer:
        """Count in one RGB image, uint8 (height, width, 3).

        Raises:
            LvlmError: no reply came, or it has no counts. The message shows the shortened reply; `reply` is the whole
                reply, with its tokens.
        """
        return _answer(self.lvlm.ask(image, _prompt(instruction), _schema(instruction)), instruction)

    def count_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction) -> list[Answer | LvlmError]:
        """Count in several images at once; the answer, or the error, for each image, in order."""
        outcomes = self.lvlm.ask_many(images, _prompt(instruction), _schema(instruction))
        return [_answer_or_error(outcome, instruction) for outcome in outcomes]

    def estimate(self, image: NDArray[np.uint8], instruction: Instruction) -> Estimate:
        """What counting will cost."""
        return self.lvlm.estimate(image, _prompt(instruction), _schema(instruction))

    def skip(self, task: Task) -> str | None:
        """None: a language model takes every task."""
        return None

    @property
    def working_memory(self) -> Mapping[str, int]:
        """That of the language model: device -> bytes."""
        return working_memory(self.lvlm)

    def describe(self) -> dict[str, Any]:
        """The description of the language model."""
        return {"counter": "lvlm", **self.lvlm.describe()}

    @property
    def deterministic(self) -> bool:
        """Whether the language model always writes the same."""
        return bool(getattr(self.lvlm, "deterministic", False))

    def repeat(self, number: int) -> None:
        """Share no reply with another repeat, and take another seed."""
        self.lvlm.repeat(number)

    def close(self) -> None:
        """Release the language model."""
        self.lvlm.close()


def _prompt(instruction: Instruction) -> str:
    text = instruction.text
    return text if "json" in text.lower() else f"{text}\n{ANSWER_FORMAT}"


def _schema(instruction: Instruction) -> dict[str, Any]:
    """The schema: an integer for every category, or for any names if the instruction names no categories."""
    number = {"type": "integer"}
    if not instruction.categories:
        return {"type": "object", "additionalProperties": number}
    return closed_object(dict.fromkeys(instruction.categories, number))


def _answer(reply: Reply, instruction: Instruction) -> Answer:
    read = read_counts(reply, instruction.categories or ())
    counts = read.counts
    if instruction.categories:
        counts = _in_categories(counts, instruction.categories, reply)
    return Answer(counts, reply.input_tokens, reply.output_tokens, reply.seconds, {**reply.events, **read.events})


def _answer_or_error(outcome: Reply | LvlmError, instruction: Instruction) -> Answer | LvlmError:
    if isinstance(outcome, LvlmError):
        return outcome
    try:
        return _answer(outcome, instruction)
    except LvlmError as error:
        return error


def _in_categories(counts: dict[str, int], categories: Sequence[str], reply: Reply) -> dict[str, int]:
    """The counts, with labels that spell a category replaced by its name; other labels are unchanged."""
    known = {normalised(category): category for category in categories}
    named: dict[str, int] = {}
    for label, count in counts.items():
        name = label if label in categories else known.get(normalised(label), label)
        if named.setdefault(name, count) != count:
            raise LvlmError(f"the reply gives {name!r} two different values", reply)
    return named
