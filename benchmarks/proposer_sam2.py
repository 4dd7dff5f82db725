"""The speed of the sam2 proposer against the package's own generator: same weights, same images, same machine.

`python -m benchmarks.proposer_sam2 [--checkpoint FILE] [--model sam2_hiera_l] [--device cuda] [--images FILE ...]`

Without a checkpoint the weights are random, and so are the masks. With the thresholds of the paper, none would be
drawn; so a share of masks, `--passing` (default: a half), is let through the threshold of the predicted IoU. Their
stability is too low for the paper's threshold; `--keep-all` keeps all masks to the end.

The benchmark prints one line of JSON: times, and whether both found the same masks. The generator takes 64 points at
once (its default) on a CPU and 256 (as in the paper) on a GPU, under the same autocast as the proposer. On a GPU both
run one image first, and times are wall times. On a CPU they are processor times of all threads.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from earthinstruct_models.devices import autocast, best_device
from earthinstruct_models.proposers.holes import fill_holes
from earthinstruct_models.proposers.sam2 import Sam2Proposer
from PIL import Image
from pycocotools import mask as coco_masks
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.build_sam import build_sam2
from sam2.utils.amg import build_point_grid

from earthinstruct.contract import Proposals
from earthinstruct.regions import decode_rles

SHARED = (
    "points_per_side",
    "pred_iou_thresh",
    "stability_score_thresh",
    "box_nms_thresh",
    "crop_n_layers",
    "crop_nms_thresh",
)
KEEP_ALL = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0, "crop_nms_thresh": 1.0}


def random_checkpoint(model: str, folder: Path) -> Path:
    torch.manual_seed(0)
    config = f"configs/{model.partition('_')[0]}/{model}.yaml"
    path = folder / "random.pt"
    torch.save({"model": build_sam2(config, None, device="cpu", apply_postprocessing=False).state_dict()}, path)
    return path


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Wall time on a GPU; on a CPU the processor time of all threads, which other programs disturb little."""
    if device.type != "cuda":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def threshold(proposer: Sam2Proposer, image: np.ndarray, passing: float) -> float:
    """The predicted IoU that about this share of the masks of a whole image exceeds, from a coarse grid of points."""
    found = []

    def note(predicted_iou: torch.Tensor) -> torch.Tensor:
        found.append(predicted_iou.flatten())
        return predicted_iou > math.inf

    probe = copy.copy(proposer)
    probe.crop_n_layers, probe._grids, probe._is_good = 0, [build_point_grid(4)], note
    probe.propose(image)
    return float(torch.cat(found).quantile(1 - passing))


def agreement(proposer: Sam2Proposer, records: Sequence[Mapping[str, Any]], ours: Proposals) -> dict[str, float]:
    """How many masks of an image both found, and how many are identical, after the proposer's filling and limit."""
    best = sorted(records, key=lambda record: -np.mean([record["predicted_iou"], record["stability_score"]]))
    runs = decode_rles([record["segmentation"] for record in best[: proposer.max_proposals]])
    theirs = [dict(mask) for mask in (fill_holes(runs) if proposer.fill_holes else runs).encode()]
    masks = [dict(mask) for mask in ours.masks]
    figures = {"official_masks": len(theirs), "our_masks": len(masks), "identical": sum(m in masks for m in theirs)}
    if theirs and masks:
        overlaps = coco_masks.iou(theirs, masks, [0] * len(masks))
        figures["lowest_iou"] = float(overlaps.max(axis=1).min())
    return figures


def compare(proposer: Sam2Proposer, images: Sequence[np.ndarray]) -> dict[str, float]:
    """Seconds an image of the official generator, of `propose`, and of `propose_batch` on all images at once.

    The masks of the first image are compared.
    """
    device = proposer._device
    parameters = {name: getattr(proposer, name) for name in SHARED}
    parameters["points_per_batch"] = 64 if device.type == "cpu" else 256
    generator = SAM2AutomaticMaskGenerator(proposer._network, output_mode="coco_rle", **parameters)

    side = proposer._network.image_size
    generator.predictor._bb_feat_sizes = [(side // step, side // step) for step in (4, 8, 16)]  # it knows 1024 only

    def official(image: np.ndarray) -> list[dict[str, Any]]:
        with autocast(device, proposer._dtype):
            try:
                return generator.generate(image)
            except IndexError:  # no mask survived: the generator raises this at its end
                if proposer.crop_n_layers == 0:
                    raise
                return []

    n = len(images)
    if device.type == "cuda":
        official(images[0])
        proposer.propose(images[0])
    theirs: list[list[dict[str, Any]]] = []
    ours: list[Proposals] = []
    times = {
        "official_s": seconds(lambda: theirs.extend(official(image) for image in images), device) / n,
        "ours_s": seconds(lambda: ours.extend(proposer.propose(image) for image in images), device) / n,
    }
    if n > 1:
        times["ours_batch_s"] = seconds(lambda: proposer.propose_batch(images), device) / n
    return times | {"ratio": times["official_s"] / times["ours_s"]} | agreement(proposer, theirs[0], ours[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--model", default="sam2_hiera_l")
    parser.add_argument("--device", default=None)
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--images", type=Path, nargs="*", default=[])
    parser.add_argument("--points-per-side", type=int, default=24)
    parser.add_argument("--points-per-batch", type=int)
    parser.add_argument("--crop-layers", type=int, default=1)
    parser.add_argument("--size", type=int, default=800, help="of the noise image without --images, pixels a side")
    parser.add_argument("--passing", type=float, default=0.5)
    parser.add_argument("--keep-all", action="store_true")
    given = parser.parse_args()
    images = [np.asarray(Image.open(path).convert("RGB")) for path in given.images]
    images = images or [np.random.default_rng(0).integers(0, 256, (given.size, given.size, 3), dtype=np.uint8)]
    with tempfile.TemporaryDirectory() as folder:
        proposer = Sam2Proposer(
            given.checkpoint or random_checkpoint(given.model, Path(folder)),
            given.model,
            given.device,
            given.dtype,
            points_per_side=given.points_per_side,
            points_per_batch=given.points_per_batch,
            crop_n_layers=given.crop_layers,
            **(KEEP_ALL if given.keep_all else {}),
        )
        if not given.checkpoint and not given.keep_all:
            proposer.pred_iou_thresh = threshold(proposer, images[0], given.passing)
    device = torch.cuda.get_device_name() if best_device() == "cuda" else platform.processor() or platform.machine()
    result = {
        "model": given.model,
        "device": device,
        "threads": torch.get_num_threads(),
        "dtype": proposer._dtype,
        "weights": "given" if given.checkpoint else "random",
        "pred_iou_thresh": proposer.pred_iou_thresh,
        "images": [image.shape[:2] for image in images],
        **compare(proposer, images),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
