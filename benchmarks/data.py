"""Data for the benchmarks: the real annotation of NWPU VHR-10, replicated, and predictions made from it.

`python -m benchmarks.data COPIES FOLDER` writes `annotations.json`, `results.json` (COCO results) and
`predictions-*.jsonl` (`--shards` gives the number of files). 1 copy is NWPU (650 images, 3,921 objects, 10,000
predictions); 9 copies have the size of DIOR val (5,850 images, 35,289 objects, 90,000 predictions). The annotation is
read from `$EARTHINSTRUCT_REFERENCE/nwpu/annotations.json`.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from pycocotools import mask as coco_mask

from earthinstruct.datasets import load_dataset
from earthinstruct.metrics import Predicted, Truth
from earthinstruct.predictions import read_predictions
from earthinstruct.scoring import ScoringSet
from earthinstruct.tasks import tasks_of

PREDICTIONS = 10_000  # of a copy
FAR = 0.6  # share of the predictions that lie on no object


def annotation() -> dict[str, Any]:
    """The NWPU annotation, unchanged.

    Raises:
        FileNotFoundError: EARTHINSTRUCT_REFERENCE does not name a folder that holds it.
    """
    root = os.environ.get("EARTHINSTRUCT_REFERENCE")
    if root is None:
        raise FileNotFoundError("EARTHINSTRUCT_REFERENCE must name the folder that holds nwpu/annotations.json")
    return msgspec.json.decode((Path(root) / "nwpu" / "annotations.json").read_bytes())


def records(coco: dict[str, Any], predictions: int = PREDICTIONS, seed: int = 0) -> list[dict[str, Any]]:
    """One record for each image: its objects' polygons, moved a little (or far), as masks with boxes and scores."""
    chance = np.random.default_rng(seed)
    names = {category["id"]: category["name"] for category in coco["categories"]}
    images = {image["id"]: image for image in coco["images"]}
    found: dict[Any, dict[str, Any]] = {
        image: {"image_id": image, "labels": [], "boxes": [], "masks": [], "scores": []} for image in images
    }
    made = 0
    while made < predictions:
        entry = coco["annotations"][int(chance.integers(len(coco["annotations"])))]
        image = images[entry["image_id"]]
        far = chance.random() < FAR
        points = np.array(entry["segmentation"][0]).reshape(-1, 2)
        side = np.array([image["width"], image["height"]])
        shift = chance.uniform(-0.4, 0.4, 2) * side if far else chance.normal(0, 0.06, 2) * np.ptp(points, axis=0)
        moved = np.clip(points + shift, 0, side)
        mask = coco_mask.merge(
            coco_mask.frPyObjects([moved.round(1).ravel().tolist()], image["height"], image["width"])
        )
        if not coco_mask.area(mask):
            continue
        made += 1
        record = found[entry["image_id"]]
        record["labels"].append(names[entry["category_id"]])
        record["boxes"].append(coco_mask.toBbox(mask).tolist())
        record["masks"].append({"size": mask["size"], "counts": mask["counts"].decode()})
        record["scores"].append(round(float(chance.beta(2, 3) if far else chance.beta(4, 2)), 4))
    return list(found.values())


def write(
    folder: Path,
    copies: int,
    *,
    coco: dict[str, Any] | None = None,
    predictions: int = PREDICTIONS,
    shards: int = 1,
    results: bool = True,
) -> None:
    """Write the three kinds of files; images and objects of copy k have their ids raised by a multiple of k.

    Args:
        folder: the folder to write to.
        copies: of the annotation and of the predictions.
        coco: the annotation; None: NWPU.
        predictions: of one copy.
        shards: number of files of predictions.
        results: write COCO results as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    coco = annotation() if coco is None else coco
    own = records(coco, predictions)
    n_images = max(image["id"] for image in coco["images"]) + 1
    n_objects = max(entry["id"] for entry in coco["annotations"]) + 1
    flat = []
    ids = {category["name"]: category["id"] for category in coco["categories"]}
    chance = np.random.default_rng(1)
    files = [(folder / f"predictions-{k:03}.jsonl").open("wb") for k in range(shards)]
    for k in range(copies):
        for record in own:
            scores = np.clip(np.array(record["scores"]) + chance.normal(0, 0.02, len(record["scores"])), 0, 1)
            copied = {**record, "image_id": record["image_id"] + k * n_images, "scores": scores.round(4).tolist()}
            files[k * shards // copies].write(msgspec.json.encode(copied) + b"\n")
            if results:
                columns = (copied[name] for name in ("labels", "boxes", "masks", "scores"))
                flat += [
                    {
                        "image_id": copied["image_id"],
                        "category_id": ids[label],
                        "bbox": box,
                        "segmentation": mask,
                        "score": score,
                    }
                    for label, box, mask, score in zip(*columns, strict=True)
                ]
    for file in files:
        file.close()
    images, entries = [], []
    for k in range(copies):
        first_image, first_object = k * n_images, k * n_objects
        images += [{**i, "id": i["id"] + first_image, "file_name": f"{k:04}-{i['file_name']}"} for i in coco["images"]]
        entries += [
            {**e, "id": e["id"] + first_object, "image_id": e["image_id"] + first_image} for e in coco["annotations"]
        ]
    whole = {"images": images, "annotations": entries, "categories": coco["categories"]}
    (folder / "annotations.json").write_bytes(msgspec.json.encode(whole))
    if results:
        (folder / "results.json").write_bytes(msgspec.json.encode(flat))


@dataclass(frozen=True)
class Scenes:
    """The files of one size, and their contents."""

    name: str
    folder: Path

    @cached_property
    def coco(self) -> dict[str, Any]:
        """The annotation file."""
        return msgspec.json.decode((self.folder / "annotations.json").read_bytes())

    @cached_property
    def results(self) -> list[dict[str, Any]]:
        """The predictions as COCO results."""
        return msgspec.json.decode((self.folder / "results.json").read_bytes())

    @cached_property
    def _known(self) -> ScoringSet:
        dataset = load_dataset(str(self.folder / "annotations.json"))
        task = tasks_of(dataset.name, dataset.vocabulary, "open_vocabulary")[0]
        return ScoringSet(task, dataset, read_predictions(self.folder, dataset))

    @cached_property
    def truth(self) -> Truth:
        """The ground truth in columns, all of it at once."""
        return self._known.truth(range(len(self._known.images)))

    @cached_property
    def predicted(self) -> Predicted:
        """The predictions in columns, all of them at once."""
        return self._known.columns.predicted(range(len(self._known.images)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("copies", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--no-results", action="store_true")
    given = parser.parse_args()
    write(
        given.folder,
        given.copies,
        shards=given.shards,
        results=not given.no_results,
    )
