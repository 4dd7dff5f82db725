"""Transformers detectors from a folder on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from earthinstruct_models.choices import missing_model, missing_place
from earthinstruct_models.devices import best_device
from earthinstruct_models.pretrained import load_model, load_processor, weight_files
from earthinstruct_models.weights import WEIGHTS, file_sha256, find_weights

from earthinstruct.errors import DataError
from earthinstruct_baselines._detector import Detector


@dataclass(frozen=True)
class Published:
    """A kind of model, and where it is published."""

    model_types: tuple[str, ...]  # accepted in `config.json`
    model_class: str  # of transformers
    processor_class: str  # of transformers
    weights: str  # their name in `earthinstruct_models.weights.WEIGHTS`


class PretrainedDetector(Detector):
    """A transformers detector from a folder as `save_pretrained` writes it.

    Args:
        weights: the folder of the model, trained on unknown data; None: the one in the weights folder.
        threshold: the lowest score of a detection; 0 keeps what a score sweep needs.
        limit: most detections in one image.
        device: a torch device; None: cuda, mps or cpu, the first available.

    Attributes:
        model: in evaluation mode, on `device`.
        processor: prepares the input of the model.

    Raises:
        DataError: the folder is missing, or holds another model, no safetensors, or weights that do not fit.
    """

    published: ClassVar[Published]

    def __init__(
        self, weights: str | Path | None = None, threshold: float = 0.0, limit: int = 300, device: str | None = None
    ) -> None:
        super().__init__(threshold, limit)
        known = self.published
        folder = find_weights(known.weights) if weights is None else Path(weights)
        self.training_data = WEIGHTS[known.weights].training_data_of(weights)
        page = WEIGHTS[known.weights].page
        files = weight_files(folder, page)
        config = folder / "config.json"
        try:
            found = json.loads(config.read_text(encoding="utf-8")).get("model_type")
        except (ValueError, AttributeError) as error:
            raise DataError(f"{config} is not the config of a model: {error}") from error
        if found not in known.model_types:
            expected = " or ".join(map(repr, known.model_types))
            raise DataError(f"{folder} holds a model of type {found!r}, expected {expected}; see {page}")
        self.device = device or best_device()
        self.model = load_model(folder, known.model_class, found, dtype="float32").to(self.device)
        self.processor = load_processor(folder, known.processor_class)
        self.weights = [{"name": file.name, "sha256": file_sha256(file)} for file in files]

    @classmethod
    def missing(cls, **parameters: Any) -> list[str]:
        """What the method lacks on this machine, and how to get it; parameters as for the class."""
        known, weights = WEIGHTS[cls.published.weights], parameters.get("weights")
        if weights is None and not known.here:
            lacking = [f"weights {known.name}: {known.how_to_get}"]
        else:
            lacking = missing_place(weights, "weights", "DIR") + missing_model(weights or known.path, known.page)
        return super().missing(**parameters) + lacking
