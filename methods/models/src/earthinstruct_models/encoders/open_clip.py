"""Any model of the open_clip family from a local checkpoint: GeoRSCLIP, RemoteCLIP, SkyCLIP, DFN2B, or one's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError

TEMPLATE = "a satellite image of a {category}"
ACTIVATIONS = ("gelu", "quickgelu")
CROP_SCALE = 1.2  # a crop shows its box enlarged about the centre, clipped to the image


class OpenClipEncoder:
    """A CLIP built by open_clip and filled from a file.

    Args:
        checkpoint: a state dict or training checkpoint (`.pt`; loaded with weights_only, a `module.` prefix is removed)
            or `.safetensors`.
        architecture: an open_clip model name, such as "ViT-L-14"; None: the name of `config`.
        config: a model config file in open_clip's format, for an architecture that open_clip does not know.
        activation: `gelu` or `quickgelu`. A state dict does not show which one it was trained with.
        template: the sentence a label is put into; `{category}` stands for it.
        batch_size: crops at once.
        device: a torch device; None: cuda, mps or cpu, the first there is.

    Raises:
        DataError: a file is missing or malformed, or its weights do not fit the architecture.
        UnknownNameError: no such architecture or activation.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        architecture: str | None = None,
        config: Path | str | None = None,
        activation: str = "gelu",
        template: str = TEMPLATE,
        batch_size: int = 64,
        device: str | None = None,
    ) -> None:
        import open_clip
        import torch
        from open_clip.transform import PreprocessCfg, image_transform_v2

        if activation not in ACTIVATIONS:
            raise UnknownNameError("activation", activation, ACTIVATIONS)
        if "{category}" not in template:
            raise EarthInstructError(f"template {template!r} must contain {{category}}")
        self.checkpoint = Path(checkpoint)
        if not self.checkpoint.is_file():
            raise DataError(f"CLIP checkpoint {self.checkpoint} does not exist")
        if config is not None:
            architecture = _register(Path(config))
        if architecture is None or open_clip.get_model_config(architecture) is None:
            raise UnknownNameError("architecture", str(architecture), open_clip.list_models())
        self.architecture = architecture
        self.activation = activation
        self.template = template
        self.batch_size = batch_size
        self.device = torch.device(device or _best_device())
        try:
            model = open_clip.create_model(
                architecture,
                pretrained=str(self.checkpoint),
                force_quick_gelu=activation == "quickgelu",
                require_pretrained=True,
                weights_only=True,
            )
        except Exception as error:  # open_clip, torch and safetensors each raise their own
            raise DataError(
                f"CLIP checkpoint {self.checkpoint} does not load as {architecture}: {type(error).__name__}: "
                f"{str(error)[:300]}; check the architecture, and that the file holds nothing but weights"
            ) from error
        self._model = model.to(self.device).eval()
        self._tokenize = open_clip.get_tokenizer(architecture)
        self._transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
        self._labels: dict[str, NDArray[np.float32]] = {}

    def embed_crops(self, image: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """Unit embeddings of the enlarged boxes: (n, 4) xywh in pixels -> (n, d)."""
        import torch
        from PIL import Image

        picture = Image.fromarray(image)
        parts = [np.zeros((0, self._width), dtype=np.float32)]
        for start in range(0, len(boxes), self.batch_size):
            crops = [
                picture.crop(corners) for corners in crop_corners(boxes[start : start + self.batch_size], *picture.size)
            ]
            with torch.inference_mode():
                batch = torch.stack([self._transform(crop) for crop in crops]).to(self.device)
                features = self._model.encode_image(batch, normalize=True)
            parts.append(features.float().cpu().numpy())
        return np.concatenate(parts)

    def embed_labels(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings of labels in the template: (m, d). Each label is embedded once."""
        import torch

        new = [label for label in dict.fromkeys(labels) if label not in self._labels]
        if new:
            sentences = [self.template.format(category=label.replace("_", " ")) for label in new]
            with torch.inference_mode():
                features = self._model.encode_text(self._tokenize(sentences).to(self.device), normalize=True)
            self._labels.update(zip(new, features.float().cpu().numpy(), strict=True))
        return np.stack([self._labels[label] for label in labels]) if labels else np.zeros((0, self._width), np.float32)

    def describe(self) -> dict[str, Any]:
        """Architecture, activation, template and weights."""
        return {
            "encoder": "open_clip",
            "architecture": self.architecture,
            "activation": self.activation,
            "template": self.template,
            "weights": [
                {"name": self.checkpoint.name, "sha256": hashlib.sha256(self.checkpoint.read_bytes()).hexdigest()}
            ],
        }

    @property
    def _width(self) -> int:
        import open_clip

        return int(open_clip.get_model_config(self.architecture)["embed_dim"])


def crop_corners(boxes: NDArray[np.float64], width: int, height: int) -> list[tuple[int, int, int, int]]:
    """The corners (left, top, right, bottom) of boxes enlarged by `CROP_SCALE`, in whole pixels inside the image.

    >>> crop_corners(np.array([[10.0, 10, 20, 20], [0, 0, 0, 0]]), 100, 30)
    [(8, 8, 32, 30), (0, 0, 1, 1)]
    """
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    half = boxes[:, 2:] * CROP_SCALE / 2
    limit = np.array([width, height])
    low = np.clip(np.floor(centre - half), 0, limit - 1)
    high = np.clip(np.ceil(centre + half), low + 1, limit)
    return [(int(x0), int(y0), int(x1), int(y1)) for (x0, y0), (x1, y1) in zip(low, high, strict=True)]


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _register(config: Path) -> str:
    """Make a model config file known to open_clip; its name is that of the file."""
    import open_clip

    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"CLIP config {config} cannot be read: {error}") from error
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in content]
    if missing:
        raise DataError(f"CLIP config {config} has no {missing[0]!r}; expected an open_clip model config")
    open_clip.add_model_config(config)
    return config.stem
