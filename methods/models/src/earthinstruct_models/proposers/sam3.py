"""SAM 3: finds every instance of a noun phrase, each with a score, a box and a mask.

It proposes regions for given labels, and scores them, where other proposers need no label and give none.
Sources: Carion et al., SAM 3: Segment Anything with Concepts (arXiv 2511.16719); Zeng et al., SAM3-LiteText
(arXiv 2602.12173), the same with a smaller text encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthinstruct.contract import Proposals
from earthinstruct.errors import EarthInstructError
from earthinstruct.regions import RLE, encode_mask
from earthinstruct_models.boxes import Floats, best, inside_image
from earthinstruct_models.devices import as_doubles
from earthinstruct_models.parameters import check_integer, check_number
from earthinstruct_models.pretrained import Pretrained, Published, load_pretrained

if TYPE_CHECKING:
    from torch import Tensor

SAM3S: Mapping[str, Published] = {
    "sam3": Published(("sam3", "sam3_video"), "Sam3Model", "Sam3Processor", "sam3"),
    "sam3-litetext": Published(("sam3_lite_text",), "Sam3LiteTextModel", "Sam3Processor", "sam3-litetext-s0"),
}
INSIDE = 0.5  # least probability of a pixel of a mask
TOKENS = 32  # to which `Sam3Processor` pads a phrase


@dataclass(frozen=True, eq=False)
class Found:
    """The instances of one phrase in one image, best first."""

    scores: Floats  # (n,), the probability of an instance times that of the phrase being in the image
    corners: Floats  # (n, 4), x0, y0, x1, y1 in pixels of the image
    drawn: Tensor  # (n, h, w) on the CPU, probabilities; the model sees the image as a square
    size: tuple[int, int]  # height and width of the image

    def mask(self, index: int) -> RLE:
        """The mask of an instance, of the image's size."""
        from torch.nn.functional import interpolate

        square = self.drawn[index][None, None]
        mask = interpolate(square, size=self.size, mode="bilinear", align_corners=False)[0, 0]
        return encode_mask((mask > INSIDE).numpy())


def find_instances(
    sam3: Pretrained, image: NDArray[np.uint8], names: Sequence[str], threshold: float, limit: int
) -> list[Found]:
    """Find the instances of each name in one RGB image, uint8 (height, width, 3); the image is encoded once.

    Args:
        sam3: one of `SAM3S`.
        image: the image.
        names: the phrases, in order.
        threshold: the lowest score of an instance.
        limit: most instances of a name.

    Returns:
        The instances of each name.

    Raises:
        EarthInstructError: a name is too long for the model.
    """
    import torch

    for name in names:
        if not fits(sam3, name):
            raise EarthInstructError(f"category {name!r} is too long for SAM 3: it reads {TOKENS} tokens")
    inputs = sam3.processor.image_processor(images=Image.fromarray(image), return_tensors="pt")
    pixels = inputs["pixel_values"].to(sam3.device)
    height, width = image.shape[:2]
    found = []
    with torch.inference_mode():
        seen = sam3.model.get_vision_features(pixels)
        for name in names:
            answer = sam3.model(vision_embeds=seen, **_phrase(sam3, name).to(sam3.device))
            scores = as_doubles(answer.pred_logits[0].sigmoid() * answer.presence_logits[0].sigmoid())
            kept = best(scores, threshold, limit)
            corners = as_doubles(answer.pred_boxes[0])[kept] * np.array([width, height, width, height])
            drawn = answer.pred_masks[0][torch.from_numpy(kept).to(sam3.device)].float().sigmoid().cpu()
            found.append(Found(scores[kept], corners, drawn, (height, width)))
    return found


def fits(sam3: Pretrained, name: str) -> bool:
    """Whether the model can read a name."""
    return bool(_phrase(sam3, name)["input_ids"].shape[1] <= TOKENS)


def _phrase(sam3: Pretrained, name: str) -> Any:
    return sam3.processor(text=name.replace("_", " ").lower(), return_tensors="pt")


class Sam3Proposer:
    """Proposes regions for given labels, with a score of each: SAM 3, or its variant with a small text encoder.

    Args:
        kind: a name of `SAM3S`.
        folder: the model, as `save_pretrained` writes it; None: the one in the weights folder.
        threshold: the lowest score of a region.
        limit: most regions of a label.
        device: a torch device; None: cuda, mps or cpu, the first available.

    Raises:
        DataError: the folder is missing, or holds another model, no safetensors, or weights that do not fit.
        EarthInstructError: transformers is missing, or a parameter is out of range.
    """

    def __init__(
        self,
        kind: str = "sam3",
        folder: Path | str | None = None,
        threshold: float = 0.05,
        limit: int = 200,
        device: str | None = None,
    ) -> None:
        self.kind = kind
        self.threshold = check_number("threshold", threshold, 0, 1)
        self.limit = check_integer("limit", limit)
        self._sam3 = load_pretrained(SAM3S[kind], folder, device)

    def propose_for(self, image: NDArray[np.uint8], labels: Sequence[str]) -> list[Proposals]:
        """For each label its regions in one RGB image, uint8 (height, width, 3), with scores and masks, best first."""
        height, width = image.shape[:2]
        proposed = []
        for found in find_instances(self._sam3, image, labels, self.threshold, self.limit):
            boxes, kept = inside_image(found.corners, height, width)
            proposed.append(Proposals(boxes, tuple(found.mask(i) for i in kept), found.scores[kept]))
        return proposed

    def describe(self) -> dict[str, Any]:
        """Parameters, device and weights."""
        return {
            "proposer": self.kind,
            "threshold": self.threshold,
            "limit": self.limit,
            "mask_threshold": INSIDE,
            "device": self._sam3.device,
            "weights": self._sam3.weights,
        }
