"""Kept answers are exact, are not asked for twice, and are made again when they are damaged."""

import base64
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from earthinstruct_models.store import KeptEncoder, KeptProposer, Store, _checksum

from earthinstruct import Proposals
from earthinstruct.errors import DataError
from earthinstruct.regions import encode_masks

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
        kept = KeptProposer(proposer, tmp_path).propose(IMAGE)
        assert np.array_equal(kept.boxes, made.boxes)
        assert np.array_equal(kept.scores, made.scores)
        assert [dict(mask) for mask in kept.masks] == [{**mask, "size": tuple(mask["size"])} for mask in made.masks]
    assert proposer.calls == 0


@pytest.mark.parametrize(
    ("change", "calls"),
    [({}, 0), ({"device": "cuda"}, 0), ({"threshold": 0.2}, 1)],
)
def test_another_parameter_is_another_answer_another_device_is_not(tmp_path, change, calls):
    KeptProposer(Proposer(), tmp_path).propose(IMAGE)
    proposer = Proposer(**change)
    KeptProposer(proposer, tmp_path).propose(IMAGE)
    assert proposer.calls == calls
    KeptProposer(proposer, tmp_path).propose(IMAGE[:, ::-1])
    assert proposer.calls == calls + 1  # another image is another answer


def test_no_answer_is_shared_between_repeats_and_each_is_kept(tmp_path):
    proposer = Proposer()
    told = []
    proposer.repeat = told.append
    kept = KeptProposer(proposer, tmp_path)
    for number in (0, 1, 2, 1, 0):
        kept.repeat(number)
        kept.propose(IMAGE)
    assert told == [0, 1, 2, 1, 0]  # the part may take another seed
    assert proposer.calls == 3
    again = KeptProposer(Proposer(), tmp_path)
    again.repeat(2)
    again.propose(IMAGE)
    assert again.part.calls == 0  # an interrupted repeat goes on without asking twice


def test_embeddings_are_kept_by_their_boxes(tmp_path):
    encoder = Encoder()
    cached = KeptEncoder(encoder, tmp_path)
    boxes = np.array([[1.0, 2, 3, 4]])
    first = cached.embed_crops(IMAGE, boxes)
    assert np.array_equal(cached.embed_crops(IMAGE, boxes), first)
    assert first.dtype == np.float32
    assert encoder.calls == 1
    cached.embed_crops(IMAGE, boxes + 1)
    assert encoder.calls == 2
    assert cached.embed_labels(["a"]).shape == (1, 4)
    assert cached.describe() == encoder.describe()


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGES = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "a pickle": lambda _: b"\x80\x04.",
    "a changed digit": lambda content: content.replace(b"1", b"2", 1),
    "a changed bit": lambda content: flipped(content, len(content) // 3),
    "a changed checksum": lambda content: flipped(content, len(content) - 1),
    "half a checksum": lambda content: content[:-32],
    "another kind": lambda _: b'{"shape":[1]}',
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_made_again_with_a_warning(tmp_path, caplog, damage):
    encoder, proposer = Encoder(), Proposer()
    made = []
    for _ in range(3):
        proposals = KeptProposer(proposer, tmp_path).propose(IMAGE)
        made.append((KeptEncoder(encoder, tmp_path).embed_crops(IMAGE, np.ones((1, 4))), proposals.boxes))
        if len(made) == 1:
            for path in tmp_path.rglob("*.json"):
                path.write_bytes(damage(path.read_bytes()))
    assert (encoder.calls, proposer.calls) == (2, 2)
    assert all(np.array_equal(ours, first) for other in made for ours, first in zip(other, made[0], strict=True))
    assert len([record for record in caplog.records if "is damaged and is made again" in record.message]) == 2
    assert not list(tmp_path.rglob("*.tmp"))  # nothing half-written is left


def test_the_entry_of_another_image_is_not_taken(tmp_path, caplog):
    encoder = Encoder()
    kept = KeptEncoder(encoder, tmp_path)
    kept.embed_crops(IMAGE, np.ones((1, 4)))
    kept.embed_crops(IMAGE, np.zeros((1, 4)))
    first, second = tmp_path.rglob("*.json")
    second.write_bytes(first.read_bytes())
    first.write_bytes(b"")
    assert KeptEncoder(encoder, tmp_path).embed_crops(IMAGE, np.ones((1, 4))).max() > 0
    assert KeptEncoder(encoder, tmp_path).embed_crops(IMAGE, np.zeros((1, 4))).max() == 0
    assert encoder.calls == 4
    assert caplog.text.count("is damaged") == 2


def rewritten(path, content):
    """Write an entry whose checksum is right, as another program might."""
    path.write_bytes(content + b"\n" + _checksum(path, content))


ENTRIES = {  # kind -> JSON, of another shape or of absurd values
    "embeddings": [
        b'{"shape":[4,8],"values":"%s"}' % base64.b64encode(np.zeros(32, "<f4").tobytes()),
        b'{"shape":[1,8],"values":"%s"}' % base64.b64encode(np.zeros(4, "<f4").tobytes()),
        b'{"shape":[-1,4],"values":"%s"}' % base64.b64encode(np.zeros(4, "<f4").tobytes()),
        b'{"shape":[1,4],"values":"%s"}' % base64.b64encode(np.full(4, np.nan, "<f4").tobytes()),
        b'{"shape":[5000000000000,8],"values":""}',
        b'{"shape":[%s,0],"values":""}' % (b"9" * 30),
        b'{"shape":[1,4],"values":"no base64"}',
        b'{"shape":[1],"values":""}',
        b'{"shape":[1,4,1],"values":""}',
        b'{"shape":"1,4","values":""}',
    ],
    "proposals": [
        b'{"boxes":[[1,2,3]]}',
        b'{"boxes":[[1,2,3,-4]]}',
        b'{"boxes":[[1,2,3,1e999]]}',
        b'{"boxes":[[1,2,3,4]],"scores":[]}',
        b'{"boxes":[[1,2,3,4]],"scores":[null]}',
        b'{"boxes":[[0,0,1,1]],"masks":[{"size":[8,6],"counts":"0"}]}',
        b'{"boxes":[[0,0,1,1]],"masks":[{"size":[6,8],"counts":"PPPPPPPPPPPPPPPPPPPPPP"}]}',
        b'{"boxes":[[0,0,1,1]],"masks":[{"size":[6000000000000,8000000000000],"counts":"0"}]}',
        b'{"boxes":[[0,0,1,1]],"more":1}',
        b'{"boxes":' + b"[" * 100_000,
        b"null",
        b"",
    ],
}


@pytest.mark.parametrize(
    ("kind", "content"), [(kind, content) for kind, contents in ENTRIES.items() for content in contents]
)
def test_an_entry_of_another_shape_or_of_absurd_values_is_made_again(tmp_path, caplog, kind, content):
    encoder, proposer = Encoder(), Proposer()

    def ask():
        if kind == "embeddings":
            return KeptEncoder(encoder, tmp_path).embed_crops(IMAGE, np.ones((1, 4)))
        return KeptProposer(proposer, tmp_path).propose(IMAGE).boxes

    made = ask()
    (entry,) = tmp_path.rglob("*.json")
    rewritten(entry, content)
    assert np.array_equal(ask(), made)
    assert encoder.calls + proposer.calls == 2
    assert caplog.text.count("is damaged and is made again: ") == 1
    assert np.array_equal(ask(), made)  # and the new entry is kept
    assert encoder.calls + proposer.calls == 2


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("depth"), OverflowError("too large")])
def test_an_entry_that_no_memory_holds_is_made_again(tmp_path, monkeypatch, caplog, error):
    encoder = Encoder()
    KeptEncoder(encoder, tmp_path).embed_crops(IMAGE, np.ones((1, 4)))
    (entry,) = tmp_path.rglob("*.json")
    real = type(entry).read_bytes

    def read(path):
        if path.suffix == ".json":
            raise error
        return real(path)

    monkeypatch.setattr(type(entry), "read_bytes", read)
    KeptEncoder(encoder, tmp_path).embed_crops(IMAGE, np.ones((1, 4)))
    assert encoder.calls == 2
    assert f"made again: {error or 'MemoryError'}" in caplog.text


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00{'descr': '<f[[["])
def test_a_file_of_another_format_is_made_again(tmp_path, caplog, content):
    encoder = Encoder()
    KeptEncoder(encoder, tmp_path).embed_crops(IMAGE, np.ones((1, 4)))
    (entry,) = tmp_path.rglob("*.json")
    entry.write_bytes(content)
    KeptEncoder(encoder, tmp_path).embed_crops(IMAGE, np.ones((1, 4)))
    assert encoder.calls == 2
    assert "does not have its checksum" in caplog.text


def test_whatever_is_changed_in_an_entry_it_is_read_or_made_again(tmp_path):
    """Random changes, once with the old checksum and once with the right one."""
    random = np.random.default_rng(0)
    encoder, proposer, boxes = Encoder(), Proposer(), np.ones((2, 4))
    KeptEncoder(encoder, tmp_path).embed_crops(IMAGE, boxes)
    KeptProposer(proposer, tmp_path).propose(IMAGE)
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    tries = int(os.environ.get("EARTHINSTRUCT_FUZZ", 60))
    for number in range(tries):
        for path, content in whole.items():
            body, _, checksum = content.partition(b"\n")
            changed = mutated(random, body)
            path.write_bytes(changed + b"\n" + (checksum if number % 2 else _checksum(path, changed)))
        found = KeptEncoder(encoder, tmp_path).embed_crops(IMAGE, boxes)
        assert (found.shape, found.dtype) == ((2, 4), np.float32)
        assert np.isfinite(found).all()
        proposals = KeptProposer(proposer, tmp_path).propose(IMAGE)
        assert all(tuple(mask["size"]) == IMAGE.shape[:2] for mask in proposals.masks or ())
    assert encoder.calls > tries * 0.6  # most changes are found
    assert proposer.calls > tries * 0.6


def mutated(random, content):
    """Content with a few bytes changed, doubled or removed."""
    for _ in range(random.integers(1, 4)):
        start, length = random.integers(len(content)), random.integers(1, 6)
        new = [
            lambda old: bytes(random.integers(0, 256, len(old), dtype=np.uint8)),
            lambda old: old * int(random.integers(0, 40)),
            lambda old: random.choice([b"9" * 40, b"-1", b"null", b"[", b"]", b'"', b"1e400", b"{}"]),
        ][random.integers(3)]
        content = content[:start] + new(content[start : start + length]) + content[start + length :]
    return content


def test_memory_is_asked_before_files_and_has_a_bound():
    asked, made = [], []

    class Place:
        def read(self, key, problem):
            asked.append(key)

        def write(self, key, answer):
            made.append((key, answer))

    store = Store(Place(), in_memory=2)
    for key in (1, 2, 1, 3, 1, 2):
        assert store.get([key], lambda _new, _keep, key=key: [key * 10]) == [key * 10]
    assert asked == [1, 2, 3, 2]  # 2 was used least when 3 came
    assert made == [(1, 10), (2, 20), (3, 30), (2, 20)]


def test_threads_wait_for_an_answer_under_way_and_hear_why_there_is_none():
    store, begun, go = Store(None), threading.Event(), threading.Event()

    def work(_new, _keep):
        begun.set()
        go.wait(10)
        return [ValueError("no")]

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(store.get, ["a"], work)
        begun.wait(10)
        second = threads.submit(store.get, ["a", "b"], lambda new, _keep: go.set() or list(new))
        assert [str(outcome) for outcome in first.result()] == ["no"]
        assert [str(outcome) for outcome in second.result()] == ["no", "1"]
    assert store.get(["b"], lambda *_: pytest.fail("it is known")) == [1]


def test_an_error_of_the_part_is_not_kept(tmp_path):
    with pytest.raises(ZeroDivisionError):
        KeptProposer(type("Broken", (Proposer,), {"propose": lambda *_: 1 / 0})(), tmp_path).propose(IMAGE)
    assert not list(tmp_path.rglob("*.json"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"):
        KeptProposer(Proposer(), tmp_path / "file" / "cache")
