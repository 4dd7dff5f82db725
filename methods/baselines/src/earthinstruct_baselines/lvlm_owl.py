"""A language model names the kinds of objects in an image, and OWLv2 finds them: the paper's "GPT-4o + OWL"."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from earthinstruct_models.lvlm import Lvlm, LvlmError, Reply, answered, checked, closed_object, find_json
from numpy.typing import NDArray

from earthinstruct.contract import Instruction, Prediction, Usage
from earthinstruct.errors import EarthInstructError
from earthinstruct.tasks import Task
from earthinstruct_baselines._lvlm_method import LvlmMethod
from earthinstruct_baselines.owlv2 import TEMPLATE, OWLv2

SCHEMA = closed_object({"names": {"type": "array", "items": {"type": "string"}}})
_FORMAT = (
    'Answer with JSON and nothing else: {"names": ["name", ...]}, each name once, in the singular, or [] for nothing.'
)
_NAMED = "the categories are already named: use owlv2, which needs no language model"


class LvlmOwl(LvlmMethod):
    """An LVLM that names the kinds of objects in an image, and OWLv2 that looks for those names.

    It answers open_ended and open_subclass instructions. Names too long for OWLv2 are left out and recorded as events
    of the prediction.

    Args:
        weights: the folder of OWLv2; None: the one in the weights folder.
        lvlm: `openai`, `transformers`, or a language model.
        template: of OWLv2: the sentence around a name.
        threshold: of OWLv2: the lowest score of a detection; 0 keeps what a score sweep needs.
        limit: of OWLv2: most detections in one image.
        device: of OWLv2: a torch device; None: the best available.
        **parameters: of the language model, as `lvlm.key`; `lvlm.replies` is a file that keeps every reply.

    Raises:
        EarthInstructError: a parameter is unknown or lacking, or a file is missing.
    """

    name = "lvlm-owl"

    def __init__(
        self,
        weights: str | Path | None = None,
        lvlm: str | Lvlm = "openai",
        template: str = TEMPLATE,
        threshold: float = 0.0,
        limit: int = 300,
        device: str | None = None,
        **parameters: Any,
    ) -> None:
        super().__init__({"lvlm": lvlm}, parameters)
        self._detector = OWLv2(weights, template, threshold, limit, device)

    def question(self, image: NDArray[np.uint8], instruction: Instruction) -> tuple[Any, ...]:
        """The request about an image."""
        return image, prompt(instruction), SCHEMA

    def predict_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction, /) -> list[Prediction]:
        """Predict several images; the language model gets them together.

        Raises:
            EarthInstructError: the instruction names its categories.
            LvlmError: no reply with names came about one of the images; the replies about the others are kept.
        """
        if instruction.setting == "open_vocabulary":
            raise EarthInstructError(f"{self.name}: {_NAMED}")
        replies = answered(self._parts["lvlm"].ask_many(images, prompt(instruction), SCHEMA))
        named = [read_names(reply) for reply in replies]  # before the detector runs, because its work is not kept
        return [self._find(*about) for about in zip(images, replies, named, strict=True)]

    def _find(self, image: NDArray[np.uint8], reply: Reply, named: Sequence[str]) -> Prediction:
        names = [name for name in named if self._detector.fits(name)]
        asked = Usage(
            {"lvlm": reply.seconds},
            reply.input_tokens,
            reply.output_tokens,
            {**reply.events, "names too long": len(named) - len(names)},
        )
        if not names:
            return Prediction(scores=np.zeros(0), usage=asked)
        started = time.perf_counter()
        found = self._detector.detect(image, names)
        seconds = {"detector": time.perf_counter() - started}
        usage = Usage.join([asked, Usage(seconds, events=self._detector.limit_reached(found))])
        return found.prediction(names, image.shape, usage)

    def skip(self, task: Task) -> str | None:
        """The reason to decline open_vocabulary: its instructions name the categories."""
        return _NAMED if task.setting == "open_vocabulary" else None

    def describe(self) -> dict[str, Any]:
        """The descriptions of the language model and the detector."""
        lvlm, owl = super().describe(), self._detector.describe()
        return {
            **owl,
            "parameters": {**owl["parameters"], **lvlm["parameters"]},
            "weights": lvlm["weights"] + owl["weights"],
            "training_data": {**lvlm["training_data"], "detector": owl["training_data"]},
            "notes": owl["notes"] + lvlm["notes"],
        }

    @classmethod
    def missing(cls, **parameters: Any) -> list[str]:
        """What the method lacks on this machine, and how to get it; parameters as for the class."""
        of_owl = {key: parameters[key] for key in ("weights", "device") if key in parameters}
        return OWLv2.missing(**of_owl) + super().missing(**parameters)


def prompt(instruction: Instruction) -> str:
    """The prompt about an image."""
    if instruction.setting == "open_subclass":
        what = f"Which kinds of {instruction.parent} can be seen in it? Name each kind."
    else:
        what = "Which kinds of objects can be seen in it? Name each kind that can be counted, in one to three words."
    return f"This image was taken from above, by a satellite or an aircraft. {what}\n{_FORMAT}"


def read_names(reply: Reply) -> list[str]:
    """The names in a reply, each once, in order: objects with `names`, or arrays; empty objects are ignored.

    Raises:
        LvlmError: the reply is a refusal, was cut off, or has no such JSON.

    >>> read_names(Reply('{"names": ["ship", "harbor", "ship"]}'))
    ['ship', 'harbor']
    """
    found = find_json(checked(reply).text)
    if found.problem:
        raise LvlmError(f"the reply holds no list of names: {found.problem}", reply)
    names: list[str] = []
    for value in filter(None, found.values):
        part = value.get("names") if isinstance(value, dict) else value
        if not isinstance(part, list) or not all(isinstance(name, str) for name in part):
            raise LvlmError(f"the reply holds no list of names, but {str(value)[:100]!r}", reply)
        names += part
    return list(dict.fromkeys(name.strip() for name in names if name.strip()))
