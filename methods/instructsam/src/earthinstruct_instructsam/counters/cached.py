"""A counter that looks into the stage cache first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from earthinstruct_models.cache import StageCache, identity, json_codec
from earthinstruct_models.recorded import fingerprint
from numpy.typing import NDArray

from earthinstruct.contract import Instruction
from earthinstruct.tasks import Task
from earthinstruct_instructsam.parts import Answer, Counter, count_together

_ANSWERS = json_codec(Answer)


class CachedCounter:
    """Answers kept by image and instruction."""

    def __init__(self, counter: Counter, cache: StageCache) -> None:
        self._counter = counter
        self._cache = cache

    def count(self, image: NDArray[np.uint8], instruction: Instruction) -> Answer:
        """A kept answer, or a new one."""
        key = self._key(image, instruction)
        return self._cache.get("counts", key, _ANSWERS, lambda: self._counter.count(image, instruction))

    def count_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction) -> list[Answer | Exception]:
        """For each image a kept answer, or a new one, or why there is none; new ones are asked for together."""
        keys = [self._key(image, instruction) for image in images]
        return self._cache.get_many(
            "counts", keys, _ANSWERS, lambda new: count_together(self._counter, [images[i] for i in new], instruction)
        )

    def skip(self, task: Task) -> str | None:
        """That of the counter."""
        return self._counter.skip(task)

    def describe(self) -> dict[str, Any]:
        """That of the counter."""
        return self._counter.describe()

    def close(self) -> None:
        """Release the counter."""
        close = getattr(self._counter, "close", None)
        if callable(close):
            close()

    def _key(self, image: NDArray[np.uint8], instruction: Instruction) -> list[Any]:
        return [self._identity, fingerprint(image), instruction]

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return identity(self._counter)
