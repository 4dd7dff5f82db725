"""Trains the small counter on scenes. This module imports torch; the command line is in `train`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from earthinstruct.datasets import DrawnScene
from earthinstruct_instructsam.counters.small import pad
from earthinstruct_instructsam.small.network import MULTIPLE, STRIDE, PeakNetwork
from earthinstruct_instructsam.small.words import CATEGORIES

BATCH = 8
LEARNING_RATE = 3e-3
SIDE = 512  # pixels; scenes are no larger
SMALL = ("ship", "storage_tank", "vehicle")  # their peaks may be only a few pixels apart
THRESHOLDS = np.arange(4, 17) * 0.05


def train_counter(scenes: Sequence[DrawnScene], steps: int, seed: int, progress: Callable[[str], None]) -> PeakNetwork:
    """Train a network from scratch; `progress` gets the loss from time to time."""
    torch.manual_seed(seed)
    dice = np.random.default_rng(seed)
    network = PeakNetwork(len(CATEGORIES)).to(memory_format=torch.channels_last)
    network.windows = torch.tensor([3 if name in SMALL else 7 for name in CATEGORIES])
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps + 1, pct_start=0.1)
    network.train()
    losses: list[float] = []
    order: list[int] = []
    for step in range(steps):
        while len(order) < BATCH:
            order += dice.permutation(len(scenes)).tolist()
        chosen, order = order[:BATCH], order[BATCH:]
        samples = [_varied(*_sample(scenes[i]), dice) for i in chosen]
        images = torch.from_numpy(np.stack([image for image, _ in samples])).permute(0, 3, 1, 2)
        heats = torch.from_numpy(np.stack([heat for _, heat in samples]))
        logits = network(images.contiguous(memory_format=torch.channels_last))
        loss = _loss(logits, heats)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            progress(f"counter: step {step + 1} of {steps}, loss {np.mean(losses[-50:]):.3f}")
    return network.eval()


def tune_thresholds(network: PeakNetwork, scenes: Sequence[DrawnScene]) -> dict[str, float]:
    """Set the threshold of each category to the one with the best counting F1 on these scenes.

    Returns:
        Category -> the resulting F1, in [0, 1].
    """
    table = np.zeros((len(THRESHOLDS), len(scenes), len(CATEGORIES)), dtype=np.int64)
    truth = np.zeros((len(scenes), len(CATEGORIES)), dtype=np.int64)
    for i, scene in enumerate(scenes):
        truth[i] = [scene.labels.count(name) for name in CATEGORIES]
        padded = torch.from_numpy(pad(scene.image, MULTIPLE)).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            peaks = network.peaks(network(padded.contiguous(memory_format=torch.channels_last)))[0]
        for t, threshold in enumerate(THRESHOLDS):
            table[t, i] = (peaks >= threshold).sum(dim=(1, 2)).numpy()
    f1 = np.stack([counting_f1(counts, truth) for counts in table])
    # the middle one of equally good thresholds
    best = [int(np.median(np.flatnonzero(column == column.max()))) for column in f1.T]
    network.thresholds = torch.tensor(THRESHOLDS[best], dtype=torch.float32)
    return {name: float(f1[best[c], c]) for c, name in enumerate(CATEGORIES)}


def counting_f1(counts: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """F1 of each category over all images, true positives being the smaller of the two counts.

    The counts are (images, categories), the result (categories,) in [0, 1]; 0 where nothing is counted or present.
    """
    total = counts.sum(axis=0) + truth.sum(axis=0)
    f1: NDArray[np.float64] = 2 * np.minimum(counts, truth).sum(axis=0) / np.maximum(total, 1)
    return f1


def _sample(scene: DrawnScene) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The image in [0, 1] on a square of `SIDE` pixels, and its heat maps (categories, cells, cells)."""
    height, width = scene.image.shape[:2]
    image = np.full((SIDE, SIDE, 3), 128, dtype=np.uint8)
    image[:height, :width] = scene.image
    cells = SIDE // STRIDE
    heat = np.zeros((len(CATEGORIES), cells, cells), dtype=np.float32)
    for label, (x, y, w, h) in zip(scene.labels, scene.boxes.tolist(), strict=True):
        sigma = min(max(0.1 * (w * h) ** 0.5 / STRIDE, 0.7), 4.0)
        column, row = int((x + w / 2) / STRIDE), int((y + h / 2) / STRIDE)
        reach = int(3 * sigma) + 1
        x0, x1 = max(column - reach, 0), min(column + reach + 1, cells)
        y0, y1 = max(row - reach, 0), min(row + reach + 1, cells)
        dx, dy = np.arange(x0, x1) - column, np.arange(y0, y1) - row
        bump = np.exp(-(dx[None] ** 2 + dy[:, None] ** 2) / (2 * sigma**2)).astype(np.float32)
        part = heat[CATEGORIES.index(label), y0:y1, x0:x1]
        np.maximum(part, bump, out=part)
    return (image / 255).astype(np.float32), heat


def _varied(
    image: NDArray[np.float32], heat: NDArray[np.float32], dice: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rotate and mirror an image; change its brightness, contrast and colours."""
    turns = int(dice.integers(4))
    image, heat = np.rot90(image, turns), np.rot90(heat, turns, axes=(1, 2))
    if dice.random() < 0.5:
        image, heat = image[:, ::-1], heat[:, :, ::-1]
    gain = (dice.uniform(0.8, 1.2) * dice.uniform(0.95, 1.05, 3)).astype(np.float32)
    offset = np.float32(dice.uniform(-0.08, 0.08))
    return np.clip((image - 0.5) * gain + 0.5 + offset, 0, 1), np.ascontiguousarray(heat)


def _loss(logits: Tensor, heats: Tensor) -> Tensor:
    """The focal loss for peaks (Law and Deng, CornerNet, ECCV 2018, section 3.2), with equal weights for categories."""
    heat = logits.sigmoid()
    peak = heats == 1
    found = -functional.logsigmoid(logits) * (1 - heat) ** 2 * peak
    false = -functional.logsigmoid(-logits) * heat**2 * (1 - heats) ** 4
    objects = peak.sum(dim=(0, 2, 3))
    return ((found + false).sum(dim=(0, 2, 3)) / (objects + 4)).mean()
