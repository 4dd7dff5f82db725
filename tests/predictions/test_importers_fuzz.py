"""Malformed files: every reader answers with an error of ours or with a score, never with anything else.

EARTHINSTRUCT_FUZZ sets the number of malformed inputs; `EARTHINSTRUCT_FUZZ=100000` is the long run.
"""

from __future__ import annotations

import copy
import gzip
import json
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from earthinstruct.datasets import Dataset
from earthinstruct.datasets.coco import parse_coco
from earthinstruct.errors import EarthInstructError
from earthinstruct.metrics.measuring import ONLY_COUNTS
from earthinstruct.predictions import Conventions, Record, read_predictions, read_semantic_maps
from earthinstruct.predictions.importers import read_proposals
from earthinstruct.regions import ImageId
from earthinstruct.scoring import score_records
from earthinstruct.tasks import FileMapper, tasks_of

INPUTS = int(os.environ.get("EARTHINSTRUCT_FUZZ", "2000"))
VALUES: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**30, 1.5, 1e308, -1e308, "", "ship", "\x00", "0", "04", "é",
    [], [[]], {}, [1], [1, 2, 3, 4], [0, 0, 0, 0], [-1, -1], [2**40, 2**40], {"size": [20, 30], "counts": "X"},
    {"size": [-20, -30], "counts": [600]}, {"size": [20, 30], "counts": [600]}, [[0, 0, 1, 1]],
    float("nan"), float("-inf"), 7.0, "7", "a.png", "b", "../a", "a\\b.png", "e\u0301", "Ships", "\ud800",
    [[1, 1, 5, 1, 5, 5]], [[1, 1, 1, 1, 1, 1]], [1, 1, 5, 1, 5, 5], [[1, 1, 5]],
]  # fmt: skip
MASK = {"size": [20, 30], "counts": [21, 4, 16, 4, 555]}


def spots(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything inside a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [at, *(spot for key in keys for spot in spots(value[key], (*at, key)))]


def mutated(value: Any, chance: random.Random) -> Any:
    """A copy with one to three things replaced, removed or repeated."""
    value = copy.deepcopy(value)
    for _ in range(chance.randint(1, 3)):
        *path, last = chance.choice([spot for spot in spots(value) if spot] or [(None,)])
        if last is None:
            return chance.choice(VALUES)
        parent = value
        for key in path:
            parent = parent[key]
        action = chance.choice(("replace", "replace", "remove", "repeat"))
        if action == "replace":
            parent[last] = copy.deepcopy(chance.choice(VALUES))
        elif action == "remove":
            del parent[last]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
    return value


def malformed(value: Any, chance: random.Random) -> bytes:
    """A mutated value as JSON, now and then torn, with foreign bytes or a key twice, in UTF-16 or gzip."""
    text = json.dumps(mutated(value, chance)).encode()
    kind = chance.random()
    if kind < 0.1:
        return text[: chance.randrange(len(text) + 1)]
    if kind < 0.2:
        at = chance.randrange(len(text) + 1)
        return text[:at] + bytes(chance.randrange(256) for _ in range(3)) + text[at:]
    if kind < 0.25:
        return text.replace(b"{", b'{"image_id": 0, "image_id": 0, ', 1)
    if kind < 0.3:
        return text.decode().encode("utf-16")
    if kind < 0.35:
        return gzip.compress(text, mtime=0)[: chance.choice((None, -1, 20))]
    return text


RESULTS = [
    {"image_id": 0, "category_id": 1, "bbox": [1, 1, 4, 4], "segmentation": MASK, "score": 0.5},
    {"image_id": 7, "category_id": 4, "bbox": [1, 1, 4, 4], "segmentation": MASK, "score": 0.7},
]
RECORD = {
    "image_id": 0,
    "labels": ["ship"],
    "boxes": [[1, 1, 4, 4]],
    "masks": [{"size": [20, 30], "counts": "e04"}],
    "scores": [0.5],
    "counts": {"ship": 2},
    "proposals": {"boxes": [[1, 1, 4, 4]], "scores": [0.5]},
}
POLYGONS = {
    "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
    "categories": [{"id": 0, "name": "ship"}],
    "annotations": [
        {"image_id": 1, "category_id": 0, "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]},
        {"image_id": 2, "category_id": 0, "segmentation": MASK, "bbox": [1, 1, 2, 4]},
    ],
}
REGIONS = [{"file_name": "a.png", "category_id": 1, "segmentation": {"size": [20, 30], "counts": "e04"}}]
REPLY = {"image": "a.png", "answer": "<p>ship</p> [[1, 1, 5, 5]], {<2><2><9><9>|<90>}", "label": "ship"}
DETECTIONS = {"labels": [1], "bboxes": [[1, 1, 5, 5]], "scores": [0.5], "masks": [MASK]}
PROPOSALS = {"a": {"bboxes": [[1, 1, 4, 4]], "scores": [0.5], "segmentations": [MASK]}}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(
    "kind",
    [
        "results",
        "lines",
        "whole file",
        "records",
        "counts",
        "proposals",
        "regions",
        "replies",
        "detections",
        "other boxes",
        "classes",
        "label map",
        "annotations",
    ],
)
def test_malformed_files(kind: str, tmp_path: Path, dataset: Dataset, coco: dict[str, Any]) -> None:
    chance = random.Random(kind)
    task = tasks_of(dataset.name, dataset.vocabulary, "open_vocabulary")[0]
    refused = 0
    (tmp_path / "counts").mkdir()
    names = {"records": "r.jsonl", "counts": "counts/a.json", "detections": "counts/a.json"}
    conventions = {
        "replies": Conventions(order="xyxy+degrees", frame="hundredths"),
        "detections": Conventions(tmp_path / "classes.json"),
        "other boxes": Conventions(tmp_path / "classes.json", "xyxy", "fractions"),
    }
    classes = {"0": None, "1": "ship"}
    start = {
        "results": RESULTS, "lines": RESULTS[0], "whole file": POLYGONS, "records": RECORD, "counts": {"ship": 3},
        "proposals": PROPOSALS, "regions": REGIONS, "classes": classes, "label map": {"boat": "ship", "tree": None},
        "annotations": coco, "replies": REPLY, "detections": DETECTIONS, "other boxes": RESULTS,
    }  # fmt: skip
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    (tmp_path / "regions.json").write_text(json.dumps(REGIONS))
    for _ in range(INPUTS // 5):
        content = malformed(start[kind], chance)
        if kind == "lines":
            content += b"\n" + malformed(RESULTS[1], chance)
        try:
            if kind == "annotations":
                parse_coco(content, Path("f.json"), name="f", image_root=None)
                continue
            path = tmp_path / names.get(kind, "f.json")
            path.write_bytes(content + b"\n")
            if kind == "label map":
                FileMapper.read(path).map(["boat", "ships"], dataset.vocabulary.categories)
                continue
            records: Mapping[ImageId, Record]
            if kind == "proposals":
                records = {0: Record(0, proposals=read_proposals(path, dataset).get(0))}
            elif kind == "regions":
                records = read_semantic_maps(path, dataset, tmp_path / "classes.json")
            elif kind == "classes":
                records = read_semantic_maps(tmp_path / "regions.json", dataset, path)
            else:
                folder = path.parent if kind in ("counts", "detections") else path
                records = read_predictions(folder, dataset, conventions=conventions.get(kind, Conventions()))
            metrics = score_records(task, dataset, records).metrics
            assert metrics.counting.f1.value is not None
            assert (metrics.box.f1.value is None) == (metrics.box.f1.reason == ONLY_COUNTS)
            for part in (metrics.counting, metrics.box):
                assert part.f1.value is None or 0 <= part.f1.value <= 1, content
        except EarthInstructError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error} on {content!r}") from error
    assert refused > INPUTS // 50


@pytest.mark.parametrize("name", ["r.json", "r.jsonl"])
def test_deep_nesting(name: str, tmp_path: Path, dataset: Dataset) -> None:
    (tmp_path / name).write_bytes(b'{"unknown": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n")
    with pytest.raises(EarthInstructError):
        read_predictions(tmp_path / name, dataset)
