"""A language model names the kinds of objects in an image, and a detector finds them.

With GPT-4o and OWLv2 it is the paper's "GPT-4o + OWL".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from earthinstruct_models.choices import Choice, always, missing_model
from earthinstruct_models.lvlm import Lvlm, LvlmError, Reply, answered, checked, closed_object, find_json
from earthinstruct_models.parts import KEPT, TABLES, Tables
from numpy.typing import NDArray

from earthinstruct.contract import Instruction, Prediction, Usage
from earthinstruct.errors import EarthInstructError
from earthinstruct.tasks import Task, normalised
from earthinstruct_baselines._lvlm_method import LvlmMethod
from earthinstruct_baselines._pretrained import PretrainedDetector
from earthinstruct_baselines.grounding_dino import GroundingDino, LLMDet, MMGroundingDino
from earthinstruct_baselines.omdet_turbo import OmDetTurbo
from earthinstruct_baselines.owlv2 import OWLv2
from earthinstruct_baselines.sam3 import SAM3, SAM3LiteText

SCHEMA = closed_object({"names": {"type": "array", "items": {"type": "string"}}})
_FORMAT = (
    'Answer with JSON and nothing else: {"names": ["name", ...]}, each name once, in the singular, or [] for nothing.'
)
_NAMED = "the categories are already named: use {finder}, which needs no language model"


class Finder:
    """A detector as a part of a method: it looks for names that another part gives.

    Args:
        detector: the detector.
    """

    def __init__(self, detector: PretrainedDetector) -> None:
        self.detector = detector

    def describe(self) -> dict[str, Any]:
        """Parameters, device, weights and their training data."""
        about = self.detector.describe()
        kept = {key: about[key] for key in ("weights", "training_data", "device")}
        return {"finder": self.detector.name, **about["parameters"], **kept}


def _choice(detector: type[PretrainedDetector]) -> Choice:
    return Choice(
        "earthinstruct_baselines.lvlm_finder:Finder",
        inner={
            "detector": Choice(
                f"{detector.__module__}:{detector.__name__}",
                packages=detector.needs,
                weights=always(detector.published.weights),
                weights_as="weights",
                also=lambda _part, given: missing_model(given.get("weights")),
            )
        },
    )


FINDERS: Mapping[str, Choice] = {
    detector.name: _choice(detector)
    for detector in (OWLv2, SAM3, SAM3LiteText, GroundingDino, MMGroundingDino, LLMDet, OmDetTurbo)
}


class LvlmFinder(LvlmMethod):
    """An LVLM that names the kinds of objects in an image, and a detector that looks for those names.

    It answers open_ended and open_subclass instructions. Names too long for the detector are left out and recorded as
    events of the prediction. The name of the method is that of its finder: `lvlm-sam3`; with OWLv2, `lvlm-owl`.

    Args:
        finder: a name of `FINDERS`, or a detector.
        lvlm: `openai`, `transformers`, or a language model.
        **parameters: of the parts, as `finder.key` and `lvlm.key`; `finder.weights` is the folder of the detector, and
            `lvlm.replies` a file that keeps every reply.

    Raises:
        EarthInstructError: a parameter is unknown or lacking, or a file is missing.
    """

    name = "lvlm-owl"
    parts: ClassVar[tuple[str, ...]] = ("lvlm", "finder")
    tables: ClassVar[Tables] = {**TABLES, "finder": FINDERS}
    keepers: ClassVar[Mapping[str, Callable[..., Any]]] = {**KEPT, "finder": lambda detector, cache: Finder(detector)}

    def __init__(
        self, finder: str | PretrainedDetector = "owlv2", lvlm: str | Lvlm = "openai", **parameters: Any
    ) -> None:
        found_by = finder if isinstance(finder, str) else finder.name
        self.name = "lvlm-owl" if found_by == OWLv2.name else f"lvlm-{found_by}"
        super().__init__({"lvlm": lvlm, "finder": finder}, parameters)
        self._detector: PretrainedDetector = self._parts["finder"].detector

    def questions(self, image: NDArray[np.uint8], instruction: Instruction) -> list[tuple[Any, ...]]:
        """The request about an image."""
        return [(image, prompt(instruction), SCHEMA)]

    def predict_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction, /) -> list[Prediction]:
        """Predict several images; the language model gets them together.

        Raises:
            EarthInstructError: the instruction names its categories.
            LvlmError: no reply with names came about one of the images; the replies about the others are kept.
        """
        if instruction.setting == "open_vocabulary":
            raise EarthInstructError(f"{self.name}: {self._named}")
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
        return self._named if task.setting == "open_vocabulary" else None

    @property
    def _named(self) -> str:
        return _NAMED.format(finder=self._detector.name)

    def describe(self) -> dict[str, Any]:
        """The descriptions of the language model and the detector."""
        about, detector = super().describe(), self._detector.describe()
        return {**about, "packages": detector["packages"], "notes": detector["notes"] + about["notes"]}


class LvlmSam3(LvlmFinder):
    """An LVLM that names the kinds of objects in an image, and SAM 3, or another detector, that looks for those names.

    It differs from `LvlmFinder` in the default finder alone, and takes the same parameters.

    Args:
        finder: a name of `FINDERS`, or a detector.
        lvlm: `openai`, `transformers`, or a language model.
    """

    name = "lvlm-sam3"

    def __init__(
        self, finder: str | PretrainedDetector = "sam3", lvlm: str | Lvlm = "openai", **parameters: Any
    ) -> None:
        super().__init__(finder, lvlm, **parameters)


def prompt(instruction: Instruction) -> str:
    """The prompt about an image."""
    if instruction.setting == "open_subclass":
        what = f"Which kinds of {instruction.parent} can be seen in it? Name each kind."
    else:
        what = "Which kinds of objects can be seen in it? Name each kind that can be counted, in one to three words."
    return f"This image was taken from above, by a satellite or an aircraft. {what}\n{_FORMAT}"


def read_names(reply: Reply) -> list[str]:
    """The names in a reply, each once, in order: objects with `names`, or arrays; empty objects are ignored.

    Names that differ in case, underscores, hyphens or the plural alone are one, because a detector would find the same
    objects for each.

    Raises:
        LvlmError: the reply is a refusal, was cut off, or has no such JSON.

    >>> read_names(Reply('{"names": ["ship", "harbor", "Ships"]}'))
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
    kinds: dict[str, str] = {}
    for name in names:
        kinds.setdefault(normalised(name), name.strip())
    return [name for name in kinds.values() if name]
