"""InstructSAM without counts: every proposal gets its most similar category, if it is similar enough.

The paper compares its counts with this method (Zheng et al., InstructSAM, arXiv 2505.15818).
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter
from typing import Any, ClassVar

import numpy as np
from earthinstruct_models.boxes import best
from earthinstruct_models.interfaces import Encoder, Proposer
from earthinstruct_models.parameters import check_choice, check_number
from earthinstruct_models.parts import Parts, choices_of, lacking
from numpy.typing import NDArray
from scipy.special import softmax

from earthinstruct.errors import EarthInstructError
from earthinstruct_baselines._detector import Detections, Detector

SCORES = ("softmax", "cosine")


class ClipThreshold(Detector):
    """Proposals and a CLIP: the most similar category of each proposal, scored by that similarity; no counts.

    Args:
        proposer: `sam2`, `segments`, `recorded`, or a proposer object.
        encoder: `open_clip`, the name of an encoder such as `georsclip-l14`, or an encoder object.
        score: `softmax`: over the similarities of all categories of the instruction; `cosine`: the similarity.
        temperature: of the softmax, which divides the similarities by it; 0.01 is CLIP's value.
        threshold: the lowest score of a detection; 0 keeps what a score sweep needs.
        limit: most detections in one image.
        **parameters: of the parts, as `proposer.key` and `encoder.key`; `cache` is a folder that keeps proposals and
            embeddings.

    Raises:
        EarthInstructError: a part or parameter is unknown, or a part lacks a parameter or a file.
    """

    name = "clip-threshold"
    needs: ClassVar[dict[str, str]] = {"torch": "torch", "open_clip": "open_clip_torch"}

    def __init__(
        self,
        proposer: str | Proposer = "sam2",
        encoder: str | Encoder = "georsclip-l14",
        score: str = "softmax",
        temperature: float = 0.01,
        threshold: float = 0.0,
        limit: int = 300,
        **parameters: Any,
    ) -> None:
        super().__init__(threshold, limit)
        check_choice("score", score, SCORES)
        self.temperature = check_number("temperature", temperature)
        if self.temperature <= 0:
            raise EarthInstructError(f"temperature must be above 0, got {temperature!r}")
        self.score = score
        self._parts = Parts(self.name, {"proposer": proposer, "encoder": encoder}, parameters)
        self._described = self._parts.describe()
        self.weights = self._described["weights"]
        self.training_data = self._described["training_data"]
        self.device = self._described["device"] or "cpu"

    def detect(self, image: NDArray[np.uint8], names: Sequence[str]) -> Detections:
        """Label the proposals of one RGB image, uint8 (height, width, 3)."""
        proposals = self._parts["proposer"].propose(image)
        crops = self._parts["encoder"].embed_crops(image, proposals.boxes)
        similarities = (crops @ self._parts["encoder"].embed_labels(names).T).astype(np.float64)
        shares = similarities if self.score == "cosine" else softmax(similarities / self.temperature, axis=1)
        category = shares.argmax(axis=1)
        scores = shares[np.arange(len(shares)), category]
        kept = best(scores, self.threshold, self.limit)
        corners = np.hstack([proposals.boxes[:, :2], proposals.boxes[:, :2] + proposals.boxes[:, 2:]])
        masks = None if proposals.masks is None else [proposals.masks[i] for i in kept]
        return Detections(category[kept], corners[kept], scores[kept], masks, proposals)

    def describe(self) -> dict[str, Any]:
        """Parameters, weights and versions."""
        described = super().describe()
        notes = described["notes"] + self._parts.notes
        return {**described, "notes": notes, "deterministic": self._described["deterministic"]}

    def repeat(self, number: int, /) -> None:
        """Share no answer of a part with another repeat."""
        self._parts.repeat(number)

    def parameters(self) -> dict[str, Any]:
        """The score, and the parts with their parameters."""
        return {"score": self.score, "temperature": self.temperature, **self._described["parameters"]}

    @classmethod
    def missing(cls, **parameters: Any) -> list[str]:
        """What the method and its parts lack on this machine, and how to get it; parameters as for the class."""
        return super().missing() or lacking(cls, ("proposer", "encoder"), parameters)

    @classmethod
    def choices(cls) -> dict[str, dict[str, list[Parameter]]]:
        """What may be chosen for each part, and the parameters of it."""
        return choices_of(("proposer", "encoder"))
