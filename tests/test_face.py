"""`from earthinstruct import ...`: the names, their arguments, and how what they return is shown."""

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

import earthinstruct
from earthinstruct import (
    EarthInstructError,
    EngineOptions,
    Instruction,
    Prediction,
    Value,
    check,
    compare,
    doctor,
    evaluate,
    guard_results,
    load_dataset,
    load_task,
    new_method,
    predict,
    report,
    score,
)
from earthinstruct.cli import VERBS, main, parser
from earthinstruct.contract import _DEFAULTS, Method, optional_member
from earthinstruct.errors import checked_arguments
from earthinstruct.results import FileLink, Result

SETTING = "open_vocabulary"


@pytest.fixture
def run(constant, dataset, tmp_path):
    return evaluate(constant, dataset, setting=SETTING, output=tmp_path / "runs")


# ---------------------------------------------------------------- names


def test_dir_shows_exactly_the_public_names():
    assert dir(earthinstruct) == sorted(earthinstruct.__all__)


def test_every_public_name_is_lazy_and_typed():
    tree = ast.parse(Path(earthinstruct.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == {name: f"earthinstruct.{room}" for name, room in earthinstruct._ROOM.items()}
    assert sorted(typed) == sorted(earthinstruct.__all__)


def test_no_name_hides_a_module():
    probe = "import earthinstruct, pkgutil; print(*(m.name for m in pkgutil.iter_modules(earthinstruct.__path__)))"
    modules = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True).stdout.split()
    assert "running" in modules
    assert not set(modules) & set(earthinstruct.__all__)


# options of a verb that are no argument of its function, and why
NOT_ARGUMENTS = {
    "help": "",
    "json": "the function returns the objects",
    "no_output": "output=None",
    "dry_run": "evaluate: a function of its own",
    "config": "evaluate: the other arguments in a file",
    "per_category": "evaluate: the returned results have them",
    "all": "compare: every row is in the returned object",
    "format": "compare: to_markdown(), to_latex(), to_csv()",
    "from": "predict: saved_again(run)",
}
RENAMED = {"M": "parameters"}


@pytest.mark.parametrize("verb", ["evaluate", "score", "predict", "compare", "report", "validate"])
def test_arguments_have_the_names_of_the_options(verb):
    below = next(action for action in parser()._actions if action.choices and verb in action.choices).choices[verb]
    options = {
        option.lstrip("-").replace("-", "_")
        for action in below._actions
        for option in action.option_strings
        if option != "-h"
    }
    arguments = set(inspect.signature(getattr(earthinstruct, verb)).parameters)
    assert {RENAMED.get(option, option) for option in options - set(NOT_ARGUMENTS)} <= arguments


def test_every_verb_has_its_function():
    words = next(action.choices for action in parser()._actions if action.choices)
    assert len(words) == len(VERBS)
    for word in set(words) - {
        "leaderboard",
        "list",
        "data",
        "weights",
        "completion",
    }:  # verbs of their own, or nothing to return
        assert word.replace("-", "_") in earthinstruct.__all__


# ---------------------------------------------------------------- arguments


def test_a_label_map_is_given_by_name(constant, dataset, tmp_path):
    run = evaluate(constant, dataset, setting="open_ended", output=tmp_path, label_map="exact")
    assert run.results[0].label_mapper == "exact"
    assert score(run.folders[0], dataset, "open_ended", label_map="exact").label_mapper == "exact"
    with pytest.raises(EarthInstructError, match="unknown argument of evaluate 'label_maps'; did you mean 'label_map'"):
        evaluate(constant, dataset, label_maps="exact")
    with pytest.raises(TypeError, match="required positional argument"):
        evaluate()


def test_workers_are_given_as_on_the_command_line(faulty_free, dataset, tmp_path):
    arguments = {"setting": SETTING}
    alone = evaluate(faulty_free, dataset, output=tmp_path / "a", **arguments)
    several = evaluate(faulty_free, dataset, output=tmp_path / "b", workers=2, timeout=60, **arguments)
    assert several.results[0].metrics == alone.results[0].metrics
    with pytest.raises(EarthInstructError, match="workers is given beside engine"):
        evaluate(faulty_free, dataset, engine=EngineOptions(), workers=2)
    with pytest.raises(EarthInstructError, match="workers must be at least 1, got 0"):
        evaluate(faulty_free, dataset, workers=0, output=tmp_path)


@pytest.fixture
def faulty_free(tmp_path):
    file = tmp_path / "ships.py"
    file.write_text(
        "from earthinstruct import Prediction\n\nclass Ships:\n    name = 'ships'\n"
        "    def predict(self, image, instruction):\n        return Prediction(['ship'], [[1, 1, 4, 4]])\n"
    )
    return f"{file}:Ships"


def test_an_instruction_text_comes_from_a_file(constant, dataset, tmp_path):
    (tmp_path / "ask.txt").write_text("Count the ships.")
    arguments = {"setting": SETTING}
    by_file = evaluate(constant, dataset, instruction_file=tmp_path / "ask.txt", output=tmp_path / "a", **arguments)
    by_text = evaluate(constant, dataset, instruction_text="Count the ships.", output=tmp_path / "b", **arguments)
    assert by_file.results[0].task == by_text.results[0].task
    with pytest.raises(EarthInstructError, match="not both"):
        evaluate(constant, dataset, instruction_file="ask.txt", instruction_text="Count.")
    with pytest.raises(EarthInstructError, match=r"instruction file none\.txt cannot be read"):
        evaluate(constant, dataset, instruction_file="none.txt")


class Own:
    name = "own"

    def predict(self, image, instruction):
        return Prediction()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate(Own), "evaluate: method must be str, Method or ControlMethod, got the class Own"),
        (lambda: evaluate(object()), "evaluate: method must be str, Method or ControlMethod, got object"),
        (lambda: evaluate("empty", 3), "evaluate: dataset must be str, Path or Dataset, got int 3"),
        (lambda: evaluate("empty", label_map=3), "label_map must be str, Path, LabelMapper or None, got int 3"),
        (lambda: evaluate("empty", workers="2"), "workers must be int or None, got str '2'"),
        (lambda: evaluate("empty", limit=True), "limit must be int or None, got bool True"),
        (lambda: evaluate("empty", metric=7), "metric must be str, Metric, a class or a sequence of"),
        (lambda: evaluate("empty", parameters=["seed=1"]), "parameters must be a mapping or None, got list"),
        (lambda: evaluate(Own(), parameters={"x": 1}), "parameters ['x'] are for a method given by name"),
        (lambda: predict(Own(), "a.png", open_ended=True, parameters={"x": 1}), "are for a method given by name"),
        (lambda: score(None, "scenes", SETTING), "score: predictions must be Path or str, got NoneType None"),
        (lambda: score("p.jsonl", "scenes", "open_ended", label_map=["exact"]), "label_map must be"),
        (lambda: compare("a", 1), "compare: second must be Path, str, Evaluation or None, got int 1"),
        (lambda: report(["a"]), "report: run must be Path, str or Evaluation, got list"),
        (lambda: predict("empty", "a.png", categories=5), "predict: categories must be str, a sequence of"),
        (lambda: predict("empty", "a.png"), "give one of categories, open_ended, parent, instruction; given: none"),
        (lambda: predict("empty", "a.png", parent="x", open_ended=True), "given: open_ended, parent"),
        (lambda: check("a", "b", tolerance=-1), "tolerance must be a number >= 0, got -1"),
        (lambda: load_task(None), "load_task: name must be str, got NoneType None"),
        (lambda: new_method(3), "new_method: name must be str, got int 3"),
    ],
)
def test_a_wrong_argument_is_refused_in_words(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EarthInstructError) as refused:
        call()
    assert message in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_paths_are_text_or_paths(constant, dataset, tmp_path):
    file = dataset.image_root.parent / "annotations.json"
    for kind in (str, Path):
        assert load_dataset(kind(file), images=kind(dataset.image_root)).sha256 == dataset.sha256
        run = evaluate(constant, kind(file), setting=SETTING, output=kind(tmp_path / "runs"), limit=1)
        assert score(kind(run.folders[0]), kind(file), SETTING).run.n_done == 1


def test_a_type_may_be_an_alias():
    """In NumPy 2.5, NDArray is one."""
    aliases = pytest.importorskip("typing_extensions")
    kind = TypeVar("kind", bound=np.generic)
    Pixels = aliases.TypeAliasType("Pixels", NDArray[kind], type_params=(kind,))
    Number = aliases.TypeAliasType("Number", int)

    def draw(image, size=1):
        return size

    draw.__annotations__ = {"image": Pixels[np.uint8] | Path, "size": Number}
    checked = checked_arguments(draw)
    assert (checked(np.zeros(2)), checked(Path("a"), 3)) == (1, 3)
    with pytest.raises(EarthInstructError, match="image must be an ndarray or Path, got int 3"):
        checked(3)
    with pytest.raises(EarthInstructError, match="size must be int, got str 'a'"):
        checked(Path("a"), "a")


# ---------------------------------------------------------------- what is returned


def test_a_value_is_a_number():
    value = Value(0.6381, (0.5, 0.75))
    assert float(value) == 0.6381
    assert f"{value:.2f} {value:>7.1%}" == "0.64   63.8%"
    assert str(value) == f"{value}" == "0.638 (0.500 to 0.750)"
    assert np.isclose(np.mean([value, Value(0.0)]), 0.31905)
    assert np.array([value, Value(0)]).tolist() == [0.6381, 0.0]
    assert np.sqrt(value) == 0.6381**0.5
    assert (value - 0.5, 0.5 + value, 2 * value, -value) == (0.6381 - 0.5, 0.5 + 0.6381, 2 * 0.6381, -0.6381)
    assert round(value, 2) == 0.64
    assert type(value - Value(0.1)) is float
    assert Value(0.2) < value < 0.7 and max(Value(0.2), value) is value
    assert value == 0.6381 and value != 0.6 and hash(value) == hash(0.6381)
    assert value == Value(0.6381, (0.5, 0.75)) and value != Value(0.6381)
    assert (np.array([0.6381, 1]) == value).tolist() == [True, False]
    undefined = Value(None, reason="no masks")
    assert (str(undefined), f"{undefined:.3f}") == ("undefined: no masks", "undefined")
    assert undefined != 0.5 and undefined == Value(None, reason="no masks")
    for number in (float, np.asarray, lambda undefined: undefined > 0.5, lambda undefined: undefined - value):
        with pytest.raises(EarthInstructError, match="undefined: no masks"):
            number(undefined)


def test_average_precision_without_scores_is_an_undefined_value(run):
    box = run.results[0].metrics.box
    assert box.ap50.value is None and "needs a score for each prediction" in box.ap50.reason
    assert box.by_size["small"].ap.value is None
    stored = json.loads((run.folder / "result.json").read_bytes())
    assert "ap50" not in stored["metrics"]["box"]  # files are as before


def test_an_evaluation_prints_as_the_table(constant, dataset, tmp_path, capsys, monkeypatch):
    run = evaluate(constant, dataset, setting=SETTING, output=tmp_path / "runs")
    monkeypatch.setenv("COLUMNS", "200")
    file = str(tmp_path / "set" / "annotations.json")
    main(["score", str(run.folders[0]), "--dataset", file, "--setting", SETTING])
    *table, look = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert look == f"look at it: earthinstruct report {run.folders[0]}"
    assert str(run).splitlines() == repr(run).splitlines() == table
    assert str(run.results[0]).splitlines() == table[:-1]
    assert table[-1] == f"kept in {run.folders[0]}"
    assert table[1].split()[:4] == ["task", "Cnt", "Box", "Mask"]


def test_html_is_escaped(run):
    from msgspec.structs import replace

    result = run.results[0]
    hostile = "<script>alert(1)</script>&"
    method = replace(result.method, name=hostile, notes=["<b>"])
    named = replace(result, method=method, task=replace(result.task, name=f"a/{hostile}"))
    html = named._repr_html_()
    assert "<script" not in html
    assert "<b>" not in html
    assert html.count("<table>") == html.count("</table>") == 3
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp; on set, protocol standard, version 4</p>" in html
    assert "&lt;b&gt;" in html
    assert f">{result.metrics.counting.f1.value * 100:.1f}</td>" in html


def test_a_link_to_any_folder_is_a_relative_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert FileLink("in", Path("runs/a#b%20?c")).address == "./runs/a%23b%2520%3Fc"
    assert FileLink("in", Path("javascript:alert(1)/x")).address.startswith("./javascript%3A")


def test_a_notebook_shows_intervals_and_links(run, monkeypatch):
    monkeypatch.chdir(run.folder.parents[3])
    html = run._repr_html_()
    low, high = run.results[0].metrics.box.f1.ci95
    assert f">{100 * low:.1f} to {100 * high:.1f}</td>" in html
    assert re.search(r'<th style="text-align: right[^"]*">Box</th>', html)
    assert re.search(r'<th style="text-align: left[^"]*">task</th>', html)
    assert '<a href="./runs/set/open_vocabulary/constant" target="_blank">' in html
    assert "earthinstruct.report(" in html
    (run.folder / "report.html").touch()
    assert 'href="./runs/set/open_vocabulary/constant/report.html"' in run._repr_html_()
    monkeypatch.chdir(run.folder)
    assert f'href="{run.folder.as_uri()}"' not in run._repr_html_()  # it is the working directory itself
    monkeypatch.chdir("/")
    assert len(run._repr_html_()) < 6_000


def test_scores_as_a_frame(run):
    frame = run.to_pandas()
    box = run.results[0].metrics.box
    rows = frame[frame.score == "box.f1"].set_index("over")
    assert rows.loc["all", "value"] == box.f1.value
    assert (rows.loc["all", "low"], rows.loc["all", "high"]) == box.f1.ci95
    assert rows.loc["ship", "value"] == box.per_category["ship"].f1
    assert rows.loc["ship", "low"] == box.per_category["ship"].ci95["f1"][0]
    assert not rows.loc["ship", "is_group"]
    assert set(frame.task) == {"set/open_vocabulary"}
    assert frame[frame.score == "mask.f1"].value.isna().all()  # this method gives no masks
    assert len(frame) == len(frame.drop_duplicates(["score", "over", "is_group"]))
    groups = run.to_pandas(per_category=False)
    assert groups.is_group.all() and len(groups) == frame.is_group.sum()


def test_scores_as_a_parquet_file(run, tmp_path):
    import pandas as pd

    run.to_parquet(tmp_path / "scores.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "scores.parquet"), run.to_pandas())


def test_an_evaluation_of_several_tasks(constant, dataset, tmp_path):
    both = evaluate(constant, dataset, output=tmp_path)
    one = both.of_task("open_ended")
    assert [result.task.name for result in one] == ["set/open_ended"]
    assert one.folder == both.folders[[result.task.name for result in both].index("set/open_ended")]
    with pytest.raises(EarthInstructError, match=r"this evaluation has 3 \(set/open_vocabulary, .*of_task"):
        compare(both, both)
    with pytest.raises(EarthInstructError, match="did you mean 'set/open_ended'"):
        both.of_task("set/open_endet")


def test_groups_and_proposals_stand_in_the_frame():
    from earthinstruct.results import read_result

    file = next((Path(__file__).parent / "guarded").rglob("open_vocabulary/instructsam-*.json"))
    result = read_result(file)
    frame = result.to_pandas().set_index(["score", "over"])
    assert frame.loc[("mask.miou", "novel"), "value"] == result.metrics.mask.groups["novel"]["miou"]
    proposals = result.metrics.proposals
    assert frame.loc[("proposals.recall", "all"), "value"] == proposals.recall.value
    assert frame.loc[("proposals.recall", "base"), "value"] == proposals.groups["base"]["recall"]
    assert frame.loc[("proposals.recall", "ship"), "value"] == proposals.per_category["ship"]
    assert frame.loc[("counting.mae", "all"), "value"] == result.metrics.counting.mae.value


def test_a_comparison_prints_and_gives_a_frame(run, dataset):
    compared = compare(run.folders[0], run.folders[0] / "result.json")
    verdict, *names = str(compared).splitlines()[:3]
    assert verdict == "counting: no difference shown; boxes: no difference shown."
    folder, how = run.folders[0], "scored without a threshold"
    assert names == [f"A: {folder}, {how}", f"B: {folder / 'result.json'}, {how}"]
    assert ">B - A</th>" in compared._repr_html_()
    frame = compared.to_pandas()
    assert len(frame) == len(compared)
    assert (frame.difference == 0).all()
    row = frame[(frame.score == "box.f1") & (frame.over == "all")].iloc[0]
    assert row.first_score == row.second_score == pytest.approx(run.results[0].metrics.box.f1.value, abs=1e-12)


def test_results_are_checked_and_guarded(run, tmp_path):
    (written,) = guard_results(run.folders[0], tmp_path / "guarded")
    found = check(str(run.folders[0]), tmp_path / "guarded")
    assert found.ok
    assert str(found).startswith("ok       constant on set/open_vocabulary: ")
    content = json.loads(written.read_text())
    content["metrics"]["box"]["by_size"]["small"]["f1"]["value"] = 0.9
    written.write_text(json.dumps(content))
    moved = check(run.folders[0], written)
    assert not moved.ok
    assert [value.name for value in moved.results[0].moved] == ["box.by_size.small.f1"]


def test_predict_answers_for_images(constant, dataset, tmp_path):
    images = dataset.image_root
    (images / "b.png").write_bytes(b"no image")
    (images / "c.png").unlink()
    seen = []
    answers = predict(
        constant,
        images,
        categories="ship, harbor",
        save=[tmp_path / "all.json", tmp_path / "drawn"],
        answered=seen.append,
        output=tmp_path / "runs",
    )
    assert [answer.path.name for answer in answers] == ["a.png", "b.png"]
    assert seen == [answers[1], answers[0]]  # what cannot be opened is known first
    assert (answers.n_failed, answers[0].prediction.counts, answers[1].prediction) == (
        1,
        {"ship": 1, "harbor": 0},
        None,
    )
    first, second, *_, failed, drawn, saved, kept = str(answers).splitlines()
    assert first == f"{images / 'a.png'}: ship 1, harbor 0"
    assert second.startswith(f"failed: {images / 'b.png'}: ")
    assert failed == "1 of 2 images failed"
    assert (drawn, saved) == (f"saved 1 picture in {tmp_path / 'drawn'}", f"saved {tmp_path / 'all.json'}")
    assert kept == f"kept in {answers.folder}"
    assert answers.to_pandas()[["label", "x", "width"]].to_numpy().tolist() == [["ship", 1, 4]]
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["a.png"]
    assert len(json.loads((tmp_path / "all.json").read_text())["images"]) == 1
    asked = Instruction(SETTING, "Find ships.", ("ship",))
    assert predict(constant, images / "a.png", instruction=asked, output=None)[0].prediction.labels == ("ship",)


def test_predict_closes_a_method_that_it_made(dataset, tmp_path):
    file = tmp_path / "closing.py"
    file.write_text(
        "from pathlib import Path\nfrom earthinstruct import Prediction\n\nclass Closes:\n    name = 'closes'\n"
        "    def __init__(self, told):\n        self.told = Path(told)\n"
        "    def predict(self, image, instruction):\n        return Prediction()\n"
        "    def close(self):\n        self.told.touch()\n"
    )
    told = tmp_path / "closed"
    predict(
        f"{file}:Closes", dataset.image_root / "a.png", open_ended=True, parameters={"told": str(told)}, output=None
    )
    assert told.exists()


def test_doctor_gives_facts(tmp_path):
    machine = doctor(data=tmp_path)
    assert {row["name"] for row in machine.methods} >= {"oracle", "empty"}
    assert str(machine).splitlines()[0].startswith("ok       earthinstruct ")
    assert any(line.startswith("missing  dataset dior ") for line in str(machine).splitlines())


def test_the_file_of_a_result_is_as_before(run):
    assert set(json.loads((run.folders[0] / "result.json").read_bytes())) == set(Result.__struct_fields__)


# ---------------------------------------------------------------- optional members of a method


def test_every_optional_member_is_described_and_has_a_default():
    for name in _DEFAULTS:
        assert f"`{name}(" in Method.__doc__
    own = Own()
    assert optional_member(own, "skip")(None) is None
    assert optional_member(own, "describe")() == {}
    assert optional_member(own, "missing")() == []
    assert optional_member(own, "close")() is None
    assert optional_member(own, "predict_batch") is optional_member(own, "explain") is None
    own.explain = lambda image, instruction: image
    assert optional_member(own, "explain") is own.explain
