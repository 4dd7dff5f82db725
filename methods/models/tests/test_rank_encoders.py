"""Encoders on ground-truth crops: scores against arithmetic by hand, and the command on a drawn and an own dataset."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from earthinstruct_models.encoders.ranking import measure, ranked
from earthinstruct_models.rank_encoders import main
from rich.console import Console

from earthinstruct.datasets import load_dataset
from earthinstruct.errors import DataError
from earthinstruct.metrics import PERCENT
from earthinstruct.results import print_blocks


@pytest.fixture
def file(tmp_path):
    """Three images; the colour of an object is its category: red ships, green planes; no tank. One crowd is ignored."""
    from PIL import Image

    objects = {1: [(0, 10, 0), (0, 40, 0), (1, 70, 0)], 2: [(1, 10, 1)], 3: [(0, 10, 1), (0, 40, 0)], 4: []}
    annotations = []
    for image, of_image in objects.items():
        picture = np.zeros((40, 100, 3), np.uint8)
        for category, x, painted in of_image:
            picture[10:30, x : x + 20, painted] = 200
            annotations.append({"image_id": image, "category_id": category + 1, "bbox": [x, 10, 20, 20], "iscrowd": 0})
        Image.fromarray(picture).save(tmp_path / f"{image}.png")
    annotations.append({"image_id": 2, "category_id": 1, "bbox": [40, 10, 20, 20], "iscrowd": 1})
    for number, annotation in enumerate(annotations, start=1):
        annotation |= {"id": number, "area": 400}
    images = [{"id": i, "file_name": f"{i}.png", "width": 100, "height": 40} for i in objects]
    categories = [{"id": i, "name": name} for i, name in enumerate(("ship", "plane", "tank"), start=1)]
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


class ByColour:
    """Embeds a crop by its mean red and green; `scale` turns the cosine into logits."""

    def __init__(self, scale=None):
        self.logit_scale = scale
        self.asked = []

    def embed_crops(self, image, boxes):
        self.asked.append(len(boxes))
        crops = [image[int(y) : int(y + h), int(x) : int(x + w)].reshape(-1, 3).mean(axis=0) for x, y, w, h in boxes]
        return np.array([crop / np.linalg.norm(crop) for crop in crops], dtype=np.float32)

    def embed_labels(self, labels):
        return np.eye(3, dtype=np.float32)[: len(labels)]

    def describe(self):
        return {"encoder": "colour"}


def test_accuracy_and_calibration_are_those_of_the_arithmetic(file):
    """Painted: 3 of 4 ships red, the other green; 1 of 2 planes green, the other red. So 4 of 6 are right."""
    encoder, seen = ByColour(scale=2.0), []
    found = measure("colour", encoder, load_dataset(file), progress=lambda *done: seen.append(done))
    assert found.scores.n_objects == 6
    assert found.scores.per_category == {"ship": (4, 3), "plane": (2, 1)}
    assert found.scores.accuracy.value == pytest.approx(4 / 6)
    assert found.scores.mean_accuracy.value == pytest.approx((3 / 4 + 1 / 2) / 2)
    low, high = found.scores.mean_accuracy.ci95
    assert low < 0.625 < high
    # each crop has the cosine 1 with its colour and 0 with both others: a confidence of e^2 / (e^2 + 2)
    confidence = np.exp(2) / (np.exp(2) + 2)
    assert found.scores.calibration.ece.value == pytest.approx(confidence - 4 / 6)
    assert encoder.asked == [1, 3, 1, 2]  # a first crop, then each image with objects once
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert found.weight_bytes is found.peak_bytes is None


def test_an_encoder_without_a_scale_has_no_calibration_and_says_so(file):
    dataset = load_dataset(file)
    ranking = ranked(dataset, [measure("colour", ByColour(), dataset)])
    assert "colour: no ECE: the classifier has no confidence" in str(ranking)
    assert str(ranking).splitlines()[0] == "own: 6 crops in 3 images, each against 3 categories"


def test_the_best_mean_accuracy_comes_first(file):
    dataset = load_dataset(file)

    class Worse(ByColour):
        def embed_labels(self, labels):
            return super().embed_labels(labels)[[1, 2, 0]]

    measured = [measure(name, encoder(), dataset, 1) for name, encoder in (("worse", Worse), ("better", ByColour))]
    ranking = ranked(dataset, measured, 1)
    assert [each.name for each in ranking.encoders] == ["better", "worse"]
    assert ranking.n_images == 1
    assert ranking.encoders[0].scores.mean_accuracy.value == 0.5  # both ships, not the plane


def test_a_gpu_is_asked_for_the_peak_of_its_memory_since_the_encoder_began(file, monkeypatch):
    import torch

    encoder, peaks = ByColour(), {"gpu": 5_000_000_000}
    encoder.device = SimpleNamespace(type="cuda")
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: peaks.update(gpu=0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: peaks["gpu"] + 3_000_000)
    dataset = load_dataset(file)
    ranking = ranked(dataset, [measure("colour", encoder, dataset), measure("other", ByColour(), dataset)])
    assert [each.peak_bytes for each in ranking.encoders] == [3_000_000, None]
    rows = [line.split() for line in str(ranking).splitlines()]
    assert rows[2][-2:] == ["MB", "peak"]
    assert [row[-2:] for row in rows[3:5]] == [["-", "3"], ["-", "-"]]


def test_no_name_is_cut_on_a_terminal_of_80_columns(file):
    dataset, names = load_dataset(file), ["siglip2-so400m", "mobileclip2-l14-with-my-own-weights"]
    console = Console(file=io.StringIO(), width=80, color_system=None, force_terminal=True)
    print_blocks(ranked(dataset, [measure(name, ByColour(2.0), dataset) for name in names]).blocks(), console)
    out = console.file.getvalue()
    assert "…" not in out
    assert "siglip2-so400m" in out


def test_a_dataset_without_objects_is_refused(file):
    dataset = load_dataset(file)
    empty = replace(dataset, annotations=dataset.annotations.take(np.zeros(0, dtype=np.int64)))
    with pytest.raises(DataError, match="has no annotated objects"):
        measure("colour", ByColour(), empty)


def test_the_command_ranks_encoders_and_writes_json(file, tiny_clip, tiny_checkpoint, capsys):
    own = ["-M", f"checkpoint={tiny_checkpoint}", "-M", f"config={tiny_clip[0]}"]
    words = ["--dataset", file, "-M", "device=cpu", "--encoder", "one=open_clip", *own]
    words += ["--encoder", "two=open_clip", *own, "-M", "encoder.template={category}", "--json", "-"]
    assert main([str(word) for word in words]) == 0
    out, err = capsys.readouterr()
    ranking = json.loads(out)
    assert {each["name"] for each in ranking["encoders"]} == {"one", "two"}
    described = {each["name"]: each["described"] for each in ranking["encoders"]}
    assert described["two"]["template"] == "{category}" != described["one"]["template"]
    for each in ranking["encoders"]:
        assert each["weight_bytes"] == sum(p.numel() * 4 for p in tiny_clip[1].parameters())
        assert each["logit_scale"] == pytest.approx(tiny_clip[1].logit_scale.exp().item())
        assert 0 <= each["scores"]["calibration"]["ece"]["value"] <= 1
        assert PERCENT.text(each["scores"]["mean_accuracy"]["value"]) in err
    assert "own: 6 crops in 3 images, each against 3 categories" in err


def test_the_small_encoder_names_the_drawn_objects(capsys):
    pytest.importorskip("earthinstruct_instructsam", reason="earthinstruct-instructsam is not installed")
    words = ["--dataset", "scenes", "--limit", "2", "--encoder", "small=earthinstruct_instructsam.small:small_encoder"]
    assert main([*words, "-M", "device=cpu"]) == 0
    name, mean = capsys.readouterr().out.splitlines()[-1].split()[:2]
    assert name == "small"
    assert float(mean) > 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give an encoder: --encoder NAME"),
        (["--encoder", "georsclip-l41"], "did you mean 'georsclip-l14'"),
        (["--encoder", "open_clip", "--encoder", "open_clip"], "--encoder LABEL=open_clip"),
        (["--encoder", "a=none.such:encoder"], "encoder none.such:encoder cannot be made: No module named 'none'"),
        (
            ["-M", "templates=x", "--encoder", "skyclip-b32"],
            "unknown parameter of an encoder 'templates'; did you mean",
        ),
        (["--encoder", "skyclip-b32", "-M", "templates=x"], "'templates'; did you mean 'template'"),
        (["--encoder", "open_clip"], "\n  open_clip: encoder 'open_clip' needs checkpoint: give -M encoder.checkpoint"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(words, message, file, capsys):
    assert main(["--dataset", str(file), *words]) == 2
    assert message in capsys.readouterr().err


def test_everything_that_is_missing_is_named_at_once(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EARTHINSTRUCT_WEIGHTS", str(tmp_path / "weights"))
    assert main(["--dataset", str(file), "--encoder", "farslip1-b32", "--encoder", "siglip2-b16"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: something is missing:"
    assert [line.split(": earthinstruct")[0] for line in lines[1:]] == [
        "  farslip1-b32: weights farslip1-b32",
        "  siglip2-b16: weights siglip2-b16",
        "  siglip2-b16: weights siglip2-tokenizer",
    ]
