"""Predictions as Detections of supervision, and back."""

import numpy as np
import pytest

from earthinstruct import Prediction, from_supervision, to_supervision
from earthinstruct.errors import ContractError, DataError
from earthinstruct.regions import encode_mask

sv = pytest.importorskip("supervision", reason="the extra `supervision` is not installed")


def mask_of(x, y, width, height):
    mask = np.zeros((20, 30), dtype=bool)
    mask[y : y + height, x : x + width] = True
    return encode_mask(mask)


BOXES = [[1, 2, 3, 4], [10, 5, 6, 7.5]]
MASKS = [mask_of(1, 2, 3, 4), mask_of(10, 5, 6, 7)]


@pytest.mark.parametrize("masks", [None, MASKS], ids=["boxes", "masks"])
@pytest.mark.parametrize("scores", [None, [0.25, 0.5]], ids=["no scores", "scores"])
def test_there_and_back(masks, scores):
    prediction = Prediction(["ship", "harbor"], BOXES, masks=masks, scores=scores)
    detections = to_supervision(prediction)
    assert detections.xyxy.tolist() == [[1, 2, 4, 6], [10, 5, 16, 12.5]]
    assert detections.class_id.tolist() == [1, 0]
    again = from_supervision(detections)
    assert again.labels == prediction.labels
    assert again.boxes.tolist() == prediction.boxes.tolist()
    assert again.masks == prediction.masks
    assert (again.scores is None) == (scores is None)
    assert scores is None or again.scores.tolist() == scores


def test_nothing_found():
    for prediction in (Prediction(), Prediction(counts={"ship": 3})):
        detections = to_supervision(prediction)
        assert len(detections) == 0
        assert len(from_supervision(detections)) == 0
    assert from_supervision(sv.Detections.empty()).boxes.shape == (0, 4)


def test_the_own_order_of_categories():
    detections = to_supervision(Prediction(["ship"], [[0, 0, 1, 1]]), categories=["harbor", "ship"])
    assert detections.class_id.tolist() == [1]
    with pytest.raises(DataError, match="a detection is named 'ship', and its class id is 'harbor' in categories"):
        from_supervision(detections, categories=["ship", "harbor"])
    detections.data.clear()
    assert from_supervision(detections, categories=["harbor", "ship"]).labels == ("ship",)
    with pytest.raises(DataError, match="give categories, the names of their class ids"):
        from_supervision(detections)
    with pytest.raises(DataError, match="class id 1 has no name; expected 0 to 0"):
        from_supervision(detections, categories=["harbor"])
    with pytest.raises(DataError, match="label 'ship' is not among the categories"):
        to_supervision(Prediction(["ship"], [[0, 0, 1, 1]]), categories=["harbor"])


def test_swapped_corners_are_refused():
    with pytest.raises(ContractError, match=r"boxes\[0\]"):
        from_supervision(sv.Detections(np.array([[5.0, 5, 1, 1]]), class_id=np.array([0])), categories=["ship"])


def test_its_own_tools_take_it():
    detections = to_supervision(Prediction(["ship"], [[2, 2, 9, 9]], masks=[mask_of(2, 2, 9, 9)]))
    picture = sv.MaskAnnotator().annotate(np.zeros((20, 30, 3), np.uint8), detections)
    assert picture[4, 4].any() and not picture[15, 25].any()


def test_points_alone_are_no_detections():
    with pytest.raises(DataError, match=r"this prediction has points alone; supervision\.KeyPoints holds points"):
        to_supervision(Prediction(["ship"], points=[[1, 2]]))
    assert len(to_supervision(Prediction(["ship"], [[1, 2, 3, 4]], points=[[2, 3]]))) == 1
