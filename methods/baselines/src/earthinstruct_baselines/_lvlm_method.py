"""The common base of methods that ask a language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from inspect import Parameter
from typing import Any, ClassVar

import numpy as np
from earthinstruct_models.parts import KEPT, TABLES, Parts, Tables, choices_of, lacking
from numpy.typing import NDArray

from earthinstruct.contract import Estimate, Instruction, Prediction
from earthinstruct.tasks import Task


class LvlmMethod(ABC):
    """A method that asks a language model, about several images at once.

    Args:
        chosen: part -> the name of a choice in `tables`, or a part object.
        parameters: of the parts, as `part.key`.
        tables: the choices, where they depend on the parameters; None: those of the class.
    """

    name: str
    parts: ClassVar[tuple[str, ...]] = ("lvlm",)
    tables: ClassVar[Tables] = TABLES
    keepers: ClassVar[Mapping[str, Callable[..., Any]]] = KEPT  # for parts that are given as objects

    def __init__(self, chosen: Mapping[str, Any], parameters: Mapping[str, Any], tables: Tables | None = None) -> None:
        self._parts = Parts(self.name, chosen, parameters, tables or self.tables, self.keepers)

    def predict(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Prediction:
        """Predict one RGB image, uint8 (height, width, 3); raises what `predict_batch` raises."""
        (prediction,) = self.predict_batch([image], instruction)
        return prediction

    @abstractmethod
    def predict_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction, /) -> list[Prediction]:
        """Predict several images; the language model gets them together.

        Raises:
            LvlmError: no usable reply came about one of the images; the replies about the others are kept.
        """

    def questions(self, image: NDArray[np.uint8], instruction: Instruction) -> list[tuple[Any, ...]] | None:
        """The arguments of each request about an image; None: the number of requests is not known before."""
        return None

    def estimate(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Estimate:
        """What the language model will cost."""
        questions = self.questions(image, instruction)
        if questions is None:
            return Estimate(None, None, None)
        return Estimate.join(self._parts["lvlm"].estimate(*question) for question in questions)

    def skip(self, task: Task) -> str | None:
        """None: a language model takes every task."""
        return None

    def parameters(self) -> dict[str, Any]:
        """The parameters besides those of the parts."""
        return {}

    def describe(self) -> dict[str, Any]:
        """The descriptions of the parts."""
        about = self._parts.describe()
        return {
            **about,
            "version": version("earthinstruct-baselines"),
            "parameters": {**self.parameters(), **about["parameters"]},
            "notes": self._parts.notes,
        }

    def repeat(self, number: int, /) -> None:
        """Share no reply with another repeat."""
        self._parts.repeat(number)

    def close(self) -> None:
        """Close the parts."""
        self._parts.close()

    @classmethod
    def missing(cls, **parameters: Any) -> list[str]:
        """What the method lacks on this machine, and how to get it; parameters as for the class."""
        return lacking(cls, cls.parts, parameters, cls.tables)

    @classmethod
    def choices(cls) -> dict[str, dict[str, list[Parameter]]]:
        """What may be chosen for each part, and the parameters of it."""
        return choices_of(cls.parts, cls.tables)
