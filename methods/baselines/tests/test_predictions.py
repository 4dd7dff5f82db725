"""A replayed run scores what the run scored; every format of a file is replayed image by image."""

import json
from pathlib import Path

import numpy as np
import pytest
from earthinstruct_baselines.predictions import Predictions
from PIL import Image

from earthinstruct import evaluate
from earthinstruct.datasets import load_dataset
from earthinstruct.errors import DataError
from earthinstruct.masks import encode_mask
from earthinstruct.testing import check_method


@pytest.fixture(scope="module")
def jittered(scenes, tmp_path_factory):
    """The folder of a run, and its result."""
    evaluation = evaluate(
        "oracle-jittered", scenes, setting="open_vocabulary", output=tmp_path_factory.mktemp("runs"), resamples=0
    )
    return evaluation.folders[0], evaluation.results[0]


def replayed(scenes, tmp_path, file, **options):
    method = Predictions(file, scenes, **options)
    (result,) = evaluate(method, scenes, setting="open_vocabulary", output=tmp_path, resamples=0).results
    return result


def test_a_replayed_run_has_the_same_scores(scenes, tmp_path, jittered):
    folder, original = jittered
    for i, file in enumerate((folder, folder / "predictions.jsonl")):
        result = replayed(scenes, tmp_path / str(i), file, name="jittered-again")
        assert result.method.name == "jittered-again"
        assert not result.method.control
        assert result.metrics.counting.f1 == original.metrics.counting.f1
        assert result.metrics.box.f1 == original.metrics.box.f1
        assert result.metrics.mask.f1 == original.metrics.mask.f1
        assert result.run.n_failed == 0


def test_a_coco_results_file_is_replayed(scenes, tmp_path):
    dataset = load_dataset(scenes)
    annotations = json.loads(Path(scenes).read_text())["annotations"]
    results = [
        {key: entry[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5} for entry in annotations
    ]
    (tmp_path / "results.json").write_text(json.dumps(results))
    result = replayed(scenes, tmp_path / "runs", tmp_path / "results.json")
    assert result.metrics.box.f1.value == 1
    assert result.metrics.counting.f1.value == 1
    method = Predictions(tmp_path / "results.json", scenes)
    prediction = method.predict(dataset.read_image(1), None)
    assert len(prediction) == sum(entry["image_id"] == dataset.images[1].id for entry in annotations)
    assert set(prediction.scores) == {0.5}


def test_a_folder_of_counts_is_replayed(scenes, tmp_path):
    dataset = load_dataset(scenes)
    names = np.array(dataset.vocabulary.categories)
    (tmp_path / "counts").mkdir()
    for i, image in enumerate(dataset.images):
        labels, numbers = np.unique(
            names[dataset.annotations.category[dataset.annotations.image == i]], return_counts=True
        )
        file = tmp_path / "counts" / f"{image.file_name.rpartition('/')[2].rpartition('.')[0]}.json"
        file.write_text(json.dumps(dict(zip(labels.tolist(), numbers.tolist(), strict=True))))
    result = replayed(scenes, tmp_path / "runs", tmp_path / "counts")
    assert result.metrics.counting.f1.value == 1


def test_semantic_maps_are_replayed(scenes, tmp_path):
    dataset = load_dataset(scenes)
    image = dataset.images[0]
    drawn = np.zeros((image.height, image.width), dtype=np.uint8)
    drawn[10:20, 30:60] = 1
    (tmp_path / "maps").mkdir()
    Image.fromarray(drawn).save(tmp_path / "maps" / f"{image.file_name.rpartition('/')[2].rpartition('.')[0]}.png")
    (tmp_path / "classes.json").write_text('{"0": null, "1": "ship"}')
    method = Predictions(tmp_path / "maps", scenes, classes=tmp_path / "classes.json")
    prediction = method.predict(dataset.read_image(0), None)
    assert prediction.boxes.tolist() == [[30, 10, 30, 10]]
    assert prediction.masks == (encode_mask(drawn == 1),)
    with pytest.raises(DataError, match="has no prediction for image"):
        method.predict(dataset.read_image(1), None)


def test_what_is_not_in_the_file_or_failed_fails(scenes, tmp_path, jittered):
    dataset = load_dataset(scenes)
    lines = (jittered[0] / "predictions.jsonl").read_text().splitlines()
    failed = json.dumps({"image_id": json.loads(lines[0])["image_id"], "error": "out of memory"})
    (tmp_path / "some.jsonl").write_text(f"{failed}\n{lines[1]}\n")
    method = Predictions(tmp_path / "some.jsonl", scenes)
    with pytest.raises(DataError, match="failed: out of memory"):
        method.predict(dataset.read_image(0), None)
    assert len(method.predict(dataset.read_image(1), None)) > 0
    with pytest.raises(DataError, match="has no prediction for image"):
        method.predict(dataset.read_image(2), None)
    with pytest.raises(DataError, match=r"no image of dataset .* has these pixels"):
        method.predict(np.zeros((9, 9, 3), np.uint8), None)


def test_two_images_with_the_same_pixels_need_the_same_answer(tmp_path):
    (tmp_path / "images").mkdir()
    for name in "ab":
        Image.new("RGB", (30, 20), "green").save(tmp_path / "images" / f"{name}.png")
    images = [{"id": i, "file_name": f"{name}.png", "width": 30, "height": 20} for i, name in enumerate("ab")]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "ship"}]}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    entry = {"category_id": 1, "bbox": [1, 2, 3, 4]}
    same, different = [{**entry, "image_id": i} for i in (0, 1)], [{**entry, "image_id": 0}]
    (tmp_path / "same.json").write_text(json.dumps(same))
    (tmp_path / "different.json").write_text(json.dumps(different))
    pixels = np.array(Image.open(tmp_path / "images" / "a.png"))
    dataset = str(tmp_path / "annotations.json")
    assert len(Predictions(tmp_path / "same.json", dataset).predict(pixels, None)) == 1
    with pytest.raises(DataError, match="show the same pixels"):
        Predictions(tmp_path / "different.json", dataset).predict(pixels, None)


def test_it_answers_the_task_of_the_file_alone(scenes, jittered):
    checks = {check.name: check.skipped for check in check_method(Predictions(jittered[0], scenes, task="open_ended"))}
    assert checks["check/open_vocabulary"] == f"{jittered[0].name} answers open_ended, not open_vocabulary"
    assert "check/open_subclass/sports_field" in checks


def test_it_runs_from_the_command_line(run_on_scenes, scenes, jittered):
    records, result = run_on_scenes("predictions", f"file={jittered[0] / 'predictions.jsonl'}", f"dataset={scenes}")
    original = (jittered[0] / "predictions.jsonl").read_text().splitlines()
    assert [record["boxes"] for record in records] == [json.loads(line)["boxes"] for line in original[:2]]
    assert len(result["method"]["parameters"]["sha256"]) == 64


def test_the_authors_predictions_give_their_published_scores(reference, tmp_path):
    """InstructSAM on four DIOR images, as its authors published it: box mF1 60.7660, mask mF1 67.4326."""
    file = reference / "dior_mini" / "predictions" / "open_vocabulary.json"
    method = Predictions(file, "dior-mini", data=reference)
    evaluation = evaluate(
        method, "dior-mini", setting="open_vocabulary", data=reference, output=tmp_path, protocol="paper", resamples=0
    )
    metrics = evaluation.results[0].metrics
    assert metrics.box.f1.value == pytest.approx(0.607660, abs=1e-6)
    assert metrics.mask.f1.value == pytest.approx(0.674326, abs=1e-6)
