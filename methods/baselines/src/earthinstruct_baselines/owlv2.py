"""OWLv2: a detector that takes each category name as a separate query.

Source: Minderer et al., Scaling Open-Vocabulary Object Detection (arXiv 2306.09683).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from earthinstruct_models.boxes import best, corners_of_centres
from earthinstruct_models.devices import as_doubles
from earthinstruct_models.pretrained import Published
from numpy.typing import NDArray
from PIL import Image

from earthinstruct.errors import EarthInstructError
from earthinstruct_baselines._detector import Detections
from earthinstruct_baselines._pretrained import PretrainedDetector

TEMPLATE = "a photo of a {category}"


class OWLv2(PretrainedDetector):
    """OWLv2: one query for each category, in a template; each image patch gives one box and its best category.

    The model sees the image padded below and to the right to a square of its longer side. The other parameters are
    those of `PretrainedDetector`.

    Args:
        template: the sentence around a name; `{category}` stands for the name.

    Raises:
        EarthInstructError: the template has no `{category}`.
    """

    name = "owlv2"
    published = Published(("owlv2",), "Owlv2ForObjectDetection", "Owlv2Processor", "owlv2-large")

    def __init__(
        self,
        weights: str | Path | None = None,
        template: str = TEMPLATE,
        threshold: float = 0.0,
        limit: int = 300,
        device: str | None = None,
        training_data: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(weights, threshold, limit, device, training_data)
        if "{category}" not in template:
            raise EarthInstructError(f"template {template!r} must contain {{category}}")
        self.template = template

    def detect(self, image: NDArray[np.uint8], names: Sequence[str]) -> Detections:
        """Find objects with these names in one RGB image, uint8 (height, width, 3).

        Raises:
            EarthInstructError: a name is too long for the model.
        """
        import torch

        for name in names:
            if not self.fits(name):
                raise EarthInstructError(f"category {name!r} in {self.template!r} is too long for {self.name}")
        queries = [self._query(name) for name in names]
        inputs = self.processor(text=[queries], images=Image.fromarray(image), return_tensors="pt").to(self.device)
        with torch.inference_mode():
            answer = self.model(**inputs)
        probabilities = as_doubles(answer.logits[0].sigmoid())  # (patches, names)
        category = probabilities.argmax(axis=1)
        scores = probabilities[np.arange(len(category)), category]
        chosen = best(scores, self.threshold, self.limit)
        corners = corners_of_centres(as_doubles(answer.pred_boxes[0])[chosen])
        return Detections(category[chosen], corners * max(image.shape[:2]), scores[chosen])

    def fits(self, name: str) -> bool:
        """Whether the model can read the name in the template."""
        tokenizer = self.processor.tokenizer
        longest = self.model.config.text_config.max_position_embeddings
        return bool(len(tokenizer(self._query(name)).input_ids) <= longest)

    def parameters(self) -> dict[str, Any]:
        """The template."""
        return {"template": self.template}

    def _query(self, name: str) -> str:
        return self.template.replace("{category}", name.replace("_", " ").lower())
