"""The preset of the paper from end to end, with random models of its kinds: a server that counts, a SAM2, a CLIP."""

import json

import pytest

from earthinstruct import evaluate
from earthinstruct.datasets import draw_scenes
from earthinstruct.registry import parse_parameters

pytest.importorskip("sam2", reason="the package sam2 is not installed")
pytest.importorskip("openai", reason="the package openai is not installed")


def test_the_papers_preset_runs_from_parameters_to_scores(
    lvlm_server, random_sam2, tiny_clip, tiny_checkpoint, tmp_path, monkeypatch
):
    lvlm_server.answer = lambda image, text: '{"ship": 2, "vehicle": 1}'
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    draw_scenes(tmp_path / "few", "val", 2)
    checkpoint, config = random_sam2
    pairs = [
        "preset=paper-gpt4o",
        f"proposer.checkpoint={checkpoint}",
        f"proposer.model={config}",
        *("points_per_side=2", "crop_n_layers=0", "pred_iou_thresh=-100", "stability_score_thresh=-1"),
        "box_nms_thresh=1.0",
        *("encoder=open_clip", f"encoder.config={tiny_clip[0]}", f"encoder.checkpoint={tiny_checkpoint}"),
        "device=cpu",
        f"replies={tmp_path / 'replies.jsonl'}",
    ]
    evaluation = evaluate(
        "instructsam",
        str(tmp_path / "few" / "annotations.json"),
        setting="open_ended",
        parameters=parse_parameters(pairs),
        output=tmp_path / "runs",
    )
    (result,) = evaluation.results
    assert result.run.failed == {}
    parameters = result.method.parameters
    assert (parameters["counter"], parameters["proposer"]) == ("openai", "sam2")
    assert parameters["counter.model"] == "gpt-4o-2024-11-20"
    assert (parameters["proposer.points_per_side"], parameters["proposer.max_proposals"]) == (2, 200)
    assert {entry.name for entry in result.method.weights} == {"small.pt", "tiny.safetensors"}
    assert "not-a-key" not in json.dumps(parameters)
    assert result.run.output_tokens == 10
    lines = (tmp_path / "runs" / "few" / "open_ended" / "instructsam" / "predictions.jsonl").read_text().splitlines()
    for record in map(json.loads, lines):
        assert record["counts"] == {"ship": 2, "vehicle": 1}
        assert sorted(record["labels"]) == ["ship", "ship", "vehicle"][: len(record["labels"])]
        assert 0 < len(record["labels"]) <= 3
        assert {"counter", "proposer", "encoder", "assignment"} <= set(record["seconds"])
    assert len(lvlm_server.asked) == 2
    assert all("response_format" not in request for request in lvlm_server.asked)
    assert parameters["proposer.dtype"] == "float32"
