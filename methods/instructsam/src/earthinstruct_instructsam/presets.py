"""Named choices of all parts and of their parameters, as `-M` takes them.

Other arguments replace those of the preset. If another choice replaces a part, the preset's parameters of the part are
dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SMALL_NOTE = (
    "preset small (scenes-trained): for trying the pipeline. For DIOR and NWPU take a preset with real weights, "
    "-M preset=paper-gpt4o for example (see methods/instructsam/README.md)"
)

LABELS_NOTE = (
    "proposer {proposer} scores the labels itself: its scores are the similarities, and no CLIP is used; this is "
    "EarthInstruct's own variant, not the method of the paper"
)

# From the paper's section on implementation details and, where it is silent, from its authors' code. A parameter is not
# listed if the default of its part is the paper's, or if it only changes memory and speed (points_per_batch: 256).
_PAPER_SAM2: Mapping[str, Any] = {
    "proposer": "sam2",
    "proposer.model": "sam2_hiera_l",
    "proposer.points_per_side": 24,
    "proposer.pred_iou_thresh": 0.75,
    "proposer.stability_score_thresh": 0.75,
    "proposer.crop_n_layers": 1,
    "proposer.box_nms_thresh": 0.5,
    "proposer.crop_nms_thresh": 0.7,
    "proposer.max_proposals": 200,
    "proposer.fill_holes": True,
}
_LIKE_THE_AUTHORS_CODE: Mapping[str, Any] = {
    "proposer.dtype": "float32",
    "encoder.crop_rounding": "nearest",
    "encoder.keep_underscores": True,
}
_PAPER_CLIP: Mapping[str, Any] = {
    "encoder": "georsclip-l14",
    "encoder.activation": "gelu",
    "encoder.template": "a satellite image of a {category}",
    "encoder.crops": "pil",
}
_PAPER_GPT4O: Mapping[str, Any] = {
    "counter": "openai",
    "counter.model": "gpt-4o-2024-11-20",
    "counter.temperature": 0.01,
    "counter.top_p": 1.0,
    "counter.max_tokens": 2000,
}

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small": {"counter": "small", "proposer": "segments", "encoder": "small"},
    "recorded": {"counter": "recorded", "proposer": "recorded", "encoder": "open_clip"},
    "paper-gpt4o": {
        **_PAPER_GPT4O,
        "counter.reply_format": "plain",
        **_PAPER_SAM2,
        **_PAPER_CLIP,
        **_LIKE_THE_AUTHORS_CODE,
    },
    "paper-qwen": {
        "counter": "transformers",
        "counter.min_pixels": 256 * 28 * 28,
        "counter.max_pixels": 1280 * 28 * 28,
        "counter.max_new_tokens": 5000,
        **_PAPER_SAM2,
        **_PAPER_CLIP,
        **_LIKE_THE_AUTHORS_CODE,
    },
    "fast": {
        **_PAPER_GPT4O,
        **_PAPER_SAM2,
        "proposer.model": "sam2_hiera_s",
        "encoder": "skyclip-b32",
        "encoder.template": "a satellite image of a {category}",
        "encoder.crops": "device",
    },
    "sam3": {**_PAPER_GPT4O, "proposer": "sam3"},  # it scores the labels: no encoder
}
