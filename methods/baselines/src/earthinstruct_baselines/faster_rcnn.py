"""Faster R-CNN, trained on the categories of a dataset: the closed-set detector for comparison.

Source: Ren et al., Faster R-CNN (arXiv 1506.01497), as torchvision builds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
from earthinstruct_models.boxes import best
from earthinstruct_models.checkpoints import load_weights, read_weights, uninitialised
from earthinstruct_models.choices import missing_place
from earthinstruct_models.devices import as_doubles, best_device
from earthinstruct_models.parameters import check_choice
from earthinstruct_models.weights import file_sha256
from numpy.typing import NDArray

from earthinstruct.contract import Instruction
from earthinstruct.datasets import training_sets_given
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.files import decode_json, read_bytes
from earthinstruct.tasks import ExactMapper
from earthinstruct_baselines._detector import Detections, Detector

ARCHITECTURES = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
)
_COUNTED = ".num_batches_tracked"  # torchvision's frozen batch norms do not have it, and no result depends on it


class FasterRCNN(Detector):
    """Faster R-CNN of torchvision: finds objects, and counts those that reach the threshold.

    It finds the classes that it was trained on. A class is matched to the category of the same name, ignoring case,
    underscores and the plural. Classes that the instruction does not name are left out, and categories without a class
    are not found.

    Args:
        weights: the checkpoint: a state dict or training checkpoint, or `.safetensors`; see
            `earthinstruct_models.checkpoints.read_weights`.
        classes: a JSON file, class number (from 1; 0 is the background) -> category name: `{"1": "airplane"}`.
        architecture: torchvision's name of the model.
        threshold: the lowest score of a detection.
        limit: most detections in one image.
        min_size: the shorter side of the resized image, pixels; None: torchvision's default.
        max_size: the largest longer side of the resized image, pixels; None: torchvision's default.
        device: a torch device; None: the best available.
        training_data: what the weights were trained on, with those of the backbone: names of training sets, such as
            `["dior", "imagenet"]`; None: unknown.

    Raises:
        DataError: a file is missing or malformed, or the weights do not fit the model.
        UnknownNameError: no such architecture.
    """

    name = "faster-rcnn"
    needs: ClassVar[dict[str, str]] = {"torch": "torch", "torchvision": "torchvision"}

    def __init__(
        self,
        weights: str | Path,
        classes: str | Path,
        architecture: str = "fasterrcnn_resnet50_fpn",
        threshold: float = 0.5,
        limit: int = 300,
        min_size: int | None = None,
        max_size: int | None = None,
        device: str | None = None,
        training_data: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(threshold, limit)
        if training_data is not None:
            self.training_data = training_sets_given(training_data)
        check_choice("architecture", architecture, ARCHITECTURES)
        self.architecture = architecture
        self.classes = read_classes(Path(classes))
        file = Path(weights)
        self.device = device or best_device()
        sizes = {"min_size": min_size, "max_size": max_size}
        self._sizes = {name: size for name, size in sizes.items() if size is not None}
        self._model = _load(file, architecture, max(self.classes) + 1, threshold, limit, self._sizes)
        self._model.to(self.device).eval()
        self.weights = [{"name": file.name, "sha256": file_sha256(file)}]

    @classmethod
    def missing(cls, **parameters: Any) -> list[str]:
        """What the method lacks on this machine, and how to get it; parameters as for the class."""
        lines = super().missing(**parameters)
        for file in ("weights", "classes"):
            lines += missing_place(parameters.get(file), file, "FILE")
        return lines

    def detect(self, image: NDArray[np.uint8], names: Sequence[str]) -> Detections:
        """Find objects with these names in one RGB image, uint8 (height, width, 3)."""
        import torch

        pixels = torch.from_numpy(image.copy()).to(self.device).permute(2, 0, 1) / 255
        with torch.inference_mode():
            (answer,) = self._model([pixels])
        found = {key: as_doubles(value) for key, value in answer.items()}
        mapped = ExactMapper().map(self.classes.values(), names)
        index = {name: i for i, name in enumerate(names)}
        category_of = {number: index.get(mapped[name].category or "", -1) for number, name in self.classes.items()}
        category = np.array([category_of.get(number, -1) for number in found["labels"].astype(int)], dtype=np.int64)
        asked = np.flatnonzero(category >= 0)
        kept = asked[best(found["scores"][asked], self.threshold, self.limit)]
        return Detections(category[kept], found["boxes"][kept], found["scores"][kept])

    def unknown_words(self, instruction: Instruction, /) -> list[str]:
        """The categories without a class."""
        mapped = ExactMapper().map(self.classes.values(), instruction.categories)
        known = {one.category for one in mapped.values()}
        return [name for name in instruction.categories if name not in known]

    def parameters(self) -> dict[str, Any]:
        """The model and its classes."""
        return {
            "architecture": self.architecture,
            "classes": {str(number): name for number, name in self.classes.items()},
            **self._sizes,
        }


def read_classes(path: Path) -> dict[int, str]:
    """Read the category map of a detector: class number -> name.

    Raises:
        DataError: it is missing or malformed, or two classes have the same name.
    """
    problem = f"{path} is not a category map, class number -> name: {{error}}"
    classes = decode_json(read_bytes(path, "category map"), msgspec.json.Decoder(dict[int, str]), problem)
    if not classes or min(classes) < 1:
        raise DataError(problem.replace("{error}", "numbers start at 1, and 0 is the background"))
    names = list(classes.values())
    repeated = [name for i, name in enumerate(names) if name in names[:i]]
    if repeated:
        raise DataError(f"{path} gives the name {repeated[0]!r} to two classes")
    return dict(sorted(classes.items()))


def _load(file: Path, architecture: str, n_classes: int, threshold: float, limit: int, sizes: dict[str, int]) -> Any:
    """Load the model with its weights; torchvision's default would keep only 100 detections."""
    try:
        from torchvision.models import get_model
    except ModuleNotFoundError as error:
        raise EarthInstructError("faster-rcnn needs torchvision: pip install torchvision") from error
    weights = read_weights(file, "checkpoint")
    with uninitialised():
        model = get_model(
            architecture,
            weights=None,
            weights_backbone=None,
            num_classes=n_classes,
            box_score_thresh=threshold,
            box_detections_per_img=limit,
            **sizes,
        )
    problem = f"{file} does not fit {architecture} with {n_classes} classes, background included"
    load_weights(model, weights, problem, "check the architecture and the classes", optional=(_COUNTED,))
    return model
