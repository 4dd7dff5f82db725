"""What a result says must follow from its predictions."""

import pytest
import zstandard
from msgspec.structs import replace

from earthinstruct import evaluate
from earthinstruct.cli import main
from earthinstruct.files import as_json
from earthinstruct.metrics import Value
from earthinstruct.metrics.values import ExtraScores
from earthinstruct.results import read_result
from earthinstruct.scoring import validate

CHECKS = [
    "schema",
    "task version",
    "protocol version",
    "annotations",
    "whole dataset",
    "instruction",
    "predictions file",
    "training data",
    "answers and usage",
    "scores follow from the predictions",
    "intervals",
]


@pytest.fixture
def run(constant, dataset, tmp_path):
    """A run folder."""
    return evaluate(constant, dataset, setting="open_ended", output=tmp_path / "runs").folders[0]


@pytest.fixture
def verdicts(run, tmp_path):
    """Validates the run after a change of its result; returns what fails: check -> problem."""

    def verdict(change=lambda result: result):
        result = change(read_result(run / "result.json"))
        file = tmp_path / "changed.json"
        file.write_bytes(as_json(result))
        findings = validate(run / "predictions.jsonl", file, dataset=str(tmp_path / "set/annotations.json"))
        assert [finding.check for finding in findings] == CHECKS
        return {finding.check: finding.problem for finding in findings if finding.problem}

    return verdict


def changed(part, **values):
    return lambda result: replace(result, **{part: replace(getattr(result, part), **values)})


def with_box(change):
    def apply(result):
        return replace(result, metrics=replace(result.metrics, box=change(result.metrics.box)))

    return apply


def test_an_honest_result_holds(verdicts):
    assert verdicts() == {}


@pytest.mark.parametrize(
    ("change", "check", "problem"),
    [
        (changed("run", n_failed=0, output_tokens=7), "answers and usage", "output tokens: the result says 7"),
        (
            changed("run", events={"lost": 1}),
            "answers and usage",
            "events: the result says {'lost': 1}, the predictions",
        ),
        (
            with_box(lambda box: replace(box, tally={**box.tally, "ship": replace(box.tally["ship"], tp=3)})),
            "scores follow from the predictions",
            "1 value differs: box.tally.ship.tp",
        ),
        (
            with_box(lambda box: replace(box, f1=replace(box.f1, ci95=(0.2, 0.3)))),
            "intervals",
            "box.f1 differ from those of the predictions; score them again",
        ),
        (with_box(lambda box: replace(box, f1=replace(box.f1, ci95=None))), "intervals", "box.f1 differ"),
        (
            lambda result: replace(result, metrics=replace(result.metrics, counting_from_instances=None)),
            "scores follow from the predictions",
            "values of this release, such as counting_from_instances",
        ),
        (
            with_box(lambda box: replace(box, f1=Value(1.5, ci95=box.f1.ci95))),
            "scores follow from the predictions",
            "box.f1: 1.5000 -> ",
        ),
    ],
)
def test_what_does_not_follow_is_named(verdicts, change, check, problem):
    assert problem in verdicts(change)[check]


@pytest.mark.parametrize(
    ("part", "check"),
    [
        ({"version": "0"}, "task version"),
        ({"instruction_sha256": "0" * 64}, "instruction"),
    ],
)
def test_scores_of_another_task_are_not_compared_and_that_is_said(verdicts, part, check):
    failed = verdicts(changed("task", **part))
    assert list(failed) == [check, *CHECKS[8:]]
    assert "the result says 0" in failed[check]
    assert all(failed[name].startswith("not checked") for name in CHECKS[8:])


def test_the_command_prints_every_check(run, tmp_path, capsys):
    predictions, options = run / "predictions.jsonl", ("--dataset", str(tmp_path / "set" / "annotations.json"))
    assert main(["validate", str(predictions), str(run / "result.json"), *options]) == 0
    out = capsys.readouterr().out
    assert [line[9:].partition(":")[0] for line in out.splitlines()[:-1]] == CHECKS
    assert out.endswith("11 checks hold, 0 fail\n")

    predictions.write_bytes(predictions.read_bytes() + b"\n")
    assert main(["validate", str(predictions), str(run / "result.json"), *options]) == 1
    assert "FAILED   predictions file: the result says " in capsys.readouterr().out
    assert main(["validate", str(tmp_path / "none"), str(run / "result.json"), *options]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_folder_of_a_run_is_filed_in_shards_too(run, tmp_path):
    first, *rest = (run / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    (run / "predictions.jsonl").unlink()
    (run / "predictions-0.jsonl").write_bytes(first)
    (run / "predictions-1.jsonl.zst").write_bytes(zstandard.compress(b"".join(rest)))
    findings = validate(run, run / "result.json", dataset=str(tmp_path / "set" / "annotations.json"))
    assert [finding.problem for finding in findings] == [None] * len(CHECKS)


def test_a_metric_that_a_result_names_is_never_loaded_from_a_file(run, tmp_path):
    file = tmp_path / "theirs.py"
    file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    result = read_result(run / "result.json")
    named = ExtraScores(Value(1.0), {}, {})
    result = replace(result, metrics=replace(result.metrics, extra={f"{file}:Thing": named}))
    (run / "result.json").write_bytes(as_json(result))
    findings = validate(run, run / "result.json", dataset=str(tmp_path / "set/annotations.json"))
    (problem,) = (finding.problem for finding in findings if finding.problem)
    assert problem.endswith("metric plug-ins cannot be validated; score again without --metric")
    assert not (tmp_path / "ran").exists()
