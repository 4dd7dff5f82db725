"""Thresholds and undefined scores from files to results: what is chosen is said, and what is not known is not 0."""

import json
import re
from pathlib import Path

import pytest

from earthinstruct import Prediction, evaluate, load_dataset, report, score
from earthinstruct.cli import main
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.files import as_json
from earthinstruct.metrics import Metrics
from earthinstruct.predictions import Record
from earthinstruct.results import check, read_result
from earthinstruct.scoring import ScoringSet, compare, score_records, validate
from earthinstruct.tasks import tasks_of

SETTING = "open_vocabulary"
ONLY_COUNTS = "the method only counts: it names no instances"
# the objects of the dataset: ships in image 0 (two) and 7 (one), a harbor in image 0
FOUND = [
    {"image_id": 0, "label": "ship", "bbox": [1, 1, 4, 4], "score": -0.1},
    {"image_id": 7, "label": "ship", "bbox": [3, 3, 8, 8], "score": -0.4},
    {"image_id": 9, "label": "ship", "bbox": [1, 1, 4, 4], "score": -3.0},
]


@pytest.fixture
def found(tmp_path: Path) -> Path:
    file = tmp_path / "found.json"
    file.write_text(json.dumps(FOUND))
    return file


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    (tmp_path / "counts").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "counts" / f"{name}.json").write_text('{"ship": 1}')
    return tmp_path / "counts"


def kept(tmp_path: Path, predictions: Path, dataset, name: str, **options) -> Path:
    folders: list[Path] = []
    score(predictions, dataset, SETTING, name=name, output=tmp_path / "runs", kept=folders.append, **options)
    return folders[0]


# thresholds


def test_a_threshold_is_given_or_chosen(found, dataset):
    every = score(found, dataset, SETTING).metrics
    assert (every.box.per_category["ship"].tp, every.box.per_category["ship"].fp) == (2, 1)
    given = score(found, dataset, SETTING, threshold=-1).metrics
    assert (given.box.per_category["ship"].tp, given.box.per_category["ship"].fp) == (2, 0)
    assert (given.threshold, given.sweep) == (-1, None)
    swept = score(found, dataset, SETTING, sweep=True).metrics
    assert swept.sweep.threshold == -0.4
    assert swept.box.f1.value == given.box.f1.value
    crossed = score(found, dataset, SETTING, sweep="cross").metrics
    assert sorted(fold.n_images for fold in crossed.sweep.folds) == [1, 1, 1]


def test_thresholds_of_a_kept_run_are_those_of_compare_and_report(found, dataset, tmp_path):
    for name, options in (
        ("given", {"threshold": -0.2}),
        ("cross", {"sweep": "cross"}),
        ("oracle", {"sweep": True}),
    ):
        folder = kept(tmp_path, found, dataset, name, **options)
        stored = {(row.score, row.over): row.difference.first for row in compare(folder, folder)}
        (folder / "tallies.npz").unlink()  # compared by the predictions
        again = {(row.score, row.over): row.difference.first for row in compare(folder, folder)}
        assert again == stored
        assert not [finding for finding in validate(folder) if finding.problem]
        page = report(folder).read_text()
        assert "protocol standard, version 4" in page
        assert ("chosen on these images: an oracle" in page) == (name == "oracle")
        assert ("chosen on the other folds: " in page) == (name == "cross")
        assert ("scored at threshold -0.2, given beforehand" in page) == (name == "given")


def test_the_command_line_takes_a_threshold_or_a_sweep(found, dataset, tmp_path, capsys):
    command = ["score", str(found), "--dataset", dataset.origin.name, "--setting", SETTING, "--no-output"]
    for options, line in (
        (["--threshold", "-0.5"], "scored at threshold -0.5, given beforehand"),
        (["--sweep"], "scored at threshold -0.4, chosen on these images: an oracle"),
        (["--sweep", "cross"], "scored at the threshold of each fold of images, chosen on the other folds: -"),
    ):
        assert main([*command, *options]) == 0
        assert f"set/{SETTING}: {line}" in capsys.readouterr().out
    for options, problem in (
        (["--sweep", "--threshold", "0.5"], "not allowed with argument"),
        (["--sweep", "found.json"], "'found.json' is not 'cross'; without it, give --sweep after all file names"),
        (["--threshold", "half"], "invalid float value: 'half'"),
    ):
        with pytest.raises(SystemExit):
            main([*command, *options])
        assert problem in capsys.readouterr().err
    assert main([*command, "--threshold", "nan"]) == 2
    assert "threshold must be a finite number, got nan" in capsys.readouterr().err


def test_a_threshold_that_is_shown_gives_the_same_scores(found, dataset):
    scores = (0.9, 2 / 3, 0.1)  # rounded, the second would be 0.6667: no prediction has as much
    found.write_text(json.dumps([{**box, "score": score} for box, score in zip(FOUND, scores, strict=True)]))
    swept = score(found, dataset, SETTING, sweep=True)
    shown = re.search(r"scored at threshold (\S+), chosen on these images", str(swept)).group(1)
    given = score(found, dataset, SETTING, threshold=float(shown))
    assert given.metrics.box.tally == swept.metrics.box.tally
    assert given.metrics.box.per_category["ship"].tp == 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"threshold": 0.5, "sweep": True}, "threshold and sweep are both given"),
        ({"sweep": "over"}, "sweep must be true, false or 'cross', got 'over'"),
        ({"threshold": "0.5"}, "threshold must be float or None, got str '0.5'"),
    ],
)
def test_an_invalid_threshold_is_refused(found, dataset, options, problem):
    with pytest.raises(EarthInstructError, match=problem):
        score(found, dataset, SETTING, **options)


@pytest.mark.parametrize("option", [{"threshold": 0.5}, {"sweep": True}, {"sweep": "cross"}])
def test_a_threshold_needs_scores(dataset, tmp_path, counts, option):
    word = "--sweep" if "sweep" in option else "--threshold"
    (tmp_path / "bare.json").write_text(json.dumps([{key: FOUND[0][key] for key in ("image_id", "label", "bbox")}]))
    with pytest.raises(EarthInstructError, match=f"{word} needs predictions with scores"):
        score(tmp_path / "bare.json", dataset, SETTING, **option)
    with pytest.raises(EarthInstructError, match=f"{word} needs instances with scores.*counts alone"):
        score(counts, dataset, SETTING, **option)


def test_a_file_of_no_predictions_is_one_with_scores(dataset, tmp_path):
    (tmp_path / "none.json").write_text("[]")
    for option in ({}, {"threshold": 0.5}, {"sweep": True}, {"sweep": "cross"}):
        metrics = score(tmp_path / "none.json", dataset, SETTING, **option).metrics
        assert (metrics.box.f1.value, metrics.box.ap50.value, metrics.counting.f1.value) == (0, 0, 0)
        assert metrics.box.hallucinated.reason == "no predictions"
    assert metrics.sweep is not None


def test_a_method_with_scores_that_finds_nothing_has_scores(constant, dataset, tmp_path):
    constant.predict = lambda image, instruction: Prediction(scores=[])
    run = evaluate(constant, dataset, setting=SETTING, output=tmp_path, sweep=True)
    assert run.results[0].metrics.box.ap50.value == 0
    assert "scored without a threshold" in str(run)


def test_evaluate_takes_a_threshold(constant, dataset, tmp_path):
    constant.predict = lambda image, instruction: Prediction(["ship"], [[1, 1, 4, 4]], scores=[image[0, 0, 0] / 255])
    for i, options in enumerate(({"threshold": 2.0}, {"sweep": "cross"})):
        (result,) = evaluate(constant, dataset, setting=SETTING, output=tmp_path / str(i), **options)
        assert result.metrics.threshold == options.get("threshold")
        assert (result.metrics.box.per_category["ship"].tp == 0) == (i == 0)


def test_a_run_with_an_oracle_threshold_gets_no_verdict_over_one_without(found, dataset, tmp_path):
    plain, best = (kept(tmp_path, found, dataset, name, sweep=name == "best") for name in ("plain", "best"))
    lines = str(compare(plain, best)).splitlines()
    assert lines[0] == (
        "No verdict: the score threshold of B was chosen on these images (an oracle), not that of A; the differences "
        "below favour B. Score both in the same way, best with --sweep cross."
    )
    assert lines[1:3] == [
        f"A: {plain}, scored without a threshold",
        f"B: {best}, scored at threshold -0.4, chosen on these images: an oracle",
    ]
    assert not str(compare(best, best)).startswith("No verdict: the score threshold")


def test_scores_that_only_one_run_has_are_missed_in_words(found, counts, dataset, tmp_path):
    boxes, only_counts = kept(tmp_path, found, dataset, "boxes"), kept(tmp_path, counts, dataset, "counts")
    for pair, name in (((boxes, only_counts), "B"), ((only_counts, boxes), "A")):
        compared = compare(*pair)
        assert compared.notes == (f"no box scores: they are undefined for {name} ({ONLY_COUNTS})",)
        assert compared.notes[0] in str(compared)
        assert {row.score.partition(".")[0] for row in compared} == {"absent", "counting", "errors", "costs"}
        assert not any(row.score.startswith(("errors.box", "costs.box")) for row in compared)


def test_a_result_with_another_threshold_is_not_replaced_unasked(found, dataset, tmp_path):
    folder = kept(tmp_path, found, dataset, "mine", threshold=-1.0)
    for options, change in (
        ({"threshold": -2.0}, "threshold was -1.0, is -2.0"),
        ({"sweep": "cross"}, "threshold was -1.0, is None; sweep was False, is cross"),
    ):
        with pytest.raises(EarthInstructError, match=f"result of another kind .{change}.*--overwrite"):
            score(folder, dataset, SETTING, output=tmp_path / "runs", **options)


# versions of a protocol


def test_results_of_two_versions_of_a_protocol_do_not_compare(found, dataset, tmp_path):
    old, new = (kept(tmp_path, found, dataset, name) for name in ("old", "new"))
    result = read_result(old / "result.json")
    assert result.protocol_version == 4
    content = json.loads((old / "result.json").read_bytes())
    del content["protocol_version"]  # as earlier releases wrote it
    (old / "result.json").write_bytes(json.dumps(content).encode())
    assert read_result(old / "result.json").protocol_version == 1
    message = "protocol version 1 against 4; score the older one again with this release"
    with pytest.raises(DataError, match=message):
        compare(old, new)
    with pytest.raises(DataError, match="protocol version 4 against 1; score the older one again"):
        check(new, old / "result.json")
    with pytest.raises(DataError, match="belongs to another result"):  # the tallies are of version 4
        compare(old, old)
    (old / "tallies.npz").unlink()
    with pytest.raises(
        DataError, match="was scored under version 1 of protocol standard, and this release has version 4"
    ):
        compare(old, old)
    problems = {finding.check: finding.problem for finding in validate(old)}
    assert problems["protocol version"] == "the result says 1; expected 4"
    assert "protocol standard, version 1" in str(read_result(old / "result.json"))


# counts alone


def undefined_boxes(metrics: Metrics) -> None:
    for part in (metrics.box, metrics.mask):
        for name in ("f1", "precision", "recall", "ap_nc50", "micro_f1", "hallucinated"):
            of = getattr(part, name)
            assert (of.value, of.ci95, of.reason) == (None, None, ONLY_COUNTS)
        assert (part.per_category, part.tally, part.f1_at_iou) == ({}, {}, None)
    assert metrics.mask.miou.reason == ONLY_COUNTS
    assert (metrics.errors.box, metrics.errors.mask, metrics.proposals) == (None, None, None)
    assert metrics.counting_from_instances is None


@pytest.mark.parametrize("protocol", ["standard", "paper"])
def test_count_files_have_no_scores_of_instances(dataset, counts, protocol):
    result = score(counts, dataset, SETTING, protocol=protocol)
    undefined_boxes(result.metrics)
    # ships 2, 1, 0: counted 1, 1, 1: TP 2, FP 1, FN 1, F1 4/6; harbors 1, 0, 0: none counted
    assert result.metrics.counting.f1.value == pytest.approx(4 / 6 / 2)
    assert f"set/{SETTING}: no box and mask scores: {ONLY_COUNTS}" in str(result)
    assert "missed" not in str(result)


def test_a_method_that_only_counts_is_scored_compared_and_reported(constant, dataset, tmp_path):
    folders = []
    for n in (1, 2):
        constant.name = f"counts-{n}"
        constant.predict = lambda image, instruction, n=n: Prediction(counts={"ship": n})
        run = evaluate(constant, dataset, setting=SETTING, output=tmp_path)
        undefined_boxes(run.results[0].metrics)
        folders += run.folders
    assert {row.score.partition(".")[0] for row in compare(*folders)} == {"absent", "counting", "costs", "errors"}
    assert not [row.score for row in compare(*folders) if "box" in row.score or "mask" in row.score]
    assert not [finding for finding in validate(folders[0]) if finding.problem]
    page = report(folders[0], against=folders[1]).read_text()
    assert ONLY_COUNTS in page
    assert 'id="chart-objects"' not in page
    assert 'id="confusion"' not in page


def test_answers_without_proposals_beside_others_are_noted(dataset, tmp_path):
    found = {"labels": ["ship"], "boxes": [[1, 1, 4, 4]]}
    lines = [{"image_id": 0, **found, "proposals": {"boxes": [[1, 1, 4, 4]]}}, {"image_id": 7, **found}]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (note,) = score(tmp_path / "mixed.jsonl", dataset, SETTING).method.notes
    assert note == "1 of 2 answers give no proposals, and count as answers with none"


def test_in_a_mixture_counts_alone_name_no_instances(dataset, tmp_path):
    lines = [{"image_id": 0, "labels": ["ship"], "boxes": [[1, 1, 4, 4]]}, {"image_id": 7, "counts": {"ship": 1}}]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = score(tmp_path / "mixed.jsonl", dataset, SETTING)
    ship = result.metrics.box.per_category["ship"]
    assert (ship.tp, ship.fp, ship.fn) == (1, 0, 2)
    assert result.metrics.counting.source == "mixed"
    note = "1 of 2 answers give counts alone; for boxes and masks, they count as answers without instances"
    assert f"note: {note}" in str(result)


def test_an_answer_of_no_objects_is_no_answer_of_counts_alone(dataset):
    task = tasks_of(dataset.name, dataset.vocabulary, SETTING)[0]
    for nothing in (
        Record(0),
        Record(0, boxes=[], counts={}),
        Record(0, masks=[], counts={}),  # as earlier releases wrote the answer of a method with masks and counts
        Record.of(0, Prediction()),
        Record.of(0, Prediction(boxes=[], counts={"ship": 2})),
        Record.of(0, Prediction(scores=[], counts={"ship": 2})),
    ):
        assert not nothing.only_counts
        assert score_records(task, dataset, {0: nothing}).metrics.box.f1.value == 0
    only = Record.of(0, Prediction(counts={"ship": 2}))
    assert only.only_counts
    assert b"boxes" not in as_json(only)
    failed = {0: only, 7: Record(7, error="out of memory")}  # a failure says nothing of the method's kind
    assert ScoringSet(task, dataset, failed).survey.only_counts


# nothing to find


def test_predictions_of_an_absent_category_show(coco, write_coco, tmp_path):
    coco["categories"].append({"id": 9, "name": "plane"})
    dataset = load_dataset(str(write_coco(coco)))
    right = [{"image_id": entry["image_id"], "category_id": entry["category_id"], "bbox": entry["bbox"]}
             for entry in coco["annotations"]]  # fmt: skip
    planes = [{"image_id": 9, "label": "plane", "bbox": [i % 10, 1, 4, 4]} for i in range(100)]
    n = len(right)
    for found, of_boxes in ((right, (1.0, 0.0)), (right + planes, (2 * n / (2 * n + 100), 100 / (n + 100)))):
        (tmp_path / "found.json").write_text(json.dumps(found))
        result = score(tmp_path / "found.json", dataset, SETTING)
        for part in (result.metrics.box, result.metrics.counting):
            assert part.f1.value == 1
            assert (part.micro_f1.value, part.hallucinated.value) == pytest.approx(of_boxes)
            low, high = part.micro_f1.ci95
            assert 0 <= low <= part.micro_f1.value <= high <= 1
        assert ("hallucinated" in str(result)) == (found != right)
        rows = {line.split()[0] for line in str(result).splitlines() if line.startswith("  ")}
        assert "micro" in rows
    frame = result.to_pandas()
    assert frame[frame["score"] == "box.hallucinated"]["value"].tolist() == pytest.approx([100 / (n + 100)])


def test_without_annotations_there_is_nothing_to_score(coco, write_coco, tmp_path):
    dataset = load_dataset(str(write_coco({**coco, "annotations": []})))
    (tmp_path / "found.json").write_text(json.dumps(FOUND))
    results = [score(tmp_path / "found.json", dataset, SETTING, **options) for options in ({}, {"sweep": True})]
    results += evaluate("oracle", dataset, setting=SETTING, output=tmp_path / "runs").results
    for result in results:
        for part in (result.metrics.counting, result.metrics.box, result.metrics.mask):
            for name in ("f1", "precision", "recall", "micro_f1", "hallucinated"):
                assert getattr(part, name).value is None
        assert f"set/{SETTING}: nothing to score: no ground truth in any category" in str(result)
    report(kept(tmp_path, tmp_path / "found.json", dataset, "mine"))
