"""`--label-map clip:<encoder>`: a label goes to the category whose sentence means the same to a CLIP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from earthinstruct_models.parts import Encoder

from earthinstruct.errors import EarthInstructError
from earthinstruct.tasks import MappedLabel

LEAST_SIMILARITY = 0.95  # paper, section 4.1


class ClipMapper:
    """Maps a label to the category of largest cosine between text embeddings, where it exceeds 0.95.

    Args:
        encoder: `small`, or `<architecture>:<checkpoint file>` such as `ViT-L-14:RS5M_ViT-L-14.pt`.

    Raises:
        EarthInstructError: neither of these, or the weights do not load.
    """

    def __init__(self, encoder: str) -> None:
        self.name = f"clip:{encoder}"
        self._encoder = _encoder(encoder)

    def map(self, labels: Iterable[str], categories: Sequence[str]) -> dict[str, MappedLabel]:
        """An entry for every label, with the largest similarity."""
        names = sorted(set(labels))
        if not names:
            return {}
        similarities = self._encoder.embed_labels(names) @ self._encoder.embed_labels(list(categories)).T
        return {
            name: MappedLabel(
                categories[int(np.argmax(row))] if row.max() > LEAST_SIMILARITY else None, round(float(row.max()), 6)
            )
            for name, row in zip(names, similarities, strict=True)
        }


def _encoder(name: str) -> Encoder:
    from earthinstruct_models.encoders.open_clip import OpenClipEncoder

    if name == "small":
        from earthinstruct_instructsam.small import CLIP_CONFIG, CLIP_WEIGHTS

        return OpenClipEncoder(CLIP_WEIGHTS, config=CLIP_CONFIG)
    architecture, separator, checkpoint = name.partition(":")
    if not separator:
        raise EarthInstructError(
            f"label map 'clip:{name}': give clip:small, or clip:<architecture>:<checkpoint file> such as "
            "clip:ViT-L-14:RS5M_ViT-L-14.pt"
        )
    return OpenClipEncoder(Path(checkpoint), architecture)
