"""What a method asks of its models. Importing this module, or one that defines a part, imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Proposals


class Proposer(Protocol):
    """Proposes class-agnostic regions of an image (SAM2 in the paper).

    Optional: `propose_batch(images)`, the same for several at once.
    """

    def propose(self, image: NDArray[np.uint8]) -> Proposals:
        """Regions of one RGB image, uint8 (height, width, 3), best first, with masks."""
        ...

    def describe(self) -> dict[str, Any]:
        """Parameters, and `weights` [{name, sha256}] where there are any."""
        ...


class Encoder(Protocol):
    """Embeds crops and labels into one space (a remote-sensing CLIP in the paper)."""

    def embed_crops(self, image: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """Unit embeddings of the image inside each box: (n, 4) xywh in pixels -> (n, d)."""
        ...

    def embed_labels(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings of labels in the encoder's template: (m, d)."""
        ...

    def describe(self) -> dict[str, Any]:
        """Parameters, and `weights` [{name, sha256}]."""
        ...


def propose_together(proposer: Proposer, images: Sequence[NDArray[np.uint8]]) -> list[Proposals]:
    """The regions of several images: by the proposer's `propose_batch` where it has one, else image by image."""
    batch = getattr(proposer, "propose_batch", None)
    if callable(batch):
        found: list[Proposals] = batch(images)
        return found
    return [proposer.propose(image) for image in images]
