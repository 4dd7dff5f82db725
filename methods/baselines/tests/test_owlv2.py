"""Boxes come back from the padded square to the image that was given."""

import numpy as np
import pytest
from earthinstruct_baselines.owlv2 import OWLv2

from earthinstruct import Instruction
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.testing import check_method

NAMES = ("airplane", "storage_tank", "ship")


@pytest.fixture(scope="module")
def method(owlv2_weights):
    return OWLv2(owlv2_weights, device="cpu")


@pytest.mark.parametrize("shape", [(48, 80, 3), (80, 48, 3), (50, 50, 3)])
def test_boxes_and_scores_are_those_of_transformers(method, shape):
    import torch

    image = np.random.Generator(np.random.PCG64(1)).integers(0, 256, shape, dtype=np.uint8)
    processor = method.processor
    texts = [[f"a photo of a {name}" for name in ("airplane", "storage tank", "ship")]]
    inputs = processor(text=texts, images=image, return_tensors="pt")
    with torch.inference_mode():
        answer = method.model(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(answer, threshold=-1, target_sizes=[shape[:2]])
    order = np.argsort(-expected["scores"].numpy(), kind="stable")
    found = method.detect(image, NAMES)
    assert len(found.scores) == 16  # one a patch
    np.testing.assert_allclose(found.scores, expected["scores"].numpy()[order], rtol=1e-6)
    np.testing.assert_allclose(found.corners, expected["boxes"].numpy()[order], rtol=1e-5, atol=1e-4)
    assert np.array_equal(found.category, expected["labels"].numpy()[order])


def test_the_model_sees_the_image_in_the_upper_left_of_a_square_of_its_longer_side(method):
    white = np.full((32, 64, 3), 255, dtype=np.uint8)
    pixels = method.processor.image_processor(images=white, return_tensors="pt")["pixel_values"][0, 0]
    assert pixels.shape == (64, 64)
    assert pixels[:31].min() > 1.5  # white
    assert pixels[33:].max() < -1.5  # black


def test_what_lies_in_the_padding_is_no_detection(method):
    everything = method.detect(np.zeros((8, 160, 3), dtype=np.uint8), NAMES)
    prediction = method.predict(np.zeros((8, 160, 3), dtype=np.uint8), Instruction("open_vocabulary", "Find.", NAMES))
    below = everything.corners[:, 1] >= 8
    assert below.any()
    assert len(prediction) == (~below).sum()
    assert (prediction.boxes[:, 1] + prediction.boxes[:, 3] <= 8).all()


def test_threshold_and_limit(method, changed, image):
    everything = method.detect(image, NAMES)
    middle = float(np.median(everything.scores))
    some = changed(method, threshold=middle).detect(image, NAMES)
    assert len(some.scores) == (everything.scores >= middle).sum() < 16
    assert len(changed(method, limit=3).detect(image, NAMES).scores) == 3


def test_the_template_is_used_and_recorded(owlv2_weights, method, image):
    other = OWLv2(owlv2_weights, template="a satellite image of a {category}", device="cpu")
    assert not np.array_equal(other.detect(image, NAMES).scores, method.detect(image, NAMES).scores)
    assert other.describe()["parameters"]["template"] == "a satellite image of a {category}"
    with pytest.raises(EarthInstructError, match=r"must contain \{category\}"):
        OWLv2(owlv2_weights, template="a ship")


def test_a_name_too_long_for_the_model_is_refused(method, image):
    with pytest.raises(EarthInstructError, match="is too long for owlv2"):
        method.detect(image, ["ship " * 20])


def test_it_keeps_the_contract(method):
    assert [check for check in check_method(method) if check.problem] == []


def test_it_runs_from_the_command_line(run_on_scenes, owlv2_weights):
    records, result = run_on_scenes("owlv2", f"weights={owlv2_weights}", "device=cpu", sweep=True)
    assert [len(record["labels"]) > 3 and record.get("error") is None for record in records] == [True, True]
    assert len(result["method"]["weights"][0]["sha256"]) == 64


def test_another_model_is_refused(sam3_weights):
    with pytest.raises(DataError, match="type 'sam3', expected 'owlv2'"):
        OWLv2(sam3_weights)
