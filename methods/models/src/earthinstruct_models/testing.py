"""A language model for the tests of a method: its replies are scripted, and it records the requests."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct_models.lvlm.interface import Arrived, Images, Lvlm, Outcome, Reply, Schema


class ScriptedLvlm(Lvlm):
    """A language model with scripted replies: subclass it and return the reply in `answer`.

    Attributes:
        requests: how many images each call asked about.
        texts: the prompt of each call.

    >>> class Ships(ScriptedLvlm):
    ...     def answer(self, image):
    ...         return Reply('{"ship": 3}', input_tokens=900)
    >>> Ships().ask(np.zeros((8, 8, 3), np.uint8), "Count the ships.").text
    '{"ship": 3}'
    """

    def __init__(self) -> None:
        self.requests: list[int] = []
        self.texts: list[str] = []

    @abstractmethod
    def answer(self, image: NDArray[np.uint8]) -> Outcome:
        """The reply about one RGB image, uint8 (height, width, 3), or the error."""

    def ask_many(
        self, images: Images, text: str, schema: Schema | None = None, *, arrived: Arrived | None = None
    ) -> list[Outcome]:
        """As any language model."""
        self.requests.append(len(images))
        self.texts.append(text)
        outcomes = [self.answer(image) for image in images]
        for i, outcome in enumerate(outcomes):
            if arrived is not None and isinstance(outcome, Reply):
                arrived(i, outcome)
        return outcomes

    def describe(self) -> dict[str, Any]:
        """Its name."""
        return {"lvlm": type(self).__name__}
