"""Predictions as COCO, as FiftyOne, pycocotools and our own reader take them."""

import json

import pytest
from pycocotools.coco import COCO

from earthinstruct import Prediction, evaluate, export, score
from earthinstruct.cli import main
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.regions import encode_mask


class Finds:
    """A method in its own words, of which one maps to no category."""

    name = "finds"

    def predict(self, image, instruction):
        mask = image[:, :, 0] < 0
        mask[1:5, 1:5] = True
        return Prediction(["Ships", "cloud"], [[1, 1, 4, 4]] * 2, masks=[encode_mask(mask)] * 2, scores=[0.9, 0.4])


@pytest.fixture
def run(coco, write_coco, tmp_path):
    return evaluate(Finds(), write_coco(coco), setting="open_ended", output=tmp_path / "runs")


def test_a_whole_coco_file(run, tmp_path):
    file = export(run, tmp_path / "new" / "found.json")
    content = json.loads(file.read_text())
    assert content["images"][1] == {"id": 7, "file_name": "b.png", "width": 30, "height": 20}
    assert {category["id"]: category["name"] for category in content["categories"]} == {1: "ship", 4: "harbor"}
    first = content["annotations"][0]
    assert (first["image_id"], first["category_id"], first["bbox"]) == (0, 1, [1, 1, 4, 4])
    assert (first["score"], first["label"], first["area"], first["iscrowd"]) == (0.9, "Ships", 16, 0)
    assert len(content["annotations"]) == 3  # clouds are no category
    assert content["info"]["labels_without_category"] == 3
    assert len({annotation["id"] for annotation in content["annotations"]}) == 3


def test_pycocotools_reads_the_results(run, tmp_path, capsys):
    file = tmp_path / "results.json"
    assert main(["export", str(run.folder), str(file), "--results"]) == 0
    assert f"exported {file}" in capsys.readouterr().out
    truth = COCO(str(tmp_path / "set" / "annotations.json"))
    found = truth.loadRes(str(file))
    assert found.getImgIds() == [0, 7, 9]
    assert found.annToMask(found.loadAnns(1)[0]).sum() == 16
    capsys.readouterr()


def test_the_exported_results_give_the_same_scores(run, tmp_path):
    file = export(run, tmp_path / "results.json", results=True)
    again = score(file, tmp_path / "set" / "annotations.json", "open_vocabulary")
    assert again.metrics.box.f1 == run.results[0].metrics.box.f1
    assert again.metrics.mask.ap50 == run.results[0].metrics.mask.ap50


def test_what_fiftyone_needs_is_there(run, tmp_path):
    """`add_coco_labels` matches by image_id, names by category_id, reads bbox, segmentation (RLE) and score."""
    for annotation in json.loads(export(run, tmp_path / "r.json", results=True).read_text()):
        assert {"id", "image_id", "category_id", "bbox", "segmentation", "score"} <= annotation.keys()
        assert annotation["segmentation"]["size"] == [20, 30]
        assert isinstance(annotation["segmentation"]["counts"], str)


def test_a_method_that_only_counts_has_nothing_to_draw(dataset, tmp_path, constant):
    constant.predict = lambda image, instruction: Prediction(counts={"ship": 2})
    run = evaluate(constant, dataset, setting="open_vocabulary", output=tmp_path / "runs")
    file = export(run, tmp_path / "f.json", dataset=tmp_path / "set" / "annotations.json")
    assert json.loads(file.read_text())["annotations"] == []


def test_no_file_of_the_run_or_its_dataset_is_replaced(run, tmp_path):
    for file in (run.folder / "predictions.jsonl", run.folder / "result.json", tmp_path / "set" / "annotations.json"):
        before = file.read_bytes()
        with pytest.raises(EarthInstructError, match="is a file of the run or of its dataset; give another file"):
            export(run, file)
        assert file.read_bytes() == before


def test_a_file_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        export(run, tmp_path / "file" / "found.json")
