"""The parts of a method: made or given, kept, described, released."""

import numpy as np
import pytest
from earthinstruct_models.choices import ENCODERS, LVLMS, PROPOSERS
from earthinstruct_models.parts import Parts
from earthinstruct_models.weights import FOLDER_VARIABLE

from earthinstruct import Proposals
from earthinstruct.errors import EarthInstructError, UnknownNameError

IMAGE = np.zeros((20, 30, 3), dtype=np.uint8)


class Part:
    """A proposer and an encoder."""

    def __init__(self, **described):
        self.described = described
        self.closed = False
        self.calls = 0

    def propose(self, image):
        self.calls += 1
        return Proposals([[0, 0, 2, 2]])

    def embed_crops(self, image, boxes):
        self.calls += 1
        return np.ones((len(boxes), 2), np.float32)

    def describe(self):
        return self.described

    def close(self):
        self.closed = True


def test_parts_say_what_they_are_and_are_released():
    weights = [{"name": "w", "sha256": "0"}]
    proposer, encoder = Part(proposer="own", device="cuda", weights=weights), Part(device="cpu", side=3)
    parts = Parts("m", {"proposer": proposer, "encoder": encoder}, {})
    assert parts.describe() == {
        "parameters": {"proposer": "own", "encoder": "Part", "encoder.side": 3},
        "weights": weights,
        "device": "proposer cuda, encoder cpu",
        "training_data": {"proposer": ["unknown"], "encoder": ["unknown"]},
        "deterministic": None,
    }
    assert Parts("m", {"encoder": Part(device="cpu")}, {}).describe() == {
        "parameters": {"encoder": "Part"},
        "weights": [],
        "device": "cpu",
        "training_data": {"encoder": ["unknown"]},
        "deterministic": None,
    }
    parts.close()
    assert proposer.closed
    assert encoder.closed


def test_parts_are_deterministic_if_all_say_so_and_are_told_of_repeats():
    parts = Parts("m", {"proposer": "segments", "encoder": Part()}, {})
    assert parts.describe()["deterministic"] is None
    told = []
    parts["encoder"].part.repeat = told.append
    parts.repeat(2)
    assert told == [2]
    parts["encoder"].part.deterministic = True
    assert parts.describe()["deterministic"] is True


def test_a_part_by_name_has_its_parameters_and_the_name_of_its_choice():
    parts = Parts("m", {"proposer": "segments"}, {"limit": 7})
    assert parts["proposer"].limit == 7
    described = parts.describe()["parameters"]
    assert (described["proposer"], described["proposer.limit"]) == ("segments", 7)
    with pytest.raises(EarthInstructError, match=r"m: encoder 'open_clip' needs checkpoint"):
        Parts("m", {"encoder": "open_clip"}, {})


def test_parts_say_what_they_were_trained_on(tmp_path, monkeypatch):
    chosen = {"proposer": "segments", "encoder": Part(training_data=["rs5m"])}
    assert Parts("m", chosen, {}).describe()["training_data"] == {"proposer": [], "encoder": ["rs5m"]}
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    named = ENCODERS["remoteclip-b32"]
    known = ("remoteclip-ret-3", "remoteclip-seg-4", "remoteclip-det-10", "unknown")
    assert named.trained_on({}) == named.trained_on({"checkpoint": tmp_path / "remoteclip-b32.pt"}) == known
    assert named.trained_on({"checkpoint": "own.pt"}) == ENCODERS["open_clip"].trained_on({}) == ("unknown",)
    assert named.trained_on({"checkpoint": "own.pt", "training_data": ["dior"]}) == ("dior",)
    of_sam2 = ("sa-1b", "sa-v", "sam2-internal", "imagenet")
    assert PROPOSERS["sam2"].trained_on({"model": "sam2_hiera_s"}) == of_sam2
    assert PROPOSERS["sam2"].trained_on({"model": "own.yaml"}) == ("unknown",)
    assert LVLMS["openai"].trained_on({}) == ("unknown",)


def test_the_training_data_of_a_part_is_given_by_its_name():
    chosen = {"proposer": "segments", "encoder": Part()}
    with pytest.raises(UnknownNameError, match="parameter of method 'm' 'training_data'"):
        Parts("m", chosen, {"training_data": ["dior"]})  # the one learns nothing, the other is an object


def test_an_unknown_choice_is_answered_with_the_closest():
    with pytest.raises(UnknownNameError, match="did you mean 'georsclip-l14'"):
        Parts("m", {"encoder": "georsclip"}, {})


def test_methods_share_what_their_parts_gave_in_a_cache(tmp_path):
    first, second = Part(proposer="one"), Part(proposer="one")
    for method, proposer in (("a", first), ("b", second)):
        parts = Parts(method, {"proposer": proposer}, {"cache": tmp_path})
        assert len(parts["proposer"].propose(IMAGE)) == 1
        assert parts.notes == ["a stage read from the cache shows the seconds of reading it"]
    assert (first.calls, second.calls) == (1, 0)


def test_a_cache_reaches_parts_by_name_and_parts_that_are_given(tmp_path):
    encoder = Part()
    parts = Parts("m", {"proposer": "segments", "encoder": encoder}, {"cache": tmp_path})
    parts["encoder"].embed_crops(IMAGE, parts["proposer"].propose(IMAGE).boxes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["embeddings", "proposals"]
