import json
from pathlib import Path

import pytest

from earthinstruct import Prediction, evaluate
from earthinstruct.cli import main
from earthinstruct.errors import DataError
from earthinstruct.scoring import compare

COUNT_BIAS = f"{Path(__file__).parents[1]}/plugin_fixture/src/bright_spots/count_bias.py:CountBias"


@pytest.fixture
def runs(constant, dataset, tmp_path):
    """Two runs of one task: one ship in each image, and nothing anywhere."""
    first = evaluate(constant, dataset, setting="open_ended", output=tmp_path, resamples=0).folders[0]
    constant.name, constant.predict = "nothing", lambda image, instruction: Prediction()
    second = evaluate(constant, dataset, setting="open_ended", output=tmp_path, resamples=0).folders[0]
    return first, second


def test_the_difference_is_that_of_the_scores(runs, dataset):
    found = {(row.score, row.over): row.difference for row in compare(*runs, dataset=dataset, resamples=200)}
    # counting, ship: tp 2, fp 1, fn 1, so F1 4 / 6; nothing found: 0
    assert found["counting.f1", "ship"].value == pytest.approx(-4 / 6)
    assert found["counting.f1", "all"].value == pytest.approx(-2 / 6)
    low, high = found["counting.f1", "ship"].ci95
    assert low <= -4 / 6 <= high
    assert ("mask.f1", "all") not in found
    assert found["box.ap_nc50", "all"].second == 0
    # one or two of three ships are found; then three are missed
    assert found["errors.box.correct", "all"].value == -found["errors.box.correct", "all"].first < 0
    assert found["errors.box.missed", "ship"].second == found["errors.counting.under", "ship"].second == 3


def test_a_metric_plug_in_is_compared(runs, dataset, tmp_path, capsys):
    found = {(row.score, row.over): row.difference for row in compare(*runs, dataset=dataset, metric=COUNT_BIAS)}
    # ships 2, 1, 0: counted 1, 1, 1 and 0, 0, 0. Harbors 1, 0, 0: counted 0 by both
    ships, both = found["extra.count-bias.mean", "ship"], found["extra.count-bias.mean", "all"]
    assert (ships.first, ships.second) == (0, -1)
    assert (both.first, both.second) == pytest.approx((-1 / 6, -4 / 6))
    arguments = ["compare", *map(str, runs), "--dataset", str(tmp_path / "set" / "annotations.json")]
    assert main([*arguments, "--metric", COUNT_BIAS]) == 0
    assert "count-bias" in capsys.readouterr().out


def test_a_run_does_not_differ_from_itself(runs, dataset):
    assert all(row.difference.value == 0 for row in compare(runs[0], runs[0], dataset=dataset, resamples=50))
    assert all(row.difference.p == 1 for row in compare(runs[0], runs[0], dataset=dataset, resamples=50))


def test_runs_of_other_tasks_do_not_compare(runs, constant, dataset, tmp_path):
    other = evaluate(constant, dataset, setting="open_vocabulary", output=tmp_path, resamples=0).folders[0]
    with pytest.raises(DataError, match="task 'set/open_ended' against 'set/open_vocabulary'"):
        compare(runs[0], other, dataset=dataset)


def test_predictions_that_are_not_those_of_the_result_do_not_compare(runs, dataset):
    (runs[1] / "tallies.npz").unlink()
    file = runs[1] / "predictions.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"labels":[]', b'"labels": []') + b'{"image_id":5}\n')
    with pytest.raises(DataError, match=r"predictions\.jsonl has changed since it was scored; score it again"):
        compare(*runs, dataset=dataset)
    file.unlink()
    with pytest.raises(DataError, match=r"has no predictions\.jsonl"):
        compare(*runs, dataset=dataset)


def test_the_command_prints_a_table_and_writes_every_difference(runs, dataset, tmp_path, capsys):
    file = str(tmp_path / "set" / "annotations.json")
    arguments = ["compare", *map(str, runs), "--dataset", file, "--json", str(tmp_path / "d.json")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "counting.f1" in printed
    assert "box.missed" in printed
    assert printed.index(" all ") < printed.index(" ship ")
    rows = json.loads((tmp_path / "d.json").read_text())
    assert {row["score"] for row in rows} >= {"counting.f1", "box.f1", "box.precision", "errors.box.background"}
    groups = {row["over"]: row["is_group"] for row in rows}
    assert groups == {"all": True, "transport": True, "ship": False, "harbor": False}
    assert set(rows[0]["difference"]) == {"first", "second", "value", "ci95", "p"}


def test_the_command_leaves_out_categories_whose_interval_includes_0(runs, dataset, tmp_path, capsys):
    file = str(tmp_path / "set" / "annotations.json")
    arguments = ["compare", *map(str, runs), "--dataset", file, "--json", str(tmp_path / "d.json")]
    scores = [row for row in compare(*runs, dataset=dataset) if row.score.endswith((".f1", ".ap_nc50"))]
    single = [row for row in scores if not row.is_group]
    sure = [row for row in single if not row.difference.ci95[0] <= 0 <= row.difference.ci95[1]]
    assert 0 < len(sure) < len(single)
    assert {row.over for row in sure} == {"ship"}  # no harbor is found by either

    assert main(arguments) == 0
    printed, complete = capsys.readouterr().out, (tmp_path / "d.json").read_bytes()
    assert printed.count(" ship ") == len(sure)
    assert " harbor " not in printed
    assert f"{len(single) - len(sure)} of {len(single)} rows of single categories are left out" in printed

    assert main([*arguments, "--all"]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" ship ") + printed.count(" harbor ") == len(single)
    assert "left out:" not in printed
    assert (tmp_path / "d.json").read_bytes() == complete
