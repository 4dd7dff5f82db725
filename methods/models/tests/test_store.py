"""Kept answers are exact, are not asked for twice, and are made again when they are damaged."""

import numpy as np
import pytest
from earthinstruct_models.cache import CachedEncoder, CachedProposer, StageCache

from earthinstruct import Proposals
from earthinstruct.errors import DataError
from earthinstruct.masks import encode_masks

IMAGE = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


class Proposer:
    def __init__(self, threshold=0.1, device="cpu"):
        self.calls = 0
        self.described = {"proposer": "test", "threshold": threshold, "device": device, "weights": [{"sha256": "a"}]}

    def propose(self, image):
        self.calls += 1
        masks = np.zeros((2, *image.shape[:2]), dtype=bool)
        masks[0, 1:3, 2:5] = masks[1, 4, 4] = True
        return Proposals([[2, 1, 3, 2], [1 / 3, 4, 1, 1]], tuple(encode_masks(masks)), [0.1 + 0.2, 1e-17])

    def describe(self):
        return self.described


class Encoder:
    def __init__(self):
        self.calls = 0

    def embed_crops(self, image, boxes):
        self.calls += 1
        return (boxes / 7).astype(np.float32)

    def embed_labels(self, labels):
        return np.zeros((len(labels), 4), np.float32)

    def describe(self):
        return {"encoder": "test", "preprocess": {"mean": (0.5,) * 3}}


def test_proposals_come_back_to_the_last_bit(tmp_path):
    made = Proposer().propose(IMAGE)
    for _ in range(2):
        proposer = Proposer()
        kept = CachedProposer(proposer, StageCache(tmp_path)).propose(IMAGE)
        assert np.array_equal(kept.boxes, made.boxes)
        assert np.array_equal(kept.scores, made.scores)
        assert [dict(mask) for mask in kept.masks] == [{**mask, "size": tuple(mask["size"])} for mask in made.masks]
    assert proposer.calls == 0


@pytest.mark.parametrize(
    ("change", "calls"),
    [({}, 0), ({"device": "cuda"}, 0), ({"threshold": 0.2}, 1)],
)
def test_another_parameter_is_another_answer_another_device_is_not(tmp_path, change, calls):
    CachedProposer(Proposer(), StageCache(tmp_path)).propose(IMAGE)
    proposer = Proposer(**change)
    CachedProposer(proposer, StageCache(tmp_path)).propose(IMAGE)
    assert proposer.calls == calls
    CachedProposer(proposer, StageCache(tmp_path)).propose(IMAGE[:, ::-1])
    assert proposer.calls == calls + 1  # another image is another answer


def test_embeddings_are_kept_by_their_boxes(tmp_path):
    encoder = Encoder()
    cached = CachedEncoder(encoder, StageCache(tmp_path))
    boxes = np.array([[1.0, 2, 3, 4]])
    first = cached.embed_crops(IMAGE, boxes)
    assert np.array_equal(cached.embed_crops(IMAGE, boxes), first)
    assert first.dtype == np.float32
    assert encoder.calls == 1
    cached.embed_crops(IMAGE, boxes + 1)
    assert encoder.calls == 2
    assert cached.embed_labels(["a"]).shape == (1, 4)
    assert cached.describe() == encoder.describe()


@pytest.mark.parametrize(
    "damage", [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"\x80\x04."]
)
def test_a_damaged_entry_is_made_again_with_a_warning(tmp_path, caplog, damage):
    encoder, proposer = Encoder(), Proposer()
    cached = CachedEncoder(encoder, StageCache(tmp_path)), CachedProposer(proposer, StageCache(tmp_path))
    for _ in range(2):
        cached[0].embed_crops(IMAGE, np.ones((1, 4)))
        cached[1].propose(IMAGE)
        for path in tmp_path.rglob("*.*"):
            path.write_bytes(damage(path.read_bytes()))
    assert (encoder.calls, proposer.calls) == (2, 2)
    assert len([record for record in caplog.records if "is damaged and is made again" in record.message]) == 2
    assert not list(tmp_path.rglob(".*"))  # nothing half-written is left


def test_a_pickled_array_is_not_read(tmp_path, caplog):
    encoder = Encoder()
    cached = CachedEncoder(encoder, StageCache(tmp_path))
    cached.embed_crops(IMAGE, np.ones((1, 4)))
    (entry,) = tmp_path.rglob("*.npz")
    np.savez(entry, array=np.array([{"a": 1}], dtype=object))
    assert cached.embed_crops(IMAGE, np.ones((1, 4))).dtype == np.float32
    assert "is damaged" in caplog.text


def test_an_error_of_the_part_is_not_kept(tmp_path):
    cache = StageCache(tmp_path)
    with pytest.raises(ZeroDivisionError):
        CachedProposer(type("Broken", (Proposer,), {"propose": lambda *_: 1 / 0})(), cache).propose(IMAGE)
    assert not list(tmp_path.rglob("*.json"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"):
        StageCache(tmp_path / "file" / "cache")
