"""The numbers of docs/protocol.md: its worked example, and its measurements on dior_mini."""

from __future__ import annotations

import re
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

from earthinstruct.datasets import load_dataset
from earthinstruct.metrics import (
    PREDICTION_VERDICTS,
    PROTOCOLS,
    TARGET_VERDICTS,
    Metrics,
    Protocol,
    Truth,
    measure,
    verdicts,
)
from earthinstruct.predictions import read_predictions
from earthinstruct.scoring import score_records
from earthinstruct.tasks import tasks_of

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
STANDARD, PAPER = PROTOCOLS["standard"], PROTOCOLS["paper"]


def names(verdicts, codes) -> list[str]:
    return [verdicts[code] for code in codes]


NAMES = ("ship", "harbor", "plane")


def table(first_cell: str) -> list[list[str]]:
    """The rows of the page's table whose heading begins with this cell."""
    lines = PAGE[PAGE.index(f"| {first_cell} |") :].splitlines()
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[2:]


def row(rows: list[list[str]], name: str) -> list[str]:
    return next(cells[1:] for cells in rows if cells[0] == name)


@pytest.fixture
def example(build):
    """The example as the page's tables describe it, and their verdicts."""

    def instances(rows):
        described = [(NAMES.index(name.split()[1]), box) for name, box, *_ in rows]
        return build.instances([(0, category, *map(float, box.split(","))) for category, box in described])

    there, found = table("ground truth"), table("prediction")
    truth = Truth((0,), NAMES, {"all": NAMES}, instances(there))
    counts = np.array([[3, 1, 0]])
    return truth, build.predicted(instances(found), truth, counts), [r[-1] for r in there], [r[-1] for r in found]


def test_verdicts_of_the_example(example) -> None:
    truth, predicted, of_targets, of_predictions = example
    judged = verdicts(truth, predicted)
    assert names(TARGET_VERDICTS, judged.targets) == of_targets
    assert names(PREDICTION_VERDICTS, judged.predictions) == of_predictions
    overlaps = [cells[2] for cells in table("prediction")]
    for stated, target, iou in zip(overlaps, judged.because_of, judged.iou, strict=True):
        if target < 0:
            assert stated == "nothing"
        else:
            assert stated[0] == "ABCD"[target]
            assert fraction(stated[2:]) == pytest.approx(iou)


def fraction(text: str) -> float:
    above, _, below = text.strip().partition("/")
    return float(above) / float(below or 1)


def test_numbers_of_the_example(example) -> None:
    truth, predicted, *_ = example
    standard, paper = (measure(truth, predicted, protocol) for protocol in (STANDARD, PAPER))
    rows = table("number | ship")
    for part, name in (("counting", "counting: TP, FP, FN"), ("box", "box: TP, FP, FN")):
        for category, cell in zip(NAMES, row(rows, name)[:2], strict=False):
            scores = getattr(standard, part).per_category[category]
            assert [int(n) for n in cell.split(",")] == [scores.tp, scores.fp, scores.fn]
    parts = {
        "counting F1": (standard.counting, paper.counting, "f1"),
        "counting from instances F1": (standard.counting_from_instances, paper.counting_from_instances, "f1"),
        "MAE": (standard.counting, paper.counting, "mae"),
        "box F1": (standard.box, paper.box, "f1"),
        "box AP_nc50": (standard.box, paper.box, "ap_nc50"),
        "mIoU": (standard.mask, paper.mask, "miou"),
    }
    for name, (part, under_paper, score) in parts.items():
        ship, harbor, mean = row(rows, name)
        assert fraction(ship.rpartition(":")[2]) == pytest.approx(getattr(part.per_category["ship"], score))
        assert fraction(harbor) == pytest.approx(getattr(part.per_category["harbor"], score))
        stated = [float(number) for number in re.findall(r"\d\.\d{4}|^\d$", mean)]
        assert stated[0] == pytest.approx(getattr(part, score).value, abs=5e-5)
        if "paper" in mean:
            assert stated[1] == pytest.approx(getattr(under_paper, score).value, abs=5e-5)
    for name, part in (("counting", standard.counting), ("box", standard.box)):
        stated = row(rows, f"{name}: micro F1, hallucinated")[-1].split(" and ")
        assert [fraction(one) for one in stated] == pytest.approx([part.micro_f1.value, part.hallucinated.value])
    assert (standard.mask.f1, standard.mask.ap_nc50) == (standard.box.f1, standard.box.ap_nc50)  # masks are the boxes


@pytest.fixture(scope="module")
def scored(reference: Path):
    root = reference / "dior_mini"
    dataset = load_dataset("dior-mini", root)
    task = tasks_of("dior-mini", dataset.vocabulary, "open_vocabulary")[0]
    records = read_predictions(
        root / "predictions/open_vocabulary.json",
        dataset,
        counts=root / "counts/open_vocabulary",
        proposals=root / "proposals.json",
    )

    def score(protocol: Protocol, sweep: bool = False) -> Metrics:
        return score_records(task, dataset, records, protocol=protocol, sweep=sweep).metrics

    return score


CHOICES = {  # row of the page -> field of the protocol, scores in the order of the cell
    "matching": ("rule", ["box.f1"]),
    "counting mean over": ("counting_over_mentioned", ["counting.f1"]),
    "image without counts": ("skips_images_without_counts", ["counting.f1"]),
    "instances that are counted": ("least_counted_score", ["counting_from_instances.f1"]),
    "average precision without scores": ("constant_score_ap", ["box.ap_nc50", "mask.ap_nc50"]),
    "equal IoU": ("rule", ["box.f1"]),
    "object of several polygons": ("first_polygon_only", ["mask.f1"]),
    "proposal recall": ("proposals_shared_by_categories", ["proposals.recall"]),
    "thresholds of a sweep": ("thresholds", ["box.f1"]),
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_one_choice_changes_on_dior_mini(scored, name) -> None:
    choice, paths = CHOICES[name]
    stated = [float(number) for number in re.findall(r"\d+\.\d", row(table("| standard | paper"), name)[-1])]
    rules = (STANDARD, replace(STANDARD, **{choice: getattr(PAPER, choice)}))
    both = [scored(protocol, sweep=choice == "thresholds") for protocol in rules]
    found = [100 * attrgetter(path)(metrics).value for path in paths for metrics in both]
    assert stated == pytest.approx(found, abs=0.05)


def test_ap50_on_dior_mini(scored) -> None:
    stated = re.findall(r"\d+\.\d", row(table("| standard | paper"), "AP of scores (AP50)")[-1])
    metrics = scored(STANDARD)
    assert [float(stated[0]), float(stated[2])] == pytest.approx(
        [100 * metrics.box.ap50.value, 100 * metrics.mask.ap50.value], abs=0.05
    )
