"""How much faster the sweep is than plain Python: `python -m benchmarks.scoring [images ...]` from the root.

Scenes are synthetic: 6 objects and 15 predictions an image, of 10 categories, 800 x 800 pixels. The plain reference
follows the paper's protocol at the 50 thresholds; ours does boxes or masks at the same thresholds, IoU included.
"""

# ruff: noqa: T201  (a script that prints its table)

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.reference import sweep
from earthinstruct.instances import Instances
from earthinstruct.masks import decode_rles, encode_runs
from earthinstruct.metrics import PROTOCOLS, SWEEP_THRESHOLDS, Predicted, Truth, measure
from earthinstruct.metrics.matching import find_pairs, match
from earthinstruct.metrics.scores import f1
from earthinstruct.metrics.tally import tally_matches, totals_at_thresholds

SIDE, CATEGORIES = 800, tuple("abcdefghij")


def scene(n_images: int) -> tuple[Truth, Instances]:
    """Ground truth, and predictions of which every second one lies on an object."""
    chance = np.random.default_rng(0)
    n, m = 6 * n_images, 15 * n_images
    size = chance.integers(8, 80, (n, 2))
    boxes = np.column_stack([chance.integers(2, SIDE - 90, (n, 2)), size])
    image, category = np.arange(n) // 6, chance.integers(0, 10, n)
    near = chance.integers(0, n, m)
    moved = boxes[near] + np.column_stack([chance.integers(-2, 3, (m, 2)), chance.integers(-1, 2, (m, 2))])
    far = np.arange(m) % 2 == 1
    moved[far, :2] = chance.integers(2, SIDE - 90, (far.sum(), 2))
    targets = _instances(image, category, boxes)
    return (
        Truth(tuple(range(n_images)), CATEGORIES, {"all": CATEGORIES}, targets),
        _instances(image[near], category[near], moved, chance.random(m)),
    )


def _instances(
    image: np.ndarray, category: np.ndarray, boxes: np.ndarray, scores: np.ndarray | None = None
) -> Instances:
    rles = []
    for x, y, w, h in boxes.tolist():
        runs = [x * SIDE + y, h, *[SIDE - h, h] * (w - 1)]
        rles.append(encode_runs([*runs, SIDE * SIDE - sum(runs)], (SIDE, SIDE)))
    return Instances(image, category, boxes.astype(np.float64), decode_rles(rles), scores)


def ours(truth: Truth, predictions: Instances, geometry: str, rule: str) -> list[float]:
    """The same curve from pairs that are found once."""
    pairs = find_pairs(predictions, truth.instances, geometry)
    actual = np.bincount(truth.instances.category, minlength=len(CATEGORIES))
    if rule == "maximum":
        matched = match(pairs, "maximum", np.argsort(-predictions.scores, kind="stable")) >= 0
        totals = totals_at_thresholds(predictions, matched, actual, SWEEP_THRESHOLDS)
        return f1(totals)[:, actual > 0].mean(axis=1).tolist()
    curve = []
    for threshold in SWEEP_THRESHOLDS:
        kept = predictions.scores >= threshold
        matched = match(pairs.where(kept[pairs.prediction]), "greedy")
        tally = tally_matches(truth.images, CATEGORIES, predictions, truth.instances, matched, kept)
        curve.append(float(f1(tally.totals)[actual > 0].mean()))
    return curve


def seconds(work: Callable[..., object], *arguments: object, **options: object) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work(*arguments, **options)
    return time.perf_counter() - start


def main(sizes: list[int]) -> None:
    """Print one block a size."""
    for n_images in sizes:
        truth, predictions = scene(n_images)
        print(f"{n_images} images, {len(truth.instances)} objects, {len(predictions)} predictions")
        for geometry in ("box", "mask"):
            plain = seconds(sweep, predictions, truth.instances, SWEEP_THRESHOLDS, geometry)
            for rule in ("maximum", "greedy"):
                own = min(seconds(ours, truth, predictions, geometry, rule) for _ in range(3))
                print(f"  {geometry} sweep, {rule}: {own:.3f} s, plain {plain:.2f} s, {plain / own:.0f} times")
        nothing = np.zeros(truth.shape, dtype=np.int64)
        predicted = Predicted(predictions, nothing, np.zeros(n_images, bool), np.zeros(len(CATEGORIES), bool))
        for resamples in (0, 1000):
            whole = seconds(measure, truth, predicted, PROTOCOLS["standard"], sweep=True, resamples=resamples)
            print(f"  every score with sweep, {resamples} resamples: {whole:.2f} s")


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [650])
