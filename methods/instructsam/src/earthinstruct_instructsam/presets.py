"""Named choices of all parts. A parameter given beside a preset replaces the preset's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SMALL_NOTE = (
    "preset small (scenes-trained): for trying the pipeline. For DIOR and NWPU give real parts, for example "
    "-M preset=recorded -M images=IMAGES -M counts=COUNTS -M proposals=PROPOSALS.json "
    "-M checkpoint=RS5M_ViT-L-14.pt -M architecture=ViT-L-14 (see methods/instructsam/README.md)"
)

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small": {"counter": "small", "proposer": "segments", "encoder": "small"},
    "recorded": {"counter": "recorded", "proposer": "recorded", "encoder": "open_clip"},
}
