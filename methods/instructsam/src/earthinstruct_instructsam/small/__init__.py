"""The small models, trained on the dataset `scenes`, so that the whole method runs without downloaded weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earthinstruct_models.encoders.open_clip import OpenClipEncoder

_HERE = Path(__file__).parent
CLIP_CONFIG = _HERE / "clip-scenes.json"
CLIP_WEIGHTS = _HERE / "clip-scenes.safetensors"
COUNTER_WEIGHTS = _HERE / "counter-scenes.safetensors"


def small_encoder(
    batch_size: int = 64, crops: str = "pil", device: str | None = None, dtype: str = "float32"
) -> OpenClipEncoder:
    """The small CLIP; parameters as for `OpenClipEncoder`."""
    from earthinstruct_models.encoders.open_clip import OpenClipEncoder

    encoder = OpenClipEncoder(
        CLIP_WEIGHTS, config=CLIP_CONFIG, batch_size=batch_size, crops=crops, device=device, dtype=dtype
    )
    encoder.name = "small"
    return encoder
