"""Folders of detections: COCO results in several files, one file an image, and the text files of DOTA."""

import json

import numpy as np
import pytest

from earthinstruct import score
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.predictions import Conventions, read_predictions
from earthinstruct.regions import encode_mask

SHIP = {"image_id": 0, "category_id": 14, "bbox": [1, 1, 4, 4], "score": 0.9}
HARBOR = {"image_id": 0, "category_id": 12, "bbox": [20, 10, 6, 6], "score": 0.8}


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / "classes.json"
    path.write_text('{"0": null, "12": "harbor", "14": "ship"}')
    return Conventions(path)


def folder(tmp_path, **files):
    for name, content in files.items():
        path = tmp_path / "found" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return tmp_path / "found"


def test_results_in_a_file_a_class_are_those_of_one_file(tmp_path, dataset, classes):
    unnamed = {**SHIP, "category_id": 0}
    path = folder(tmp_path, preds_harbor=[HARBOR], preds_none=[], preds_ship=[SHIP, {**SHIP, "image_id": 7}, unnamed])
    one = tmp_path / "one.json"
    one.write_text(json.dumps([HARBOR, SHIP, {**SHIP, "image_id": 7}, unnamed]))
    read = read_predictions(path, dataset, conventions=classes)
    assert read == read_predictions(one, dataset, conventions=classes)
    assert (read[0].labels, read[0].scores, read[0].masks) == (["harbor", "ship"], [0.8, 0.9], None)
    assert read[0].events == {"objects of classes without a category": 1}
    assert (read[9].labels, read[9].scores) == ([], [])


def test_masks_in_some_files_alone_are_refused(tmp_path, dataset, classes):
    with_mask = {**SHIP, "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]}
    path = folder(tmp_path, a=[HARBOR], b=[with_mask])
    with pytest.raises(DataError, match=r"b.json has masks, and .*a.json has none"):
        read_predictions(path, dataset, conventions=classes)
    assert read_predictions(folder(tmp_path, a=[], b=[with_mask]), dataset, conventions=classes)[9].masks == []


def test_a_class_that_the_file_lacks_is_refused(tmp_path, dataset, classes):
    with pytest.raises(DataError, match="category_id 3, which is unknown, and no label; known ids: 0, 12, 14"):
        read_predictions(folder(tmp_path, a=[{**SHIP, "category_id": 3}]), dataset, conventions=classes)


def test_classes_in_other_words_are_mapped_by_a_label_map(tmp_path, dataset):
    (tmp_path / "classes.json").write_text('{"12": "quay", "14": "vessel"}')
    (tmp_path / "map.json").write_text('{"quay": "harbor", "vessel": "ship"}')
    path = folder(tmp_path, a=[HARBOR], b=[SHIP])
    with pytest.raises(DataError, match="label 'quay' is not one of the categories"):
        score(path, dataset, "open_vocabulary", classes=tmp_path / "classes.json")
    result = score(path, dataset, "open_vocabulary", classes=tmp_path / "classes.json", label_map=tmp_path / "map.json")
    assert {name: (tally.tp, tally.fp) for name, tally in result.metrics.box.tally.items()} == {
        "ship": (1, 0),
        "harbor": (1, 0),
    }


def test_one_file_an_image(tmp_path, dataset, classes):
    mask = np.zeros((20, 30), bool)
    mask[1:5, 1:5] = True
    found = {
        "labels": [14, 0, 12],
        "scores": [0.9, 0.7, 0.8],
        "bboxes": [[1, 1, 5, 5], [0, 0, 2, 2], [20, 10, 26, 16]],
        "masks": [dict(encode_mask(mask))] * 3,
    }
    read = read_predictions(
        folder(tmp_path, a=found, b={"labels": [], "scores": [], "bboxes": []}), dataset, conventions=classes
    )
    assert (read[0].labels, read[0].boxes) == (["ship", "harbor"], [(1, 1, 4, 4), (20, 10, 6, 6)])
    assert (read[0].scores, len(read[0].masks)) == ([0.9, 0.8], 2)
    assert read[0].events == {"objects of classes without a category": 1}
    assert (read[7].labels, 9 in read) == ([], False)  # the third image has no file: it is reported as failed


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"labels": [5], "scores": [1], "bboxes": [[1, 1, 5, 5]]}, r"a.json: labels\[0\] is the class 5, which --cl"),
        ({"labels": [14], "scores": [], "bboxes": [[1, 1, 5, 5]]}, "a.json has 1 labels and 0 scores"),
        ({"labels": [14], "bboxes": [[1, 1, 5, 5, 0.5]]}, r"bboxes\[0\] has 5 numbers; a box as xyxy has 4"),
        ({"labels": ["ship"], "bboxes": [[1, 1, 5, 5]]}, r"labels\[0\] is \"ship\"; expected a whole number"),
    ],
)
def test_malformed_detections_are_named(tmp_path, dataset, classes, found, message):
    with pytest.raises(DataError, match=message):
        read_predictions(folder(tmp_path, a=found), dataset, conventions=classes)


def test_an_inverted_box_is_refused_when_scored(tmp_path, dataset, classes):
    path = folder(tmp_path, a={"labels": [14], "scores": [1], "bboxes": [[5, 1, 1, 5]]})
    with pytest.raises(DataError, match=r"boxes\[0\]"):
        score(path, dataset, "open_vocabulary", classes=classes.classes)


def dota(tmp_path, **files):
    (tmp_path / "dota").mkdir()
    for name, lines in files.items():
        (tmp_path / "dota" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "dota"


def test_text_files_of_dota(tmp_path, dataset):
    # a square of side 4 sqrt(2) on its corner about (8, 6), as `Task1`; upright boxes, with a suffix, as `Task2`
    path = dota(
        tmp_path,
        Task1_ship=["a 0.91 8 2 12 6 8 10 4 6", "", "b 0.50 3.00 3.00 11.00 3.00 11.00 11.00 3.00 11.00"],
        Task2_harbor=["a.png 0.8 20 10 26 10 26 16 20 16"],
    )
    read = read_predictions(path, dataset)
    assert (read[0].labels, read[0].boxes) == (["ship", "harbor"], [(4, 2, 8, 8), (20, 10, 6, 6)])
    assert (read[0].scores, read[7].boxes) == ([0.91, 0.8], [(3, 3, 8, 8)])
    assert (read[9].boxes, read[9].scores) == ([], [])


def test_upright_boxes_of_dota_have_two_corners(tmp_path, dataset):
    read = read_predictions(dota(tmp_path, Task2_ship=["a 0.9 1 2 5 8"]), dataset)
    assert [record.boxes for record in read.values() if record.boxes] == [[(1, 2, 4, 6)]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a 0.9 1 1 5", r"Task1_ship.txt, line 2 is 'a 0.9 1 1 5'; expected `image score x1 y1"),
        ("a 0.9 1 1 5 5", r"Task1_ship.txt: its lines have 4 or 8 coordinates, such as entry 1; expected one of both"),
        ("a high 1 1 5 1 5 5 1 5", "line 2 is 'a high"),
        ("a 0.9 1 1 5 1 5 nan 1 5", "line 2 is"),
        ("z 0.9 1 1 5 1 5 5 1 5", r"Task1_ship.txt, image 'z': dataset 'set' has no image 'z'"),
    ],
)
def test_malformed_lines_of_dota_are_named(tmp_path, dataset, line, message):
    path = dota(tmp_path, Task1_ship=["a 0.9 1 1 5 1 5 5 1 5", line])
    with pytest.raises(DataError, match=message):
        read_predictions(path, dataset)


def test_scores_at_the_end_of_lines_of_dota_are_refused(tmp_path, dataset):
    at_end = [
        "a 8 2 12 6 8 10 4 6 0.91",
        "b 0 2 12 6 8 10 4 6 0.5",
        "a 9 2 12 6 8 10 4 6 0.3",
    ]  # one from the border on
    with pytest.raises(DataError, match=r"Task1_ship\.txt: the last number of 2 of 3 lines looks like a score"):
        read_predictions(dota(tmp_path, Task1_ship=at_end), dataset)
    upright = [" ".join(line.split()[:5] + line.split()[-1:]) for line in at_end]
    (tmp_path / "dota" / "Task1_ship.txt").rename(tmp_path / "dota" / "Task2_ship.txt").write_text("\n".join(upright))
    with pytest.raises(DataError, match=r"Task2_ship\.txt: the last number of 2 of 3 lines looks like a score"):
        read_predictions(tmp_path / "dota", dataset)


def test_conventions_that_say_nothing_are_refused(tmp_path, dataset, classes):
    found = {"labels": [14], "scores": [1], "bboxes": [[1, 1, 5, 5]]}
    with pytest.raises(EarthInstructError, match=r"a.json has class numbers; say with --classes FILE"):
        read_predictions(folder(tmp_path, a=found), dataset)
    with pytest.raises(EarthInstructError, match="--order says nothing about count files; leave it out"):
        read_predictions(folder(tmp_path, a={"ship": 2}), dataset, conventions=Conventions(order="xyxy"))
    with pytest.raises(EarthInstructError, match="--min-area says nothing about COCO results"):
        read_predictions(
            folder(tmp_path, a=[SHIP]) / "a.json", dataset, conventions=Conventions(classes.classes, min_area=2)
        )
    lines = tmp_path / "own.jsonl"
    lines.write_text('{"image_id": 0, "labels": ["ship"], "boxes": [[1, 1, 2, 2]]}\n')
    with pytest.raises(EarthInstructError, match=r"--order says nothing about predictions\.jsonl; leave it out"):
        read_predictions(lines, dataset, conventions=Conventions(order="xyxy"))
    with pytest.raises(EarthInstructError, match="--frame says nothing about results of DOTA"):
        read_predictions(dota(tmp_path, Task1_ship=[]), dataset, conventions=Conventions(frame="pixels"))
