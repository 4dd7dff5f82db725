"""Retrains the small models from scratch: `python -m earthinstruct_instructsam.small.train [clip|counter|figures]`.

Training is seeded and uses generated scenes; the number of CPU threads may still change the last digits. Each training
takes about ten minutes on two cores. `figures` measures the existing weights and trains nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from earthinstruct_models.encoders.open_clip import OpenClipEncoder
from earthinstruct_models.interfaces import Encoder, Proposer
from earthinstruct_models.proposers.segments import SegmentsProposer
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from earthinstruct.datasets import SCENES_VERSION, DrawnScene, generate_scene
from earthinstruct.files import replace_file
from earthinstruct_instructsam.counters.small import SmallCounter
from earthinstruct_instructsam.small import CLIP_CONFIG, CLIP_WEIGHTS, COUNTER_WEIGHTS
from earthinstruct_instructsam.small.crops import box_ious, crops_of
from earthinstruct_instructsam.small.train_clip import text_margins, train_clip
from earthinstruct_instructsam.small.train_counter import counting_f1, train_counter, tune_thresholds
from earthinstruct_instructsam.small.words import CATEGORIES

STEPS = {"counter": 800, "clip": 700}
SCENES = {"counter": 420, "clip": 110}
FIGURES = "figures.json"


def train(
    model: str, output: Path, steps: int, scenes: int, val_scenes: int, seed: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Train `clip` or `counter`, and write its weights in half precision into the folder `output`, made if missing.

    It learns from the first `scenes` images of split train. The first `val_scenes` images of split val set the
    counter's thresholds and give the figures, which are returned.
    """
    output.mkdir(parents=True, exist_ok=True)
    progress(f"{model}: drawing {scenes} scenes")
    learned = [generate_scene("train", index) for index in range(scenes)]
    val = [generate_scene("val", index) for index in range(val_scenes)]
    if model == "counter":
        network = train_counter(learned, steps, seed, progress)
        tune_thresholds(network, val)
        _save(network, output / COUNTER_WEIGHTS.name)
        return counter_figures(SmallCounter(output / COUNTER_WEIGHTS.name), val)
    progress("clip: cropping")
    side = json.loads(CLIP_CONFIG.read_text(encoding="utf-8"))["vision_cfg"]["image_size"]
    crops = crops_of(learned, SegmentsProposer(), side, seed)
    progress(f"clip: {len(crops)} crops")
    _save(train_clip(CLIP_CONFIG, crops, steps, seed, progress), output / CLIP_WEIGHTS.name)
    return clip_figures(OpenClipEncoder(output / CLIP_WEIGHTS.name, config=CLIP_CONFIG), val)


def counter_figures(counter: SmallCounter, scenes: Sequence[DrawnScene]) -> dict[str, Any]:
    """Counting F1, for each category and as the mean."""
    counts = np.array([list(counter.count_known(scene.image).values()) for scene in scenes])
    truth = np.array([[scene.labels.count(name) for name in CATEGORIES] for scene in scenes])
    return {"counting_f1": _by_category(counting_f1(counts, truth))}


def clip_figures(encoder: Encoder, scenes: Sequence[DrawnScene]) -> dict[str, Any]:
    """Share of objects that are most similar to their own category, for each category and as the mean; text cosines."""
    labels = encoder.embed_labels(CATEGORIES)
    right, total = np.zeros(len(CATEGORIES)), np.zeros(len(CATEGORIES))
    for scene in scenes:
        truth = np.array([CATEGORIES.index(label) for label in scene.labels], dtype=np.int64)
        nearest = (encoder.embed_crops(scene.image, scene.boxes) @ labels.T).argmax(axis=1)
        total += np.bincount(truth, minlength=len(CATEGORIES))
        right += np.bincount(truth[nearest == truth], minlength=len(CATEGORIES))
    margins = {name: round(value, 4) for name, value in text_margins(encoder.embed_labels).items()}
    return {"crop_accuracy": _by_category(right / np.maximum(total, 1)), "text_cosines": margins}


def proposer_figures(proposer: Proposer, scenes: Sequence[DrawnScene]) -> dict[str, Any]:
    """Share of objects that are matched one-to-one to a proposal with a box IoU of at least 0.5."""
    hits, total = np.zeros(len(CATEGORIES)), np.zeros(len(CATEGORIES))
    for scene in scenes:
        truth = np.array([CATEGORIES.index(label) for label in scene.labels], dtype=np.int64)
        total += np.bincount(truth, minlength=len(CATEGORIES))
        ious = box_ious(scene.boxes, proposer.propose(scene.image).boxes)
        rows, columns = linear_sum_assignment(np.where(ious >= 0.5, ious + 1, 0), maximize=True)
        hits += np.bincount(truth[rows[ious[rows, columns] >= 0.5]], minlength=len(CATEGORIES))
    return {"proposal_recall": _by_category(hits / np.maximum(total, 1))}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m earthinstruct_instructsam.small.train", description=__doc__)
    parser.add_argument("model", nargs="?", choices=("clip", "counter", "figures"), help="default: both models")
    parser.add_argument("--output", type=Path, default=CLIP_WEIGHTS.parent, help="folder for weights and figures")
    parser.add_argument("--steps", type=int, help=f"batches; default {STEPS}")
    parser.add_argument("--scenes", type=int, help=f"images to learn from; default {SCENES}")
    parser.add_argument("--val-scenes", type=int, default=48, help="images to measure on")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    figures: dict[str, Any] = {"scenes_version": SCENES_VERSION, "split": "val", "images": chosen.val_scenes}
    path = chosen.output / FIGURES
    if path.is_file():
        figures = json.loads(path.read_text(encoding="utf-8"))
    if chosen.model == "figures":
        val = [generate_scene("val", index) for index in range(chosen.val_scenes)]
        found = {
            "counter": counter_figures(SmallCounter(chosen.output / COUNTER_WEIGHTS.name), val),
            "clip": clip_figures(OpenClipEncoder(chosen.output / CLIP_WEIGHTS.name, config=CLIP_CONFIG), val),
            "proposer": proposer_figures(SegmentsProposer(), val),
        }
        for name, reached in found.items():
            figures[name] = figures.get(name, {}) | reached
    else:
        for model in [chosen.model] if chosen.model else STEPS:
            steps, scenes = chosen.steps or STEPS[model], chosen.scenes or SCENES[model]
            how = {"steps": steps, "scenes": scenes, "seed": chosen.seed, "torch": torch.__version__}
            figures[model] = how | train(model, chosen.output, steps, scenes, chosen.val_scenes, chosen.seed, _say)
    replace_file(path, (json.dumps(figures, indent=1) + "\n").encode())
    _say(f"wrote {path}")


def _by_category(values: NDArray[np.float64]) -> dict[str, float]:
    named = {name: round(float(value), 4) for name, value in zip(CATEGORIES, values, strict=True)}
    return {"mean": round(float(values.mean()), 4), **named}


def _save(model: torch.nn.Module, path: Path) -> None:
    """Write the weights in half precision; integers are unchanged."""
    from safetensors.torch import save_file

    state = model.state_dict().items()
    save_file({name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in state}, path)
    path.chmod(0o644)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
