"""Classes become categories by their names; every form of checkpoint loads, what would run code does not."""

import argparse
import json

import numpy as np
import pytest
from earthinstruct_baselines.faster_rcnn import FasterRCNN, read_classes

from earthinstruct.contract import Instruction
from earthinstruct.errors import DataError, UnknownNameError
from earthinstruct.testing import check_method

MOBILE = "fasterrcnn_mobilenet_v3_large_320_fpn"
NAMES = ("airplane", "ship", "storage_tank")  # no class for the airplane; the dam is not asked for


def make(folder, weights=None, **options):
    options = {"architecture": MOBILE, "threshold": 0.0, "device": "cpu", **options}
    return FasterRCNN(weights or folder / "weights.safetensors", folder / "classes.json", **options)


@pytest.fixture(scope="module")
def method(faster_rcnn_weights):
    return make(faster_rcnn_weights)


@pytest.fixture(scope="module")
def by_torchvision(faster_rcnn_weights):
    """What torchvision finds with the same weights in an image."""
    import torch
    from safetensors.torch import load_file
    from torchvision.models import get_model

    options = {"num_classes": 4, "box_score_thresh": 0.0, "box_detections_per_img": 300}
    model = get_model(MOBILE, weights=None, weights_backbone=None, **options)
    model.load_state_dict(load_file(faster_rcnn_weights / "weights.safetensors"))

    def run(image):
        with torch.inference_mode():
            return model.eval()([torch.tensor(image.transpose(2, 0, 1) / np.float32(255))])[0]

    return run


def test_boxes_scores_and_classes_are_those_of_torchvision(method, by_torchvision, image):
    expected = by_torchvision(image)
    assert set(expected["labels"].tolist()) == {1, 2, 3}
    asked = expected["labels"] != 3
    found = method.detect(image, NAMES)
    assert len(found.scores) == asked.sum()
    np.testing.assert_allclose(found.scores, expected["scores"][asked], rtol=1e-5)
    np.testing.assert_allclose(found.corners, expected["boxes"][asked], rtol=1e-4, atol=1e-3)
    assert np.array_equal(found.category, [{1: 2, 2: 1}[label] for label in expected["labels"][asked].tolist()])


def test_what_does_not_reach_the_threshold_is_not_counted(faster_rcnn_weights, method, image):
    everything = method.detect(image, NAMES)
    middle = float(np.median(everything.scores))
    some = make(faster_rcnn_weights, threshold=middle).detect(image, NAMES)
    assert 0 < len(some.scores) < len(everything.scores)
    assert some.scores.min() >= middle


@pytest.mark.parametrize("kind", ["model", "training", "without counters"])
def test_every_form_of_checkpoint_loads_the_same(faster_rcnn_weights, method, tmp_path, image, kind):
    import torch

    state = method._model.state_dict()
    fewer = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    content = {
        "model": {"model": state, "epoch": 3},
        "training": {"state_dict": state, "optimizer": {}},
        "without counters": fewer,
    }[kind]
    torch.save(content, tmp_path / "checkpoint.pth")
    again = make(faster_rcnn_weights, tmp_path / "checkpoint.pth")
    np.testing.assert_array_equal(again.detect(image, NAMES).scores, method.detect(image, NAMES).scores)


def test_a_checkpoint_that_would_run_code_is_refused(faster_rcnn_weights, tmp_path):
    import torch

    torch.save({"model": {}, "args": argparse.FileType()}, tmp_path / "checkpoint.pth")
    with pytest.raises(DataError, match=r"it holds argparse.FileType, which may run code"):
        make(faster_rcnn_weights, tmp_path / "checkpoint.pth")


def test_weights_of_another_model_or_number_of_classes_are_refused(faster_rcnn_weights, tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps({"1": "ship"}))
    weights = faster_rcnn_weights / "weights.safetensors"
    with pytest.raises(DataError, match=r"does not fit fasterrcnn_mobilenet.* with 2 classes, background included"):
        make(tmp_path, weights)
    from safetensors.torch import load_file, save_file

    state = load_file(weights)
    lost = "rpn.head.cls_logits.weight"
    save_file({key: value for key, value in state.items() if key != lost}, tmp_path / "weights.safetensors")
    with pytest.raises(DataError, match=r"1 weights \(rpn.head.cls_logits.weight\) missing, none unexpected"):
        make(faster_rcnn_weights, tmp_path / "weights.safetensors")
    save_file({**state, "head": state[lost].clone()}, tmp_path / "weights.safetensors")
    with pytest.raises(DataError, match=r"none missing, 1 weights \(head\) unexpected"):
        make(faster_rcnn_weights, tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"0": "background", "1": "ship"}', "0 is the background"),
        ("{}", "numbers start at 1"),
        ('["ship"]', "is not a category map"),
        ('{"1": "ship", "2": "ship"}', "'ship' to two classes"),
    ],
)
def test_a_malformed_category_map_is_refused(tmp_path, content, message):
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_classes(tmp_path / "classes.json")


def test_what_is_missing_is_named(faster_rcnn_weights, tmp_path):
    with pytest.raises(DataError, match=r"none\.pth does not exist"):
        make(faster_rcnn_weights, tmp_path / "none.pth")
    with pytest.raises(UnknownNameError, match="did you mean 'fasterrcnn_resnet50_fpn'"):
        make(faster_rcnn_weights, architecture="fasterrcnn_resnet50")


def test_words_without_a_class_are_unknown(method):
    assert method.unknown_words(Instruction("open_vocabulary", "find them", NAMES)) == ["airplane"]


def test_it_keeps_the_contract(faster_rcnn_weights):
    method = make(faster_rcnn_weights, min_size=32, max_size=64)
    assert [check for check in check_method(method) if check.problem] == []
    assert method.describe()["parameters"]["min_size"] == 32
    assert list(method.describe()["training_data"]) == ["unknown"]
    assert make(faster_rcnn_weights, training_data=["dior"]).describe()["training_data"] == ("dior",)


def test_it_runs_from_the_command_line(run_on_scenes, faster_rcnn_weights):
    folder = faster_rcnn_weights
    records, result = run_on_scenes(
        "faster-rcnn",
        f"weights={folder / 'weights.safetensors'}",
        f"classes={folder / 'classes.json'}",
        f"architecture={MOBILE}",
        "threshold=0.1",
        "device=cpu",
    )
    assert [record.get("error") for record in records] == [None, None]
    assert {label for record in records for label in record["labels"]} <= {"ship", "storage_tank"}
    assert result["method"]["parameters"]["classes"] == {"1": "storage tank", "2": "Ships", "3": "dam"}
