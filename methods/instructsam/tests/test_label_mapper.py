import numpy as np
import pytest
from earthinstruct_instructsam import label_mapper
from earthinstruct_instructsam.label_mapper import ClipMapper

from earthinstruct.errors import DataError, UnknownNameError

ANGLES = {"vehicle": 0.0, "ship": 1.5, "car": 0.2, "boat": 1.3, "tree": 0.8}


class Angles:
    """Labels on a circle: the cosine of two is that of the angle between them."""

    def embed_labels(self, labels):
        return np.array([[np.cos(ANGLES[label]), np.sin(ANGLES[label])] for label in labels], dtype=np.float32)


def test_a_label_goes_to_the_nearest_category_above_the_least_similarity(monkeypatch):
    monkeypatch.setattr(label_mapper, "_encoder", lambda name: Angles())
    mapper = ClipMapper("small")
    mapped = mapper.map(["car", "boat", "tree"], ["vehicle", "ship"])
    assert mapper.name == "clip:small"
    assert {label: entry.category for label, entry in mapped.items()} == {
        "boat": "ship",
        "car": "vehicle",
        "tree": None,
    }
    assert mapped["car"].similarity == pytest.approx(np.cos(0.2), abs=1e-6)
    assert mapped["tree"].similarity == pytest.approx(np.cos(0.7), abs=1e-6)
    assert mapper.map([], ["ship"]) == {}


def test_an_encoder_without_a_checkpoint_is_refused():
    with pytest.raises(UnknownNameError, match="clip:<architecture>:<checkpoint file>"):
        ClipMapper("ViT-L-14")


def test_an_encoder_of_the_table_is_taken_from_the_weights_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EARTHINSTRUCT_WEIGHTS", str(tmp_path))
    with pytest.raises(DataError, match="fetch georsclip-l14"):
        ClipMapper("georsclip-l14")


def test_any_checkpoint_maps(tiny_clip, tiny_checkpoint):
    assert ClipMapper(f"tiny-random:{tiny_checkpoint}").map(["ship"], ["ship", "harbor"])["ship"].category == "ship"
