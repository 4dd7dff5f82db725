"""Florence-2: a model that writes the places of objects as text, for a category or for everything in the image.

Source: Xiao et al., Florence-2 (arXiv 2311.06242).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from earthinstruct_models.boxes import inside_image
from earthinstruct_models.choices import missing_packages
from earthinstruct_models.devices import Batches, missing_device
from earthinstruct_models.parameters import check_choice, check_integer
from earthinstruct_models.pretrained import Published, load_pretrained
from numpy.typing import NDArray
from PIL import Image

from earthinstruct.contract import Estimate, Instruction, Prediction, Usage
from earthinstruct.errors import EarthInstructError
from earthinstruct.tasks import Task
from earthinstruct_baselines._pretrained import missing_weights

NAMED = "<OPEN_VOCABULARY_DETECTION>"
FREE: Mapping[str, str] = {"regions": "<DENSE_REGION_CAPTION>", "objects": "<OD>"}
_NO_PARENT = "its prompts take no parent category; use lvlm-owl or lvlm-sam3"


class Florence2:
    """Florence-2: one prompt for each category, or one about everything in the image; it gives no scores.

    Under open_vocabulary a box has the category that was asked about. Under open_ended its label is in the model's
    words. Prompts, decoding and the reading of answers are the model's own.

    Args:
        weights: the folder of the model; None: the one in the weights folder.
        free: what is asked under open_ended: `regions`, each with a description, or `objects`, each with a category.
        beams: of the beam search.
        max_new_tokens: the longest answer.
        batch_size: prompts at once; halved when memory runs out.
        device: a torch device; None: cuda, mps or cpu, the first available.
        training_data: what the weights were trained on; None: unknown for a folder of your own.

    Raises:
        DataError: the folder is missing, or holds another model, no safetensors, or weights that do not fit.
        EarthInstructError: a parameter is unknown or out of range.
    """

    name = "florence-2"
    published = Published(("florence2",), "Florence2ForConditionalGeneration", "Florence2Processor", "florence-2-large")
    needs: ClassVar[dict[str, str]] = {"torch": "torch", "transformers": "transformers"}

    def __init__(
        self,
        weights: str | Path | None = None,
        free: str = "regions",
        beams: int = 3,
        max_new_tokens: int = 1024,
        batch_size: int = 8,
        device: str | None = None,
        training_data: str | Sequence[str] | None = None,
    ) -> None:
        check_choice("free", free, FREE)
        self.beams = check_integer("beams", beams)
        self.max_new_tokens = check_integer("max_new_tokens", max_new_tokens)
        self.batch_size = check_integer("batch_size", batch_size)
        self.loaded = load_pretrained(self.published, weights, device, training_data)
        self._positions = int(self.loaded.model.config.text_config.max_position_embeddings)
        if max_new_tokens > self._positions:
            raise EarthInstructError(f"max_new_tokens must be at most {self._positions}, got {max_new_tokens}")
        self.free = free
        self._batches = Batches(self.batch_size, "prompts")

    def predict(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Prediction:
        """Predict one RGB image, uint8 (height, width, 3); raises what `predict_batch` raises."""
        (prediction,) = self.predict_batch([image], instruction)
        return prediction

    def predict_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction, /) -> list[Prediction]:
        """Predict several images; their prompts are answered together.

        The seconds are divided evenly among the images.

        Raises:
            EarthInstructError: the setting is open_subclass, or a category is too long for the model.
        """
        if instruction.setting == "open_subclass":
            raise EarthInstructError(f"{self.name}: {_NO_PARENT}")
        started = time.perf_counter()
        names: Sequence[str | None] = instruction.categories or [None]
        asked = [_Asked(image, name, FREE[self.free]) for image in images for name in names]
        found = [answer for batch in self._batches(self._answers, asked) for answer in batch]
        seconds = (time.perf_counter() - started) / max(1, len(images))
        each = len(names)
        return [_prediction(image, found[i * each : (i + 1) * each], seconds) for i, image in enumerate(images)]

    def _answers(self, asked: Sequence[_Asked]) -> list[_Answer]:
        import torch

        processor, model = self.loaded.processor, self.loaded.model
        inputs = processor(
            text=[question.prompt for question in asked],
            images=[Image.fromarray(question.image) for question in asked],
            padding=True,
            return_tensors="pt",
        ).to(self.loaded.device)
        for question, length in zip(asked, inputs["attention_mask"].sum(dim=1).tolist(), strict=True):
            if length > self._positions:
                raise EarthInstructError(f"category {question.name!r} is too long for {self.name}")
        with torch.inference_mode():
            written = model.generate(
                **inputs, max_new_tokens=self.max_new_tokens, num_beams=self.beams, do_sample=False
            ).cpu()
        lengths = (written[:, 1:] != processor.tokenizer.pad_token_id).sum(dim=1).tolist()  # the first one is no answer
        texts = processor.batch_decode(written, skip_special_tokens=False)
        return [
            question.read(processor, text, length >= self.max_new_tokens)
            for question, text, length in zip(asked, texts, lengths, strict=True)
        ]

    def estimate(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Estimate:
        """Nothing: no server is asked."""
        return Estimate()

    def skip(self, task: Task) -> str | None:
        """The reason to decline open_subclass: the model has no prompt for it."""
        return _NO_PARENT if task.setting == "open_subclass" else None

    def describe(self) -> dict[str, Any]:
        """Parameters, weights and versions."""
        return {
            "version": version("earthinstruct-baselines"),
            "parameters": {
                "free": self.free,
                "prompts": [NAMED, FREE[self.free]],
                "beams": self.beams,
                "no_repeat_ngram_size": self.loaded.model.generation_config.no_repeat_ngram_size,
                "max_new_tokens": self.max_new_tokens,
                "batch_size": self.batch_size,
            },
            "weights": self.loaded.weights,
            "training_data": self.loaded.training_data,
            "device": self.loaded.device,
            "packages": {package: version(package) for package in self.needs.values()},
        }

    @classmethod
    def missing(cls, **parameters: Any) -> list[str]:
        """What the method lacks on this machine, and how to get it; parameters as for the class."""
        absent = missing_packages(cls.needs) or missing_device(parameters.get("device"))
        return absent + missing_weights(cls.published, parameters.get("weights"))


@dataclass(frozen=True, eq=False)
class _Answer:
    """The boxes in one answer."""

    labels: list[str]
    corners: list[list[float]]  # x0, y0, x1, y1 in pixels
    cut_off: bool


@dataclass(frozen=True, eq=False)
class _Asked:
    """A question about an image: where objects of a name are; without a name, which objects it shows."""

    image: NDArray[np.uint8]
    name: str | None
    free: str  # the task of a question without a name

    @property
    def prompt(self) -> str:
        return self.free if self.name is None else f"{NAMED}{self.name.replace('_', ' ').lower()}"

    def read(self, processor: Any, text: str, cut_off: bool) -> _Answer:
        """Read the answer, as the model's own processor does; of an object drawn by polygons, the box around them."""
        task = self.free if self.name is None else NAMED
        height, width = self.image.shape[:2]
        found = processor.post_process_generation(text, task=task, image_size=(width, height))[task]
        corners, labels = list(found["bboxes"]), list(found.get("labels", found.get("bboxes_labels")))
        for rings, label in zip(found.get("polygons", ()), found.get("polygons_labels", ()), strict=True):
            points = np.concatenate(rings).reshape(-1, 2)
            corners.append([*points.min(axis=0), *points.max(axis=0)])
            labels.append(label)
        return _Answer(labels if self.name is None else [self.name] * len(labels), corners, cut_off)


def _prediction(image: NDArray[np.uint8], answers: Sequence[_Answer], seconds: float) -> Prediction:
    labels = [label.strip() for answer in answers for label in answer.labels]
    boxes, kept = inside_image([box for answer in answers for box in answer.corners], *image.shape[:2])
    named = [i for i, place in enumerate(kept) if labels[place]]
    events = {
        "answers cut off": sum(answer.cut_off for answer in answers),
        "answers without a box": sum(not answer.corners for answer in answers),
        "boxes without an area": len(labels) - len(kept),
        "boxes without a label": len(kept) - len(named),
    }
    return Prediction(
        labels=tuple(labels[kept[i]] for i in named),
        boxes=boxes[named],
        usage=Usage({"detector": seconds}, events=events),
    )
