"""Boxes in each form become the same COCO box, and forms that are unknown or do not fit are refused."""

import json

import numpy as np
import pytest

from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.predictions import Conventions, read_predictions
from earthinstruct.regions import BoxForm

# the box from (10, 4) to (16, 12) in an image of 30 x 20 pixels
SAME = [
    ("xywh", "pixels", [10, 4, 6, 8]),
    ("xyxy", "pixels", [10, 4, 16, 12]),
    ("yxyx", "pixels", [4, 10, 12, 16]),
    ("cxcywh", "pixels", [13, 8, 6, 8]),
    ("corners", "pixels", [16, 4, 16, 12, 10, 12, 10, 4]),
    ("xyxy", "fractions", [10 / 30, 4 / 20, 16 / 30, 12 / 20]),
    ("xywh", "hundredths", [100 / 3, 20, 20, 40]),
    ("yxyx", "thousandths", [200, 1000 / 3, 600, 1600 / 3]),
    ("cxcywh+radians", "pixels", [13, 8, 8, 6, np.pi / 2]),
    ("xyxy+degrees", "pixels", [10, 4, 16, 12, 180]),
]


@pytest.mark.parametrize(("order", "frame", "numbers"), SAME, ids=[f"{order} {frame}" for order, frame, _ in SAME])
def test_every_form_of_a_box_is_the_same(tmp_path, dataset, order, frame, numbers):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": 0, "label": "ship", "bbox": numbers, "score": 0.5}]))
    read = read_predictions(path, dataset, conventions=Conventions(order=order, frame=frame))
    assert read[0].boxes[0] == pytest.approx((10, 4, 6, 8))
    assert read[7].boxes == []


def test_a_turned_box_becomes_the_upright_one_around_it():
    # 8 x 6, turned by 30 degrees: 8 cos + 6 sin = 9.928 wide, 8 sin + 6 cos = 9.196 high, whichever way it turns
    for turned in (30, -30, 210):
        box = BoxForm("cxcywh+degrees").boxes([[20, 10, 8, 6, turned]], [[30, 20]])
        assert box[0] == pytest.approx([20 - 4.9641, 10 - 4.5981, 9.9282, 9.1962], abs=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"order": "xyhw"}, "order of a box 'xyhw'.*xywh"),
        ({"order": "xyxy+degree"}, r"order of a box 'xyxy\+degree'.*xyxy\+degrees"),
        ({"order": "corners+degrees"}, r"order of a box 'corners\+degrees'"),
        ({"frame": "percent"}, "frame of a box 'percent'.*fractions, hundredths, pixels"),
        ({"min_area": 3}, "min_area is for semantic maps"),
    ],
)
def test_unknown_forms_are_refused(given, message):
    with pytest.raises(EarthInstructError, match=message):
        Conventions(**given)


@pytest.mark.parametrize(
    ("order", "bbox", "message"),
    [
        ("cxcywh+radians", [1, 2, 3, 4], r"entry 0 .*a bbox of 4 numbers.*has 5: give another --order"),
        ("xyxy", [9, 9, 4, 12], r"has the bbox \[9.0, 9.0, -5.0, 3.0\], which is \[9.0, 9.0, 4.0, 12.0\] as xyxy"),
        ("xyxy", [], "neither a bbox nor a segmentation"),
    ],
)
def test_boxes_that_do_not_fit_are_named(tmp_path, dataset, order, bbox, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": 0, "label": "ship", "bbox": bbox}]))
    with pytest.raises(DataError, match=message):
        read_predictions(path, dataset, conventions=Conventions(order=order))


def test_a_mask_gives_the_box_in_pixels_whatever_the_form(tmp_path, dataset):
    square = [[10, 4, 16, 4, 16, 12, 10, 12]]
    entries = [
        {"image_id": 0, "label": "ship", "bbox": [0.1, 0.1, 0.2, 0.2], "segmentation": square},
        {"image_id": 0, "label": "ship", "segmentation": square},
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"annotations": entries}))
    read = read_predictions(path, dataset, conventions=Conventions(order="xyxy", frame="fractions"))
    assert [pytest.approx(box) for box in read[0].boxes] == [(3, 2, 3, 2), (10, 4, 6, 8)]


@pytest.mark.parametrize(
    ("order", "frame", "boxes", "message"),
    [
        ("xyxy", "fractions", [[10, 4, 16, 12]], "1 of 1 boxes reach beyond 1, as far as 16, and are no fractions"),
        ("xywh", "hundredths", [[0.1, 0.1, 0.2, 0.2]], "lie within the first 0.3% of their image: are they fractions?"),
        ("cxcywh+radians", "pixels", [[13, 8, 8, 6, 45]], "1 of 1 angles, up to 45, are more than a whole turn in rad"),
    ],
)
def test_numbers_of_another_form_are_refused(tmp_path, dataset, order, frame, boxes, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": 0, "label": "ship", "bbox": box} for box in boxes]))
    with pytest.raises(DataError, match=f"results.json: .*{message}"):
        read_predictions(path, dataset, conventions=Conventions(order=order, frame=frame))


def test_some_boxes_may_leave_their_frame(tmp_path, dataset):
    path = tmp_path / "results.json"
    boxes = [[0.2, 0.2, 0.4, 0.4], [0.1, 0.1, 0.9, 0.9], [0.5, 0.5, 3, 3]]
    path.write_text(json.dumps([{"image_id": 0, "label": "ship", "bbox": box} for box in boxes]))
    assert len(read_predictions(path, dataset, conventions=Conventions(order="xyxy", frame="fractions"))[0].boxes) == 3


@pytest.mark.parametrize(
    ("order", "frame", "boxes"),
    [
        ("xywh", "thousandths", [[9, 9, 60, 60]] * 10),
        ("cxcywh+degrees", "pixels", [[13, 8, 8, 6, 0.5]] * 10),
        ("cxcywh+radians", "pixels", [[13, 8, 8, 6, 0.5], [13, 8, 8, 6, 1.5], [13, 8, 8, 6, 6.4]]),
    ],
)
def test_numbers_that_another_form_would_fit_too_are_read(tmp_path, dataset, order, frame, boxes):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": 0, "label": "ship", "bbox": box} for box in boxes]))
    read = read_predictions(path, dataset, conventions=Conventions(order=order, frame=frame))
    assert len(read[0].boxes) == len(boxes)


def test_points_are_in_a_frame_and_have_no_order(tmp_path, dataset):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": 0, "label": "ship", "keypoints": [15, 8, 2]}]))
    for conventions, message in (
        (Conventions(frame="fractions"), "1 of 1 points reach beyond 1, as far as 15"),
        (Conventions(order="yxyx"), "has keypoints and no boxes: --order says nothing about them"),
    ):
        with pytest.raises(DataError, match=message):
            read_predictions(path, dataset, conventions=conventions)


def test_a_point_that_is_none_leaves_the_box(tmp_path, dataset):
    path = tmp_path / "results.json"
    point = {"image_id": 0, "label": "ship", "score": 0.5, "keypoints": [9, 9, 2]}
    none = point | {"keypoints": [0, 0, 0]}
    path.write_text(json.dumps([none | {"bbox": [1, 2, 3, 4]}, point | {"bbox": [8, 8, 2, 2]}]))
    read = read_predictions(path, dataset)[0]
    assert (read.boxes, read.points, read.scores) == ([(1, 2, 3, 4), (8, 8, 2, 2)], None, [0.5, 0.5])
    path.write_text(json.dumps([point, none]))
    with pytest.raises(DataError, match=r"entry 1 \(image id 0\) has the keypoint \[0, 0, 0\], which means that there"):
        read_predictions(path, dataset)
