"""The reference method on a GPU: parity with the CPU, speed, memory and dtypes, on random weights at full size.

`python -m benchmarks.gpu [--output gpu.json] [--minutes 6]`

The models are SAM2 hiera-large, CLIP ViT-L/14 (GeoRSCLIP) and Qwen2.5-VL-7B-Instruct. Nothing is downloaded, so only
times, memory and rounding mean anything. Half of the masks pass the threshold of the predicted IoU. Masks of random
weights are noise, with 400 times as many edges as masks of objects; here they follow the discs of a drawn image
(`smooth_masks`), so that encoding masks does not cost far more than with real weights. A step that would begin after
the given minutes is left out and named, so the whole takes 8 minutes at most. The command writes one JSON file with the
name of the card, prints the figures of a step as soon as it ends, and in the end a table for `docs/performance.md`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from earthinstruct_instructsam.assignment import assign_under_counts
from earthinstruct_models.devices import best_device
from earthinstruct_models.encoders.open_clip import OpenClipEncoder
from earthinstruct_models.proposers.sam2 import Sam2Proposer, matmul_precision
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from sam2.utils.amg import build_point_grid

from benchmarks.proposer_sam2 import compare, random_checkpoint, seconds, threshold

OBJECTS = (1, 10, 50, 200)
LABELS = tuple(f"category {i}" for i in range(20))  # as many as DIOR has
PROPOSALS = 200
PROMPT_TOKENS = 400  # of the text
REPLY_TOKENS = 172  # of a recorded reply with counts for 20 categories
DISCS = 60
PARITY_POINTS = 4  # a side
POINTS_AT_ONCE = (64, 128, 256)
IMAGES_AT_ONCE = 4
SIZE_OF_QWEN = {"shortest_edge": 256 * 28 * 28, "longest_edge": 1280 * 28 * 28}  # pixels, of the paper
QWEN_VL_7B: Mapping[str, Any] = {
    "text_config": {
        **{"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28},
        **{"num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 128000},
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    "vision_config": {"hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584},
    **{"image_token_id": 151655, "video_token_id": 151656, "vision_start_token_id": 151652},
}


@dataclass(frozen=True)
class Models:
    """The models to measure, and the size of the work.

    Attributes:
        sam2: checkpoint and model.
        clip: arguments of `OpenClipEncoder`.
        qwen: a config of Qwen2.5-VL.
        side: of the images, pixels.
        proposer: parameters of the proposer that are not the paper's.
        reply_tokens: of the language model.
    """

    sam2: tuple[Path, str]
    clip: Mapping[str, Any]
    qwen: Mapping[str, Any] = field(default_factory=lambda: QWEN_VL_7B)
    side: int = 800  # as DIOR
    proposer: Mapping[str, Any] = field(default_factory=dict)
    reply_tokens: int = REPLY_TOKENS


def full_size(folder: Path) -> Models:
    """The models of the paper with random weights."""
    import open_clip

    clip = folder / "clip.pt"
    torch.save(open_clip.create_model("ViT-L-14", load_weights=False).state_dict(), clip)
    sam2 = smooth_masks(random_checkpoint("sam2_hiera_l", folder))
    return Models((sam2, "sam2_hiera_l"), {"checkpoint": clip, "architecture": "ViT-L-14"})


def smooth_masks(checkpoint: Path) -> Path:
    """Change random weights of SAM2 so that each mask is the union of areas of one colour, with clear edges.

    A mask then comes from the finest features, which see few pixels, instead of from the coarsest.
    """
    content = torch.load(checkpoint, weights_only=True)
    for name, weight in content["model"].items():
        if "output_upscaling.3." in name:
            weight.mul_(0.01)
        elif name.endswith("conv_s0.weight"):
            weight.mul_(5)
        elif "output_hypernetworks_mlps" in name and ".layers.2." in name:
            weight.mul_(100)
    torch.save(content, checkpoint)
    return checkpoint


def drawn(side: int) -> NDArray[np.uint8]:
    """A square image of discs in flat colours."""
    rng = np.random.default_rng(0)
    image = Image.new("RGB", (side, side), (110, 120, 90))
    for _ in range(DISCS):
        x, y = rng.integers(0, side, 2).tolist()
        radius = int(rng.integers(side // 64, side // 16))
        colour = tuple(rng.integers(0, 256, 3).tolist())
        ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.array(image)


class Bench:
    """The steps, in the order of their value: each returns figures by name."""

    def __init__(self, models: Models, device: str) -> None:
        self.models = models
        self.device = torch.device(device)
        self.image = drawn(models.side)
        corners = np.random.default_rng(1).integers(0, models.side - 8, (PROPOSALS, 2))
        sides = np.random.default_rng(2).integers(4, models.side // 4, (PROPOSALS, 2))
        self.boxes = np.concatenate([corners, np.minimum(sides, models.side - corners)], axis=1).astype(float)

    def proposer(self, device: str, dtype: str = "float32", **parameters: Any) -> Sam2Proposer:
        """The proposer with the paper's parameters, and a threshold that half of the predicted IoUs pass."""
        proposer = Sam2Proposer(*self.models.sam2, device, dtype, **{**self.models.proposer, **parameters})
        proposer.pred_iou_thresh = threshold(proposer, self.image, passing=0.5)
        return proposer

    def parity(self) -> dict[str, float]:
        """Float32 on the device against float32 on the CPU."""
        return differences(self._answers("cpu"), self._answers(str(self.device)))

    def dtypes(self) -> dict[str, float]:
        """Other dtypes against float32, on the device."""
        exact, figures = self._answers(str(self.device)), {}
        for name, options in {"bfloat16": {"dtype": "bfloat16"}, "products high": {"precision": "high"}}.items():
            found = differences(exact, self._answers(str(self.device), **options))
            figures |= {f"{name}: {key}": value for key, value in found.items()}
        return figures

    def official(self) -> dict[str, float]:
        """The proposer against the official generator."""
        figures = {}
        for dtype in ("float32", "bfloat16"):
            found = compare(self.proposer(str(self.device), dtype), [self.image])
            figures |= {f"{dtype}: {key}": value for key, value in found.items()}
        return figures

    def stages(self) -> dict[str, float]:
        """Seconds an image of each stage and, for assignment, of each number of objects; peak memory."""
        proposer, encoder = self.proposer(str(self.device)), self._encoder(str(self.device))
        figures = self._cost("proposer", lambda: proposer.propose(self.image))
        figures |= self._cost("encoder", lambda: encoder.embed_crops(self.image, self.boxes))
        similarities = encoder.embed_crops(self.image, self.boxes) @ encoder.embed_labels(LABELS).T
        for objects in OBJECTS:
            counts = np.bincount(np.arange(objects) % len(LABELS), minlength=len(LABELS)).tolist()
            work = partial(assign_under_counts, similarities, counts)
            figures[f"{objects} objects, s"] = seconds(work, self.device)
        return figures

    def batches(self) -> dict[str, float]:
        """The proposer with more points at once, and with several images at once: seconds an image, peak memory."""
        figures = {}
        for dtype, points in product(("float32", "bfloat16"), POINTS_AT_ONCE):
            proposer = self.proposer(str(self.device), dtype, points_per_batch=points)
            figures |= self._cost(f"{dtype}: {points} points", lambda proposer=proposer: proposer.propose(self.image))
        proposer = self.proposer(str(self.device))
        images = [self.image] * IMAGES_AT_ONCE
        figures |= self._cost(f"{IMAGES_AT_ONCE} images", lambda: proposer.propose_batch(images))
        return figures

    def language_model(self) -> dict[str, float]:
        """A reply with counts, one of twice the tokens (what each further box costs), and several replies at once."""
        model, inputs = random_qwen(self.models.qwen, self.device, self.models.side)
        figures = {"prompt tokens": float(inputs["input_ids"].shape[1])}
        for tokens in (self.models.reply_tokens, 2 * self.models.reply_tokens):
            options = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
            figures |= self._cost(f"{tokens} tokens", lambda options=options: model.generate(**inputs, **options))
        several = {
            name: torch.cat([value] * IMAGES_AT_ONCE) if isinstance(value, torch.Tensor) else value
            for name, value in inputs.items()
        }
        options["max_new_tokens"] = options["min_new_tokens"] = self.models.reply_tokens
        return figures | self._cost(
            f"{IMAGES_AT_ONCE} images, {self.models.reply_tokens} tokens each",
            lambda: model.generate(**several, **options),
        )

    def _encoder(self, device: str, dtype: str = "float32") -> OpenClipEncoder:
        return OpenClipEncoder(**self.models.clip, device=device, dtype=dtype)

    def _answers(self, device: str, dtype: str = "float32", precision: str | None = None) -> dict[str, np.ndarray]:
        """Predicted IoUs and masks of a few points, and embeddings of a few crops."""
        proposer = Sam2Proposer(*self.models.sam2, device, dtype, crop_n_layers=0, pred_iou_thresh=0.0)
        encoder = self._encoder(device, dtype)
        with torch.inference_mode(), matmul_precision(precision):
            (crop,) = proposer._crops(self.image, 0)
            levels = proposer._encode([crop.pixels])
            grid = build_point_grid(PARITY_POINTS) * proposer._network.image_size
            points = torch.tensor(grid, dtype=torch.float32, device=proposer._device)
            logits, iou = proposer._decode(proposer._decoder.shared(levels), levels, points)
            embeddings = encoder.embed_crops(self.image, self.boxes[: PARITY_POINTS**2])
        return {"iou": iou.cpu().numpy(), "masks": (logits > 0).cpu().numpy(), "embeddings": embeddings}

    def _cost(self, name: str, work: Callable[[], object]) -> dict[str, float]:
        """Seconds, and on a GPU the peak of its memory, of the second call."""
        work()
        if self.device.type != "cuda":
            return {f"{name}, s": seconds(work, self.device)}
        torch.cuda.reset_peak_memory_stats()
        return {
            f"{name}, s": seconds(work, self.device),
            f"{name}, peak GiB": torch.cuda.max_memory_allocated() / 2**30,
        }


def differences(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How far the answers of two runs are apart."""
    cosines = (one["embeddings"] * other["embeddings"]).sum(axis=1)
    return {
        "largest difference of a predicted IoU": float(np.abs(one["iou"] - other["iou"]).max()),
        "share of mask pixels that differ": float((one["masks"] != other["masks"]).mean()),
        "smallest cosine of a crop": float(cosines.min()),
    }


def random_qwen(config: Mapping[str, Any], device: torch.device, side: int) -> tuple[Any, dict[str, Any]]:
    """A Qwen2.5-VL with random weights, made on the device in bfloat16, and a question about a drawn image."""
    import transformers

    torch.manual_seed(0)
    content = transformers.Qwen2_5_VLConfig(**config)
    with torch.device(device):
        model = transformers.Qwen2_5_VLForConditionalGeneration._from_config(content, dtype=torch.bfloat16).eval()
    image = Image.fromarray(drawn(side))
    seen = transformers.Qwen2VLImageProcessor(size=SIZE_OF_QWEN)(images=[image], return_tensors="pt")
    patches = int(seen["image_grid_thw"].prod()) // content.vision_config.spatial_merge_size**2
    ids = [content.vision_start_token_id, *[content.image_token_id] * patches, *range(PROMPT_TOKENS)]
    ids = torch.tensor([ids])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **seen}
    inputs["mm_token_type_ids"] = (ids == content.image_token_id).int()
    inputs["pixel_values"] = inputs["pixel_values"].to(torch.bfloat16)
    return model, {name: value.to(device) for name, value in inputs.items()}


def run(models: Models, device: str, minutes: float) -> dict[str, Any]:
    """Every step that begins within the given minutes, in the order of their value."""
    bench, started = Bench(models, device), time.monotonic()
    steps = {
        step.__name__: step
        for step in (bench.parity, bench.official, bench.stages, bench.language_model, bench.dtypes, bench.batches)
    }
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if bench.device.type == "cuda" else platform.machine(),
        "torch": torch.__version__,
        "image": models.side,
        "left_out": [],
        "figures": {},
    }
    for name, step in steps.items():
        if time.monotonic() - started > 60 * minutes:
            result["left_out"].append(name)
        else:
            result["figures"][name] = step()
            sys.stderr.write(f"{name}, after {time.monotonic() - started:.0f} s: {result['figures'][name]}\n")
    return result


def table(result: Mapping[str, Any]) -> str:
    """The figures as a Markdown table."""
    rows = [
        f"| {step.replace('_', ' ')} | {name} | {value:.4g} |"
        for step, figures in result["figures"].items()
        for name, value in figures.items()
    ]
    left_out = [f"Left out for lack of time: {', '.join(result['left_out'])}"] if result["left_out"] else []
    head = ["| step | figure | value |", "|-|-|-|"]
    return "\n".join([f"{result['device']}, torch {result['torch']}", "", *head, *rows, *left_out])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("gpu.json"))
    parser.add_argument("--minutes", type=float, default=6.0)
    given = parser.parse_args()
    if best_device() != "cuda":
        parser.error("torch finds no CUDA GPU on this machine; on a CPU these models would take hours")
    with tempfile.TemporaryDirectory() as folder:
        result = run(full_size(Path(folder)), "cuda", given.minutes)
    given.output.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(table(result) + "\n")


if __name__ == "__main__":
    main()
