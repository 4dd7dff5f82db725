"""The numbers that the code of Zheng et al. prints for four DIOR images, under protocol `paper`."""

from __future__ import annotations

from pathlib import Path

import pytest

from earthinstruct.datasets import load_dataset
from earthinstruct.metrics import PROTOCOLS, Metrics
from earthinstruct.predictions import read_predictions, read_proposal_file
from earthinstruct.scoring import score_records
from earthinstruct.tasks import tasks_of

ZERO = (0, 0, 0)


def scored(reference: Path, protocol: str, counts: bool) -> Metrics:
    root = reference / "dior_mini"
    dataset = load_dataset("dior-mini", root)
    task = tasks_of("dior-mini", dataset.vocabulary, "open_vocabulary")[0]
    records = read_predictions(
        root / "predictions/open_vocabulary.json",
        dataset,
        counts=root / "counts/open_vocabulary" if counts else None,
        proposals=root / "proposals.json",
    )
    return score_records(task, dataset, records, protocol=PROTOCOLS[protocol]).metrics


def tally(part) -> dict[str, tuple[int, int, int]]:
    rows = {name: (row.tp, row.fp, row.fn) for name, row in part.tally.items()}
    return {name: row for name, row in rows.items() if row != ZERO}


@pytest.fixture(scope="module")
def paper(reference: Path) -> Metrics:
    return scored(reference, "paper", counts=True)


def test_box(paper: Metrics) -> None:
    assert tally(paper.box) == {
        "basketball court": (1, 2, 1),
        "bridge": (1, 0, 0),
        "storage tank": (0, 3, 3),
        "tennis court": (3, 0, 0),
        "vehicle": (15, 7, 10),
    }
    assert 100 * paper.box.f1.value == pytest.approx(60.7660, abs=5e-5)
    assert 100 * paper.box.ap_nc50.value == pytest.approx(59.2, abs=0.05)


def test_mask(paper: Metrics) -> None:
    assert tally(paper.mask) == tally(paper.box) | {"storage tank": (1, 2, 2)}
    assert 100 * paper.mask.f1.value == pytest.approx(67.4326, abs=5e-5)
    assert 100 * paper.mask.ap_nc50.value == pytest.approx(61.5, abs=0.05)
    assert paper.mask.miou.value == pytest.approx(0.587, abs=5e-4)
    expected = {
        "basketball court": 0.523,
        "bridge": 0.960,
        "storage tank": 0.132,
        "tennis court": 0.914,
        "vehicle": 0.406,
    }
    for name, value in expected.items():
        assert paper.mask.per_category[name].miou == pytest.approx(value, abs=5e-4)


def test_counting(paper: Metrics, reference: Path) -> None:
    counted = {
        "basketball court": (2, 1, 0),
        "bridge": (1, 0, 0),
        "storage tank": (3, 0, 0),
        "tennis court": (3, 0, 0),
        "vehicle": (20, 2, 5),
    }
    from_predictions = scored(reference, "paper", counts=False).counting
    for part, expected in ((paper.counting, (22.9, 24.0, 23.3)), (from_predictions, (91.5, 96.0, 93.0))):
        assert tally(part) == counted
        means = [100 * value.value for value in (part.precision, part.recall, part.f1)]
        assert means == pytest.approx(expected, abs=0.05)
    assert paper.counting_from_instances == from_predictions


def test_proposals(paper: Metrics, reference: Path) -> None:
    assert paper.proposals.n_proposals == 366
    proposals = read_proposal_file(reference / "dior_mini" / "proposals.json")
    assert sorted(len(found.boxes) for found in proposals.values()) == sorted((82, 85, 71, 128))
    assert paper.proposals.recall.value == pytest.approx(0.225)
    found = {name: value for name, value in paper.proposals.per_category.items() if value}
    assert found == {"basketball court": 0.5, "bridge": 1, "storage tank": 1, "tennis court": 1, "vehicle": 1}
    assert scored(reference, "standard", counts=True).proposals.recall.value == pytest.approx(0.9)


def test_two_polygons_are_one_object_under_standard_and_the_first_under_paper(reference: Path) -> None:
    dataset = load_dataset(str(reference / "nwpu" / "annotations.json"))
    whole, first = dataset.masks.take().areas, dataset.masks.take(first_polygon_only=True).areas
    assert (whole != first).sum() == 2
    assert (whole >= first).all()
