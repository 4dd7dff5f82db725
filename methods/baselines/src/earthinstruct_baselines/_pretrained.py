"""Transformers detectors from a folder on this machine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from earthinstruct_models.choices import missing_model, missing_place
from earthinstruct_models.pretrained import Published, load_pretrained
from earthinstruct_models.weights import WEIGHTS

from earthinstruct_baselines._detector import Detector


class PretrainedDetector(Detector):
    """A transformers detector from a folder as `save_pretrained` writes it.

    Args:
        weights: the folder of the model; None: the one in the weights folder.
        threshold: the lowest score of a detection; 0 keeps what a score sweep needs.
        limit: most detections in one image.
        device: a torch device; None: cuda, mps or cpu, the first available.
        training_data: what the weights were trained on, such as `["dior", "imagenet"]`; None: unknown for a folder of
            your own.

    Attributes:
        model: in evaluation mode, on `device`.
        processor: prepares the input of the model.

    Raises:
        DataError: the folder is missing, or holds another model, no safetensors, or weights that do not fit.
    """

    published: ClassVar[Published]

    def __init__(
        self,
        weights: str | Path | None = None,
        threshold: float = 0.0,
        limit: int = 300,
        device: str | None = None,
        training_data: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(threshold, limit)
        self.loaded = load_pretrained(self.published, weights, device, training_data)
        self.model, self.processor = self.loaded.model, self.loaded.processor
        self.device, self.weights = self.loaded.device, self.loaded.weights
        self.training_data = self.loaded.training_data

    @abstractmethod
    def fits(self, name: str) -> bool:
        """Whether the model can read a name."""

    @classmethod
    def missing(cls, **parameters: Any) -> list[str]:
        """What the method lacks on this machine, and how to get it; parameters as for the class."""
        return super().missing(**parameters) + missing_weights(cls.published, parameters.get("weights"))


def missing_weights(published: Published, folder: str | Path | None) -> list[str]:
    """What a folder of weights lacks, or the one in the weights folder if it is None."""
    known = WEIGHTS[published.weights]
    if folder is None and not known.here:
        return [f"weights {known.name}: {known.how_to_get}"]
    return missing_place(folder, "weights", "DIR") + missing_model(folder or known.path, known.page)
