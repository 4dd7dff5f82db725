"""Predictions of another convention score low, and the result says what they look like."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from earthinstruct import score
from earthinstruct.datasets import Dataset

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
        [*([(9, 1, [0, 0, 1, 1])] * 20), (9, 1, [20, 10, 20, 20])],
        [(9, 1, [0, 0, 1e9, 1e9]), *([(9, 1, [2, 2, 1, 1])] * 20)],
        [(9, 1, [5, 5, 5, 5])],
    ],
)
def test_other_predictions_get_no_hint(tmp_path: Path, dataset: Dataset, found: Any):
    assert notes(tmp_path, dataset, found) == []


def test_a_sweep_of_nothing_scores_nothing(tmp_path: Path, dataset: Dataset):
    (tmp_path / "r.json").write_text("[]")
    metrics = score(tmp_path / "r.json", dataset, "open_vocabulary", sweep=True).metrics
    assert (metrics.box.f1.value, metrics.box.ap50.value) == (0, 0)
    assert (metrics.sweep.threshold, metrics.sweep.curve) == (None, [])
