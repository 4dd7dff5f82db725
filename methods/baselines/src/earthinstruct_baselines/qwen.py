"""Qwen2.5-VL and Qwen3-VL as detectors: vision-language models that are asked for boxes.

Sources: Bai et al., Qwen2.5-VL (arXiv 2502.13923); Qwen3-VL (arXiv 2511.21631). The prompts are ours.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from earthinstruct_models.choices import LVLMS, transformers_lvlm
from earthinstruct_models.lvlm import Lvlm, Reply, answered, read_boxes
from earthinstruct_models.parts import Tables
from numpy.typing import NDArray

from earthinstruct.contract import Instruction, Prediction, Usage
from earthinstruct.errors import EarthInstructError
from earthinstruct.tasks import ExactMapper
from earthinstruct_baselines._boxes import inside_image
from earthinstruct_baselines._lvlm_method import LvlmMethod

_BOX = "bbox_2d"  # the name of a box that both models were trained with
_FORMAT = (
    f'Answer with a JSON array and nothing else. Each object is one element: {{"{_BOX}": [x1, y1, x2, y2], '
    '"label": "name"}, where (x1, y1) is its upper left and (x2, y2) its lower right corner. If there is none: [].'
)


def _tables(weights: str) -> Tables:
    """The language models; on this machine, the one with these weights."""
    return {"lvlm": {**LVLMS, "transformers": transformers_lvlm(weights)}}


class QwenDetector(LvlmMethod):
    """A language model that is asked for boxes. It gives no scores.

    A reply that was cut off is read up to its end. Losses are recorded as events of the prediction: torn or unreadable
    elements, boxes outside the image and, under open_vocabulary, labels that are not in the instruction.

    Args:
        lvlm: `transformers` (a folder on this machine), `openai` (an OpenAI-compatible server), or a language model.
        **parameters: of the language model, as `lvlm.key`; `lvlm.replies` is a file that keeps every reply.

    Raises:
        EarthInstructError: a parameter is unknown or lacking, or the weights are not on this machine.
    """

    def __init__(self, lvlm: str | Lvlm = "transformers", **parameters: Any) -> None:
        super().__init__({"lvlm": lvlm}, parameters)

    def shown(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image that is sent to the model."""
        return image

    @abstractmethod
    def extent(self, shown: NDArray[np.uint8]) -> tuple[float, float]:
        """Width and height of the image that is sent, in the coordinates of the answer."""

    def question(self, image: NDArray[np.uint8], instruction: Instruction) -> tuple[Any, ...]:
        """The request about an image."""
        return self.shown(image), prompt(instruction)

    def predict_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction, /) -> list[Prediction]:
        """Predict several images; the language model gets them together.

        Raises:
            LvlmError: no reply came about one of the images, or it is a refusal or has no JSON; the replies about the
                others are kept.
        """
        shown = [self.shown(image) for image in images]
        replies = answered(self._parts["lvlm"].ask_many(shown, prompt(instruction)))
        return [self._read(*about, instruction) for about in zip(images, shown, replies, strict=True)]

    def _read(
        self, image: NDArray[np.uint8], shown: NDArray[np.uint8], reply: Reply, instruction: Instruction
    ) -> Prediction:
        found = read_boxes(reply)
        height, width = image.shape[:2]
        across, down = self.extent(shown)
        scale = np.array([width / across, height / down, width / across, height / down])
        boxes, kept = inside_image(found.corners * scale, height, width)
        labels = [found.labels[i] for i in kept]
        asked = list(range(len(labels)))
        if instruction.categories:
            mapped = ExactMapper().map(labels, instruction.categories)
            asked = [i for i, label in enumerate(labels) if mapped[label].category is not None]
            labels = [mapped[label].category or label for label in labels]
        events = {
            **reply.events,
            "truncated replies": int(found.truncated),
            "unreadable elements": found.unreadable,
            "boxes outside the image": len(found.labels) - len(kept),
            "labels not asked for": len(labels) - len(asked),
        }
        return Prediction(
            labels=tuple(labels[i] for i in asked),
            boxes=boxes[asked],
            usage=Usage({"lvlm": reply.seconds}, reply.input_tokens, reply.output_tokens, events),
        )


class Qwen25VL(QwenDetector):
    """Qwen2.5-VL: answers in pixels of the image as it was resized for the model.

    The image is resized here, to multiples of 28 pixels within the limits, so that its size is known. The model's
    processor, on this machine or on a server, does not resize an image of such a size. The limits of a server must
    include `min_pixels` and `max_pixels`; otherwise it resizes again, and all boxes are wrong.

    Args:
        lvlm: `transformers`, `openai`, or a language model.
        min_pixels: a smaller image is enlarged.
        max_pixels: a larger image is reduced.
        **parameters: of the language model, as `lvlm.key`.

    Raises:
        EarthInstructError: a parameter is unknown, lacking or out of range, or the weights are not on this machine.
    """

    name = "qwen2.5-vl"
    tables: ClassVar[Tables] = _tables("qwen2.5-vl-7b")
    factor = 28  # pixels: patches of 14, merged two by two

    def __init__(
        self,
        lvlm: str | Lvlm = "transformers",
        min_pixels: int = 256 * 28 * 28,
        max_pixels: int = 1280 * 28 * 28,
        **parameters: Any,
    ) -> None:
        if not self.factor**2 <= min_pixels < max_pixels:
            raise EarthInstructError(
                f"min_pixels must be at least {self.factor**2} and below max_pixels, got {min_pixels} and {max_pixels}"
            )
        for limit in ("min_pixels", "max_pixels"):
            if f"lvlm.{limit}" in parameters:
                raise EarthInstructError(f"give {limit} without 'lvlm.': the image is resized before the model gets it")
        if lvlm == "transformers":
            parameters |= {"lvlm.min_pixels": min_pixels, "lvlm.max_pixels": max_pixels}
        super().__init__(lvlm, **parameters)
        self.min_pixels, self.max_pixels = min_pixels, max_pixels

    def shown(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image, resized for the model."""
        from PIL import Image
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        try:
            height, width = smart_resize(*image.shape[:2], self.factor, self.min_pixels, self.max_pixels)
        except ValueError as error:
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise EarthInstructError(f"{self.name} takes no image of {size} pixels: {error}") from error
        if (height, width) == image.shape[:2]:
            return image
        return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))

    def extent(self, shown: NDArray[np.uint8]) -> tuple[float, float]:
        """The size in pixels."""
        return float(shown.shape[1]), float(shown.shape[0])

    def parameters(self) -> dict[str, Any]:
        """The limits, and the coordinates."""
        return {
            "min_pixels": self.min_pixels,
            "max_pixels": self.max_pixels,
            "coordinates": "pixels of the resized image",
        }


class Qwen3VL(QwenDetector):
    """Qwen3-VL: answers in thousandths of the width and height, whatever the size of the image."""

    name = "qwen3-vl"
    tables: ClassVar[Tables] = _tables("qwen3-vl-8b")

    def extent(self, shown: NDArray[np.uint8]) -> tuple[float, float]:
        """1000 across, 1000 down."""
        return 1000.0, 1000.0

    def parameters(self) -> dict[str, Any]:
        """The coordinates."""
        return {"coordinates": "thousandths of the image"}


def prompt(instruction: Instruction) -> str:
    """The prompt. It does not contain the rules of the dataset, unlike the instruction's own text."""
    if instruction.setting == "open_vocabulary":
        what = f"Find every object of these categories: {', '.join(instruction.categories)}. Use these names as labels."
    elif instruction.setting == "open_subclass":
        what = f"Find every object that is a kind of {instruction.parent}. Label each with the name of its own kind."
    else:
        what = "Find every object that can be told apart. Label each with the name of its kind, in one to three words."
    return f"This image was taken from above, by a satellite or an aircraft. {what}\n{_FORMAT}"
