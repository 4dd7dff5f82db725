"""What only a GPU shows; skipped where torch finds none."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from earthinstruct_models.devices import free_memory, too_small
from earthinstruct_models.encoders.open_clip import OpenClipEncoder
from earthinstruct_models.lvlm.transformers import TransformersLvlm
from earthinstruct_models.proposers.sam2 import Sam2Proposer

pytest.importorskip("sam2", reason="the package sam2 is not installed")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU on this machine")

IMAGE = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (120, 160, 3), dtype=np.uint8)
BOXES = np.array([[10.0 * i, 5, 20, 30] for i in range(12)])
ALL = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0, "crop_nms_thresh": 1.0}


@pytest.fixture
def little_memory():
    """Leaves this process no more than the given bytes of the GPU beyond what it holds."""
    total = torch.cuda.get_device_properties(0).total_memory

    def leave(size):
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + size) / total)

    yield leave
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def proposer_on(device, random_sam2, **parameters):
    checkpoint, config = random_sam2
    return Sam2Proposer(checkpoint, str(config), device, "float32", points_per_side=16, crop_n_layers=0, **parameters)


def test_in_float32_a_gpu_proposes_what_a_cpu_proposes(random_sam2):
    there, here = (proposer_on(device, random_sam2, **ALL).propose(IMAGE) for device in ("cuda", "cpu"))
    assert len(there.boxes) == len(here.boxes)
    np.testing.assert_allclose(np.sort(there.scores), np.sort(here.scores), atol=1e-2)


def test_in_float32_a_gpu_embeds_what_a_cpu_embeds(tiny_clip, tiny_checkpoint):
    encoders = [
        OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device=device, dtype="float32")
        for device in ("cuda", "cpu")
    ]
    there, here = (encoder.embed_crops(IMAGE, BOXES) for encoder in encoders)
    assert there.dtype == here.dtype
    assert (there * here).sum(axis=1).min() > 0.999
    there, here = (encoder.embed_labels(["ship", "storage tank"]) for encoder in encoders)
    assert (there * here).sum(axis=1).min() > 0.999


@pytest.mark.parametrize("kind", ["qwen2.5-vl", "qwen3-vl"])
def test_a_language_model_answers_there(tiny_qwen, kind):
    lvlm = TransformersLvlm(tiny_qwen(kind), max_new_tokens=5, device="cuda")
    assert lvlm.ask(IMAGE, "Count.").text == lvlm.ask(IMAGE, "Count.").text
    assert not lvlm.deterministic
    sampling = TransformersLvlm(tiny_qwen(kind), max_new_tokens=5, device="cuda", temperature=1.0)
    before = torch.cuda.get_rng_state()
    assert sampling.ask(IMAGE, "Count.").text == sampling.ask(IMAGE, "Count.").text  # the same seed
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_points_are_halved_when_the_memory_of_the_gpu_runs_out(random_sam2, little_memory, caplog):
    expected = proposer_on("cuda", random_sam2, **ALL).propose(IMAGE)
    proposer = proposer_on("cuda", random_sam2, points_per_batch=256, **ALL)
    proposer.propose(IMAGE)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    proposer.propose(IMAGE)
    little_memory((torch.cuda.max_memory_allocated() - before) // 2)
    with caplog.at_level(logging.WARNING):
        found = proposer.propose(IMAGE)
    assert "memory ran out with 256 points at once: from now on 128" in caplog.text
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)


def test_crops_are_halved_when_the_memory_of_the_gpu_runs_out(tiny_clip, tiny_checkpoint, little_memory, caplog):
    encoder = OpenClipEncoder(tiny_checkpoint, config=tiny_clip[0], device="cuda", batch_size=4096)
    boxes = np.tile(BOXES, (400, 1))
    expected = encoder.embed_crops(IMAGE, boxes)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    encoder.embed_crops(IMAGE, boxes)
    little_memory((torch.cuda.max_memory_allocated() - before) // 2)
    with caplog.at_level(logging.WARNING):
        found = encoder.embed_crops(IMAGE, boxes)
    assert "memory ran out" in caplog.text
    assert (found * expected).sum(axis=1).min() > 0.999


def test_free_memory_is_asked_of_the_device():
    greedy = SimpleNamespace(working_memory={"cuda": 1 << 50})
    free = free_memory("cuda")
    assert 0 < free <= torch.cuda.get_device_properties(0).total_memory
    assert "GiB free, and they need about" in too_small([greedy])
