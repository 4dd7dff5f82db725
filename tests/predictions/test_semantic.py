"""Connected regions of a class are instances, whichever of the two formats they come in."""

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from earthinstruct.datasets import load_dataset
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.predictions import Conventions, read_predictions, read_semantic_maps
from earthinstruct.predictions.semantic import instances_of_map
from earthinstruct.regions import decode_mask, encode_mask

CLASSES = {"0": None, "3": "ship", "5": "harbor"}


@pytest.fixture
def drawn():
    """Two ships, of which one touches itself at a corner only, and a harbor; 20 rows, 30 columns."""
    drawn = np.zeros((20, 30), dtype=np.uint8)
    drawn[1:5, 1:5] = 3
    drawn[5:7, 5:8] = 3
    drawn[2:5, 10:15] = 3
    drawn[10:16, 20:26] = 5
    return drawn


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(CLASSES))
    return path


def save(folder, name, drawn):
    folder.mkdir(exist_ok=True)
    Image.fromarray(drawn).save(folder / f"{name}.png")
    return folder


def test_regions_of_a_folder_of_maps(tmp_path, dataset, drawn, classes):
    records = read_semantic_maps(save(tmp_path / "maps", "a", drawn), dataset, classes)
    assert list(records) == [0]
    record = records[0]
    assert record.labels == ["ship", "ship", "harbor"]
    assert record.boxes == [(1, 1, 7, 6), (10, 2, 5, 3), (20, 10, 6, 6)]
    assert record.scores is None
    assert record.counts is None
    masks = [decode_mask(mask) for mask in record.masks]
    assert [int(mask.sum()) for mask in masks] == [16 + 6, 15, 36]
    assert np.array_equal(masks[0] | masks[1], drawn == 3)
    assert np.array_equal(masks[2], drawn == 5)


def test_regions_of_detectron2_are_the_same(tmp_path, dataset, drawn, classes):
    regions = [
        {"file_name": "/data/a.jpg", "category_id": number, "segmentation": dict(encode_mask(drawn == number))}
        for number in (0, 3, 5)
    ]
    file = tmp_path / "sem_seg_predictions.json"
    file.write_text(json.dumps(regions))
    folder = save(tmp_path / "maps", "a", drawn)
    assert read_semantic_maps(file, dataset, classes) == read_semantic_maps(folder, dataset, classes)


def test_small_regions_are_left_out_on_request(drawn):
    record = instances_of_map(0, drawn, {3: "ship", 5: "harbor"}, min_area=16)
    assert record.boxes == [(1, 1, 7, 6), (20, 10, 6, 6)]


def test_a_map_without_objects_is_an_answer(dataset, tmp_path, classes):
    record = read_semantic_maps(save(tmp_path / "maps", "b", np.zeros((20, 30), np.uint8)), dataset, classes)[7]
    assert (record.labels, record.boxes, record.masks) == ([], [], [])


def test_what_does_not_fit_is_refused(tmp_path, dataset, drawn, classes):
    folder = save(tmp_path / "unknown", "z", drawn)
    with pytest.raises(DataError, match=r"has no image 'z\.png'"):
        read_semantic_maps(folder, dataset, classes)
    folder = save(tmp_path / "size", "a", drawn.T)
    with pytest.raises(DataError, match="is 20x30 pixels; expected 30x20"):
        read_semantic_maps(folder, dataset, classes)
    claims = bytearray((folder / "a.png").read_bytes())
    claims[16:24] = struct.pack(">II", 2**15, 2**15)  # its header, whose pixels are not decoded
    claims[29:33] = struct.pack(">I", zlib.crc32(claims[12:29]))
    (folder / "a.png").write_bytes(claims)
    with pytest.raises(DataError, match="is 32768x32768 pixels; expected 30x20"):
        read_semantic_maps(folder, dataset, classes)
    folder = save(tmp_path / "class", "a", np.full((20, 30), 9, np.uint8))
    with pytest.raises(DataError, match=r"has the class 9, which .* lacks"):
        read_semantic_maps(folder, dataset, classes)
    folder = save(tmp_path / "colours", "a", np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(DataError, match="one channel of class numbers"):
        read_semantic_maps(folder, dataset, classes)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no semantic maps"):
        read_semantic_maps(tmp_path / "empty", dataset, classes)
    classes.write_text('{"1": "boat"}')
    with pytest.raises(DataError, match="'boat', which is not a category of dataset 'set'; known: ship, harbor"):
        read_semantic_maps(folder, dataset, classes)


def test_a_malformed_region_is_refused(tmp_path, dataset, classes):
    file = tmp_path / "sem_seg_predictions.json"
    good = {"file_name": "a.png", "category_id": 3, "segmentation": dict(encode_mask(np.ones((20, 30), bool)))}
    file.write_text(json.dumps([good, {**good, "segmentation": dict(encode_mask(np.ones((2, 3), bool)))}]))
    with pytest.raises(DataError, match=r"a\.png is 3x2 pixels; expected 30x20"):
        read_semantic_maps(file, dataset, classes)
    file.write_text(json.dumps([{**good, "segmentation": {"size": [20, 30], "counts": "~"}}]))
    with pytest.raises(DataError, match=r"sem_seg_predictions\.json, a"):
        read_semantic_maps(file, dataset, classes)
    file.write_text(json.dumps([{**good, "category_id": 2**63}]))
    with pytest.raises(DataError, match=r"category_id 9223372036854775808 is too large"):
        read_semantic_maps(file, dataset, classes)
    file.write_text("{}")
    with pytest.raises(DataError, match=r"the file is \{\}; expected a list"):
        read_semantic_maps(file, dataset, classes)


def test_a_map_of_one_bit_has_the_classes_0_and_1(dataset, tmp_path, classes):
    classes.write_text('{"0": null, "1": "ship"}')
    drawn = np.zeros((20, 30), bool)
    drawn[2:5, 3:9] = True
    assert read_semantic_maps(save(tmp_path / "maps", "a", drawn), dataset, classes)[0].boxes == [(3, 2, 6, 3)]


def test_an_ambiguous_name_is_refused(coco, write_coco, tmp_path, drawn, classes):
    file = tmp_path / "sem_seg_predictions.json"
    region = {"category_id": 3, "segmentation": dict(encode_mask(drawn == 3))}
    file.write_text(json.dumps([{"file_name": f"/{folder}/a.png", **region} for folder in "xy"]))
    with pytest.raises(DataError, match=r"'/x/a\.png' and '/y/a\.png' name the same image"):
        read_semantic_maps(file, load_dataset(str(write_coco(coco))), classes)
    coco["images"][0]["file_name"], coco["images"][1]["file_name"] = "x/a.png", "y/a.png"
    records = read_semantic_maps(file, load_dataset(str(write_coco(coco))), classes)
    assert [len(records[image].labels) for image in (0, 7)] == [2, 2]
    file.write_text(json.dumps([{"file_name": "a.png", **region}]))
    with pytest.raises(DataError, match=r"'a\.png' fits several images of dataset 'set': x/a\.png, y/a\.png"):
        read_semantic_maps(file, load_dataset(str(write_coco(coco))), classes)


def test_maps_are_read_beside_other_files(tmp_path, dataset, drawn, classes):
    folder = save(tmp_path / "maps", "a", drawn)
    (folder / "settings.json").write_text("{}")
    records = read_predictions(folder, dataset, conventions=Conventions(classes, min_area=16))
    assert records == read_semantic_maps(folder, dataset, classes, min_area=16)
    (tmp_path / "counts").mkdir()
    (tmp_path / "counts" / "a.json").write_text('{"ship": 5}')
    counted = read_predictions(folder, dataset, counts=tmp_path / "counts", conventions=Conventions(classes))
    assert (counted[0].counts, len(counted[0].boxes)) == ({"ship": 5}, 3)
    with pytest.raises(EarthInstructError, match="--order says nothing about semantic maps; leave it out"):
        read_predictions(folder, dataset, conventions=Conventions(classes, order="xyxy"))
