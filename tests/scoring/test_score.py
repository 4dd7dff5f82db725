"""Records in chunks: nothing depends on how many images are turned into columns at a time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError
from earthinstruct.files import as_json
from earthinstruct.metrics import PROTOCOLS, extra_metrics, measure, outcomes, regions
from earthinstruct.predictions import ProposalRecord, Record
from earthinstruct.regions import encode_runs
from earthinstruct.scoring import ScoringSet, score_records
from earthinstruct.scoring.records import Scored
from earthinstruct.tasks import Task, tasks_of

MASK = encode_runs([21, 4, 16, 4, 16, 4, 16, 4, 515], (20, 30))
BOX = (1.0, 1.0, 4.0, 4.0)


def full(image: int, labels: list[str]) -> Record:
    n = len(labels)
    counts = {label: labels.count(label) + 1 for label in labels}
    proposals = ProposalRecord([BOX] * (n + 1), scores=[0.5] * (n + 1))
    return Record(
        image, labels, [BOX] * n, [MASK] * n, [0.1 * (i + 3) for i in range(n)], counts, proposals, {"all": 2}
    )


def task_of(dataset: Dataset) -> Task:
    return tasks_of(dataset.name, dataset.vocabulary, "open_vocabulary")[0]


def scored(dataset: Dataset, records: list[Record], sweep: bool = False, protocol: str = "standard") -> Scored:
    found = {r.image_id: r for r in records}
    rules = PROTOCOLS[protocol]
    return score_records(task_of(dataset), dataset, found, protocol=rules, sweep=sweep)


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # the package has a function of the same name
    monkeypatch.setattr(sys.modules["earthinstruct.scoring.records"], "_IMAGES_AT_ONCE", 1)
    monkeypatch.setattr(regions, "_IMAGES_AT_ONCE", 1)
    monkeypatch.setattr(outcomes, "_SCORES_AT_ONCE", 1)


RECORDS = [full(0, ["ship", "harbor", "ship"]), full(7, ["ship"]), Record(9, error="out of memory")]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_chunks_score_as_the_whole(dataset: Dataset, protocol: str, request: pytest.FixtureRequest) -> None:
    whole = scored(dataset, RECORDS, sweep=True, protocol=protocol)
    request.getfixturevalue("one_at_a_time")
    chunks = scored(dataset, RECORDS, sweep=True, protocol=protocol)
    assert as_json(chunks.metrics) == as_json(whole.metrics)
    assert whole.metrics.mask.miou.value > 0
    assert (chunks.failed, chunks.n_done, chunks.label_map) == (whole.failed, whole.n_done, whole.label_map)
    assert chunks.usage == whole.usage
    assert whole.usage.seconds == {"all": 4}


@pytest.mark.usefixtures("one_at_a_time")
def test_chunks_are_what_measure_finds_in_all_at_once(dataset: Dataset) -> None:
    known = ScoringSet(task_of(dataset), dataset, {r.image_id: r for r in RECORDS})
    predicted = known.columns.predicted(known.images, known.records)
    found = measure(known.truth(range(len(known.images))), predicted, sweep=True)
    assert as_json(scored(dataset, RECORDS, sweep=True).metrics) == as_json(found)


@pytest.mark.usefixtures("one_at_a_time")
def test_a_metric_from_a_file(dataset: Dataset) -> None:
    file = Path(__file__).parents[1] / "plugin_fixture" / "src" / "bright_spots" / "count_bias.py"
    extra = extra_metrics([f"{file}:CountBias"])
    records = {r.image_id: r for r in RECORDS}
    found = score_records(task_of(dataset), dataset, records, extra=extra).metrics.extra["count-bias"]
    # `full` counts one more than it finds. Ships 2, 1, 0: 3, 2, 0. Harbors 1, 0, 0: 2, 0, 0
    assert [value.value for value in found.per_category.values()] == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.usefixtures("one_at_a_time")
def test_an_error_names_the_image(dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"image 7: boxes\[0\] is"):
        scored(dataset, [full(0, ["ship"]), Record(7, ["ship"], [(0.0, 0.0, -1.0, 1.0)], [MASK], [0.5])])


@pytest.mark.usefixtures("one_at_a_time")
def test_what_only_some_chunks_have(dataset: Dataset) -> None:
    bare = Record(7, ["ship"], [BOX], [MASK])
    with pytest.raises(DataError, match="image 7 has no scores, but other images have"):
        scored(dataset, [full(0, ["ship"]), bare])
    with pytest.raises(DataError, match=r"image 0 has no proposals\.scores, but other images have"):
        scored(dataset, [Record(0, proposals=ProposalRecord([BOX])), full(7, ["ship"])])
    mask = scored(dataset, [full(0, ["ship"]), Record(7, ["ship"], [BOX], scores=[0.5])]).metrics.mask
    assert mask.f1.reason == "the prediction of image 7 has no masks"
    assert scored(dataset, [full(0, []), full(7, ["ship"])]).metrics.mask.f1.value is not None


def test_a_size_beyond_64_bits_is_an_error_of_ours(dataset: Dataset) -> None:
    huge = Record(0, ["ship"], [BOX], [{"size": (2**63, 30), "counts": MASK["counts"]}])
    with pytest.raises(DataError, match=r"image 0: masks.size\[0\] is \[9223372036854775808, 30\]"):
        scored(dataset, [huge])
