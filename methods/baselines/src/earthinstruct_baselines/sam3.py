"""SAM 3: a segmenter that finds every instance of a noun phrase.

Source: Carion et al., SAM 3: Segment Anything with Concepts (arXiv 2511.16719).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from earthinstruct_models.devices import as_doubles
from numpy.typing import NDArray

from earthinstruct.errors import EarthInstructError
from earthinstruct.regions import RLE, encode_mask
from earthinstruct_baselines._boxes import best
from earthinstruct_baselines._detector import Detections
from earthinstruct_baselines._pretrained import PretrainedDetector, Published

_INSIDE = 0.5  # least probability of a pixel of a mask


class SAM3(PretrainedDetector):
    """SAM 3: one text prompt for each category, boxes and masks; the image is encoded once for all categories.

    A score is the probability that the query is an instance times the probability that the category is in the image.

    The other parameters are those of `PretrainedDetector`.

    Args:
        threshold: the lowest score of a detection; 0.05 leaves out the many large masks with low scores.
    """

    name = "sam3"
    published = Published(("sam3", "sam3_video"), "Sam3Model", "Sam3Processor", "sam3")

    def __init__(
        self, weights: str | Path | None = None, threshold: float = 0.05, limit: int = 300, device: str | None = None
    ) -> None:
        super().__init__(weights, threshold, limit, device)

    def detect(self, image: NDArray[np.uint8], names: Sequence[str]) -> Detections:
        """Find objects with these names in one RGB image, uint8 (height, width, 3).

        Raises:
            EarthInstructError: a name is too long for the model.
        """
        import torch

        device = self.device
        pixels = self.processor.image_processor(images=image, return_tensors="pt")["pixel_values"].to(device)
        scores, corners, masks = [], [], []
        with torch.inference_mode():
            seen = self.model.get_vision_features(pixels)
            for name in names:
                answer = self.model(vision_embeds=seen, **self._prompt(name).to(device))
                found = answer.pred_logits[0].sigmoid() * answer.presence_logits[0].sigmoid()
                of_queries = as_doubles(found)
                kept = best(of_queries, self.threshold, self.limit)
                scores.append(of_queries[kept])
                corners.append(as_doubles(answer.pred_boxes[0])[kept])
                masks += list(answer.pred_masks[0][torch.from_numpy(kept).to(device)].float().sigmoid().cpu())
        category = np.repeat(np.arange(len(names)), [len(part) for part in scores])
        chosen = best(np.concatenate(scores), self.threshold, self.limit)
        height, width = image.shape[:2]
        return Detections(
            category[chosen],
            np.concatenate(corners)[chosen] * np.array([width, height, width, height]),
            np.concatenate(scores)[chosen],
            [mask_of_image(masks[i], height, width) for i in chosen],
        )

    def parameters(self) -> dict[str, Any]:
        """The prompt of a category."""
        return {"prompt": "{category}", "mask_threshold": _INSIDE}

    def _prompt(self, name: str) -> Any:
        tokenizer = self.processor.tokenizer
        longest = self.model.config.text_config.max_position_embeddings
        tokens = tokenizer(
            name.replace("_", " ").lower(), return_tensors="pt", padding="max_length", max_length=longest
        )
        if tokens["input_ids"].shape[1] > longest:
            raise EarthInstructError(f"category {name!r} is too long for {self.name}: it reads {longest} tokens")
        return tokens


def mask_of_image(probabilities: Any, height: int, width: int) -> RLE:
    """Resize a mask of the model, which sees the image as a square, to the size of the image.

    The mask is a torch tensor (h, w), the probability of each of its pixels.
    """
    from torch.nn.functional import interpolate

    drawn = interpolate(probabilities[None, None], size=(height, width), mode="bilinear", align_corners=False)[0, 0]
    return encode_mask((drawn > _INSIDE).numpy())
