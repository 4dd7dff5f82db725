"""Runs to report: a method with hostile words, on a dataset with hostile names, in every shape a run can have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earthinstruct import Instruction, Prediction, evaluate
from earthinstruct.contract import Usage
from earthinstruct.datasets import load_dataset
from earthinstruct.regions import encode_mask

SCRIPT = "<script>alert(1)</script>"
CLOSING = "</script><img src=x onerror=alert(2)>"


class Hostile:
    """A right ship, a wrong ship, and an object of a label of its own in each image."""

    name = SCRIPT

    def __init__(
        self,
        masks: bool = True,
        scores: bool = False,
        shift: int = 0,
        counts_only: bool = False,
        fails_on: int = 0,
    ) -> None:
        self.masks, self.scores, self.shift, self.counts_only = masks, scores, shift, counts_only
        self.fails_on = fails_on
        self.calls = 0

    def predict(self, image: np.ndarray, instruction: Instruction) -> Prediction:
        self.calls += 1
        if self.calls == self.fails_on:
            raise RuntimeError(CLOSING)
        if self.counts_only:
            return Prediction(counts={"ship": 2})
        boxes = [[1 + self.shift, 1, 4, 4], [20, 1, 5, 5], [8, 8, 6, 6]]
        masks = []
        for x, y, width, height in boxes:
            mask = np.zeros(image.shape[:2], dtype=bool)
            mask[y : y + height, x : x + width] = True
            masks.append(encode_mask(mask))
        return Prediction(
            usage=Usage(events={f"replies {CLOSING}": 2, f"asked again {SCRIPT}": 700}),
            labels=["ship", "ship", CLOSING],
            boxes=boxes,
            masks=masks if self.masks else None,
            scores=[0.9, 0.3, 0.8] if self.scores else None,
        )


@pytest.fixture
def hostile_coco(coco):
    """The small dataset with names that would be markup; the last image has a name that no file can have, and fails."""
    coco["images"][0]["file_name"] = "<script>alert(1)<!--.png"
    coco["images"][1]["file_name"] = "b & 'c' \"d\".png"
    coco["images"][2]["file_name"] = "</script>.png"
    coco["categories"][1]["name"] = "<b>harbor</b>"
    return coco


@pytest.fixture
def make_run(hostile_coco, write_coco, tmp_path):
    """Runs a method on the small dataset and returns the run folder and the dataset's path."""
    file = write_coco(hostile_coco)

    def make(name: str = "run", *, setting: str = "open_ended", sweep: bool = False, **options) -> tuple[Path, str]:
        done = evaluate(
            Hostile(**options),
            load_dataset(str(file)),
            setting=setting,
            output=tmp_path / name,
            sweep=sweep,
        )
        return done.folders[0], str(file)

    return make
