"""COCO results as tools write them are read right; what is ambiguous is refused with its place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from earthinstruct import score
from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError
from earthinstruct.predictions import read_predictions

RESULTS: list[dict[str, Any]] = [
    {"image_id": 0, "category_id": 1, "bbox": [1, 1, 4, 4], "score": 0.9},
    {"image_id": 0, "category_id": 4, "bbox": [20, 10, 6, 6], "score": 0.8},
    {"image_id": 7, "category_id": 1, "bbox": [3, 3, 8, 8], "score": 0.7},
]
POLYGONS = [[[1, 1, 5, 1, 5, 5, 1, 5]], [[20, 10, 26, 10, 26, 16, 20, 16]], [[3, 3, 11, 3, 11, 11, 3, 11]]]
NAMES = {0: "a", 7: "b", 9: "c"}


def changed(**change: Any) -> list[dict[str, Any]]:
    """The results with changed fields: a function of the entry, or a value."""
    return [
        {**entry, **{field: value(entry) if callable(value) else value for field, value in change.items()}}
        for entry in RESULTS
    ]


def whole_file(results: list[dict[str, Any]]) -> dict[str, Any]:
    """A COCO file of another tool, with its own numbers of images and categories."""
    numbers = {0: 31, 7: 0, 9: 7}
    return {
        "images": [
            {"id": numbers[i], "file_name": f"project/{name}.png", "width": 30, "height": 20}
            for i, name in NAMES.items()
        ],
        "categories": [{"id": 0, "name": "Harbor"}, {"id": 1, "name": "Ships"}],
        "annotations": [
            {**entry, "id": i, "image_id": numbers[entry["image_id"]], "category_id": int(entry["category_id"] == 1)}
            for i, entry in enumerate(results, start=1)
        ],
    }


def lines(results: list[dict[str, Any]]) -> str:
    return "\n".join(map(json.dumps, results)) + "\n"


@pytest.mark.parametrize(
    "content",
    [
        RESULTS,
        whole_file(RESULTS),
        {"annotations": RESULTS},
        lines(RESULTS),
        lines(RESULTS).replace("\n", "\r\n\r\n"),
        changed(image_id=lambda entry: float(entry["image_id"]), category_id=lambda entry: float(entry["category_id"])),
        changed(image_id=lambda entry: str(entry["image_id"]), category_id=lambda entry: str(entry["category_id"])),
        changed(image_id=lambda entry: f"{NAMES[entry['image_id']]}.png"),
        changed(image_id=lambda entry: f"C:\\data\\{NAMES[entry['image_id']]}.jpg"),
        changed(image_id=lambda entry: NAMES[entry["image_id"]]),
        changed(image_id=9, file_name=lambda entry: f"{NAMES[entry['image_id']]}.png"),
        changed(segmentation=[]),
        changed(segmentation=None),
        changed(category_id=None, label=lambda entry: "SHIPS" if entry["category_id"] == 1 else "harbor"),
    ],
    ids=[
        "results", "whole file", "annotations alone", "lines", "Windows lines", "whole floats", "text", "file names",
        "paths", "stems", "Ultralytics", "no polygons", "null", "labels",
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gzip"])
def test_every_form_means_the_same(tmp_path: Path, dataset: Dataset, content: Any, encoding: str):
    text = content if isinstance(content, str) else json.dumps(content)
    path = tmp_path / ("r.json.gz" if encoding == "gzip" else "r.json")
    path.write_bytes(gzip.compress(text.encode()) if encoding == "gzip" else text.encode(encoding))
    records = read_predictions(path, dataset)
    assert {image: record.boxes for image, record in records.items()} == {
        0: [(1, 1, 4, 4), (20, 10, 6, 6)],
        7: [(3, 3, 8, 8)],
        9: [],
    }
    assert [label.lower().rstrip("s") for label in records[0].labels] == ["ship", "harbor"]
    assert (records[0].scores, records[0].masks) == ([0.9, 0.8], None)


def test_a_line_alone_is_a_list_of_one(tmp_path: Path, dataset: Dataset):
    (tmp_path / "r.json").write_text(json.dumps(RESULTS[2]))
    assert read_predictions(tmp_path / "r.json", dataset)[7].boxes == [(3, 3, 8, 8)]


def test_polygons_are_read_as_in_ground_truth(tmp_path: Path, dataset: Dataset):
    results = [{**entry, "segmentation": polygons} for entry, polygons in zip(RESULTS, POLYGONS, strict=True)]
    (tmp_path / "r.json").write_text(json.dumps([{k: v for k, v in r.items() if k != "bbox"} for r in results]))
    metrics = score(tmp_path / "r.json", dataset, "open_vocabulary").metrics
    assert metrics.mask.tally["ship"].tp == metrics.box.tally["ship"].tp == 2
    assert metrics.mask.tally["harbor"].tp == 1


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (changed(category_id="ship"), r"entry 0 \(image id 0\) has the category_id 'ship'; .*name as 'label'"),
        (
            changed(label="harbor"),
            r"entry 0 .* has the label 'harbor' and the category_id 1, which is 'ship'",
        ),
        (changed(category_name="harbor"), "has the category_name 'harbor' and the category_id 1, which is 'ship': is"),
        (
            [{"image_id": 0, "category_id": 1, "bbox": [1, 1, 4, 4], "confidence": 0.5}],
            "has 'confidence', but no score; rename 'confidence' to 'score'",
        ),
        (
            [{**RESULTS[0], "category": 5}, {**RESULTS[0], "class": "ship", "category_name": "harbor"}],
            "entry 1 .* has the category_name 'harbor' and the category_id 1, which is 'ship'",
        ),
        (
            [{"image_id": 0, "category_id": 1, "bbox": [1, 1, 4, 4], "conf": c} for c in (None, 0.5)],
            "entry 1 .* has 'conf', but no score; rename 'conf' to 'score'",
        ),
        (
            [{"image_id": 0, "category": "ship", "bbox": [1, 1, 4, 4]}],
            "has 'category': 'ship', but no category_id and no label; rename 'category' to 'label'; known ids: 1, 4",
        ),
        ([{"image_id": 0, "labels": ["ship"], "boxes": [[1, 1, 4, 4]]}], r"name the file \*\.jsonl"),
        (
            [RESULTS[0], {**RESULTS[1], "bbox": [9, 9, 3, -1]}],
            r"entry 1 .*bbox \[9.0, 9.0, 3.0, -1.0\]",
        ),
        ([{**RESULTS[0], "segmentation": [[1, 1, 5, 1]]}], "entry 0 .*segmentation has a polygon of 4 numbers"),
        ([{**RESULTS[0], "segmentation": [1, 1, 5, 1, 5, 5]}], r"segmentation\[0\] is 1; expected a list"),
        ([RESULTS[0], {**RESULTS[1], "segmentation": POLYGONS[1]}], "entry 0 .* has no segmentation, but 1 of 2"),
        ([{**RESULTS[0], "score": "0.9"}], 'entry 0 .*score is "0.9"; expected a number or null'),
        (json.dumps(changed(score=float("nan"))), "score is NaN"),
        ('[{"image_id": 0, "score": 0.5, "score": 0.6}]', 'entry 0 has the key "score" twice, as 0.5 and 0.6'),
        ({**whole_file(RESULTS), "images": []} | {"annotations": changed(image_id=3)}, "no image 3"),
        (
            whole_file(RESULTS) | {"annotations": RESULTS[:1] + changed(image_id=8)},
            r"annotations\[1\].* not in",
        ),
        ({"predictions": RESULTS}, "the file is an object with 'predictions'"),
        (lines(RESULTS[:2]) + "torn", "line 3, column 2 is not JSON"),
        ("image_id,x,y,w,h\n0,1,1,4,4\n", r"line 1, column 1 is not JSON: .*Expected COCO results.*predictions\.jsonl"),
    ],
)
def test_what_is_ambiguous_is_refused(tmp_path: Path, dataset: Dataset, content: Any, error: str):
    path = tmp_path / "r.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=error) as raised:
        read_predictions(path, dataset)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("name", [str, lambda image: f"{NAMES[image]}.png"])
def test_lines_of_predictions_may_name_images_in_other_ways(tmp_path: Path, dataset: Dataset, name: Any):
    path = tmp_path / "p.jsonl"
    path.write_text(lines([{"image_id": name(i), "labels": ["ship"], "boxes": [[i, 0, 1, 1]]} for i in NAMES]))
    records = read_predictions(path, dataset)
    assert len(records) == 3
    assert {image: (record.image_id, record.boxes) for image, record in records.items()} == {
        i: (i, [(i, 0, 1, 1)]) for i in NAMES
    }


def test_proposals_come_best_first(tmp_path: Path, dataset: Dataset):
    (tmp_path / "r.json").write_text("[]")
    boxes = [[i, 0, 1, 1] for i in range(4)]
    (tmp_path / "p.json").write_text(json.dumps({"a": {"bboxes": boxes, "scores": [0.1, 0.9, 0.1, 0.5]}}))
    proposals = read_predictions(tmp_path / "r.json", dataset, proposals=tmp_path / "p.json")[0].proposals
    assert [box[0] for box in proposals.boxes] == [1, 3, 0, 2]
    assert proposals.scores == [0.9, 0.5, 0.1, 0.1]
