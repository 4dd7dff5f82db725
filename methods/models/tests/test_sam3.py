"""SAM 3 as a proposer: for each label the regions that transformers finds, each label computed once."""

import numpy as np
import pytest
from earthinstruct_models.choices import LABEL_PROPOSERS
from earthinstruct_models.proposers.sam3 import Sam3Proposer
from earthinstruct_models.store import KeptLabelProposer

from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.regions import decode_mask

LABELS = ("airplane", "storage_tank")


@pytest.fixture(scope="module", params=["sam3", "sam3-litetext"])
def proposer(request):
    folder = request.getfixturevalue(f"{request.param.replace('-', '_')}_weights")
    return Sam3Proposer(request.param, folder, threshold=0.0, device="cpu")


@pytest.fixture
def image():
    """Random pixels, wider than high."""
    return np.random.Generator(np.random.PCG64(0)).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def test_the_regions_of_a_label_are_those_of_transformers(proposer, image):
    import torch

    sam3 = proposer._sam3
    for found, phrase in zip(proposer.propose_for(image, LABELS), ("airplane", "storage tank"), strict=True):
        inputs = sam3.processor(images=image, text=phrase, return_tensors="pt")
        with torch.inference_mode():
            answer = sam3.model(**{key: inputs[key] for key in ("pixel_values", "input_ids", "attention_mask")})
        (expected,) = sam3.processor.post_process_instance_segmentation(
            answer, threshold=-1, target_sizes=[image.shape[:2]]
        )
        order = np.argsort(-expected["scores"].numpy(), kind="stable")
        corners = np.clip(expected["boxes"].numpy()[order], 0, [80, 48, 80, 48])
        order = order[(corners[:, 2:] > corners[:, :2]).all(axis=1)]
        corners = corners[(corners[:, 2:] > corners[:, :2]).all(axis=1)]
        assert len(found) > 3
        np.testing.assert_allclose(found.scores, expected["scores"].numpy()[order], rtol=1e-4)
        np.testing.assert_allclose(found.boxes[:, :2] + found.boxes[:, 2:], corners[:, 2:], rtol=1e-4, atol=1e-3)
        drawn = np.stack([decode_mask(mask) for mask in found.masks])
        assert (drawn != expected["masks"].numpy()[order].astype(bool)).mean() < 1e-3


def test_threshold_and_limit(proposer, image, monkeypatch):
    (everything,) = proposer.propose_for(image, LABELS[:1])
    middle = float(np.median(everything.scores))
    monkeypatch.setattr(proposer, "limit", 2)
    (few,) = proposer.propose_for(image, LABELS[:1])
    assert 0 < len(few) <= 2
    assert few.scores.tolist() == everything.scores[: len(few)].tolist()
    monkeypatch.undo()
    monkeypatch.setattr(proposer, "threshold", middle)
    (some,) = proposer.propose_for(image, LABELS[:1])
    assert some.scores.tolist() == everything.scores[everything.scores >= middle].tolist()


@pytest.mark.parametrize("folder", [None, "cache"])
def test_each_label_of_an_image_is_computed_once(proposer, image, folder, tmp_path, monkeypatch):
    asked = []

    def propose_for(image, labels, work=proposer.propose_for):
        asked.append(list(labels))
        return work(image, labels)

    monkeypatch.setattr(proposer, "propose_for", propose_for)
    cache = None if folder is None else tmp_path / folder
    kept = KeptLabelProposer(proposer, cache)
    first = kept.propose_for(image, ["ship"])
    again = (kept if cache is None else KeptLabelProposer(proposer, cache)).propose_for(image, ["harbor", "ship"])
    assert asked == [["ship"], ["harbor"]]
    assert again[1].boxes.tolist() == first[0].boxes.tolist()
    assert again[1].masks == first[0].masks
    kept.propose_for(255 - image, ["ship"])
    kept.repeat(1)
    kept.propose_for(image, ["ship"])
    assert asked[2:] == [["ship"], ["ship"]]  # another image, and a repeat


def test_it_needs_no_float64_on_its_device(proposer, image, like_apple):
    expected = proposer.propose_for(image, LABELS)
    with like_apple() as seen:
        found = proposer.propose_for(image, LABELS)
    assert seen
    assert [one.scores.tolist() for one in found] == [one.scores.tolist() for one in expected]


def test_a_choice_has_its_weights_by_name(sam3_litetext_weights, tmp_path, monkeypatch):
    monkeypatch.setenv("EARTHINSTRUCT_WEIGHTS", str(tmp_path))
    lite = LABEL_PROPOSERS["sam3-litetext"]
    assert lite.missing("proposer", {})[0].startswith("weights sam3-litetext-s0: ")
    (tmp_path / "sam3-litetext-s0").symlink_to(sam3_litetext_weights)
    assert lite.missing("proposer", {}) == []
    described = lite.make({"device": "cpu"}).describe()
    assert (described["proposer"], described["device"], len(described["weights"])) == ("sam3-litetext", "cpu", 1)


def test_what_does_not_fit_is_refused(sam3_weights, proposer, image):
    with pytest.raises(DataError, match="type 'sam3', expected 'sam3_lite_text'"):
        Sam3Proposer("sam3-litetext", sam3_weights)
    with pytest.raises(EarthInstructError, match="threshold must be a number from 0 to 1, got 2"):
        Sam3Proposer(folder=sam3_weights, threshold=2)
    with pytest.raises(EarthInstructError, match="limit must be an integer >= 1, got 0"):
        Sam3Proposer(folder=sam3_weights, limit=0)
    with pytest.raises(EarthInstructError, match="is too long for SAM 3"):
        proposer.propose_for(image, ["ship " * 40])
