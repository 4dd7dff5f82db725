"""The command that measures a GPU, with tiny models on the CPU."""

import json

import pytest

pytest.importorskip("sam2", reason="the package sam2 is not installed")
pytest.importorskip("transformers", reason="the package transformers is not installed")

from benchmarks import gpu

TINY_QWEN = {
    "text_config": {
        **{"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048},
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
    },
    "vision_config": {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32},
    **{"image_token_id": 500, "video_token_id": 501, "vision_start_token_id": 502},
}


@pytest.fixture
def models(random_sam2, tiny_clip, tiny_checkpoint):
    checkpoint, config = random_sam2
    clip = {"checkpoint": tiny_checkpoint, "config": tiny_clip[0]}
    few = {"points_per_side": 3, "crop_n_layers": 0}
    return gpu.Models((checkpoint, str(config)), clip, TINY_QWEN, side=96, proposer=few, reply_tokens=2)


def test_every_step_gives_figures(models):
    result = gpu.run(models, "cpu", minutes=60)
    assert result["left_out"] == []
    figures = result["figures"]
    assert list(figures) == ["parity", "official", "stages", "language_model", "dtypes", "batches"]
    exact = {"largest difference of a predicted IoU": 0, "share of mask pixels that differ": 0}
    assert figures["parity"] == pytest.approx({**exact, "smallest cosine of a crop": 1}, abs=1e-5)
    assert figures["dtypes"]["bfloat16: smallest cosine of a crop"] < 1
    assert figures["official"]["float32: ratio"] > 0
    assert {"proposer, s", "encoder, s", "1 objects, s", "200 objects, s"} <= set(figures["stages"])
    assert (
        figures["language_model"]["prompt tokens"] == 1 + 256 + gpu.PROMPT_TOKENS
    )  # 448 x 448 pixels, 28 x 28 a token
    assert {"2 tokens, s", "4 tokens, s"} <= set(figures["language_model"])
    assert json.loads(json.dumps(result)) == result
    assert "| parity | smallest cosine of a crop | 1 |" in gpu.table(result)


def test_steps_beyond_the_minutes_are_named(models):
    result = gpu.run(models, "cpu", minutes=-1)
    assert result["figures"] == {}
    assert "Left out for lack of time: parity, official, stages, language_model, dtypes, batches" in gpu.table(result)


def test_without_a_gpu_the_command_says_so(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "best_device", lambda: "cpu")
    monkeypatch.setattr("sys.argv", ["gpu"])
    with pytest.raises(SystemExit):
        gpu.main()
    assert "no CUDA GPU" in capsys.readouterr().err


def test_smooth_masks_are_stable_enough_for_the_threshold_of_the_paper(models):
    def found():
        return len(gpu.Bench(models, "cpu").proposer("cpu").propose(gpu.drawn(models.side)).boxes)

    assert found() == 0
    gpu.smooth_masks(models.sam2[0])
    assert found() > 0
