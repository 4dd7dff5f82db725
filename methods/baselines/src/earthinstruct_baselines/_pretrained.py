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
class Pretrained:
    """A model ready to run, and its processor.

    Attributes:
        model: in evaluation mode, on `device`.
        processor: made from the same folder.
        device: a torch device.
        weights: the safetensors files, [{name, sha256}].
    """

    model: Any
    processor: Any
    device: str
    weights: list[dict[str, str]]


@dataclass(frozen=True)
class Published:
    """A kind of model, and where it is published.

    Attributes:
        model_types: the accepted model types in `config.json`.
        model_class: the class of transformers that loads it.
        processor_class: the class of its processor.
        weights: its weights, by their name in `earthinstruct_models.weights.WEIGHTS`.
    """

    model_types: tuple[str, ...]
    model_class: str
    processor_class: str
    weights: str

    @property
    def page(self) -> str:
        """Where the weights are published."""
        return WEIGHTS[self.weights].page


class PretrainedDetector(Detector):
    """A transformers detector.

    Args:
        weights: the folder of the model; None: the one in the weights folder.
        threshold: the lowest score of a detection.
        limit: most detections in one image.
        device: a torch device; None: the best available.

    Raises:
        DataError: the folder is missing or does not hold the model.
    """

    published: ClassVar[Published]

    def __init__(self, weights: str | Path | None, threshold: float, limit: int, device: str | None) -> None:
        super().__init__(threshold, limit)
        folder = find_weights(self.published.weights) if weights is None else weights
        self._loaded = load_pretrained(folder, self.published, device)

    @classmethod
    def missing(cls, **parameters: Any) -> list[str]:
        """What the method lacks on this machine, and how to get it; parameters as for the class."""
        known, weights = WEIGHTS[cls.published.weights], parameters.get("weights")
        if weights is None and not known.here:
            lacking = [f"weights {known.name}: {known.how_to_get}"]
        else:
            lacking = missing_place(weights, "weights", "DIR") + missing_model(weights or known.path, known.page)
        return super().missing(**parameters) + lacking

    @property
    def weights(self) -> list[dict[str, str]]:
        """The loaded files, [{name, sha256}]."""
        return self._loaded.weights

    @property
    def device(self) -> str:
        """The torch device that the model runs on."""
        return self._loaded.device


def load_pretrained(folder: Path | str, published: Published, device: str | None = None) -> Pretrained:
    """Load a model and its processor.

    Args:
        folder: as `save_pretrained` writes it: `config.json`, `*.safetensors`, the processor's files.
        published: the expected model.
        device: a torch device; None: cuda, mps or cpu, the first available.

    Raises:
        DataError: the folder is missing, or holds another model, no safetensors, or weights that do not fit.
    """
    folder = Path(folder)
    files = weight_files(folder, published.page)
    config = folder / "config.json"
    try:
        found = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise DataError(f"{config} is not the config of a model: {error}") from error
    if found not in published.model_types:
        expected = " or ".join(map(repr, published.model_types))
        raise DataError(f"{folder} holds a model of type {found!r}, expected {expected}; see {published.page}")
    device = device or best_device()
    model = load_model(folder, published.model_class, found, dtype="float32").to(device)
    processor = load_processor(folder, published.processor_class)
    return Pretrained(model, processor, device, [{"name": file.name, "sha256": file_sha256(file)} for file in files])
