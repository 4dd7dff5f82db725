"""A small dataset on disk, and a method for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from earthinstruct import Instruction, Prediction
from earthinstruct.datasets import Dataset, load_dataset

LONGEST = ("test_engines_ray.py", "test_faults.py", "test_sam2.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: at the end, no process waits for another."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture
def coco() -> dict[str, Any]:
    """Three 30x20 images (ids 0, 7, 9): two ships and a harbor in the first, a ship in the second, nothing else."""
    return {
        "images": [
            {"id": image, "file_name": f"{name}.png", "width": 30, "height": 20}
            for image, name in ((0, "a"), (7, "b"), (9, "c"))
        ],
        "annotations": [
            {
                "id": 0,
                "image_id": 0,
                "category_id": 1,
                "bbox": [1, 1, 4, 4],
                "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]],
            },
            {
                "id": 1,
                "image_id": 0,
                "category_id": 1,
                "bbox": [10, 2, 5, 3],
                "segmentation": [[10, 2, 15, 2, 15, 5, 10, 5]],
            },
            {
                "id": 2,
                "image_id": 0,
                "category_id": 4,
                "bbox": [20, 10, 6, 6],
                "segmentation": [[20, 10, 26, 10, 26, 16, 20, 16]],
            },
            {
                "id": 3,
                "image_id": 7,
                "category_id": 1,
                "bbox": [3, 3, 8, 8],
                "segmentation": [[3, 3, 11, 3, 11, 11, 3, 11]],
            },
        ],
        "categories": [
            {"id": 1, "name": "ship", "supercategory": "transport"},
            {"id": 4, "name": "harbor", "supercategory": ""},
        ],
    }


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes a COCO dataset, `set/annotations.json` and `set/images/`, and returns the path of the file."""

    def write(content: dict[str, Any]) -> Path:
        folder = tmp_path / "set"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        generator = np.random.Generator(np.random.PCG64(3))
        for image in content["images"]:
            if "/" not in image["file_name"]:
                pixels = generator.integers(0, 256, (image["height"], image["width"], 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "images" / image["file_name"])
        file = folder / "annotations.json"
        file.write_text(json.dumps(content))
        return file

    return write


@pytest.fixture
def dataset(coco: dict[str, Any], write_coco: Callable[[dict[str, Any]], Path]) -> Dataset:
    """The small dataset, loaded."""
    return load_dataset(str(write_coco(coco)))


class Constant:
    """A method that finds one ship, in the same place of every image."""

    name = "constant"

    def predict(self, image: np.ndarray, instruction: Instruction) -> Prediction:
        return Prediction(labels=["ship"], boxes=[[1, 1, 4, 4]], counts={"ship": 1})


@pytest.fixture
def constant() -> Constant:
    return Constant()
