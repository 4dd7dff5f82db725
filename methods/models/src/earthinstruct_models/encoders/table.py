"""The encoders known by name, with what a checkpoint does not contain. Their weights are in the table of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderEntry:
    """An encoder by name; its checkpoint is the entry of the same name in `earthinstruct_models.weights.WEIGHTS`."""

    architecture: str  # an open_clip model name
    activation: str  # the one it was trained with: `gelu` or `quickgelu`; a state dict does not contain it


# a comment says where the activation is stated
ENCODERS: Mapping[str, EncoderEntry] = {
    # the code of InstructSAM; GeoRSCLIP's own recipe starts from OpenAI weights (quickgelu): try both
    "georsclip-l14": EncoderEntry("ViT-L-14", "gelu"),
    "georsclip-b32": EncoderEntry("ViT-B-32", "gelu"),
    "remoteclip-l14": EncoderEntry("ViT-L-14", "gelu"),  # the loading example of its authors
    "remoteclip-b32": EncoderEntry("ViT-B-32", "gelu"),
    "skyclip-l14": EncoderEntry("ViT-L-14", "quickgelu"),  # trained on from OpenAI weights
    "skyclip-b32": EncoderEntry("ViT-B-32", "gelu"),  # trained on from laion2b_e16
    "dfn2b-l14": EncoderEntry("ViT-L-14", "gelu"),  # open_clip's entry dfn2b_s39b
}
