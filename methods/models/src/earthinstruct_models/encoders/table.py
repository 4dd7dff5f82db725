"""The encoders known by name, with what a checkpoint does not contain. Their weights are in the table of weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderEntry:
    """An encoder by name; its checkpoint is the entry of the same name in `earthinstruct_models.weights.WEIGHTS`."""

    architecture: str  # an open_clip model name
    activation: str  # the one it was trained with: `gelu` or `quickgelu`; a state dict does not contain it
    tokenizer: str | None = None  # its entry in the table of weights; None: open_clip brings the tokenizer


# a comment says where the activation is stated
ENCODERS: Mapping[str, EncoderEntry] = {
    # the code of InstructSAM; GeoRSCLIP's own recipe starts from OpenAI weights (quickgelu): try both
    "georsclip-l14": EncoderEntry("ViT-L-14", "gelu"),
    "georsclip-b32": EncoderEntry("ViT-B-32", "gelu"),
    "georsclip-h14": EncoderEntry("ViT-H-14", "gelu"),  # its authors' inference.py, from laion2b_s32b_b79k
    "remoteclip-l14": EncoderEntry("ViT-L-14", "gelu"),  # the loading example of its authors
    "remoteclip-b32": EncoderEntry("ViT-B-32", "gelu"),
    "skyclip-l14": EncoderEntry("ViT-L-14", "quickgelu"),  # trained on from OpenAI weights
    "skyclip-b32": EncoderEntry("ViT-B-32", "gelu"),  # trained on from laion2b_e16
    "dfn2b-l14": EncoderEntry("ViT-L-14", "gelu"),  # open_clip's entry dfn2b_s39b
    "farslip1-b32": EncoderEntry("ViT-B-32", "quickgelu"),  # its authors' commands: --force-quick-gelu
    "farslip2-b32": EncoderEntry("ViT-B-32", "quickgelu"),
    # open_clip's entries for these architectures
    "pe-core-b16": EncoderEntry("PE-Core-B-16", "gelu"),
    "pe-core-l14": EncoderEntry("PE-Core-L-14-336", "gelu"),
    "pe-core-g14": EncoderEntry("PE-Core-bigG-14-448", "gelu"),
    "siglip2-b16": EncoderEntry("ViT-B-16-SigLIP2", "gelu", "siglip2-tokenizer"),
    "siglip2-l16": EncoderEntry("ViT-L-16-SigLIP2-256", "gelu", "siglip2-tokenizer"),
    "siglip2-so400m": EncoderEntry("ViT-SO400M-14-SigLIP2", "gelu", "siglip2-tokenizer"),
    "mobileclip2-s0": EncoderEntry("MobileCLIP2-S0", "gelu"),
    "mobileclip2-b": EncoderEntry("MobileCLIP2-B", "gelu"),
    "mobileclip2-s4": EncoderEntry("MobileCLIP2-S4", "gelu"),
    "mobileclip2-l14": EncoderEntry("MobileCLIP2-L-14", "gelu"),
    "metaclip2-h14": EncoderEntry("ViT-H-14-worldwide-quickgelu", "quickgelu", "xlm-v-tokenizer"),
}
