import json
import os
import sys

import pytest
from PIL import Image

from earthinstruct import evaluate
from earthinstruct.datasets import load_dataset
from earthinstruct.errors import DataError

from .fake_dior import xml


def picture(path, size=(10, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


@pytest.fixture
def voc(tmp_path):
    folder = tmp_path / "quays"
    for name in ("a.png", "b.jpg"):
        picture(folder / "JPEGImages" / name, (8, 8))
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "a.xml").write_text(xml("a", [("ship", (1, 2, 3, 5)), ("crane", (0, 0, 8, 8))]))
    return folder


@pytest.fixture
def yolo(tmp_path):
    folder = tmp_path / "quays"
    for name in ("train/a.png", "b.png"):
        picture(folder / "images" / name)
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "labels" / "train" / "a.txt").write_text("1 0.5 0.5 0.2 0.1\n\n0 0.1 0.1 0.2 0.1\n")
    (folder / "data.yaml").write_text("path: .\nnames:\n  0: ship\n  1: harbor\n")
    return folder


def test_a_voc_folder_is_a_dataset(voc):
    dataset = load_dataset(str(voc))
    assert (dataset.name, dataset.vocabulary.categories) == ("quays", ("crane", "ship"))
    assert [image.file_name for image in dataset.images] == ["a.png", "b.jpg"]
    assert dataset.annotations.category.tolist() == [1, 0]
    assert dataset.annotations.boxes.tolist() == [[1, 2, 2, 3], [0, 0, 8, 8]]
    assert dataset.read_image(1).shape == (8, 8, 3)


def test_a_yolo_folder_is_a_dataset(yolo):
    dataset = load_dataset(str(yolo))
    assert dataset.vocabulary.categories == ("ship", "harbor")
    assert [image.file_name for image in dataset.images] == ["b.png", "train/a.png"]
    assert dataset.annotations.image.tolist() == [1, 1]
    assert dataset.annotations.category.tolist() == [1, 0]
    assert dataset.annotations.boxes.tolist() == [[4, 9, 2, 2], [0, 1, 2, 2]]
    assert dataset.masks is None


def test_yolo_polygons_are_masks(yolo):
    (yolo / "labels" / "train" / "a.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.3 0.1 0.3\n")
    dataset = load_dataset(str(yolo))
    assert dataset.annotations.boxes.tolist() == [[1, 2, 4, 4]]
    assert dataset.masks.take().areas.tolist() == [16]


def test_a_folder_with_a_coco_file_is_read_by_it(coco, write_coco):
    file = write_coco(coco)
    assert load_dataset(str(file.parent)).sha256 == load_dataset(str(file)).sha256


def test_a_folder_of_images_alone_is_refused_with_the_next_step(tmp_path, constant):
    picture(tmp_path / "mine" / "a.png")
    with pytest.raises(DataError, match=r"has 1 image but no annotations.*earthinstruct predict --method NAME"):
        evaluate(constant, str(tmp_path / "mine"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is not a dataset: expected images, and a COCO file"):
        load_dataset(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0: ship\n1: harbor\n", r"classes\.txt has a number before each name, such as '0: ship'"),
        ("1 ship\n2 harbor\n", "has a number before each name"),
        ("'ship'\n'harbor'\n", "has quotes around each name"),
        ("ship,\nharbor,\n", "has a comma after each name, such as 'ship,'; write one name a line"),
    ],
)
def test_class_names_that_are_written_otherwise_are_refused(yolo, text, message):
    (yolo / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        load_dataset(str(yolo))


@pytest.mark.parametrize(
    "names", [("1-storey house", "2-storey house"), ("1 way street", "2 way street"), ("a, b", "c, d")]
)
def test_class_names_with_numbers_or_commas_are_read(yolo, names):
    (yolo / "data.yaml").unlink()
    (yolo / "classes.txt").write_text("\n".join(names))
    assert load_dataset(str(yolo)).vocabulary.categories == names


@pytest.mark.parametrize("name", ["1 way street", "ship, boat"])
def test_one_class_name_with_a_number_or_a_comma_is_read(yolo, name):
    (yolo / "data.yaml").unlink()
    (yolo / "classes.txt").write_text(name)
    (yolo / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.2 0.1\n")
    assert load_dataset(str(yolo)).vocabulary.categories == (name,)


@pytest.mark.parametrize("text", ["train: images\nnc: 2\n", "# paths\n", "{{template}}: [", "names: [Ship, Harbor]"])
def test_a_yaml_file_that_names_no_other_classes_is_passed_over(yolo, text):
    (yolo / "classes.txt").write_text("ship\nharbor\n")
    (yolo / "data.yaml").write_text(text)
    assert load_dataset(str(yolo)).vocabulary.categories == ("ship", "harbor")


def test_a_method_runs_over_a_folder(yolo, constant, tmp_path):
    evaluation = evaluate(constant, str(yolo), setting="open_vocabulary", output=tmp_path / "runs")
    assert evaluation.results[0].metrics.counting.tally["ship"].tp == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.2 0.1", r"a\.txt, line 1 is of class 2; expected a class from 0 to 1"),
        ("0.5 0.5 0.5 0.2 0.1", "expected a class from 0 to 1"),
        ("ship 0.5 0.5 0.2 0.1", "line 1 has 'ship' where a number belongs"),
        ("0 50 50 20 10", r"1 with a number outside 0 to 1: .* \(first: .*a\.txt, line 1 \(ship\), '0 50 50 20 10'"),
        ("0 nan 0.5 0.2 0.1", "line 1 has 'nan' where a number belongs"),
        ("0 0.5 0.5 0.2 0.1 0.9", "has 5 numbers after the class.* looks like a confidence"),
        ("0 0.5 0.5 0.2", "has 3 numbers after the class"),
        ("0", "has 0 numbers after the class"),
    ],
)
def test_a_malformed_label_is_named(yolo, line, message):
    (yolo / "labels" / "train" / "a.txt").write_text(line)
    with pytest.raises(DataError, match=message):
        load_dataset(str(yolo))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: ['ship', \"harbor\"]", ("ship", "harbor")),
        ("names:\n- ship # large\n- harbor\nnc: 2", ("ship", "harbor")),
        ("names: {0: ship, 1: harbor}", ("ship", "harbor")),
        ("names:\n  1: ship\n  0: harbor", ("harbor", "ship")),
        ("names: ['tank, storage', 'pier #1']", ("tank, storage", "pier #1")),
        ('names: ["it\'s", "a: b"]', ("it's", "a: b")),
        ("names: [\n  ship,\n  harbor,\n]", ("ship", "harbor")),
        ("names: [1, 2]", ("1", "2")),
    ],
)
def test_the_names_of_a_yolo_folder(yolo, text, names):
    (yolo / "data.yaml").write_text(text)
    assert load_dataset(str(yolo)).vocabulary.categories == names
    (yolo / "classes.txt").write_text("\n".join(names))
    assert load_dataset(str(yolo)).vocabulary.categories == names
    (yolo / "classes.txt").write_text("boat\npier\n")
    with pytest.raises(
        DataError, match=r"classes\.txt and .*data\.yaml name different classes, \['boat', 'pier'\] and"
    ):
        load_dataset(str(yolo))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nc: 2", r"data\.yaml has no class names; write .*classes\.txt, one name per line"),
        ("names: ship", "has no class names"),
        ("names: []", "has no class names"),
        ("names: [ship, [harbor]]", "has no class names"),
        ("- ship", "has no class names"),
        ("names: {0: ship, 2: harbor}", r"names the classes \[0, 2\]; expected 0 to 1, each once"),
        ("names:\n  0: ship\n  1: harbor\n  1: dam\n", r"data\.yaml is not YAML: line 4: '1' is there twice"),
        ("nc: 3\nnames: [ship, harbor]", "says nc: 3, but names 2 classes"),
        ("names: ['ship", r"data\.yaml is not YAML"),
        ("names: !!python/object/apply:os.system [exit]", r"data\.yaml is not YAML"),
        ("names: [yes, no]", "YAML reads the name of class 0 as True; put the name in quotes"),
        ("names: [ship, 1.10]", "YAML reads the name of class 1 as 1.1; put the name in quotes"),
        ("names: [ship, ship]", "has the repeated name 'ship' for class 1"),
    ],
)
def test_names_that_are_none_are_refused(yolo, text, message):
    (yolo / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        load_dataset(str(yolo))


def test_annotations_without_their_image_are_refused(yolo, voc):
    (yolo / "labels" / "c.txt").write_text("")
    (voc / "Annotations" / "c.xml").write_text(xml("c", []))
    with pytest.raises(DataError, match=r"Annotations annotates 1 image that is not in .*JPEGImages: c;"):
        load_dataset(str(voc))
    (yolo / "Annotations" / "c.xml").unlink()
    (yolo / "Annotations" / "a.xml").unlink()
    (yolo / "Annotations").rmdir()
    with pytest.raises(DataError, match="labels annotates 1 image"):
        load_dataset(str(yolo))


def test_a_voc_file_of_another_size_is_refused(voc):
    (voc / "Annotations" / "a.xml").write_text(xml("a", [], size=9))
    with pytest.raises(DataError, match=r"is 8x8 pixels, but .*a\.xml says 9x9"):
        load_dataset(str(voc))


def test_the_file_wins_over_the_layouts(voc, coco):
    (voc / "annotations.json").write_text(json.dumps(coco))
    assert len(load_dataset(str(voc)).images) == 3


@pytest.mark.parametrize("text", ["ship\n\nharbor\n", "\nship\nharbor", "ship\nship\n"])
def test_a_class_without_a_name_of_its_own_is_refused(yolo, text):
    (yolo / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=r"classes\.txt has (no name|the repeated name 'ship') for class [01]"):
        load_dataset(str(yolo))


def test_text_of_windows_is_read(yolo):
    (yolo / "classes.txt").write_bytes("\ufeffship\r\nharbor\r\n\r\n".encode())
    (yolo / "labels" / "b.txt").write_bytes("\ufeff0 0.5 0.5 0.2 0.1\r\n".encode())
    dataset = load_dataset(str(yolo))
    assert dataset.vocabulary.categories == ("ship", "harbor")
    assert dataset.annotations.image.tolist() == [0, 1, 1]
    (yolo / "classes.txt").write_bytes("schönes schiff".encode("latin-1"))
    with pytest.raises(DataError, match=r"classes\.txt: line 1 .* not UTF-8"):
        load_dataset(str(yolo))


def test_two_images_of_one_annotation_file_are_refused(yolo, voc):
    picture(voc / "JPEGImages" / "a.jpg", (8, 8))
    with pytest.raises(DataError, match=r"a\.jpg and .*a\.png share an annotation file"):
        load_dataset(str(voc))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_an_image_whose_name_is_no_text_is_refused(yolo):
    (yolo / "images" / "b.png").rename(yolo / "images" / os.fsdecode(b"b\xff.png"))
    with pytest.raises(DataError, match="is not UTF-8; rename it"):
        load_dataset(str(yolo))
