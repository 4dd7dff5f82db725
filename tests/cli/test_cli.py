"""The command line as a user meets it: exit codes, one clear line for a mistake, files that are written."""

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from earthinstruct import cli, registry
from earthinstruct.results import read_result
from earthinstruct.running.machine import torch_and_devices


def test_evaluate_prints_one_table_and_keeps_the_run(call, method, file, tmp_path):
    code, out, _ = call("evaluate", "--method", f"{method}:Finds", "--dataset", file, "--json", "all.json")
    assert code == 0
    assert "finds on set, protocol standard" in out
    for row in ("open_vocabulary", "open_ended", "transport"):
        assert row in out
    results = [read_result(path) for path in (tmp_path / "runs").rglob("result.json")]
    assert {result.task.name for result in results} == {
        "set/open_vocabulary",
        "set/open_ended",
        "set/open_subclass/transport",
    }
    assert len(json.loads((tmp_path / "all.json").read_text())) == 3


def test_score_writes_the_documented_paths(call, method, file, tmp_path):
    call("evaluate", "--method", f"{method}:Finds", "--dataset", file, "--setting", "open_vocabulary")
    run = tmp_path / "runs" / "set" / "open_vocabulary" / "finds"
    asked = ("score", run, "--dataset", file, "--setting", "open_vocabulary", "--sweep", "--json", "r.json")
    code, _, err = call(*asked)
    assert (code, "sweep was False, is True" in err, "--no-output" in err) == (2, True, True)
    code, out, _ = call(*asked, "--no-output")
    assert (code, "kept in" in out) == (0, False)
    assert "scored at threshold 0.5, chosen on these images: an oracle" in out
    metrics = json.loads((tmp_path / "r.json").read_text())["metrics"]
    for part in ("counting", "box"):
        for name in ("f1", "precision", "recall"):
            assert 0 <= metrics[part][name]["value"] <= 1
    assert metrics["box"]["tally"]["ship"] == {"tp": 1, "fp": 2, "fn": 2}
    assert metrics["box"]["per_category"]["ship"]["tp"] == 1
    assert metrics["box"]["groups"]["all"]["f1"] == metrics["box"]["f1"]["value"]
    assert metrics["mask"]["f1"] == {"value": None, "ci95": None, "reason": "the prediction of image 0 has no masks"}
    assert metrics["sweep"]["threshold"] == 0.5


def test_a_run_with_other_parameters_names_them(call, file, tmp_path):
    (tmp_path / "tuned.py").write_text(
        "from earthinstruct import Prediction\n"
        "class Tuned:\n    name = 'tuned'\n    def __init__(self, least=1, most=9): self.given = [least, most]\n"
        "    def describe(self): return {'parameters': {'least': self.given[0], 'most': self.given[1]}}\n"
        "    def predict(self, image, instruction): return Prediction()\n"
    )
    asked = ("evaluate", "--method", "tuned.py:Tuned", "--dataset", file, "--setting", "open_ended")
    assert call(*asked)[0] == 0
    code, _, err = call(*asked, "-M", "least=2")
    assert (code, "another run (parameter least was 1, is 2); give --overwrite" in err) == (2, True)


def test_failed_images_are_a_finding(call, method, file):
    code, out, _ = call("evaluate", "--method", f"{method}:Fails", "--dataset", file, "--setting", "open_ended")
    assert code == 1
    assert "failed: set/open_ended, image 0: RuntimeError: no weights" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluat"], "unknown verb 'evaluat'; did you mean 'evaluate'?"),
        (["evaluate"], "--method"),
        (["evaluate", "--method", "nope"], "unknown method 'nope'"),
        (["evaluate", "--method", "{method}:Finds", "--dataset", "scene"], "did you mean 'scenes'"),
        (["evaluate", "--method", "{method}:Finds", "--dataset", "NPWU"], "did you mean 'nwpu'"),
        (["evaluate", "--method", "{method}:Finds", "--dataset", "none.json"], "none.json cannot be read"),
        (
            ["evaluate", "--method", "{method}:Finds", "--dataset", "{file}", "--images", "no"],
            "image folder no does not exist",
        ),
        (
            ["evaluate", "--method", "{method}:Finds", "--dataset", "{file}", "--setting", "open"],
            "unknown setting 'open'",
        ),
        (
            ["evaluate", "--method", "{method}:Finds", "--dataset", "{file}", "--protocol", "papre"],
            "did you mean 'paper'",
        ),
        (["evaluate", "--method", "{method}:Finds", "--dataset", "{file}", "--instruction-file", "no.txt"], "no.txt"),
        (["evaluate", "--method", "{method}:Finds", "-M", "seed=1", "--dataset", "{file}"], "parameter of method"),
        (
            ["evaluate", "--method", "{method}:Finds", "--dataset", "{file}", "--label-map", "x"],
            "unknown label map 'x'",
        ),
        (["score", "none.jsonl", "--dataset", "{file}", "--setting", "open_ended"], "none.jsonl cannot be read"),
        (["score", "{file}", "--dataset", "{file}", "--setting", "open_ended"], "is the annotation file of dataset"),
        (["score", "{file}", "--dataset", "{file}", "--setting", "all"], "predictions belong to one setting"),
        (["list", "method"], "did you mean 'methods'"),
        (["predict", "--method", "{method}:Finds", "--open-ended", "none.png"], "none.png does not exist"),
        (["data", "scenes", "{folder}"], "exists already"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(call, method, file, tmp_path, arguments, message):
    filled = [argument.format(method=method, file=file, folder=tmp_path) for argument in arguments]
    code, _, err = call(*filled)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    by_argparse = len(arguments) == 1  # a missing option or verb: two lines, the second says where help is
    assert err.startswith("error: ")
    assert len(err.splitlines()) == (2 if by_argparse else 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--method", "{method}:Finds", "--limit", "0"], "'0' must be a whole number >= 1"),
        (["evaluate", "--method", "{method}:Finds", "--limit", "few"], "'few' must be a whole number >= 1"),
        (["check", "runs", "--against", "runs", "--tolerance", "-1"], "'-1' must be a number >= 0"),
    ],
)
def test_a_number_that_an_option_does_not_take(call, method, arguments, message):
    code, _, err = call(*(argument.format(method=method) for argument in arguments))
    assert (code, message in err) == (2, True)


def verbs(parser, words=()):
    """Every verb that runs something: its words and its parser."""
    chosen = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not chosen:
        yield words, parser
    for action in chosen:
        for word, below in action.choices.items():
            yield from verbs(below, (*words, word))


def test_every_verb_has_json_and_says_what_it_does():
    for words, parser in verbs(cli.parser()):
        assert "--json" in parser._option_string_actions, words
        assert parser.description, words


def test_json_stands_alone_on_standard_output(call, method, file, tmp_path):
    name = f"{method}:Finds"
    asked = ("--dataset", file, "--setting", "open_vocabulary")
    run = tmp_path / "runs" / "set" / "open_vocabulary" / "finds"
    for arguments in (
        ("evaluate", "--method", name, *asked, "--json", "-"),
        ("score", run, *asked, "--json", "-"),
        ("compare", run, run / "result.json", "--dataset", file, "--json", "-"),
        ("report", run, "--dataset", file, "--json"),
        ("check", "runs", "--against", "guarded", "--update", "--json"),
        ("check", "runs", "--against", "guarded", "--json"),
        ("validate", run, "--dataset", file, "--json"),
        ("predict", "--method", name, "--open-ended", "set/images/a.png", "--json", "-"),
        ("check-method", name, "--json"),
        ("doctor", "--method", name, "--json"),
        ("doctor", "--json"),
        ("new-method", "new", "--json"),
        ("data", "scenes", "drawn", "--images", "1", "--size", "128", "--json"),
        ("leaderboard", "--root", "set", "check", "--json"),
    ):
        code, out, err = call(*arguments)
        assert code in (0, 1), (arguments, err)
        assert json.loads(out), arguments
        assert err, arguments
    (checked,) = json.loads(call("check", "runs", "--against", "guarded", "--json")[1])["results"]
    assert (checked["method"], checked["moved"], checked["new"]) == ("finds", [], [])


def test_json_goes_to_a_file_in_a_new_folder_and_one_that_cannot_be_is_named(call, method, file, tmp_path):
    asked = ("evaluate", "--method", f"{method}:Finds", "--dataset", file, "--setting", "open_ended", "--json")
    assert call(*asked, "new/all.json")[0] == 0
    assert json.loads((tmp_path / "new" / "all.json").read_text())
    code, _, err = call(*asked, method + "/all.json")
    assert (code, "all.json cannot be written: " in err) == (2, True)


def test_json_replaces_no_file_that_the_command_is_given(call, method, file, tmp_path):
    before, image = Path(file).read_bytes(), tmp_path / "set" / "images" / "a.png"
    for other, command in (
        (file, ("evaluate", "--method", f"{method}:Finds", "--dataset", file)),
        ("a.json", ("predict", "--method", f"{method}:Finds", "--open-ended", image, "--save", "a.json")),
    ):
        code, _, err = call(*command, "--json", other)
        assert (code, f"--json {other} would replace that file, which this command is given too" in err) == (2, True)
    assert Path(file).read_bytes() == before


def test_images_without_a_prediction_are_a_finding_of_score(call, method, file, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"image_id": 0}\n')
    code, out, _ = call("score", "p.jsonl", "--dataset", file, "--setting", "open_vocabulary")
    assert (code, "no prediction" in out) == (1, True)


def test_scored_predictions_are_kept_beside_those_of_evaluate(call, file, tmp_path):
    (tmp_path / "results.json").write_text('[{"image_id": 0, "category_id": 1, "bbox": [1, 1, 4, 4]}]')
    asked = ("score", "results.json", "--dataset", file, "--setting", "open_vocabulary")
    code, out, _ = call(*asked, "--no-output", "--per-category")
    assert (code, "look at it" in out) == (0, False)
    assert {"ship", "harbor"} <= {line.split()[0] for line in out.splitlines() if line.strip()}
    assert not (tmp_path / "runs").exists()
    code, out, _ = call(*asked, "--name", "CASTDet", "--method-version", "1.0")
    run = tmp_path / "runs" / "set" / "open_vocabulary" / "CASTDet"
    assert (code, out.splitlines()[-2:]) == (0, [f"kept in {run}", f"look at it: earthinstruct report {run}"])
    (tmp_path / "boards").mkdir()
    assert call("validate", run)[0] == 0
    assert call("compare", run, run)[0] == 0
    assert call("report", run)[0] == 0
    assert call("check", run, "--against", run)[0] == 0
    code, out, _ = call("leaderboard", "--root", "boards", "add", run)
    assert (code, "open_vocabulary/CASTDet/1.0.json" in out) == (0, True)


def test_semantic_maps_are_scored_with_their_classes(call, file, tmp_path):
    (tmp_path / "maps").mkdir()
    Image.new("L", (30, 20), 3).save(tmp_path / "maps" / "a.png")
    asked = ("score", "maps", "--dataset", file, "--setting", "open_vocabulary")
    code, _, err = call(*asked)
    assert (code, "semantic maps with --classes" in err) == (2, True)
    (tmp_path / "classes.json").write_text('{"3": "ship"}')
    code, out, _ = call(*asked, "--classes", "classes.json", "--min-area", "600", "--json", "r.json")
    assert (code, "no prediction" in out) == (1, True)  # of two images there are no maps
    assert json.loads((tmp_path / "r.json").read_text())["metrics"]["mask"]["tally"]["ship"]["fp"] == 1
    assert json.loads((tmp_path / "runs/set/open_vocabulary/maps/predictions.jsonl").read_text())["labels"] == ["ship"]


def test_every_task_skipped_is_an_error(call, method, file, tmp_path):
    (tmp_path / "picky.py").write_text(
        "class Picky:\n    name = 'picky'\n    def predict(self, image, instruction): ...\n"
        "    def skip(self, task): return 'not today'\n"
    )
    code, out, err = call("evaluate", "--method", "picky.py:Picky", "--dataset", file)
    assert code == 2
    assert "skipped: set/open_ended: not today" in out
    assert "every task was skipped" in err


def test_check_method_finds_what_breaks_the_contract(call, method):
    code, out, _ = call("check-method", f"{method}:Rude")
    assert code == 1
    assert "FAILED   check/open_vocabulary, flat 64x64: predict changed the image in place" in out
    code, out, _ = call("check-method", f"{method}:Finds")
    assert code == 0
    assert "0 fail" in out


@pytest.mark.parametrize("what", ["methods", "datasets", "tasks", "metrics"])
def test_list_prints_a_table_or_json(call, what):
    code, out, _ = call("list", what, "--json")
    assert code == 0
    assert isinstance(json.loads(out), list)
    code, out, _ = call("list", what)
    assert code == 0
    assert out


def test_without_methods_the_way_to_get_them_is_said(call, method, file, monkeypatch):
    controls = [point for point in entry_points(group=registry.METHODS) if point.dist.name == "earthinstruct"]
    monkeypatch.setattr(registry, "entry_points", lambda group: controls if group == registry.METHODS else [])
    for arguments in (("list", "methods"), ("doctor",), ("evaluate", "--method", "instructsam")):
        _, out, err = call(*arguments)
        assert "pip install -e methods/models -e methods/instructsam" in out + err
    asked = ("--dataset", file, "--setting", "open_ended", "--label-map", "clip:small")
    _, _, err = call("evaluate", "--method", f"{method}:Finds", *asked)
    assert "is in earthinstruct-instructsam" in err


def test_doctor_says_what_one_method_lacks(call, method, tmp_path):
    (tmp_path / "needy.py").write_text(
        "class Needy:\n    name = 'needy'\n    def __init__(self, weights): ...\n"
        "    def predict(self, image, instruction): ...\n"
        "class Telling(Needy):\n    @staticmethod\n    def missing(weights='none'): return [f'weights {weights}']\n"
    )
    assert call("doctor", "--method", "needy.py:Needy")[:2] == (
        1,
        "missing  parameter weights: give -M weights=VALUE\n",
    )
    assert call("doctor", "--method", "needy.py:Needy", "-M", "weights=a")[:2] == (
        0,
        "ok       method needy.py:Needy, as far as it tells\n",
    )
    assert call("doctor", "--method", "needy.py:Telling", "-M", "weights=a")[:2] == (1, "missing  weights a\n")


def test_doctor_says_what_is_missing_and_where_it_looked(call, tmp_path, monkeypatch):
    monkeypatch.delenv("EARTHINSTRUCT_DATA", raising=False)
    code, out, _ = call("doctor")
    assert code == 0
    assert "ok       dataset scenes" in out
    assert "missing  dataset nwpu not found: looked for data/nwpu/annotations.json" in out


def test_doctor_shows_the_machine(call, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache" / "earthinstruct" / "below").mkdir(parents=True)
    (tmp_path / "cache" / "earthinstruct" / "below" / "file").write_bytes(bytes(1500))
    (tmp_path / "cache" / "earthinstruct" / "gone").symlink_to("nowhere")  # as a file that is removed meanwhile
    code, out, _ = call("doctor")
    assert code == 0
    torch = importlib.util.find_spec("torch") is not None
    assert ("ok       torch " if torch else "missing  torch: not installed; ") in out
    assert "ok       device cpu: " in out
    assert f"ok       folder of caches {tmp_path}/cache/earthinstruct: 1.5 kB used, " in out
    _, out, _ = call("doctor", "--json")
    shown = json.loads(out)
    assert (shown["torch"] is not None) == torch
    assert shown["devices"][-1]["name"] == "cpu"
    (caches,) = [folder for folder in shown["folders"] if folder["name"] == "caches"]
    assert (caches["exists"], caches["used"]) == (True, 1500)
    assert caches["free"] == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)


def test_doctor_shows_every_gpu_and_its_memory(call, monkeypatch):
    cuda = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 2,
        mem_get_info=lambda i: (60_000_000_000, 80_000_000_000),
        get_device_name=lambda i: f"GPU {i}",
    )
    mps = SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__="2.99", cuda=cuda, backends=mps))
    torch, problem, devices = torch_and_devices()
    assert (torch, problem) == ("2.99", None)
    assert [str(device) for device in devices[:2]] == [
        "cuda:0: GPU 0, 80.0 GB, 60.0 GB free",
        "cuda:1: GPU 1, 80.0 GB, 60.0 GB free",
    ]


def test_doctor_without_torch_or_with_a_broken_one_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    torch, problem, devices = torch_and_devices()
    assert (torch, [device.name for device in devices]) == (None, ["cpu"])
    assert "pip install torch" in problem


def test_the_reference_predictions_give_the_published_values(call, reference, tmp_path):
    folder = reference / "dior_mini"
    code, _, _ = call(
        *("score", folder / "predictions" / "open_vocabulary.json", "--dataset", "dior-mini", "--data", reference),
        *("--setting", "open_vocabulary", "--counts", folder / "counts" / "open_vocabulary"),
        *("--proposals", folder / "proposals.json", "--protocol", "paper", "--json", "golden.json"),
    )
    assert code == 0
    metrics = json.loads((tmp_path / "golden.json").read_text())["metrics"]
    assert round(100 * metrics["box"]["f1"]["value"], 4) == 60.7660
    assert round(100 * metrics["mask"]["f1"]["value"], 4) == 67.4326
    assert round(metrics["mask"]["miou"]["value"], 3) == 0.587
    assert round(100 * metrics["counting"]["f1"]["value"], 1) == 23.3
    assert round(100 * metrics["proposals"]["recall"]["value"], 1) == 22.5


@pytest.mark.parametrize("arguments", [["list", "metrics"], ["list", "metrics", "--json"]])
def test_a_reader_that_has_seen_enough_is_no_error(arguments):
    command = [sys.executable, "-m", "earthinstruct", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
