"""Annotations in shards: the same dataset as one file, the same checks across shards, and bounded memory."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earthinstruct import masks
from earthinstruct.datasets import Dataset, load_dataset, read_coco
from earthinstruct.errors import DataError
from earthinstruct.files import as_json
from earthinstruct.metrics import PROTOCOLS
from earthinstruct.running.predictions import Record
from earthinstruct.running.run import targets_of
from earthinstruct.running.score import score_records
from earthinstruct.tasks import tasks_of

Coco = dict[str, Any]


def split(coco: Coco) -> list[Coco]:
    """One image a shard."""
    return [
        {
            "images": [image],
            "annotations": [entry for entry in coco["annotations"] if entry["image_id"] == image["id"]],
            "categories": copy.deepcopy(coco["categories"]),
        }
        for image in coco["images"]
    ]


@pytest.fixture
def write_shards(tmp_path: Path) -> Callable[[list[Coco]], str]:
    """Writes shards into the folder `shards`, and returns its path."""

    def write(shards: list[Coco]) -> str:
        folder = tmp_path / "shards"
        folder.mkdir()
        for i, shard in enumerate(shards):
            (folder / f"annotations-{i}.json").write_text(json.dumps(shard))
        return str(folder)

    return write


def metrics(dataset: Dataset, protocol: str) -> bytes:
    """The scores of boxes that are 1 pixel off, with the masks of the objects."""
    task = tasks_of("set", dataset.vocabulary, "open_vocabulary")[0]
    records = {}
    for i, image in enumerate(dataset.images):
        record = Record.of(image.id, targets_of(dataset, task, i))
        record.boxes = [(x + 1, y, w, h) for x, y, w, h in record.boxes]
        record.scores = [0.1 * (k + 1) for k in range(len(record.boxes))]
        records[image.id] = record
    rules = PROTOCOLS[protocol]
    return as_json(score_records(task, dataset, records, protocol=rules, sweep=True, resamples=20).metrics)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("in_memory", [1 << 20, 0])
def test_shards_are_the_dataset_of_one_file(coco, write_coco, write_shards, monkeypatch, protocol, in_memory):
    coco["annotations"][3]["segmentation"].append([20, 1, 22, 1, 22, 3, 20, 3])
    monkeypatch.setattr(masks, "_STORED_IN_MEMORY", in_memory)
    whole, shards = load_dataset(str(write_coco(coco))), load_dataset(write_shards(split(coco)))
    assert (shards.images, shards.vocabulary, shards.category_ids) == (
        whole.images,
        whole.vocabulary,
        whole.category_ids,
    )
    for name in ("image", "category", "boxes"):
        assert np.array_equal(getattr(shards.annotations, name), getattr(whole.annotations, name))
    for dataset in (shards, pickle.loads(pickle.dumps(shards))):
        assert metrics(dataset, protocol) == metrics(whole, protocol)
    assert shards.masks.take(first_polygon_only=True).areas.tolist() == [16, 15, 36, 64]
    assert shards.masks.take(np.array([3, 0]), first_polygon_only=True).areas.tolist() == [64, 16]
    assert shards.masks.take(np.array([3, 0])).areas.tolist() == [68, 16]


def test_the_hash_of_shards_is_that_of_their_bytes_in_turn(coco, write_shards):
    folder = write_shards(split(coco))
    content = b"".join((Path(folder) / f"annotations-{i}.json").read_bytes() for i in range(3))
    dataset = load_dataset(folder)
    assert dataset.sha256 == hashlib.sha256(content).hexdigest()
    assert dataset.name == "shards"


def test_images_of_shards_are_beside_them(coco, write_coco, write_shards):
    images = write_coco(coco).parent / "images"
    folder = Path(write_shards(split(coco)))
    images.rename(folder / "images")
    assert load_dataset(str(folder)).read_image(2).shape == (20, 30, 3)


def change(shard: int, key: str, index: int, field: str, value: object) -> Callable[[list[Coco]], None]:
    def damage(shards: list[Coco]) -> None:
        shards[shard][key][index][field] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change(1, "images", 0, "id", 0), r"1\.json: images\[0\] repeats the id 0; .* once, in all shards together"),
        (change(1, "images", 0, "id", "0"), r"1\.json: images\[0\] repeats the id as text '0'"),
        (change(2, "images", 0, "file_name", "a.png"), r"2\.json: images\[0\] repeats the file_name 'a.png'"),
        (change(1, "annotations", 0, "id", 1), r"1\.json: annotations\[0\] repeats the id 1; .* in all shards"),
        (change(0, "annotations", 2, "id", 1), r"0\.json: annotations\[2\] repeats the id 1"),
        (change(1, "annotations", 0, "id", 1 << 63), r"1\.json: annotations\[0\] .* an id beyond 64 bits"),
        (change(1, "annotations", 0, "image_id", 0), r"1\.json: annotations\[0\] \(id 3\) names image 0, which is not"),
        (change(1, "annotations", 0, "bbox", [1, 1]), r"1\.json is not a COCO .* `\$\.annotations\[0\]\.bbox`"),
        (
            change(1, "categories", 1, "id", 5),
            r"1\.json: its categories are 1 'ship' \(transport\), 5 'harbor', those ",
        ),
        (change(1, "categories", 1, "name", "port"), r"categories are .* 4 'port', those of annotations-0\.json are "),
        (change(1, "categories", 0, "supercategory", "x"), r"1 'ship' \(x\), .*; expected the same id, name and super"),
        (
            lambda shards: shards[1]["categories"].pop(),
            r"1\.json: its categories are 1 'ship' \(transport\), those of ",
        ),
        (lambda shards: shards[2].update(images=[]), r"2\.json: 'images' is empty"),
        (lambda shards: shards[2].pop("images"), r"2\.json is not a COCO annotation file"),
    ],
)
def test_what_contradicts_itself_across_shards_is_refused_with_its_shard(coco, write_shards, damage, message):
    shards = split(coco)
    damage(shards)
    with pytest.raises(DataError, match=message):
        load_dataset(write_shards(shards))


def test_the_order_of_categories_in_a_shard_does_not_matter(coco, write_shards):
    shards = split(coco)
    shards[1]["categories"].reverse()
    assert load_dataset(write_shards(shards)).annotations.category.tolist() == [0, 0, 1, 0]


def test_a_shard_without_masks_is_named(coco, write_shards):
    del coco["annotations"][3]["segmentation"]
    dataset = load_dataset(write_shards(split(coco)))
    assert dataset.masks is None
    assert dataset.no_masks_reason == "annotations-1.json: annotations[0] (id 3) has no segmentation"


def test_a_whole_file_beside_shards_is_refused(coco, write_shards):
    folder = Path(write_shards(split(coco)))
    (folder / "annotations.json").write_text(json.dumps(coco))
    with pytest.raises(DataError, match=r"has annotations\.json and annotations-0\.json; expected"):
        load_dataset(str(folder))


def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no annotation file; expected annotations\.json, or shards"):
        read_coco(tmp_path, name="x", image_root=None)


def test_one_shard_is_in_memory_at_a_time_and_no_masks_are(coco, write_shards, monkeypatch):
    shards, size = split(coco), 1 << 20
    shards = [{**shards[0], "images": [{**shards[0]["images"][0], "id": i, "file_name": str(i)}]} for i in range(8)]
    for i, shard in enumerate(shards):
        entry = {**shard["annotations"][0], "image_id": i, "segmentation": [[1, 1, 26, 1, 26, 15, 1, 15]]}
        shard["annotations"] = [{**entry, "id": 100 * i + k} for k in range(100)]
        shard["info"] = "x" * size
    folder = write_shards(shards)
    load_dataset(folder)  # what is imported on first use is not counted
    monkeypatch.setattr(masks, "_STORED_IN_MEMORY", 0)
    tracemalloc.start()
    dataset = load_dataset(folder)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(dataset.masks) == 800
    assert peak < 2 * size
    assert held < 800 * 64 + 100_000  # the masks would be 800 x 25 columns x 8 bytes more
