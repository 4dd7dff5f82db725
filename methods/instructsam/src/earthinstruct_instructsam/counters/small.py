"""A counter that needs no language model: a small network trained on the embedded scenes. It reads no prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from earthinstruct_models.weights import file_sha256
from numpy.typing import NDArray

from earthinstruct.contract import Instruction
from earthinstruct.errors import DataError
from earthinstruct.tasks import Task
from earthinstruct_instructsam.parts import Answer
from earthinstruct_instructsam.small import COUNTER_WEIGHTS
from earthinstruct_instructsam.small.words import CATEGORIES, EVERYDAY, category_of, members_of

LONGEST_SIDE = 1024  # pixels; a larger image is reduced


class SmallCounter:
    """Counts the ten categories of the embedded scenes.

    An open_vocabulary instruction gets a count for each of its categories (0 for an unknown one), an open_ended
    instruction the objects found, in everyday names, and an open_subclass instruction the objects found that belong to
    the parent. An unknown category or parent is an event of the answer.

    Args:
        weights: a `.safetensors` file written by `earthinstruct_instructsam.small.train`; None: that of the package.

    Raises:
        DataError: the file is missing or does not fit the network.
    """

    deterministic = True

    def __init__(self, weights: Path | str | None = None) -> None:
        import torch
        from safetensors.torch import load_file

        from earthinstruct_instructsam.small.network import PeakNetwork

        self.weights = Path(weights) if weights is not None else COUNTER_WEIGHTS
        make = "make them with `python -m earthinstruct_instructsam.small.train counter`"
        if not self.weights.is_file():
            raise DataError(f"counter weights {self.weights} do not exist; {make}")
        network = PeakNetwork(len(CATEGORIES))
        try:
            network.load_state_dict(load_file(self.weights))
        except Exception as error:  # safetensors and torch each raise their own
            raise DataError(
                f"counter weights {self.weights} do not load: {type(error).__name__}: {str(error)[:300]}; {make}"
            ) from error
        self._network = network.to(memory_format=torch.channels_last).eval()

    def count(self, image: NDArray[np.uint8], instruction: Instruction) -> Answer:
        """Count in one RGB image, uint8 (height, width, 3)."""
        unknown = self.unknown_words(instruction)
        if instruction.setting == "open_subclass" and unknown:
            return Answer({}, events=_without(unknown))
        found = self.count_known(image)
        if instruction.setting == "open_vocabulary":
            counts = {name: found.get(str(category_of(name)), 0) for name in instruction.categories}
            return Answer(counts, events=_without(unknown))
        wanted = members_of(instruction.parent) if instruction.parent else CATEGORIES
        return Answer({EVERYDAY[name]: found[name] for name in wanted or () if found[name]})

    def skip(self, task: Task) -> str | None:
        """The reason to decline a task: its parent category is unknown."""
        if task.parent is not None and members_of(task.parent) is None:
            return f"the small counter does not know which of its categories are a {task.parent}"
        return None

    def unknown_words(self, instruction: Instruction) -> list[str]:
        """The categories, or the parent, that it does not know and therefore never counts."""
        if instruction.parent is not None:
            return [] if members_of(instruction.parent) else [instruction.parent]
        return [name for name in instruction.categories if category_of(name) is None]

    def describe(self) -> dict[str, Any]:
        """Weights, parameters and device."""
        return {
            "counter": "small",
            "longest_side": LONGEST_SIDE,
            "device": "cpu",
            "weights": [{"name": self.weights.name, "sha256": file_sha256(self.weights)}],
        }

    def count_known(self, image: NDArray[np.uint8]) -> dict[str, int]:
        """The count of each of the ten categories."""
        import torch

        from earthinstruct_instructsam.small.network import MULTIPLE

        padded = pad(reduced(image, LONGEST_SIDE), MULTIPLE)
        with torch.inference_mode():
            batch = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
            counts = self._network.counts(batch.contiguous(memory_format=torch.channels_last))[0].tolist()
        return dict(zip(CATEGORIES, counts, strict=True))


def _without(words: Sequence[str]) -> dict[str, int]:
    """An event for each unknown word."""
    return {f"answers without {word!r} (unknown to the small counter)": 1 for word in words}


def reduced(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """The image with its longer side at most `longest` pixels."""
    from PIL import Image

    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def pad(image: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """The image, padded with grey below and to the right until both sides are a multiple.

    >>> pad(np.zeros((3, 5, 3), np.uint8), 4).shape
    (4, 8, 3)
    """
    height, width = image.shape[:2]
    return np.pad(image, ((0, -height % multiple), (0, -width % multiple), (0, 0)), constant_values=128)
