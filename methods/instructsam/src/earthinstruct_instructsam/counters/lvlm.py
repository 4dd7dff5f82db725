"""Counts from a language model that sees: the counter of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from earthinstruct_models.lvlm import Lvlm, LvlmError, Reply, parse_counts
from earthinstruct_models.store import KeptLvlm
from numpy.typing import NDArray

from earthinstruct.contract import Instruction
from earthinstruct.tasks import Task, normalised
from earthinstruct_instructsam.parts import Answer

ANSWER_FORMAT = "Answer with one JSON object of names and whole numbers, and nothing else."


class LvlmCounter:
    """Asks a language model the text of the instruction, and reads counts out of its reply.

    A text that does not speak of JSON gets one more line that asks for it. A model that can be held to a schema is held
    to whole numbers, of the categories of an open_vocabulary instruction or of any names. Labels stay in the model's
    words; under open_vocabulary, one that differs from a category by case, underscores, hyphens or the plural alone is
    that category.

    Args:
        lvlm: the language model; no reply is asked, and paid, for twice.
    """

    def __init__(self, lvlm: Lvlm) -> None:
        self.lvlm = lvlm if isinstance(lvlm, KeptLvlm) else KeptLvlm(lvlm)

    def count(self, image: NDArray[np.uint8], instruction: Instruction) -> Answer:
        """Count in one RGB image, uint8 (height, width, 3).

        Raises:
            LvlmError: no reply came, or none that holds counts; the message shows the reply, shortened, and `reply` is
                all of it, with its tokens.
        """
        return _answer(self.lvlm.ask(image, _prompt(instruction), _schema(instruction)), instruction)

    def count_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction) -> list[Answer | LvlmError]:
        """Count in several images at once; for each the answer, or why there is none, in order."""
        outcomes = self.lvlm.ask_many(images, _prompt(instruction), _schema(instruction))
        return [_answer_or_error(outcome, instruction) for outcome in outcomes]

    def skip(self, task: Task) -> str | None:
        """A language model takes every task."""
        return None

    def describe(self) -> dict[str, Any]:
        """That of the language model."""
        return {"counter": "lvlm", **self.lvlm.describe()}

    def close(self) -> None:
        """Release the language model."""
        self.lvlm.close()


def _prompt(instruction: Instruction) -> str:
    text = instruction.text
    return text if "json" in text.lower() else f"{text}\n{ANSWER_FORMAT}"


def _schema(instruction: Instruction) -> dict[str, Any]:
    """Whole numbers: of every category, or, where names are free, of any."""
    number = {"type": "integer"}
    if not instruction.categories:
        return {"type": "object", "additionalProperties": number}
    return {
        "type": "object",
        "properties": dict.fromkeys(instruction.categories, number),
        "required": list(instruction.categories),
        "additionalProperties": False,
    }


def _answer(reply: Reply, instruction: Instruction) -> Answer:
    counts = parse_counts(reply)
    if instruction.categories:
        counts = _in_categories(counts, instruction.categories, reply)
    return Answer(counts, reply.input_tokens, reply.output_tokens, reply.seconds)


def _answer_or_error(outcome: Reply | LvlmError, instruction: Instruction) -> Answer | LvlmError:
    if isinstance(outcome, LvlmError):
        return outcome
    try:
        return _answer(outcome, instruction)
    except LvlmError as error:
        return error


def _in_categories(counts: dict[str, int], categories: Sequence[str], reply: Reply) -> dict[str, int]:
    """The counts under the names of the categories that they spell; other labels stay as they are."""
    known = {normalised(category): category for category in categories}
    named: dict[str, int] = {}
    for label, count in counts.items():
        name = label if label in categories else known.get(normalised(label), label)
        if named.setdefault(name, count) != count:
            raise LvlmError(f"the reply gives {name!r} two different values", reply)
    return named
