"""The index of a folder of runs says what their results say, and links to them."""

import json
from pathlib import Path
from urllib.parse import unquote

import pytest

from earthinstruct.errors import EarthInstructError
from earthinstruct.metrics import STANDARD
from earthinstruct.reporting import report
from earthinstruct.results import read_result

from .conftest import SCRIPT
from .test_page import Page


@pytest.fixture
def runs(make_run, tmp_path):
    """Two runs, of which one has a report, and a folder whose result is none."""
    good, file = make_run("runs/a & b")
    worse, _ = make_run("runs/worse", shift=12, scores=True)
    report(good, dataset=file)
    imported = json.loads((worse / "result.json").read_text())
    imported["run"]["seconds"] = {}  # as of predictions of another system
    (worse / "result.json").write_text(json.dumps(imported))
    (tmp_path / "runs" / "old").mkdir()
    (tmp_path / "runs" / "old" / "result.json").write_text("{}")
    return tmp_path / "runs"


def links(page):
    return [attributes["href"] for tag, attributes in page.elements if tag == "a"]


def test_it_has_a_row_for_each_run_with_links_that_lead_there(runs):
    file = report(runs)
    assert file == runs / "index.html"
    page = Page(file.read_text())
    results = sorted(runs.rglob("set/**/result.json"))
    for result in results:
        low, high = read_result(result).metrics.box.f1.ci95
        assert f"{100 * low:.1f} to {100 * high:.1f}" in page.sentences
    targets = {(file.parent / unquote(link)).resolve() for link in links(page)}
    assert targets == {*results, *runs.rglob("report.html")}
    assert "1 run has no report yet" in page.sentences
    assert "without a threshold" not in page.text  # the usual
    assert SCRIPT in page.text
    assert sum(tag == "script" for tag, _ in page.elements) == 1


def test_a_folder_that_cannot_be_shown_is_named_with_its_reason(runs):
    page = Page(report(runs).read_text())
    assert "1 folder cannot be shown" in page.sentences
    assert "old" in page.text
    assert "is not a result file" in page.text


def test_results_of_other_rules_say_so(runs):
    usual = f"protocol standard, version {STANDARD.version}"
    page = Page(report(runs).read_text())
    assert "The rules of some runs differ" not in page.sentences
    (file,) = runs.glob("worse/set/**/result.json")
    old = json.loads(file.read_text())
    for protocol, version in (("standard", 1), ("paper", STANDARD.version)):
        file.write_text(json.dumps(old | {"protocol": protocol, "protocol_version": version}))
        page = Page(report(runs).read_text())
        assert page.sentences.count(f"protocol {protocol}, version {version}") == 1
        assert f"The rules of some runs differ: where no protocol is named, a run has {usual}." in page.sentences


def test_links_are_relative_to_the_page(runs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    page = Page(report(runs, tmp_path / "elsewhere" / "all.html").read_text())
    assert all(link.startswith("../runs/") for link in links(page))
    assert all(Path(tmp_path / "elsewhere" / unquote(link)).is_file() for link in links(page))


def test_a_folder_of_runs_is_compared_with_nothing_and_has_no_figures(runs, tmp_path):
    with pytest.raises(EarthInstructError, match="is a folder of runs; to compare, give a run folder first"):
        report(runs, against=runs)
    with pytest.raises(EarthInstructError, match="is a folder of runs; figures are of one: give a run folder"):
        report(runs, figures=tmp_path / "figures")
