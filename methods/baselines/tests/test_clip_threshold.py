"""The most similar category of each proposal, by hand; no counts."""

import numpy as np
import pytest
from earthinstruct_baselines.clip_threshold import ClipThreshold

from earthinstruct import Estimate, Instruction
from earthinstruct.contract import Proposals
from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError
from earthinstruct.regions import encode_mask
from earthinstruct.testing import check_method

IMAGE = np.zeros((20, 30, 3), dtype=np.uint8)
INSTRUCTION = Instruction("open_vocabulary", "Find.", ("ship", "harbor"))


class ThreeBoxes:
    """Proposes three boxes; the last lies at the edge of the image."""

    def propose(self, image):
        boxes = [[1, 2, 3, 4], [5, 5, 10, 10], [20, 10, 10, 10]]
        masks = []
        for x, y, width, height in boxes:
            mask = np.zeros(image.shape[:2], dtype=bool)
            mask[y : y + height, x : x + width] = True
            masks.append(encode_mask(mask))
        return Proposals(boxes, tuple(masks), [0.9, 0.8, 0.7])

    def describe(self):
        return {"proposer": "three boxes"}


class Plane:
    """Embeds the proposals at 0, 60 and 90 degrees, "ship" at 0 and "harbor" at 90."""

    def embed_crops(self, image, boxes):
        angles = np.radians([0, 60, 90])[: len(boxes)]
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def embed_labels(self, labels):
        return np.array([{"ship": [1.0, 0], "harbor": [0, 1.0]}[label] for label in labels])

    def describe(self):
        return {"encoder": "plane", "device": "cpu"}


def method(**options):
    return ClipThreshold(ThreeBoxes(), Plane(), **options)


def test_cosines_are_the_scores():
    prediction = method(score="cosine").predict(IMAGE, INSTRUCTION)
    assert prediction.labels == ("ship", "harbor", "harbor")
    np.testing.assert_allclose(prediction.scores, [1, 1, np.sin(np.radians(60))])
    assert prediction.boxes.tolist() == [[1, 2, 3, 4], [20, 10, 10, 10], [5, 5, 10, 10]]
    assert prediction.masks == tuple(ThreeBoxes().propose(IMAGE).masks[i] for i in (0, 2, 1))
    assert prediction.counts is None
    assert len(prediction.proposals) == 3


def test_a_softmax_over_the_categories_is_the_score():
    prediction = method(temperature=0.5).predict(IMAGE, INSTRUCTION)
    # 0 and 90 degrees: cosines (1, 0), e^2 / (e^2 + 1); 60 degrees: cosines (1/2, sin 60)
    sure, unsure = np.exp(2) / (np.exp(2) + 1), 1 / (1 + np.exp(1 - 2 * np.sin(np.radians(60))))
    np.testing.assert_allclose(prediction.scores, [sure, sure, unsure])


def test_what_is_not_similar_enough_is_left_out():
    prediction = method(score="cosine", threshold=0.9).predict(IMAGE, INSTRUCTION)
    assert prediction.boxes.tolist() == [[1, 2, 3, 4], [20, 10, 10, 10]]
    assert len(method(limit=1).predict(IMAGE, INSTRUCTION)) == 1


def test_a_limit_that_is_reached_is_an_event():
    events = [dict(method(limit=limit).predict(IMAGE, INSTRUCTION).usage.events) for limit in (2, 3, 4)]
    assert events == [{"limit of 2 detections reached": 1}, {"limit of 3 detections reached": 1}, {}]


def test_it_asks_no_server():
    assert method().estimate(IMAGE, INSTRUCTION) == Estimate()


def test_no_proposal_is_an_answer():
    class Nothing(ThreeBoxes):
        def propose(self, image):
            return Proposals([], (), [])

    prediction = ClipThreshold(Nothing(), Plane()).predict(IMAGE, INSTRUCTION)
    assert len(prediction) == 0
    assert prediction.masks == ()


def test_similarities_that_are_not_numbers_are_an_error_and_not_an_empty_answer():
    class Overflow(Plane):
        def embed_crops(self, image, boxes):
            return super().embed_crops(image, boxes) * np.nan

    with pytest.raises(EarthInstructError, match="scores that are not numbers"):
        ClipThreshold(ThreeBoxes(), Overflow()).predict(IMAGE, INSTRUCTION)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"score": "dot"}, UnknownNameError, "unknown score 'dot'"),
        ({"temperature": 0}, EarthInstructError, "temperature must be above 0"),
        ({"temperature": "warm"}, EarthInstructError, "temperature must be a number, got 'warm'"),
        ({"proposer": "sam"}, UnknownNameError, "did you mean 'sam2'"),
        ({"proposer": "sam2"}, DataError, "the weights sam2_hiera_l are not at"),
        ({"encoder": "open_clip"}, EarthInstructError, r"needs checkpoint: give -M encoder\.checkpoint=FILE"),
        (
            {"proposer": "segments", "proposer.limits": 3},
            UnknownNameError,
            "unknown parameter of the proposer of method 'clip-threshold' 'limits'; did you mean 'limit'",
        ),
        ({"checkpoint": "x.pt"}, UnknownNameError, "unknown parameter of method 'clip-threshold' 'checkpoint'"),
        ({"encoder.device": "cpu"}, UnknownNameError, r"unknown parameter .* 'encoder\.device'"),
    ],
)
def test_wrong_parameters_are_answered(options, error, message, monkeypatch, tmp_path):
    monkeypatch.setenv("EARTHINSTRUCT_WEIGHTS", str(tmp_path))
    with pytest.raises(error, match=message):
        ClipThreshold(**{"proposer": "segments", "encoder": Plane(), **options})


def test_it_keeps_the_contract(tiny_clip, tiny_checkpoint):
    parameters = {"encoder.checkpoint": tiny_checkpoint, "encoder.config": tiny_clip[0], "encoder.device": "cpu"}
    checks = check_method(ClipThreshold("segments", "open_clip", **parameters))
    assert [check for check in checks if check.problem] == []


def test_it_runs_from_the_command_line(run_on_scenes, tiny_clip, tiny_checkpoint):
    records, result = run_on_scenes(
        "clip-threshold",
        "proposer=segments",
        "encoder=open_clip",
        f"encoder.checkpoint={tiny_checkpoint}",
        f"encoder.config={tiny_clip[0]}",
        "encoder.device=cpu",
        sweep=True,
    )
    assert [len(record["labels"]) > 0 and len(record["masks"]) > 0 for record in records] == [True, True]
    parameters = result["method"]["parameters"]
    assert (parameters["proposer"], parameters["encoder"], parameters["score"]) == ("segments", "open_clip", "softmax")
    assert parameters["encoder.template"] == "a satellite image of a {category}"
    assert result["metrics"]["proposals"] is not None
