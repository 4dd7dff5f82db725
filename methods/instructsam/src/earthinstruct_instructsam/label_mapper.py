"""`--label-map clip:<encoder>`: maps a label to the category with the most similar CLIP text embedding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from earthinstruct_models.encoders.table import ENCODERS
from earthinstruct_models.interfaces import Encoder

from earthinstruct.errors import UnknownNameError
from earthinstruct.tasks import MappedLabel
from earthinstruct_instructsam.small import small_encoder

LEAST_SIMILARITY = 0.95  # paper, section 4.1


class ClipMapper:
    """Maps a label to the category with the largest cosine between text embeddings, if it exceeds 0.95.

    Args:
        encoder: `small`, an encoder of the table such as `georsclip-l14` (from the weights folder), or
            `<architecture>:<checkpoint file>` such as `ViT-L-14:RS5M_ViT-L-14.pt`.

    Raises:
        UnknownNameError: none of these.
        DataError: the weights are missing or do not load.
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
    from earthinstruct_models.encoders.open_clip import OpenClipEncoder, named_encoder

    if name == "small":
        return small_encoder()
    if name in ENCODERS:
        return named_encoder(name)
    architecture, separator, checkpoint = name.partition(":")
    if not separator:
        raise UnknownNameError(
            "encoder of label map clip",
            name,
            ("small", *ENCODERS),
            "One of your own is given as clip:<architecture>:<checkpoint file>.",
        )
    return OpenClipEncoder(Path(checkpoint), architecture)
