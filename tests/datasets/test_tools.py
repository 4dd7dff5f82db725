"""The exports of annotation tools: each is evaluated and scored by one line, and the oracle gets 100."""

from __future__ import annotations

import json

import pytest

from earthinstruct.cli import main
from earthinstruct.datasets import load_dataset

from .fake_tools import NAMES, OBJECTS, TOOLS


@pytest.mark.parametrize("tool", TOOLS)
def test_the_oracle_finds_every_object_of_a_tool(tmp_path, monkeypatch, tool, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["--dataset", *TOOLS[tool](tmp_path / "mine"), "--setting", "open_vocabulary"]
    assert main(["evaluate", "--method", "oracle", *arguments, "--json", "run.json"]) == 0
    (run,) = (tmp_path / "runs").glob("*/open_vocabulary/oracle")
    assert main(["score", str(run), *arguments, "--no-output", "--json", "score.json"]) == 0
    evaluated, scored = (
        json.loads((tmp_path / "run.json").read_text())[0],
        json.loads((tmp_path / "score.json").read_text()),
    )
    for result in (evaluated, scored):
        metrics = result["metrics"]
        assert metrics["counting"]["f1"]["value"] == metrics["box"]["f1"]["value"] == 1
        assert metrics["mask"]["f1"]["value"] in (1, None)
        assert metrics["box"]["tally"]["ship"] == {"tp": 2, "fp": 0, "fn": 0}
    assert "Warning" not in capsys.readouterr().err


@pytest.mark.parametrize("tool", TOOLS)
def test_every_box_of_a_tool_is_read_at_its_place(tmp_path, tool):
    arguments = TOOLS[tool](tmp_path / "mine")
    dataset = load_dataset(arguments[0], images=arguments[2] if len(arguments) > 1 else None)
    names = [name.replace("-", " ") for name in dataset.vocabulary.categories]
    annotations = dataset.annotations
    read = {
        (dataset.images[image].file_name[-5], names[category], *(round(value, 9) for value in box))
        for image, category, box in zip(
            annotations.image, annotations.category, annotations.boxes.tolist(), strict=True
        )
    }
    assert read == {(image, NAMES[c], *map(float, box)) for image, found in OBJECTS.items() for c, box in found}


def test_the_images_of_a_split_of_labels_may_lie_elsewhere(tmp_path):
    (folder,) = TOOLS["ultralytics"](tmp_path / "mine")
    elsewhere = (tmp_path / "mine" / "images" / "val").rename(tmp_path / "pixels")
    (tmp_path / "mine" / "images" / "val").mkdir()
    assert load_dataset(folder, images=elsewhere).image_root == elsewhere


def test_a_folder_named_like_an_annotation_file_is_passed_over(tmp_path):
    (folder,) = TOOLS["ultralytics"](tmp_path / "mine")
    (tmp_path / "mine" / "images" / "val" / "notes.json").mkdir()
    assert load_dataset(folder).no_masks_reason is None
