"""Predictions of another convention score low, and the result says what they look like."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from earthinstruct import score
from earthinstruct.datasets import Dataset, load_dataset
from earthinstruct.errors import DataError

TRUTH = [(0, 1, [1, 1, 4, 4]), (0, 1, [10, 2, 5, 3]), (0, 4, [20, 10, 6, 6]), (7, 1, [3, 3, 8, 8])]  # 30 x 20 pixels


def notes(tmp_path: Path, dataset: Dataset, found: list[tuple[int, int, list[float]]], **options: Any) -> list[str]:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{"image_id": i, "category_id": c, "bbox": box, "score": 1} for i, c, box in found]))
    return score(path, dataset, "open_vocabulary", **options).method.notes


@pytest.mark.parametrize(
    ("found", "note"),
    [
        (
            [(i, c, [x, y, x + w, y + h]) for i, c, (x, y, w, h) in TRUTH],
            "1 of 4 boxes leave .*x1, y1",
        ),
        ([(i, c, [2 * value for value in box]) for i, c, box in TRUTH], "of 4 boxes leave .*another size"),
        ([(i, c, [x / 30, y / 20, w / 30, h / 20]) for i, c, (x, y, w, h) in TRUTH], "all 4 boxes .*fractions"),
        ([(i, 5 - c, box) for i, c, box in TRUTH], "4 of 4 boxes lie on an object of another category"),
    ],
    ids=["corners", "another size", "fractions", "category ids"],
)
def test_another_convention_is_noted(tmp_path: Path, dataset: Dataset, found: Any, note: str):
    (hint,) = notes(tmp_path, dataset, found)
    assert re.search(note, hint)


@pytest.mark.parametrize(
    "found",
    [
        [],
        TRUTH,
        [(i, c, [x - 1, y, w, h]) for i, c, (x, y, w, h) in TRUTH],
        [*TRUTH, (9, 1, [25, 15, 6, 6])],  # one pixel outside
        [*TRUTH, *([(9, 1, [0, 0, 1, 1])] * 20), (9, 1, [20, 10, 20, 20])],
        [*TRUTH, (9, 1, [0, 0, 1e9, 1e9]), *([(9, 1, [2, 2, 1, 1])] * 20)],
        [(9, 1, [5, 5, 5, 5])],
    ],
)
def test_other_predictions_get_no_hint(tmp_path: Path, dataset: Dataset, found: Any):
    assert notes(tmp_path, dataset, found) == []


@pytest.mark.parametrize(
    ("scores", "threshold", "expected"),
    [
        ((33.25, 97), None, ["scores are from 33.25 to 97, not from 0 to 1: a threshold is on this scale too"]),
        ((0.5, 0.875), 50, ["the threshold 50 keeps none of 2 predictions: their scores are from 0.5 to 0.875"]),
        ((0.5, 0.875), 0.1, ["the threshold 0.1 keeps all 2 predictions: their scores are from 0.5 to 0.875"]),
        ((0.5, 0.875), 0.875, []),
        ((-3.5, -0.5), None, []),  # log-probabilities
        ((-3.5, 4), -1, []),  # logits
    ],
)
def test_scores_on_another_scale_and_idle_thresholds_are_noted(
    tmp_path: Path, dataset: Dataset, scores: Any, threshold: float | None, expected: list[str]
):
    path = tmp_path / "r.json"
    entries = zip(TRUTH, scores, strict=False)
    found = [{"image_id": i, "category_id": c, "bbox": box, "score": one} for (i, c, box), one in entries]
    path.write_text(json.dumps(found))
    assert score(path, dataset, "open_vocabulary", threshold=threshold).method.notes == expected


def test_a_sweep_of_nothing_scores_nothing(tmp_path: Path, dataset: Dataset):
    (tmp_path / "r.json").write_text("[]")
    metrics = score(tmp_path / "r.json", dataset, "open_vocabulary", sweep=True).metrics
    assert (metrics.box.f1.value, metrics.box.ap50.value) == (0, 0)
    assert (metrics.sweep.threshold, metrics.sweep.curve) == (None, [])


@pytest.fixture
def grid(coco: dict[str, Any], write_coco: Any) -> Dataset:
    """Twelve images of 400 x 300 pixels, with a ship in each."""
    places = [(x + 7 * i, y) for i in (0, 1) for x in (20, 180, 340) for y in (30, 230)]
    coco["images"] = [
        {"id": i, "file_name": f"no/{i}.png", "width": 400, "height": 300} for i in range(1, 1 + len(places))
    ]
    coco["annotations"] = [
        {
            "id": n,
            "image_id": n,
            "category_id": 1,
            "bbox": [x, y, 30, 20],
            "segmentation": [[x, y, x + 30, y, x + 30, y + 20, x, y + 20]],
        }
        for n, (x, y) in enumerate(places, start=1)
    ]
    return load_dataset(write_coco(coco))


def found_in(grid: Dataset, **changed: Any) -> list[dict[str, Any]]:
    """The objects of the grid as COCO results; `changed` maps a field to a function of image and x, y, w, h."""
    images = [grid.images[i].id for i in grid.annotations.image]
    return [
        {"image_id": image, "label": "ship", "bbox": box} | {name: of(image, *box) for name, of in changed.items()}
        for image, box in zip(images, grid.annotations.boxes.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({"bbox": lambda i, x, y, w, h: [x / 4, y / 3, w / 4, h / 3]}, "all 12 boxes lie .*100 x 100.*hundredths"),
        ({"bbox": lambda i, x, y, w, h: [x / 2, y / 2, w / 2, h / 2]}, "0 of 12 boxes lie on an object, and 0 near"),
        ({"image_id": lambda i, *box: 1 + i % 12}, "0 of 12 boxes .*: are they of other images"),
        ({"segmentation": lambda *_: [[0.1, 0.1, 0.2, 0.1, 0.2, 0.2]]}, "12 boxes are right, and 0 masks"),
        ({"label": lambda i, *box: "boat"}, "no label means a category; labels are 'boat'.*--label-map"),
    ],
    ids=["hundredths", "half the size", "other images", "masks in fractions", "labels"],
)
def test_what_no_single_prediction_shows_is_noted(tmp_path: Path, grid: Dataset, changed: Any, note: str):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(found_in(grid, **changed)))
    (hint,) = score(path, grid, "open_ended").method.notes
    assert re.search(note, hint)


def test_entries_of_few_images_or_all_twice_are_noted(tmp_path: Path, grid: Dataset):
    path, found = tmp_path / "r.json", found_in(grid)
    for entries, note in (
        (found[:6], "6 of 12 images with objects have no entry"),
        (2 * found, "12 of 24 predictions .* there twice"),
    ):
        path.write_text(json.dumps(entries))
        (hint,) = score(path, grid, "open_vocabulary").method.notes
        assert re.search(note, hint)
    path.write_text(json.dumps(found))
    assert score(path, grid, "open_vocabulary").method.notes == []


def test_a_note_does_not_hide_another(tmp_path: Path, grid: Dataset):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(found_in(grid, bbox=lambda i, x, y, w, h: [x / 2, y / 2, w / 2, h / 2])[:6] * 2))
    notes = score(path, grid, "open_vocabulary").method.notes
    assert [" ".join(note.split()[:5]) for note in notes] == ["0 of 12 boxes lie", "6 of 12 images with"]


def test_right_predictions_get_no_note(tmp_path: Path, coco: dict[str, Any], grid: Dataset, write_coco: Any):
    path = tmp_path / "r.json"

    def notes(entries: list[dict[str, Any]], dataset: Dataset = grid) -> list[str]:
        path.write_text(json.dumps(entries))
        return score(path, dataset, "open_vocabulary", sweep=True).method.notes

    found = found_in(grid, score=lambda *_: 0.9)
    unsure = [{"label": "ship", "score": 0.01, "bbox": [x, 150, 9, 9]} for x in range(300)]
    assert notes([*found, *({"image_id": image.id, **one} for image in grid.images for one in unsure)]) == []
    assert notes([*found, *found_in(grid, score=lambda *_: 0.01, bbox=lambda i, x, y, w, h: [x, y, w - 1, h])]) == []
    coco["images"] += [{"id": i, "file_name": f"{i}.png", "width": 400, "height": 300} for i in range(50, 90)]
    assert notes(found, load_dataset(write_coco(coco))) == []  # most images are empty


def test_an_error_about_an_image_names_the_file(tmp_path: Path, dataset: Dataset):
    path = tmp_path / "p.jsonl"
    for line in ({"labels": ["ship"], "points": [[1e12, 1]]}, {"labels": ["boat"], "boxes": [[1, 1, 2, 2]]}):
        path.write_text(json.dumps({"image_id": 0, **line}))
        with pytest.raises(DataError, match=r"p\.jsonl: image 0: "):
            score(path, dataset, "open_vocabulary")
