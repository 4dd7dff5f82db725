"""OmDet-Turbo: a detector with a query for each name and one text that names the task.

Source: Zhao et al., OmDet-Turbo (arXiv 2403.06892).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from earthinstruct_models.boxes import best
from earthinstruct_models.devices import as_doubles
from earthinstruct_models.parameters import check_number
from earthinstruct_models.pretrained import Published
from numpy.typing import NDArray
from PIL import Image

from earthinstruct.errors import EarthInstructError
from earthinstruct_baselines._detector import Detections
from earthinstruct_baselines._pretrained import PretrainedDetector

TASK = "Detect {names}."


class OmDetTurbo(PretrainedDetector):
    """OmDet-Turbo: scores each box for each name; of boxes of one name that overlap much, the best is kept.

    Candidates and suppression are those of the model's own processor. The other parameters are those of
    `PretrainedDetector`.

    Args:
        task: the text that names the task; `{names}` stands for the names, with commas.
        nms: of two boxes of one name with a larger IoU than this, the one with the lower score is dropped.

    Raises:
        EarthInstructError: `nms` is no IoU.
    """

    name = "omdet-turbo"
    published = Published(("omdet-turbo",), "OmDetTurboForObjectDetection", "OmDetTurboProcessor", "omdet-turbo-tiny")

    def __init__(
        self,
        weights: str | Path | None = None,
        task: str = TASK,
        nms: float = 0.5,
        threshold: float = 0.0,
        limit: int = 300,
        device: str | None = None,
        training_data: str | Sequence[str] | None = None,
    ) -> None:
        self.nms = check_number("nms", nms, 0, 1)
        super().__init__(weights, threshold, limit, device, training_data)
        self.task = task

    def detect(self, image: NDArray[np.uint8], names: Sequence[str]) -> Detections:
        """Find objects with these names in one RGB image, uint8 (height, width, 3).

        Raises:
            EarthInstructError: a name or the task is too long for the model.
        """
        import torch

        words = [_word(name) for name in names]
        task = self.task.replace("{names}", ", ".join(words))
        self._refuse_long(words, task)
        inputs = self.processor(Image.fromarray(image), text=[words], task=[task], return_tensors="pt").to(self.device)
        with torch.inference_mode():
            answer = self.model(**inputs)
            (found,) = self.processor.post_process_grounded_object_detection(
                answer, threshold=self.threshold, nms_threshold=self.nms, target_sizes=[image.shape[:2]]
            )
        scores = as_doubles(found["scores"])
        chosen = best(scores, self.threshold, self.limit)
        corners, category = as_doubles(found["boxes"]), found["labels"].cpu().numpy()
        return Detections(category[chosen], corners[chosen], scores[chosen])

    def fits(self, name: str) -> bool:
        """Whether the model can read the name."""
        return self._length(_word(name)) <= self._longest

    def parameters(self) -> dict[str, Any]:
        """The task and the suppression."""
        return {"task": self.task, "nms": self.nms, "queries": int(self.model.config.num_queries)}

    def _refuse_long(self, words: Sequence[str], task: str) -> None:
        """The model's processor would cut a longer text without a word."""
        for what, text in (*(("category", word) for word in words), ("the task", task)):
            length = self._length(text)
            if length > self._longest:
                short = "; give a shorter -M task=TEXT" if what == "the task" else ""
                raise EarthInstructError(
                    f"{what} {text!r} has {length} tokens, {self.name} reads {self._longest}{short}"
                )

    def _length(self, text: str) -> int:
        return len(self.processor.tokenizer(text).input_ids)

    @property
    def _longest(self) -> int:
        return int(self.model.config.text_config.max_position_embeddings)


def _word(name: str) -> str:
    return name.replace("_", " ").lower()
