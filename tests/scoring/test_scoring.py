"""Predictions of every format become a run folder that the other verbs take; a run folder is scored in place."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zstandard
from PIL import Image

from earthinstruct import Prediction, evaluate, load_dataset, score
from earthinstruct.datasets.scenes.cache import cached_test_split
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.files import as_json
from earthinstruct.predictions import read_manifest
from earthinstruct.predictions.file import StoredRecords
from earthinstruct.regions import encode_mask
from earthinstruct.reporting.loaded import load_run
from earthinstruct.results import file_result, read_result, results_in
from earthinstruct.scoring import compare, validate

SETTING = "open_vocabulary"
COCO = [
    {"image_id": 7, "category_id": 1, "bbox": [3, 3, 8, 8], "score": 0.5},
    {"image_id": 0, "label": "ship", "bbox": [1, 1, 4.25, 4], "score": 0.1},
    {"image_id": 0, "category_id": 4, "bbox": [20, 10, 6, 6], "score": 1 / 3},
]
FORMATS = ("lines", "compressed", "coco", "counts", "maps", "regions", "added")


def drawn():
    """A ship and a harbor as they are in the first image, and a ship of one pixel."""
    picture = np.zeros((20, 30), dtype=np.uint8)
    picture[1:5, 1:5] = 3
    picture[10:16, 20:26] = 5
    picture[19, 0] = 3
    return picture


def given(kind, folder):
    """The predictions in a format, and what else `score` is given with them."""
    folder.mkdir(exist_ok=True)
    lines = [{"image_id": 9, "error": "out of memory", "input_tokens": 5}, {"image_id": 0, "counts": {"ship": 2}}]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    classes = folder / "classes.json"
    classes.write_text('{"0": null, "3": "ship", "5": "harbor"}')
    if kind == "lines":
        (folder / "theirs.jsonl").write_bytes(content)
        return folder / "theirs.jsonl", {}
    if kind == "compressed":
        (folder / "theirs.jsonl.zst").write_bytes(zstandard.compress(content))
        return folder / "theirs.jsonl.zst", {}
    if kind in ("coco", "added"):
        (folder / "theirs.json").write_text(json.dumps(COCO))
        if kind == "coco":
            return folder / "theirs.json", {}
        proposals = folder / "proposals.json"
        proposals.write_text(json.dumps({"b.png": {"bboxes": [[3, 3, 8, 8]], "scores": [0.9]}}))
        return folder / "theirs.json", {"proposals": proposals, "counts": given("counts", folder)[0]}
    if kind == "regions":
        regions = [
            {"file_name": "a.png", "category_id": number, "segmentation": dict(encode_mask(drawn() == number))}
            for number in (0, 3, 5)
        ]
        (folder / "theirs.json").write_text(json.dumps(regions))
        return folder / "theirs.json", {"classes": classes, "min_area": 2}
    (folder / "theirs").mkdir(exist_ok=True)
    if kind == "counts":
        (folder / "theirs" / "a.json").write_text('{"ship": 2, "harbor": 1}')
        return folder / "theirs", {}
    Image.fromarray(drawn()).save(folder / "theirs" / "a.png")
    return folder / "theirs", {"classes": classes}


@pytest.fixture
def run(constant, dataset, tmp_path):
    """A run folder of `evaluate`."""
    return evaluate(constant, dataset, setting=SETTING, output=tmp_path / "runs").folders[0]


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_kept_run_is_taken_by_every_verb_with_its_folder_alone(kind, dataset, run, tmp_path, monkeypatch):
    file, options = given(kind, tmp_path / "given")
    checked = score(file, dataset, SETTING, method_version="1.0", **options)
    assert not (tmp_path / "runs" / "set" / SETTING / "theirs").exists()
    folders = []
    options |= {"method_version": "1.0", "output": tmp_path / "runs", "kept": folders.append}
    result = score(file, dataset, SETTING, **options)
    (folder,) = folders
    assert folder == tmp_path / "runs" / "set" / SETTING / "theirs"
    assert sorted(content(folder)) == ["predictions.jsonl", "result.json", "run.json", "suspects.json", "tallies.npz"]
    assert read_result(folder / "result.json") == result
    assert as_json(result.metrics) == as_json(checked.metrics)
    assert result.run == checked.run
    assert result.method == checked.method
    monkeypatch.chdir("/")
    assert not any(finding.problem for finding in validate(folder, folder / "result.json"))
    assert {row.over for row in compare(folder, run)} >= {"all", "ship"}
    assert load_run(folder).result == result
    assert results_in(folder) == [(folder / "result.json", result)]
    (tmp_path / "boards").mkdir()
    assert file_result(tmp_path / "boards", result).name == "1.0.json"


def test_the_method_of_an_imported_file_is_its_name_and_its_hashes(dataset, tmp_path):
    file, options = given("maps", tmp_path / "given")
    method = score(file, dataset, SETTING, name="SegEarth OV", **options).method
    imported = method.parameters["imported"]
    assert (method.name, method.version, method.control) == ("SegEarth OV", None, False)
    assert (imported["predictions"]["name"], imported["classes"]["name"], imported["min_area"]) == (
        "theirs",
        "classes.json",
        1,
    )
    assert all(len(imported[what]["sha256"]) == 64 for what in ("predictions", "classes"))


def test_semantic_maps_are_scored_as_instances(dataset, tmp_path):
    file, options = given("maps", tmp_path / "given")
    metrics = score(file, dataset, SETTING, output=tmp_path, **options).metrics
    # ships: 3 are there, one is found, and the single pixel is no ship. The harbor is found
    assert metrics.mask.tally["ship"].tp == metrics.box.tally["ship"].tp == 1
    assert metrics.mask.tally["ship"].fp == 1
    assert metrics.mask.tally["harbor"].tp == 1
    larger = score(file, dataset, SETTING, min_area=2, **options).metrics
    assert larger.mask.tally["ship"].fp == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame": "percent"}, "unknown frame of a box 'percent'"),
        ({"min_area": 3}, "min_area is for semantic maps; give --classes"),
    ],
)
def test_options_that_do_not_go_together(dataset, tmp_path, options, message):
    with pytest.raises(EarthInstructError, match=message):
        score(tmp_path / "theirs.json", dataset, SETTING, output=tmp_path, **options)
    assert not (tmp_path / SETTING).exists()


def test_a_run_folder_is_scored_in_place(run, dataset, tmp_path):
    before = content(run)
    (run / "result.json").unlink()
    os.utime(run / "predictions.jsonl", (1, 1))
    folders = []
    for path in (run, run / "predictions.jsonl"):
        result = score(path, dataset, SETTING, output=tmp_path / "other", kept=folders.append)
        assert content(run) == before
        assert result.method.name == "constant"
    assert folders == [run, run]
    assert (run / "predictions.jsonl").stat().st_mtime == 1
    assert not (tmp_path / "other").exists()


def test_shards_without_a_manifest_are_scored_in_place(run, dataset, tmp_path):
    first, *rest = (run / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "predictions-0.jsonl").write_bytes(first)
    (folder / "predictions-1.jsonl.zst").write_bytes(zstandard.compress(b"".join(rest)))
    before = content(folder)
    score(folder, dataset, SETTING, output=tmp_path / "runs")
    after = content(folder)
    assert sorted(set(after) - set(before)) == ["result.json", "run.json", "suspects.json", "tallies.npz"]
    assert all(after[name] == before[name] for name in before)
    assert read_manifest(folder / "run.json").method.name == "big"
    assert not [finding for finding in validate(folder, folder / "result.json") if finding.problem]


@pytest.mark.parametrize("of", ["a run folder", "a file"])
def test_predictions_without_a_version_get_one_and_keep_it(run, dataset, tmp_path, of):
    asked = {"output": tmp_path / "runs"}
    predictions = run if of == "a run folder" else given("coco", tmp_path / "given")[0]
    kept = []
    score(predictions, dataset, SETTING, kept=kept.append, **asked)
    folder = kept[0]
    before = content(folder)["predictions.jsonl"]
    result = score(predictions, dataset, SETTING, method_version="1.0", **asked)
    assert read_result(folder / "result.json").method.version == result.method.version == "1.0"
    assert read_manifest(folder / "run.json").method.version == "1.0"
    message = "another than asked for" if folder == run else "another run"
    with pytest.raises(EarthInstructError, match=message + r" \(method version was 1\.0, is 2\.0\); give --overwrite"):
        score(predictions, dataset, SETTING, method_version="2.0", **asked)
    assert content(folder)["predictions.jsonl"] == before


def test_a_run_in_tiles_is_scored_in_place(constant, dataset, tmp_path):
    folder = evaluate(constant, dataset, setting=SETTING, tile=16, overlap=2, output=tmp_path / "runs").folders[0]
    before = content(folder)
    score(folder, dataset, SETTING, output=tmp_path / "runs")
    assert content(folder) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "paper"}, "protocol was standard, is paper"),
        ({"label_map": "map.json"}, "label map was exact, is map.json"),
        ({"setting": "open_ended"}, "task was set/open_vocabulary, is set/open_ended"),
    ],
)
def test_a_result_of_something_else_is_not_replaced_unasked(run, dataset, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    Path("map.json").write_text('{"ship": "ship"}')
    before = content(run)
    asked = {"setting": SETTING, "output": tmp_path / "runs"} | change
    with pytest.raises(EarthInstructError, match=message + r".*--overwrite"):
        score(run, dataset, **asked)
    assert content(run) == before
    score(run, dataset, **asked | {"output": None})
    assert content(run) == before
    kept = []
    score(run, dataset, **asked, name="another", kept=kept.append)
    assert content(run) == before
    assert read_manifest(kept[0] / "run.json").method.name == "another"
    result = score(run, dataset, **asked, overwrite=True)
    assert read_result(run / "result.json") == result
    assert read_manifest(run / "run.json").method.version == change.get("method_version")
    assert content(run)["predictions.jsonl"] == before["predictions.jsonl"]


def test_a_sweep_does_not_replace_a_result_without_one(constant, dataset, tmp_path):
    constant.predict = lambda image, instruction: Prediction(["ship"], [[1, 1, 4, 4]], scores=[0.5])
    run = evaluate(constant, dataset, setting=SETTING, output=tmp_path).folders[0]
    with pytest.raises(EarthInstructError, match="sweep was False, is True"):
        score(run, dataset, SETTING, sweep=True, output=tmp_path)


def test_a_metric_of_a_result_is_not_lost_unasked(run, dataset, tmp_path):
    metric = f"{Path(__file__).parents[1]}/plugin_fixture/src/bright_spots/count_bias.py:CountBias"
    asked = {"output": tmp_path / "runs"}
    result = score(run, dataset, SETTING, metric=metric, **asked)
    (name,) = result.metrics.extra
    with pytest.raises(EarthInstructError, match=f"{name} would be lost"):
        score(run, dataset, SETTING, **asked)
    assert score(run, dataset, SETTING, metric=[metric], **asked).metrics.extra


def test_a_limited_run_is_not_replaced_by_a_score_of_all_images(constant, dataset, tmp_path):
    run = evaluate(constant, dataset, setting=SETTING, output=tmp_path, limit=1).folders[0]
    before = content(run)
    with pytest.raises(EarthInstructError, match="number of images was 1, is 3"):
        score(run, dataset, SETTING, output=tmp_path)
    assert content(run) == before


def test_a_folder_of_the_same_name_is_not_replaced_by_other_predictions(dataset, tmp_path):
    file, _ = given("coco", tmp_path / "given")
    asked = {"output": tmp_path / "runs"}
    score(file, dataset, SETTING, **asked)
    folder = tmp_path / "runs" / "set" / SETTING / "theirs"
    before = content(folder)
    assert score(file, dataset, SETTING, **asked) == read_result(folder / "result.json")
    assert content(folder) == before
    file.write_text(json.dumps(COCO[:1]))
    with pytest.raises(EarthInstructError, match=r"parameter imported was .*--overwrite"):
        score(file, dataset, SETTING, **asked)
    assert content(folder) == before
    score(file, dataset, SETTING, overwrite=True, **asked)
    assert [len(record.labels) for record in StoredRecords([folder / "predictions.jsonl"]).values()] == [0, 1, 0]


def test_a_refusal_leaves_failures_in_their_place(dataset, tmp_path):
    file, _ = given("lines", tmp_path / "given")
    score(file, dataset, SETTING, output=tmp_path / "runs")
    folder = tmp_path / "runs" / "set" / SETTING / "theirs"
    before = content(folder)
    with pytest.raises(EarthInstructError, match="protocol was standard, is paper"):
        score(file, dataset, SETTING, output=tmp_path / "runs", protocol="paper")
    assert content(folder) == before


def test_predictions_without_a_manifest_are_not_replaced_unasked(dataset, tmp_path):
    file, _ = given("coco", tmp_path / "given")
    folder = tmp_path / "runs" / "set" / SETTING / "theirs"
    folder.mkdir(parents=True)
    (folder / "predictions-0.jsonl").write_text('{"image_id": 0}\n')
    before = content(folder)
    with pytest.raises(EarthInstructError, match=r"has predictions but no run\.json; give --overwrite"):
        score(file, dataset, SETTING, output=tmp_path / "runs")
    assert content(folder) == before
    score(file, dataset, SETTING, output=tmp_path / "runs", overwrite=True)
    assert sorted(content(folder)) == ["predictions.jsonl", "result.json", "run.json", "suspects.json", "tallies.npz"]


def test_a_label_that_is_no_category_can_be_mapped_at_the_next_try(dataset, tmp_path):
    file = tmp_path / "theirs.json"
    file.write_text('[{"image_id": 0, "label": "boat", "bbox": [1, 1, 4, 4]}]')
    asked = {"output": tmp_path / "runs"}
    with pytest.raises(DataError, match="give a label map with --label-map"):
        score(file, dataset, SETTING, **asked)
    (tmp_path / "map.json").write_text('{"boat": "ship"}')
    assert (
        score(file, dataset, SETTING, label_map=str(tmp_path / "map.json"), **asked).metrics.box.tally["ship"].tp == 1
    )


def test_failures_cost_the_same_however_often_they_are_imported(dataset, tmp_path):
    file, _ = given("lines", tmp_path / "given")
    results = [score(file, dataset, SETTING, output=tmp_path / "runs") for _ in range(3)]
    assert [(result.run.input_tokens, result.run.n_failed) for result in results] == [(5, 2)] * 3


def test_counts_are_not_added_to_a_run_in_its_own_folder(run, dataset, tmp_path):
    before = content(run)
    counts, _ = given("counts", tmp_path / "given")
    asked = {"counts": counts, "output": tmp_path / "runs"}
    with pytest.raises(EarthInstructError, match=r"already holds .*; give another --name"):
        score(run, dataset, SETTING, overwrite=True, **asked)
    assert content(run) == before
    result = score(run, dataset, SETTING, name="counted", **asked)
    assert (result.metrics.counting.source, result.method.parameters["imported"]["counts"]["name"]) == (
        "counts",
        "theirs",
    )


def test_a_run_with_an_instruction_of_its_own_keeps_it(constant, dataset, tmp_path):
    evaluation = evaluate(constant, dataset, setting=SETTING, output=tmp_path, instruction_text="Count the ships.")
    for output in (None, tmp_path):
        again = score(evaluation.folders[0], dataset, SETTING, output=output)
        assert again.task == evaluation.results[0].task


def test_a_folder_that_cannot_be_written_is_named_before_it_is_scored(run, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(DataError, match=r"cannot be written; give --no-output"):
        score(run, dataset, SETTING, output=tmp_path)


def test_the_place_of_a_dataset_is_remembered_in_absolute_terms(constant, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = evaluate(constant, "set/annotations.json", setting=SETTING, images="set/images", output="runs").folders[0]
    origin = read_manifest(folder / "run.json").dataset
    assert (origin.name, origin.images) == (
        str(tmp_path / "set" / "annotations.json"),
        str(tmp_path / "set" / "images"),
    )
    monkeypatch.chdir("/")
    assert load_run(folder).stored.dataset.read_image(0).shape == (20, 30, 3)
    moved = shutil.move(tmp_path / "set", tmp_path / "moved")
    with pytest.raises(DataError, match=r"set/annotations.json; give its path with --dataset PATH"):
        load_run(folder)
    assert load_run(folder, str(moved / "annotations.json")).result.task.name == "set/open_vocabulary"


def test_the_data_folder_of_a_named_dataset_is_remembered(constant, reference, tmp_path, monkeypatch):
    folder = evaluate(constant, "dior-mini", setting="open_ended", data=reference, output=tmp_path / "runs").folders[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EARTHINSTRUCT_DATA", raising=False)
    assert load_run(folder).stored.dataset.image_root.is_dir()
    manifest = read_manifest(folder / "run.json")
    manifest.dataset = type(manifest.dataset)("dior-mini", str(tmp_path / "gone"))
    (folder / "run.json").write_bytes(as_json(manifest))
    with pytest.raises(DataError, match=r"dataset 'dior-mini' not found: looked for data/dior_mini.*--data DIR"):
        load_run(folder)
    assert load_run(folder, data=reference).result.task.name == "dior-mini/open_ended"


def test_a_submission_does_not_choose_the_annotations_of_a_registered_dataset(constant, tmp_path):
    folder = evaluate(constant, "scenes", setting=SETTING, output=tmp_path / "runs").folders[0]
    forged = tmp_path / "scenes" / "annotations.json"
    forged.parent.mkdir()
    content = json.loads((cached_test_split() / "annotations.json").read_text())
    forged.write_text(json.dumps(content | {"annotations": content["annotations"][:1]}))
    score(folder, load_dataset(str(forged)), SETTING, label_map="exact", output=tmp_path, overwrite=True)
    problems = {finding.check: finding.problem for finding in validate(folder, folder / "result.json")}
    assert "expected" in problems["annotations"]
