"""A dataset whose images say which they are, and a method in a file of its own that goes wrong as it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from earthinstruct.datasets import Dataset, load_dataset

N_IMAGES = 12

FAULTY = '''
import os
import sys
import time
from pathlib import Path

from earthinstruct import HopelessError, Prediction, Usage


class Faulty:
    """Finds one ship in a place that the image decides; on the images of `faults` it does what they say.

    An image is known by its first pixel. Each prediction tells the process it was made in. `gate` is a path: that of
    a file for which images can wait, and the start of the names of the files that tell where one waits.
    """

    name = "faulty"

    def __init__(self, faults=None, pause=0.0, gate=None):
        self.faults = faults or {}
        self.pause = pause
        self.gate = gate
        self.held = []

    def predict(self, image, instruction):
        number = int(image[0, 0, 0])
        time.sleep(self.pause)
        fault = self.faults.get(str(number))
        if fault == "raise":
            raise RuntimeError("out of memory")
        if fault == "hopeless" and not Path(self.gate).exists():
            raise HopelessError("401: the key my-secret-key is refused")
        if fault == "exit":
            sys.exit(3)
        if fault == "die":
            os.kill(os.getpid(), 9)
        if fault == "orphan":  # ends what started this process
            os.kill(os.getppid(), 9)
            time.sleep(600)
        if fault == "hang":
            time.sleep(600)
        if fault == "wait":  # for the gate
            self.wait_at(number, lambda: Path(self.gate).exists())
        if fault == "meet":  # another process that has come to this
            gate = Path(self.gate)
            self.wait_at(os.getpid(), lambda: len(list(gate.parent.glob(gate.name + ".*"))) > 1)
        if fault == "garbage":
            return {"ship": 1}
        if fault == "leak":
            self.held.append(bytearray(os.urandom(1) * 100_000_000))
        return Prediction(
            labels=["ship"],
            boxes=[[number, 1, 4, 4]],
            counts={"ship": 1 + number % 2},
            usage=Usage(seconds={"pid": os.getpid(), "parent": os.getppid()}),
        )

    def wait_at(self, place, until):
        Path(f"{self.gate}.{place}").touch()
        while not until():
            time.sleep(0.01)


class Batched(Faulty):
    """Takes several images at once."""

    name = "batched"

    def predict_batch(self, images, instruction):
        return [self.predict(image, instruction) for image in images]


class Control:
    """Answers what is there."""

    name = "control"

    def predict_with_targets(self, image, instruction, targets):
        return targets
'''


@pytest.fixture
def numbered(coco: dict[str, Any], write_coco: Any) -> Dataset:
    """Twelve images with ids 100 to 111, the first pixel of each its number; ships in some."""
    coco["images"] = [{"id": 100 + i, "file_name": f"{i}.png", "width": 30, "height": 20} for i in range(N_IMAGES)]
    for annotation, image in zip(coco["annotations"], (100, 101, 101, 105), strict=True):
        annotation["image_id"] = image
    file = write_coco(coco)
    for i in range(N_IMAGES):
        path = file.parent / "images" / f"{i}.png"
        with Image.open(path) as image:
            image.putpixel((0, 0), (i, 0, 0))
            image.save(path)
    return load_dataset(str(file))


@pytest.fixture
def faulty(tmp_path: Path) -> str:
    """The file of the methods; a method of it is `faulty + ":Faulty"`."""
    path = tmp_path / "faulty.py"
    path.write_text(FAULTY)
    return str(path)
