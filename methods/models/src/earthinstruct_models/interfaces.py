"""The interfaces of the models. Importing this module, or one that defines a part, imports no torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Proposals

_T = TypeVar("_T")


class Proposer(Protocol):
    """Proposes class-agnostic regions of an image (SAM2 in the paper).

    Optional: `propose_batch(images)`, the same for several images at once.
    """

    def propose(self, image: NDArray[np.uint8]) -> Proposals:
        """Regions of one RGB image, uint8 (height, width, 3), best first, with masks."""
        ...

    def describe(self) -> dict[str, Any]:
        """Parameters, and `weights` [{name, sha256}] if it has any."""
        ...


class LabelProposer(Protocol):
    """Proposes regions for given labels, and scores them (SAM 3); so no encoder is needed."""

    def propose_for(self, image: NDArray[np.uint8], labels: Sequence[str]) -> list[Proposals]:
        """For each label its regions in one RGB image, uint8 (height, width, 3): best first, with masks and scores."""
        ...

    def describe(self) -> dict[str, Any]:
        """Parameters, and `weights` [{name, sha256}] if it has any."""
        ...


class Encoder(Protocol):
    """Embeds crops and labels into one space (a remote-sensing CLIP in the paper).

    Optional: `logit_scale`, the factor that turns cosines into logits of a softmax over labels, or None;
    `weight_bytes`, the memory of the weights.
    """

    def embed_crops(self, image: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """Unit embeddings of the image inside each box: (n, 4) xywh in pixels -> (n, d)."""
        ...

    def embed_labels(self, labels: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings of labels in the encoder's template: (m, d)."""
        ...

    def describe(self) -> dict[str, Any]:
        """Parameters, and `weights` [{name, sha256}]."""
        ...


def timed(work: Callable[..., _T], *arguments: Any) -> tuple[_T, float]:
    """The result of a call, and its seconds."""
    started = time.perf_counter()
    return work(*arguments), time.perf_counter() - started


def ask_each(part: Any, call: str, images: Sequence[NDArray[np.uint8]], *about: Any) -> list[tuple[Any, float]]:
    """The answer of a part for each image, and its seconds.

    Args:
        part: a part.
        call: the name of its method for one image. If it also has `<call>_batch`, all images are given together, and
            the seconds are divided evenly.
        images: uint8 RGB (height, width, 3).
        *about: further arguments of the call.
    """
    batch = getattr(part, f"{call}_batch", None)
    if len(images) == 1 or not callable(batch):
        return [timed(getattr(part, call), image, *about) for image in images]
    answers, seconds = timed(batch, images, *about)
    return [(answer, seconds / len(images)) for answer in answers]
