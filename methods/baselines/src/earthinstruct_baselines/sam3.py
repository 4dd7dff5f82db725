"""SAM 3 and SAM3-LiteText: segmenters that find every instance of a noun phrase. The model is in earthinstruct-models.

Sources: Carion et al., SAM 3: Segment Anything with Concepts (arXiv 2511.16719); Zeng et al., SAM3-LiteText
(arXiv 2602.12173).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from earthinstruct_models.boxes import best
from earthinstruct_models.proposers.sam3 import INSIDE, SAM3S, find_instances, fits
from numpy.typing import NDArray

from earthinstruct_baselines._detector import Detections
from earthinstruct_baselines._pretrained import PretrainedDetector


class SAM3(PretrainedDetector):
    """SAM 3: one text prompt for each category, boxes and masks; the image is encoded once for all categories.

    A score is the probability that the query is an instance times the probability that the category is in the image.

    The other parameters are those of `PretrainedDetector`.

    Args:
        threshold: the lowest score of a detection; 0.05 leaves out the many large masks with low scores.
    """

    name = "sam3"
    published = SAM3S["sam3"]

    def __init__(
        self,
        weights: str | Path | None = None,
        threshold: float = 0.05,
        limit: int = 300,
        device: str | None = None,
        training_data: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(weights, threshold, limit, device, training_data)

    def detect(self, image: NDArray[np.uint8], names: Sequence[str]) -> Detections:
        """Find objects with these names in one RGB image, uint8 (height, width, 3).

        Raises:
            EarthInstructError: a name is too long for the model.
        """
        found = find_instances(self.loaded, image, names, self.threshold, self.limit)
        places = [(category, i) for category, of_name in enumerate(found) for i in range(len(of_name.scores))]
        scores = np.concatenate([of_name.scores for of_name in found])
        chosen = best(scores, self.threshold, self.limit)
        return Detections(
            np.array([places[i][0] for i in chosen], dtype=np.int64),
            np.concatenate([of_name.corners for of_name in found])[chosen],
            scores[chosen],
            [found[category].mask(i) for category, i in (places[i] for i in chosen)],
        )

    def fits(self, name: str) -> bool:
        """Whether the model can read the name."""
        return fits(self.loaded, name)

    def parameters(self) -> dict[str, Any]:
        """The prompt of a category."""
        return {"prompt": "{category}", "mask_threshold": INSIDE}


class SAM3LiteText(SAM3):
    """SAM3-LiteText: SAM 3 with a smaller text encoder, used in the same way."""

    name = "sam3-litetext"
    published = SAM3S["sam3-litetext"]
