"""Runs as frames: the numbers are those of the scores."""

import json

import pytest

from earthinstruct import Prediction, evaluate, images_df, predictions_df
from earthinstruct.errors import DataError


@pytest.fixture
def run(coco, write_coco, constant, tmp_path):
    for image, sensor in zip(coco["images"], ("gf2", "gf2", "wv3"), strict=True):
        image |= {"gsd": 0.5, "seconds": sensor}
    file = write_coco(coco)
    return evaluate(constant, file, setting="open_vocabulary", output=tmp_path / "runs")


def test_a_row_an_image(run):
    frame = images_df(run).set_index("image")
    # ships and harbors 3, 1, 0; one ship is counted in each image, and found in the first only
    assert frame.objects.to_dict() == {0: 3, 7: 1, 9: 0}
    assert frame.counted.to_dict() == {0: 1, 7: 1, 9: 1}
    assert frame[["counting_tp", "counting_fp", "counting_fn"]].values.tolist() == [[1, 0, 2], [1, 0, 0], [0, 1, 0]]
    box = run.results[0].metrics.box.tally
    assert frame.box_tp.sum() == sum(count.tp for count in box.values()) == 1
    assert frame.box_fn.sum() == sum(count.fn for count in box.values()) == 3
    assert "mask_tp" not in frame  # the method gives no masks
    assert (frame.seconds >= 0).all()
    assert frame.gsd.tolist() == [0.5] * 3
    assert frame.attribute_seconds.tolist() == ["gf2", "gf2", "wv3"]  # `seconds` is the time of the image
    assert frame.file_name.tolist() == ["a.png", "b.png", "c.png"]
    assert frame.error.isna().all()


def test_a_row_an_image_and_category(run):
    frame = images_df(run.folder, per_category=True)
    assert len(frame) == 3 * 2
    ships = frame[frame.category == "ship"]
    assert (ships.objects.tolist(), ships.counted.tolist()) == ([2, 1, 0], [1, 1, 1])
    assert frame.counting_fn.sum() == images_df(run).counting_fn.sum()


def test_a_folder_of_runs(run, constant, tmp_path):
    constant.name, constant.predict = "broken", lambda image, instruction: 1 / 0
    file = tmp_path / "set" / "annotations.json"
    evaluate(constant, file, setting="open_vocabulary", output=tmp_path / "runs")
    frame = images_df(tmp_path / "runs")
    assert frame.method.value_counts().to_dict() == {"constant": 3, "broken": 3}
    failed = frame[frame.method == "broken"]
    assert failed.error.str.contains("ZeroDivisionError").all()
    assert failed.counting_tp.sum() == 0
    assert set(predictions_df(tmp_path / "runs").method) == {"constant"}
    with pytest.raises(DataError, match="holds no result"):
        images_df(tmp_path / "set" / "images")


def test_a_row_a_prediction(run):
    frame = predictions_df(run)
    assert len(frame) == 3
    assert frame.loc[0, ["label", "category", "verdict", "object", "iou"]].tolist() == [
        "ship",
        "ship",
        "correct",
        "ship",
        1,
    ]
    assert frame.loc[0, ["x", "y", "width", "height"]].tolist() == [1, 1, 4, 4]
    # image b: box [1, 1, 4, 4] on [3, 3, 8, 8]: 4 / 76, below 0.1. Image c has no object
    assert frame.verdict.tolist() == ["correct", "background", "background"]
    assert frame.score.isna().all() and frame.iou.isna().sum() == 2


def test_frames_hold_every_prediction_whatever_the_threshold(dataset, tmp_path, constant):
    constant.predict = lambda image, instruction: Prediction(["boat", "ship"], [[1, 1, 4, 4]] * 2, scores=[0.2, 0.9])
    run = evaluate(constant, dataset, setting="open_ended", output=tmp_path, threshold=0.5)
    annotations = str(tmp_path / "set" / "annotations.json")
    frame = predictions_df(run, dataset=annotations)
    assert len(frame) == 6
    assert set(frame[frame.score < 0.5].verdict) == {"unscored"}
    assert frame[frame.label == "boat"].category.isna().all()
    assert json.loads(frame[frame.verdict == "correct"].image.to_json()) == {"1": 0}


def test_under_protocol_paper_an_image_without_counts_has_its_objects(dataset, constant, tmp_path):
    answer, faults = constant.predict, iter([ZeroDivisionError])

    def predict(image, instruction):
        for fault in faults:
            raise fault
        return answer(image, instruction)

    constant.predict = predict
    run = evaluate(constant, dataset, setting="open_vocabulary", protocol="paper", output=tmp_path)
    frame = images_df(run).set_index("image")
    without = frame[frame.counted.isna()]
    assert without.index.tolist() == [0]  # it failed
    assert without[["counting_tp", "counting_fp", "counting_fn"]].isna().all(axis=None)
    assert frame.objects.to_dict() == {0: 3, 7: 1, 9: 0}
    assert frame.loc[0, "box_fn"] == 3
    assert frame.loc[7, "counted"] == 1
    by_category = images_df(run, per_category=True)
    assert by_category[by_category.image == 0].counted.isna().all()
