"""Boxes and scores are those of the model's own processor; nothing is cut without a word."""

import numpy as np
import pytest
from earthinstruct_baselines.omdet_turbo import OmDetTurbo

from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.testing import check_method

NAMES = ("airplane", "storage_tank", "ship")


@pytest.fixture(scope="module")
def method(omdet_turbo_weights):
    return OmDetTurbo(omdet_turbo_weights, device="cpu")


@pytest.mark.parametrize("shape", [(48, 80, 3), (80, 48, 3)])
def test_boxes_and_scores_are_those_of_transformers(method, shape):
    import torch

    image = np.random.Generator(np.random.PCG64(1)).integers(0, 256, shape, dtype=np.uint8)
    names = ["airplane", "storage tank", "ship"]
    inputs = method.processor(image, text=[names], return_tensors="pt")  # its own task: "Detect airplane, ..."
    with torch.inference_mode():
        answer = method.model(**inputs)
    (expected,) = method.processor.post_process_grounded_object_detection(
        answer, threshold=0.0, nms_threshold=0.5, target_sizes=[shape[:2]]
    )
    order = np.argsort(-expected["scores"].numpy(), kind="stable")
    found = method.detect(image, NAMES)
    assert len(found.scores) > 3
    np.testing.assert_allclose(found.scores, expected["scores"].numpy()[order], rtol=1e-6)
    np.testing.assert_allclose(found.corners, expected["boxes"].numpy()[order], rtol=1e-6)
    assert np.array_equal(found.category, expected["labels"].numpy()[order])
    assert found.corners[:, [0, 2]].max() <= shape[1]
    assert found.corners[:, [1, 3]].max() <= shape[0]


def test_threshold_limit_and_suppression(method, changed, image):
    everything = changed(method, nms=1.0).detect(image, NAMES)
    assert len(everything.scores) >= len(method.detect(image, NAMES).scores)
    middle = float(np.median(everything.scores))
    some = changed(method, nms=1.0, threshold=middle).detect(image, NAMES)
    assert np.array_equal(some.scores, everything.scores[everything.scores > middle])
    assert len(changed(method, limit=3).detect(image, NAMES).scores) == 3


def test_what_the_processor_would_cut_is_refused(method, changed, image):
    with pytest.raises(EarthInstructError, match=r"category 'ship ship.*omdet-turbo reads 77$"):
        method.detect(image, ["ship " * 80])
    many = [f"ship {letter}" for letter in "abcdefghijklmnopqrstuvwxyzabcdefghij"]
    with pytest.raises(EarthInstructError, match=r"the task 'Detect ship a.*give a shorter -M task=TEXT"):
        method.detect(image, many)
    assert len(changed(method, task="Detect ships.").detect(image, many).scores) > 0


def test_it_keeps_the_contract(method):
    assert [check for check in check_method(method) if check.problem] == []


def test_it_runs_from_the_command_line(run_on_scenes, omdet_turbo_weights):
    records, result = run_on_scenes("omdet-turbo", f"weights={omdet_turbo_weights}", "device=cpu", sweep=True)
    assert [len(record["labels"]) > 3 and record.get("error") is None for record in records] == [True, True]
    assert result["method"]["parameters"]["task"] == "Detect {names}."


def test_wrong_parameters_are_answered(omdet_turbo_weights, owlv2_weights):
    with pytest.raises(EarthInstructError, match="nms must be a number from 0 to 1"):
        OmDetTurbo(omdet_turbo_weights, nms=2)
    with pytest.raises(DataError, match="type 'owlv2', expected 'omdet-turbo'"):
        OmDetTurbo(owlv2_weights)
