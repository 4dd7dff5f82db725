"""The embedded dataset: pinned ground truth, exact boxes and masks, enough of each category, files that load."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from pycocotools.coco import COCO

from earthinstruct.datasets import DrawnScene, draw_scenes, generate_scene, image_attributes, load_dataset
from earthinstruct.datasets.scenes import generate, scene_attributes
from earthinstruct.datasets.scenes.cache import TEST_SHA256
from earthinstruct.datasets.scenes.canvas import (
    LEAST_VISIBLE_PIXELS,
    Canvas,
    Dice,
    Frame,
    Material,
    disc,
    rasterise,
    rectangle,
)
from earthinstruct.datasets.scenes.generate import CATEGORIES, SPLITS
from earthinstruct.errors import ContractError, DataError, UnknownNameError
from earthinstruct.regions import decode_mask, decode_rles
from earthinstruct.scoring.slicing import read_attributes

# Changes with the ground truth of the scenes and with nothing else. If it must, raise VERSION: old results no longer
# compare with new ones.
TEST_SPLIT = "a00cf3ad8dd27888f0be7d58bbdbe19d8d707f4552c8bff77f18a6167ace1ce1"


@pytest.fixture(scope="module")
def scenes() -> list[DrawnScene]:
    return [generate_scene("test", index) for index in range(SPLITS["test"])]


def ground_truth(scene: DrawnScene) -> list[object]:
    return [scene.labels, scene.boxes.tolist(), [[*mask["size"], mask["counts"]] for mask in scene.masks]]


def test_the_ground_truth_of_the_test_split_is_pinned(scenes):
    text = json.dumps([ground_truth(scene) for scene in scenes], separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == TEST_SPLIT


def test_the_file_of_the_test_split_is_pinned(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "generate_scene", lambda split, index, **_: scenes[index])
    content = (draw_scenes(tmp_path / "test", "test") / "annotations.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() == TEST_SHA256


def test_every_category_has_enough_instances_in_enough_images(scenes):
    instances = Counter(label for scene in scenes for label in scene.labels)
    images = Counter(label for scene in scenes for label in set(scene.labels))
    assert set(instances) == set(CATEGORIES)
    assert min(instances.values()) >= 25, instances
    assert min(images.values()) >= 6, images


def test_some_scenes_are_dense_and_some_are_empty(scenes):
    counts = [len(scene.labels) for scene in scenes]
    assert sum(count > 100 for count in counts) >= 5
    assert 2 <= counts.count(0) <= 5


def test_images_differ_in_size_and_are_rarely_square(scenes):
    shapes = [scene.image.shape for scene in scenes]
    assert all(384 <= side <= 512 for shape in shapes for side in shape[:2])
    assert sum(height != width for height, width, _ in shapes) > 36
    assert all(scene.image.dtype == np.uint8 for scene in scenes)


def test_boxes_bound_masks_that_are_disjoint_and_not_tiny(scenes):
    for scene in scenes:
        covered = np.zeros(scene.image.shape[:2], dtype=int)
        for mask, (x, y, width, height) in zip(scene.masks, scene.boxes, strict=True):
            drawn = decode_mask(mask)
            rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
            assert (x, y) == (columns[0], rows[0])
            assert (x + width, y + height) == (columns[-1] + 1, rows[-1] + 1)
            covered += drawn
        assert covered.max(initial=0) <= 1
        assert not len(scene.masks) or decode_rles(scene.masks).areas.min() >= LEAST_VISIBLE_PIXELS


def test_a_scene_drawn_alone_equals_itself_within_the_split(scenes):
    for index in (17, 3):
        alone = generate_scene("test", index)
        assert ground_truth(alone) == ground_truth(scenes[index])
        assert np.array_equal(alone.image, scenes[index].image)


def test_splits_differ():
    first = [generate_scene(split, 1) for split in SPLITS]
    assert len({json.dumps(ground_truth(scene)) for scene in first}) == 3


def test_a_load_test_scene_has_the_size_and_the_number_of_objects():
    scene = generate_scene("test", 500, size=640, objects=400)
    assert scene.image.shape == (640, 640, 3)
    assert 380 <= len(scene.labels) <= 400
    assert generate_scene("val", 0, size=256).image.shape == (256, 256, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "tset", "index": 0}, UnknownNameError, "did you mean 'test'"),
        ({"split": "test", "index": -1}, ContractError, "index must be >= 0"),
        ({"split": "test", "index": 0, "size": 64}, ContractError, "at least 128"),
        ({"split": "test", "index": 0, "size": 240, "objects": 101}, ContractError, "from 1 to 100"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        generate_scene(**arguments)


def test_a_written_split_loads_as_coco(tmp_path, scenes):
    seen = []
    folder = draw_scenes(tmp_path / "scenes" / "test", "test", images=3, progress=lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [path.name for path in folder.parent.iterdir()] == ["test"]
    coco = COCO(str(folder / "annotations.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(CATEGORIES)
    assert {category["supercategory"] for category in coco.dataset["categories"]} == {
        "sports field",
        "means of transport",
        "",
    }
    for index, image in enumerate(coco.loadImgs([1, 2, 3])):
        scene = scenes[index]
        assert (image["height"], image["width"]) == scene.image.shape[:2]
        assert (folder / "images" / image["file_name"]).is_file()
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert [CATEGORIES[annotation["category_id"] - 1] for annotation in annotations] == list(scene.labels)
        for annotation, mask, box in zip(annotations, scene.masks, scene.boxes, strict=True):
            drawn = decode_mask(mask)
            assert np.array_equal(coco.annToMask(annotation).astype(bool), drawn)
            assert annotation["bbox"] == box.tolist()
            assert annotation["area"] == drawn.sum()


def test_a_run_that_fails_leaves_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_scenes(tmp_path / "train", "train", images=2, size=128, progress=stop)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        draw_scenes(tmp_path, "test", images=1)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_polygon_covers_the_pixels_whose_centres_it_contains():
    stencil = rasterise([rectangle(1.5, 0.75, 4.0, 3.25)], 8, 8)
    drawn = np.zeros((8, 8), dtype=bool)
    stencil.of(drawn)[stencil.inside] = True
    expected = np.zeros((8, 8), dtype=bool)
    expected[1:3, 2:4] = True  # rows: centres from 0.75 to 3.25; columns: from 1.5, itself a centre, to 4.0
    expected[1:3, 1] = True
    assert np.array_equal(drawn, expected)
    beyond = rasterise([rectangle(-3, -3, 2, 2)], 8, 8)
    assert (beyond.area, beyond.inside.sum()) == (25, 4)


def test_an_object_that_would_hide_another_is_refused():
    canvas = Canvas(64, 64, sun=(0.0, 1.0))
    frame = Frame(canvas)
    assert frame.place("ship", [disc(30, 30, 10)])
    assert not frame.place("bridge", [rectangle(10, 20, 50, 37)], over=("ship",))  # less than 35 % would be left
    assert not frame.place("bridge", [rectangle(10, 28, 50, 32)])  # not allowed over ships
    assert frame.place("bridge", [rectangle(10, 28, 50, 32)], over=("ship",))
    assert not frame.place("vehicle", [rectangle(-30, 0, 10, 10)])  # a quarter on the canvas
    assert not frame.place("harbor", [rectangle(0, 50, 30, 60)], on=Material.WATER)
    ship, bridge = canvas.masks().areas
    assert bridge == 160
    assert ship == rasterise([disc(30, 30, 10)], 64, 64).area - 80


def test_dice_follow_the_documented_stream_of_pcg64():
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence((1, 2)))).random(3)
    dice = Dice(1, 2)
    assert [dice.uniform() for _ in range(3)] == expected.tolist()


def test_the_ground_resolution_is_known_without_drawing(scenes, tmp_path, monkeypatch):
    found = [scene_attributes("test", index) for index in range(len(scenes))]
    assert [(of["gsd"], of["kind"]) for of in found] == [(round(scene.gsd, 3), scene.kind) for scene in scenes]
    # drawn by it: the median vehicle of a car park has 17.5 to 20.5 pixels where a pixel has 0.25 m
    for scene in (scene for scene in scenes if scene.kind == "car_park"):
        lengths = [max(box[2:]) for label, box in zip(scene.labels, scene.boxes, strict=True) if label == "vehicle"]
        assert 4 < np.median(lengths) * scene.gsd < 6
    assert generate_scene("test", 0, objects=9).gsd is None


def test_attributes_lie_beside_the_file_and_not_in_it(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "generate_scene", lambda split, index, **_: scenes[index])
    folder = draw_scenes(tmp_path / "test", "test", 3)
    dataset = load_dataset(str(folder))
    assert image_attributes(dataset).keys() == {"width", "height", "n_objects"}
    read = read_attributes(folder / "attributes.csv", dataset)
    assert read["gsd"] == {i + 1: round(scenes[i].gsd, 3) for i in range(3)}
    assert read["kind"] == {i + 1: scenes[i].kind for i in range(3)}


def test_the_named_dataset_has_them():
    known = image_attributes(load_dataset("scenes"))
    assert known["gsd"][1] == scene_attributes("test", 0)["gsd"]
    assert len(known["gsd"]) == len(known["kind"]) == SPLITS["test"]
    assert (min(known["gsd"].values()), max(known["gsd"].values())) == (0.217, 0.278)  # 0.25 / 1.15 and 0.25 / 0.9
