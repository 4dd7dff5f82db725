"""Answers of points: read, scored, compared, reported, exported and filed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earthinstruct import compare, evaluate, export, images_df, predictions_df, report, score, validate
from earthinstruct.contract import Prediction
from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.metrics import ONLY_POINTS
from earthinstruct.predictions import Record
from earthinstruct.results import read_result, read_tallies
from earthinstruct.scoring import add_to_leaderboard

SETTING = "open_vocabulary"
# images of 30 x 20 pixels; ships [1, 5) x [1, 5) and [10, 15) x [2, 5), a harbor [20, 26) x [10, 16); a ship in b
LINES: list[dict[str, Any]] = [
    {"image_id": 0, "labels": ["ship", "ship", "harbor"], "points": [[2, 2], [4, 4], [25.9, 15.9]]},
    {"image_id": 7, "labels": ["ship"], "points": [[5, 5]]},
    {"image_id": 9, "points": []},
]


def lines(tmp_path: Path, *entries: dict[str, Any], name: str = "points") -> Path:
    file = tmp_path / f"{name}.jsonl"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return file


def test_points_are_scored_and_counted(tmp_path: Path, dataset: Dataset) -> None:
    # ships: (2, 2) and (4, 4) are in one object, (5, 5) in that of image b: TP 2, FP 1, FN 1: F1 4 / 6; harbor: 1
    result = score(lines(tmp_path, *LINES), dataset, SETTING)
    metrics = result.metrics
    assert (metrics.point.per_category["ship"].tp, metrics.point.per_category["ship"].fp) == (2, 1)
    assert metrics.point.f1.value == pytest.approx((4 / 6 + 1) / 2)
    assert (metrics.counting.source, metrics.counting.f1.value) == ("instances", 1)
    assert (metrics.box.f1.reason, metrics.mask.f1.reason) == (ONLY_POINTS, ONLY_POINTS)
    shown = str(result)
    assert f"no box and mask scores: {ONLY_POINTS}" in shown
    assert "Point" in shown
    assert "points and counts, in objects over all images" in shown
    given = score(lines(tmp_path, *({**line, "counts": {"ship": 1}} for line in LINES)), dataset, SETTING).metrics
    assert given.counting.source == "counts"
    assert given.counting_from_instances == metrics.counting
    assert given.point == metrics.point


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ({"labels": ["ship"], "points": [[2]]}, r"points\[0\]|length 2"),
        ({"labels": ["ship"], "points": []}, "image 0: 1 label for 0 points"),
        ({"labels": ["ship"], "points": [[1, 1]], "scores": []}, "image 0: 0 scores for 1 point"),
        ({"labels": ["ship"], "points": [[1, 1]], "masks": []}, "image 0: masks need boxes"),
        ({"labels": ["ship"], "boxes": [[1, 1, 4, 4]], "points": []}, "image 0: 0 points for 1 box"),
        (
            {"labels": ["ship"], "points": [[1, 1e10]]},
            r"image 0: points\[0\] is \[1.0, 10000000000.0\]; expected \[x, y\]",
        ),
    ],
)
def test_malformed_points_are_refused_with_their_image(tmp_path: Path, dataset: Dataset, line: Any, error: str) -> None:
    with pytest.raises(DataError, match=error):
        score(lines(tmp_path, {"image_id": 0, **line}), dataset, SETTING)


def test_in_a_mixture_a_geometry_that_an_image_lacks_is_undefined(tmp_path: Path, dataset: Dataset) -> None:
    box = {"image_id": 7, "labels": ["ship"], "boxes": [[3, 3, 8, 8]]}
    metrics = score(lines(tmp_path, LINES[0], box), dataset, SETTING).metrics
    assert metrics.box.f1.reason == "the prediction of image 0 has points and no boxes"
    assert metrics.point.f1.reason == "the prediction of image 7 has no points"
    assert metrics.counting.f1.value == 1
    with_points = {**box, "points": [[4, 4]]}
    metrics = score(lines(tmp_path, with_points, {"image_id": 0}), dataset, SETTING).metrics
    assert (metrics.point.per_category["ship"].tp, metrics.box.per_category["ship"].tp) == (1, 1)


def test_a_sweep_is_refused_and_a_threshold_is_not(tmp_path: Path, dataset: Dataset) -> None:
    scored = [{**line, "scores": [0.9, 0.2, 0.8][: len(line["points"])]} for line in LINES]
    file = lines(tmp_path, *scored)
    with pytest.raises(EarthInstructError, match=r"by box F1, which is undefined .*; give --threshold"):
        score(file, dataset, SETTING, sweep=True)
    metrics = score(file, dataset, SETTING, threshold=0.5).metrics
    assert metrics.point.f1.value == pytest.approx((4 / 5 + 1) / 2)  # the duplicate is below: ship TP 2, FN 1
    assert score(file, dataset, SETTING).metrics.point.ap50.value is not None


@pytest.fixture
def runs(constant: Any, dataset: Dataset, tmp_path: Path) -> list[Path]:
    """A method that points at one ship, and one that draws a box around it."""
    folders = []
    for name, answer in (("points", {"points": [[2, 2]]}), ("boxes", {"boxes": [[1, 1, 4, 4]]})):
        constant.name, constant.describe = name, lambda: {"version": "1"}
        constant.predict = lambda image, instruction, answer=answer: Prediction(labels=["ship"], **answer)
        folders += evaluate(constant, dataset, setting=SETTING, output=tmp_path / "runs").folders
    return folders


def test_a_run_of_points_is_compared_reported_validated_and_filed(runs: list[Path], tmp_path: Path) -> None:
    pointed, boxed = runs
    assert not [finding for finding in validate(pointed) if finding.problem]
    notes = compare(pointed, boxed).notes
    assert f"no box scores: they are undefined for A ({ONLY_POINTS})" in notes
    assert "no point scores: they are undefined for B (the method gives no points)" in notes
    alike = compare(pointed, pointed)
    assert {"point.f1", "counting.f1"} <= {row.score for row in alike}
    assert not [row.score for row in alike if "box" in row.score]
    assert "points: no difference shown" in alike.verdict
    page = report(pointed, against=boxed).read_text()
    for text in ("points and no boxes", "Percent of the points", "Errors are wrong points", '"point":[2.0,2.0]'):
        assert (text in page) == (text != "points and no boxes"), text
    root = tmp_path / "board"
    (root / "results").mkdir(parents=True)
    assert add_to_leaderboard(pointed, root=root).filed
    (tallies,) = root.rglob("*.tallies.npz")
    assert "point" in read_tallies(tallies.parent, read_result(pointed / "result.json"), tallies.name).tallies


def test_frames_have_the_points(runs: list[Path]) -> None:
    images = images_df(runs[0])
    assert images["point_tp"].tolist() == [1, 0, 0]
    assert "box_tp" not in images
    found = predictions_df(runs[0])
    assert found[["point_x", "point_y"]].to_numpy().tolist() == [[2, 2]] * 3
    assert found["x"].isna().all()
    assert found["verdict"].tolist() == ["correct", "localisation", "background"]
    assert "point_x" not in predictions_df(runs[1])


@pytest.mark.parametrize("results", [True, False])
def test_exported_points_are_read_again(runs: list[Path], dataset: Dataset, tmp_path: Path, results: bool) -> None:
    file = export(runs[0], tmp_path / "points.json", results=results)
    again, before = score(file, dataset, SETTING).metrics, read_result(runs[0] / "result.json").metrics
    assert (again.point, again.box) == (before.point, before.box)


def test_a_frame_is_that_of_keypoints_too(dataset: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "thousandths.json"  # (2, 2) of 30 x 20 pixels
    file.write_text(json.dumps([{"image_id": 0, "category_id": 1, "keypoints": [67, 100, 2]}]))
    assert score(file, dataset, SETTING, frame="thousandths").metrics.point.per_category["ship"].tp == 1
    assert score(file, dataset, SETTING).metrics.point.per_category["ship"].tp == 0


def test_keypoints_of_several_points_stay_ignored(dataset: Dataset, tmp_path: Path) -> None:
    entry = {"image_id": 0, "category_id": 1, "keypoints": [2, 2, 2, 3, 3, 2], "score": 0.5}
    file = tmp_path / "pose.json"
    file.write_text(json.dumps([entry | {"bbox": [1, 1, 4, 4]}]))
    assert score(file, dataset, SETTING).metrics.point is None
    file.write_text(json.dumps([entry]))
    with pytest.raises(DataError, match=r"neither a bbox nor a segmentation, nor one keypoint \[x, y, visibility\]"):
        score(file, dataset, SETTING)


def test_points_in_fractions_or_percent_are_noted(dataset: Dataset, tmp_path: Path, coco: Any, write_coco: Any) -> None:
    few = [{"image_id": 0, "labels": ["ship"] * 12, "points": (np.ones((12, 2)) * 0.5).tolist()}]
    (note,) = score(lines(tmp_path, *few), dataset, SETTING).method.notes
    assert note.startswith("all 12 points lie within the first 1.5 x 1.5 pixels: are they fractions of the image?")
    for image in coco["images"]:
        image["width"], image["height"] = 300, 250
    large = str(write_coco(coco))
    few[0]["points"] = np.random.default_rng(0).uniform(0, 100, (12, 2)).tolist()
    assert any("are they hundredths" in note for note in score(lines(tmp_path, *few), large, SETTING).method.notes)
    few[0]["points"][0] = [250, 200]
    assert not any("percent" in note for note in score(lines(tmp_path, *few), large, SETTING).method.notes)


def test_free_labels_of_points_are_mapped(dataset: Dataset, tmp_path: Path) -> None:
    free = [{**LINES[0], "labels": ["Ships", "boat", "Harbor"]}]
    result = score(lines(tmp_path, *free), dataset, "open_ended", label_map="exact")
    assert result.metrics.point.per_category["ship"].tp == 1
    assert result.metrics.errors.point.unscored == 1
    assert result.label_map["boat"].category is None


def test_a_record_keeps_points() -> None:
    prediction = Prediction(labels=["ship"], points=[[1.25, 3]], scores=[0.5])
    again = Record.of(0, prediction).prediction()
    assert again.boxes is None
    assert again.points.tolist() == [[1.25, 3]]
    assert not Record.of(0, Prediction(points=[], counts={"ship": 2})).only_counts


def test_counts_alone_with_rare_categories_are_read_again(constant: Any, dataset: Dataset, tmp_path: Path) -> None:
    """Their boxes have no score, also not without the rare categories."""
    constant.predict = lambda image, instruction: Prediction(counts={"ship": 1})
    run = evaluate(constant, dataset, setting=SETTING, output=tmp_path)
    rare = read_result(run.folder / "result.json").metrics.rare
    assert rare.categories == ["harbor", "ship"]
    assert rare.without == {}


def test_a_row_of_points_has_no_rank_beside_rows_of_boxes(runs: list[Path], tmp_path: Path) -> None:
    root = tmp_path / "board"
    (root / "results").mkdir(parents=True)
    for run in runs:
        assert add_to_leaderboard(run, root=root).filed
    rows = (root / "tables" / "set" / f"{SETTING}.md").read_text().splitlines()
    cells = [[cell.strip() for cell in row.split("|")[1:3]] for row in rows if row.startswith("|")]
    assert cells[2:] == [["1", "boxes"], ["-", "points"]]
