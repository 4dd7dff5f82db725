"""The small models: trained on dataset `scenes`, so that the whole method runs where there are no weights."""

from pathlib import Path

_HERE = Path(__file__).parent
CLIP_CONFIG = _HERE / "clip-scenes.json"
CLIP_WEIGHTS = _HERE / "clip-scenes.safetensors"
COUNTER_WEIGHTS = _HERE / "counter-scenes.safetensors"
