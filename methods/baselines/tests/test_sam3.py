"""SAM 3 and SAM3-LiteText: masks and boxes come back from the squeezed square to the image that was given."""

import json
import shutil

import numpy as np
import pytest
from earthinstruct_baselines.sam3 import SAM3, SAM3LiteText
from earthinstruct_models.proposers.sam3 import Found

from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.regions import decode_mask
from earthinstruct.testing import check_method

NAMES = ("airplane", "storage_tank")


@pytest.fixture(scope="module", params=[SAM3, SAM3LiteText])
def method(request):
    folder = request.getfixturevalue(f"{request.param.name.replace('-', '_')}_weights")
    return request.param(folder, threshold=0.0, device="cpu")


def test_boxes_masks_and_scores_are_those_of_transformers(method, image):
    import torch

    processor = method.processor
    found = method.detect(image, NAMES)
    assert len(found.scores) == 18
    assert (np.diff(found.scores) <= 0).all()
    for category, name in enumerate(("airplane", "storage tank")):
        inputs = processor(images=image, text=name, return_tensors="pt")
        with torch.inference_mode():
            answer = method.model(
                pixel_values=inputs["pixel_values"],
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
            )
        (expected,) = processor.post_process_instance_segmentation(answer, threshold=-1, target_sizes=[image.shape[:2]])
        order = np.argsort(-expected["scores"].numpy(), kind="stable")
        mine = np.flatnonzero(found.category == category)
        np.testing.assert_allclose(found.scores[mine], expected["scores"].numpy()[order], rtol=1e-4)
        np.testing.assert_allclose(found.corners[mine], expected["boxes"].numpy()[order], rtol=1e-4, atol=1e-3)
        drawn = np.stack([decode_mask(found.masks[i]) for i in mine])
        assert drawn.shape == (9, 48, 80)
        assert (drawn != expected["masks"].numpy()[order].astype(bool)).mean() < 1e-3


def test_a_mask_is_stretched_to_the_image():
    import torch

    left = torch.zeros(4, 4)
    left[:, :2] = 1
    drawn = decode_mask(Found(np.ones(1), np.zeros((1, 4)), left[None], (10, 20)).mask(0))
    assert drawn[:, :9].all()
    assert not drawn[:, 11:].any()


def test_threshold_and_limit(method, changed, image):
    everything = method.detect(image, NAMES)
    middle = float(np.median(everything.scores))
    some = changed(method, threshold=middle).detect(image, NAMES)
    assert np.array_equal(some.scores, everything.scores[everything.scores >= middle])
    few = changed(method, limit=4).detect(image, NAMES)
    assert np.array_equal(few.corners, everything.corners[:4])
    assert list(few.masks) == list(everything.masks[:4])


def test_a_name_too_long_for_the_model_is_refused(method, image):
    with pytest.raises(EarthInstructError, match="is too long for SAM 3: it reads 32 tokens"):
        method.detect(image, ["ship " * 40])


def test_it_keeps_the_contract(method):
    assert [check for check in check_method(method) if check.problem] == []


@pytest.mark.parametrize("name", ["sam3", "sam3-litetext"])
def test_it_runs_from_the_command_line(run_on_scenes, name, request):
    folder = request.getfixturevalue(f"{name.replace('-', '_')}_weights")
    records, result = run_on_scenes(name, f"weights={folder}", "device=cpu", "threshold=0.0", "limit=20")
    assert [len(record["masks"]) == len(record["boxes"]) > 0 for record in records] == [True, True]
    assert result["metrics"]["mask"] is not None


def test_the_published_folder_is_that_of_the_video_model_and_loads(sam3_weights, image, tmp_path):
    """facebook/sam3 names its config sam3_video, holds the image model in it as its detector, and a tracker beside."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(sam3_weights, tmp_path, dirs_exist_ok=True)
    detector = json.loads((sam3_weights / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam3_video", "detector_config": detector}))
    state = {f"detector_model.{key}": value for key, value in load_file(sam3_weights / "model.safetensors").items()}
    save_file(state | {"tracker_model.memory": torch.zeros(2)}, tmp_path / "model.safetensors")
    found = SAM3(tmp_path, threshold=0.0, device="cpu").detect(image, NAMES)
    own = SAM3(sam3_weights, threshold=0.0, device="cpu").detect(image, NAMES)
    np.testing.assert_array_equal(found.scores, own.scores)


def test_the_folder_of_the_other_kind_is_refused(sam3_weights, sam3_litetext_weights):
    with pytest.raises(DataError, match=r"type 'sam3_lite_text', expected 'sam3' or 'sam3_video'"):
        SAM3(sam3_litetext_weights)
    with pytest.raises(DataError, match=r"type 'sam3', expected 'sam3_lite_text'.*vil-uob/sam3-litetext-s0"):
        SAM3LiteText(sam3_weights)
