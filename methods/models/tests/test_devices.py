"""What differs between devices: types of numbers, memory that runs out, devices that nobody has seen."""

import logging

import numpy as np
import pytest
import torch
from earthinstruct_models import devices
from earthinstruct_models.devices import Batches, as_doubles, best_dtype, free_memory, too_small
from earthinstruct_models.encoders import open_clip as encoders
from earthinstruct_models.encoders.open_clip import OpenClipEncoder, named_encoder
from earthinstruct_models.lvlm.transformers import TransformersLvlm

from earthinstruct.errors import UnknownNameError

IMAGE = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (60, 80, 3), dtype=np.uint8)
BOXES = np.array([[10.0 * i, 5, 20, 30] for i in range(6)])
NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.90 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"),
]


# ---------------------------------------------------------------- types of numbers


@pytest.mark.parametrize("crops", ["pil", "device"])
def test_a_clip_needs_no_float64_on_its_device(tiny_clip, tiny_checkpoint, like_apple, crops):
    encoder = OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device="cpu", crops=crops)
    expected = encoder.embed_crops(IMAGE, BOXES)
    with like_apple() as seen:
        found = encoder.embed_crops(IMAGE, BOXES)
        assert np.isfinite(encoder.embed_labels(["ship"])).all()
    assert seen
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_language_model_needs_no_float64_on_its_device(tiny_qwen, like_apple):
    lvlm = TransformersLvlm(tiny_qwen("qwen2.5-vl"), max_new_tokens=3, device="cpu")
    with like_apple() as seen:
        reply = lvlm.ask(IMAGE, "Count.")
    assert seen
    assert reply.text == lvlm.ask(IMAGE, "Count.").text


def test_numbers_leave_their_device_before_they_become_float64(like_apple):
    with like_apple():
        there = torch.ones(2, dtype=torch.bfloat16).to("cpu")
        with pytest.raises(TypeError, match="no float64"):
            there.double()
        found = as_doubles(there)
    assert found.dtype == np.float64
    assert found.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("device", "computes", "expected"),
    [
        ("cuda", True, "bfloat16"),
        ("cuda:0", False, "float32"),  # it emulates bfloat16, slower than float32
        ("mps", True, "float32"),
        ("xpu", True, "float32"),
        ("cpu", True, "float32"),
    ],
)
def test_the_type_of_numbers_is_one_that_the_device_computes_with(monkeypatch, device, computes, expected):
    asked = []

    class Chosen:
        def __init__(self, device):
            asked.append(str(device))

        def __enter__(self):
            pass

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(torch.cuda, "device", Chosen)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or computes
    )
    assert best_dtype(torch.device(device)) == expected
    assert asked == ([device] if device.startswith("cuda") else [])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_dtype_of_an_encoder_is_used_and_recorded(tiny_clip, tiny_checkpoint, dtype):
    whole, half = (
        OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device="cpu", dtype=name) for name in ("float32", dtype)
    )
    for embed in (lambda encoder: encoder.embed_crops(IMAGE, BOXES), lambda encoder: encoder.embed_labels(["ship"])):
        exact, rounded = embed(whole), embed(half)
        assert rounded.dtype == np.float32
        assert not np.array_equal(exact, rounded)
        np.testing.assert_allclose(exact, rounded, atol=0.02)
        np.testing.assert_allclose(np.linalg.norm(rounded, axis=1), 1, atol=1e-5)
    assert half.describe()["dtype"] == dtype
    assert "dtype" not in whole.describe()  # float32 needs no word


def test_the_dtype_reaches_an_encoder_of_the_table(tiny_clip, tiny_checkpoint, monkeypatch):
    from earthinstruct_models.encoders.table import EncoderEntry

    monkeypatch.setitem(encoders.ENCODERS, "tiny", EncoderEntry("tiny-random", "gelu"))
    assert named_encoder("tiny", tiny_checkpoint, device="cpu", dtype="bfloat16").dtype == "bfloat16"
    with pytest.raises(UnknownNameError, match="did you mean 'float32'"):
        named_encoder("tiny", tiny_checkpoint, device="cpu", dtype="float3")


# ---------------------------------------------------------------- memory


def small(limit, error):
    """Work that a device with room for `limit` items does, and the sizes that it was asked for."""
    asked = []

    def work(batch):
        asked.append(len(batch))
        if len(batch) > limit:
            raise error
        return list(batch)

    return work, asked


@pytest.mark.parametrize("error", NO_MEMORY, ids=["cuda", "mps", "cpu"])
def test_batches_are_halved_for_good_when_memory_runs_out(caplog, error):
    batches = Batches(8, "crops")
    work, asked = small(3, error)
    with caplog.at_level(logging.WARNING):
        assert [i for batch in batches(work, range(11)) for i in batch] == list(range(11))
    assert asked == [8, 4, 2, 2, 2, 2, 2, 1]
    assert batches(work, range(3)) == [[0, 1], [2]]
    assert [record.message for record in caplog.records] == [
        "memory ran out with 8 crops at once: from now on 4",
        "memory ran out with 4 crops at once: from now on 2",
    ]


def test_what_is_no_lack_of_memory_or_cannot_be_halved_is_raised():
    work, asked = small(0, NO_MEMORY[0])
    with pytest.raises(torch.OutOfMemoryError):
        Batches(2, "crops")(work, range(4))
    assert asked == [2, 1]
    work, asked = small(0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        Batches(2, "crops")(work, range(4))
    assert asked == [2]


def limited(call, limit):
    """A method that fails above a size of its first argument's batch, like a device with little memory."""
    sizes = []

    def run(batch, *arguments, **options):
        sizes.append(len(batch))
        if len(batch) > limit:
            raise NO_MEMORY[0]
        return call(batch, *arguments, **options)

    return run, sizes


def test_a_clip_halves_its_crops_when_memory_runs_out(tiny_clip, tiny_checkpoint, monkeypatch):
    encoder = OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device="cpu")
    expected = encoder.embed_crops(IMAGE, BOXES)
    run, sizes = limited(encoder._model.encode_image, 2)
    monkeypatch.setattr(encoder._model, "encode_image", run)
    np.testing.assert_allclose(encoder.embed_crops(IMAGE, BOXES), expected, atol=1e-6)
    assert sizes == [6, 3, 2, 2, 2]


def test_many_labels_are_embedded_a_part_at_a_time(tiny_clip, tiny_checkpoint, monkeypatch):
    encoder, other = (OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device="cpu") for _ in range(2))
    labels = [f"label {i}" for i in range(300)]
    run, sizes = limited(encoder._model.encode_text, 256)
    monkeypatch.setattr(encoder._model, "encode_text", run)
    found = encoder.embed_labels(labels)
    assert sizes == [256, 44]
    np.testing.assert_allclose(found[[0, 299]], other.embed_labels([labels[0], labels[299]]), atol=1e-6)


class Part:
    def __init__(self, **needed):
        self.working_memory = {name.replace("_", ":"): size << 30 for name, size in needed.items()}


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([Part(cuda_0=2), Part(cuda_0=8)], "cuda:0 has 9.0 GiB free, and they need about 10.0 GiB"),
        ([Part(cuda=2), Part(cuda_0=8)], "cuda:0 has 9.0 GiB free, and they need about 10.0 GiB"),
        ([Part(cuda_0=1), Part(cuda_0=8)], None),
        ([Part(cuda_0=8), Part(cuda_1=8)], None),  # a card each
        ([Part(cpu=100), object()], None),  # unknown, and a part that says nothing
    ],
)
def test_parts_fit_or_not_by_the_free_memory_of_their_devices(monkeypatch, parts, problem):
    monkeypatch.setattr(devices, "free_memory", lambda name: 9 << 30 if name.startswith("cuda") else None)
    assert too_small(parts) == problem


def test_the_free_memory_is_asked_of_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: {"cuda:1": (5, 9)}[str(device)])
    assert free_memory("cuda:1") == 5
    assert free_memory("cpu") is None


def test_a_language_model_says_what_it_needs(tiny_qwen):
    one, four = (TransformersLvlm(tiny_qwen("qwen3-vl"), batch_size=n, device="cpu").working_memory for n in (1, 4))
    assert set(one) == {"cpu"}
    assert four["cpu"] == 4 * one["cpu"] > 0
