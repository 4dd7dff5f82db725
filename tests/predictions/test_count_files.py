"""Folders of count files, from any system and in subfolders; what has two meanings is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from earthinstruct.datasets import Dataset, load_dataset
from earthinstruct.errors import DataError
from earthinstruct.predictions import Record, read_count_files, read_predictions
from earthinstruct.predictions.count_files import read_counts

SHIP = json.dumps({"ship": 3}).encode()


@pytest.fixture
def folder(tmp_path: Path):
    """Make a folder of files with these contents."""

    def make(files: dict[str, bytes | str]) -> Path:
        for name, content in files.items():
            path = tmp_path / "counts" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / "counts"

    return make


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", SHIP),
        ("a.JSON", SHIP),
        ("a.png.json", SHIP),
        ("7.json", SHIP),
        ("train/a.json", SHIP),
        ("a.json.gz", gzip.compress(SHIP, mtime=0)),
        ("a.json", SHIP.decode().encode("utf-16")),
        ("a.json", SHIP.decode().encode("utf-8-sig")),
        ("a.json", b'{"ship": 3.0}'),
    ],
)
def test_variants_are_read(coco, write_coco, folder, name, content):
    coco["images"][0]["id"] = 7
    coco["images"][1]["id"] = 0
    coco["annotations"] = []
    counts = folder({name: content, "._a.json": b"\0\5\26\7", ".ipynb_checkpoints/a-checkpoint.json": "{"})
    assert read_counts(counts, load_dataset(str(write_coco(coco)))) == {7: {"ship": 3}}


def test_equal_names_in_two_folders_are_two_images(coco, write_coco, folder):
    coco["images"][0]["file_name"], coco["images"][1]["file_name"] = "s1/a.png", "s2/a.png"
    counts = folder({"s2/a.json": '{"ship": 2}', "s1/a.json": '{"ship": 1}'})
    assert read_counts(counts, load_dataset(str(write_coco(coco)))) == {0: {"ship": 1}, 7: {"ship": 2}}
    assert read_count_files(counts) == {"s1/a": {"ship": 1}, "s2/a": {"ship": 2}}


@pytest.mark.parametrize(
    "content",
    [
        b'{"a.png": {"ship": 3}, "b": {}}',
        b'\xef\xbb\xbf\n{\n  "a": {\n    "ship": 3},\n  "b.png": {}}',
        gzip.compress(b'{"a.png": {"ship": 3}, "b": {}}', mtime=0),
        '{"a.png": {"ship": 3}, "b": {}}'.encode("utf-16"),
    ],
)
def test_one_file_of_all_images_is_read(dataset: Dataset, tmp_path: Path, content: bytes):
    file = tmp_path / "counts.json"
    file.write_bytes(content)
    a, b = (image.id for image in dataset.images[:2])
    assert read_counts(file, dataset) == {a: {"ship": 3}, b: {}}
    assert read_predictions(file, dataset) == {a: Record(a, counts={"ship": 3}), b: Record(b, counts={})}


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("c.json", '{"a.png": {"ship": "2"}}', r'a.png" is \{"ship": "2"\}.*The form .*\{"a.png": \{"ship": 3\}\}'),
        ("c.json", '{"a.png": {"ship": 2, "ships": 3}}', r"'a.png': 'ship' \(2\) and 'ships' \(3\) are two spellings"),
        ("c.json", '{"z.png": {"ship": 2}}', r"c.json: dataset 'set' has no image 'z.png'"),
        ("c.json", '{"a.png": 2}', r'also read are .*counts \(\{"a.png": \{"ship": 3\}\}'),
        ("c.jsonl", '{"image": "a.png", "counts": {"ship": 2}}', 'has "image", "counts"; expected .* with "image_id"'),
        ("c.csv", "image,ship\na.png,2", r'is a CSV file, .*write counts as JSON, \{"a.png": \{"ship": 3\}\}'),
    ],
)
def test_what_is_no_file_of_counts_is_told_the_form(dataset: Dataset, tmp_path: Path, name, content, error):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=error):
        read_predictions(tmp_path / name, dataset)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('{"ship": "about 20"}', 'ship is "about 20"; expected a whole number'),
        ('{"ship": null}', "ship is null"),
        ('{"ship": true}', "ship is true"),
        ('{"ship": 1.5}', "ship is 1.5"),
        ('{"ship": NaN}', "ship is NaN, which is no number"),
        ('{"counts": {"ship": 1}}', r'counts is \{"ship": 1\}'),
        ('{"ship": 1, "ship": 7}', 'has the key "ship" twice, as 1 and 7'),
        ('{"ship": 1, "Ships": 7}', r"'ship' \(1\) and 'Ships' \(7\) are two spellings of one label"),
        ('{"storage tank": 1, "storage_tanks": 7}', "two spellings"),
        ('{"fuse": 1, "fuses": 7}', "two spellings"),
        ('{"Pl\\u00e4tze": 1, "Pla\\u0308tze": 7}', "two spellings"),
        ('```json\n{"ship": 1}\n```', 'line 1, column 1 is not JSON: .*found "```json"'),
        ("There are 3 ships.", "not JSON"),
    ],
)
def test_what_is_no_count_is_named(folder, content, error):
    counts = folder({"a.json": content})
    with pytest.raises(DataError, match=rf"count file {counts}/a\.json: .*{error}"):
        read_count_files(counts)


def test_a_file_of_no_image_is_named(dataset: Dataset, folder):
    with pytest.raises(DataError, match=r"sub/z\.json: dataset 'set' has no image 'sub/z'"):
        read_counts(folder({"a.json": SHIP, "sub/z.json": SHIP}), dataset)


@pytest.mark.parametrize("other", ["a.JSON", "a.json.gz", "sub/a.json"])
def test_two_files_of_one_image_are_refused(dataset: Dataset, folder, other):
    with pytest.raises(DataError, match=r"the same image.*; keep one"):
        read_counts(folder({"a.json": SHIP, other: gzip.compress(SHIP, mtime=0) if "gz" in other else SHIP}), dataset)
