"""What a method misses is one error before the first image, whoever asks: Python, the command line, any engine."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from earthinstruct import Prediction, evaluate
from earthinstruct.cli import main
from earthinstruct.errors import EarthInstructError
from earthinstruct.registry import PluginError, make_method, missing_for, missing_in
from earthinstruct.running import EngineOptions
from earthinstruct.testing import check_method

METHODS = '''
from earthinstruct import Prediction


class Needy:
    """Asked of the class, with its parameters. Making it, or asking it about an image, says so."""

    name = "needy"

    def __init__(self, weights="none", size=1):
        print("made")

    @classmethod
    def missing(cls, weights="none"):
        return [] if weights == "there" else [f"weights {weights}: fetch them", "package needed: pip install needed"]

    def predict(self, image, instruction):
        print("asked")
        return Prediction()


class Lazy:
    """Asked of the object."""

    name = "lazy"

    def missing(self):
        return ["package lazily: pip install lazily"]

    def predict(self, image, instruction):
        print("asked")
        return Prediction()
'''


class Lazy:
    """Asked of the object."""

    name = "lazy"

    def __init__(self, lines=("package lazily: pip install lazily",)):
        self.lines = lines

    def missing(self):
        return self.lines

    def predict(self, image, instruction):
        return Prediction()


class Chosen(Lazy):
    """Its class was asked, with parameters that the object has used."""

    @staticmethod
    def missing(weights=None):
        return [] if weights else ["weights: fetch them"]


@pytest.fixture
def methods(tmp_path):
    path = tmp_path / "needy.py"
    path.write_text(METHODS)
    return path


@pytest.mark.parametrize("verb", ["evaluate", "predict", "check-method"])
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("Needy", ["weights none: fetch them", "package needed: pip install needed"]),
        ("Lazy", ["package lazily: pip install lazily"]),
    ],
)
def test_the_command_says_all_that_is_missing_once_and_runs_nothing(
    methods, dataset, monkeypatch, capsys, verb, name, lines
):
    folder = methods.parent
    monkeypatch.chdir(folder)
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(folder / "scene.png")
    method = f"needy.py:{name}"
    files = ("--output", "out", "--json", "out/a.json")
    arguments = {
        "evaluate": ("--method", method, "--dataset", "set/annotations.json", *files),
        "predict": ("--method", method, "scene.png", "--open-ended", "--save", "out/scene.png", "--json", "out/a.json"),
        "check-method": (method,),
    }[verb]
    assert main([verb, *arguments]) == 2
    out, err = capsys.readouterr()
    assert err.splitlines()[1:] == [f"  {line}" for line in lines]
    assert err.startswith(f"error: method '{method if name == 'Needy' else 'lazy'}' cannot run on this machine")
    assert out == ""
    assert not (folder / "out").exists()


def test_it_runs_where_nothing_is_missing(methods, dataset, monkeypatch, capsys):
    monkeypatch.chdir(methods.parent)
    asked = ["--dataset", "set/annotations.json", "--setting", "open_ended"]
    assert main(["evaluate", "--method", "needy.py:Needy", "-M", "weights=there", "-M", "size=2", *asked]) == 0
    assert capsys.readouterr().out.splitlines()[:4] == ["made", "asked", "asked", "asked"]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("by", ["name", "object"])
def test_every_engine_on_this_machine_says_so_and_keeps_no_folder(methods, dataset, tmp_path, workers, by):
    method = f"{methods}:Needy" if by == "name" else Lazy()
    with pytest.raises(EarthInstructError, match=r"Nothing was run. Missing:\n  \w+ \w+: .*(\n|$)"):
        evaluate(method, dataset, output=tmp_path / "runs", engine=EngineOptions(workers=workers))
    assert not (tmp_path / "runs").exists()


def test_an_object_is_not_asked_about_parameters_that_it_has_used(dataset, tmp_path):
    assert missing_in(Chosen()) == []
    assert evaluate(Chosen(), dataset, setting="open_ended", output=tmp_path).results[0].run.n_failed == 0


def test_parameters_that_must_be_given_are_missing_too(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(METHODS.replace('weights="none", size=1', "weights, size").replace('weights="none"):', "weights):"))
    needed = ["parameter weights: give -M weights=VALUE", "parameter size: give -M size=VALUE"]
    assert missing_for(f"{path}:Needy") == needed  # what it says of its weights needs them
    assert missing_for(f"{path}:Needy", {"weights": "a"}) == [
        needed[1],
        "weights a: fetch them",
        "package needed: pip install needed",
    ]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("'package a: pip install a'", "must return a list of strings, got 'package a: pip install a'"),
        ("[1]", r"must return a list of strings, got \[1\]"),
        ("1 / 0", r"missing\(\) failed: ZeroDivisionError"),
    ],
)
def test_a_missing_that_breaks_the_contract_is_named(tmp_path, answer, message):
    path = tmp_path / "own.py"
    path.write_text(f"class Own:\n    name = 'own'\n    @staticmethod\n    def missing(): return {answer}\n")
    with pytest.raises(PluginError, match=message):
        make_method(f"{path}:Own")
    method = Lazy()
    method.missing = lambda: eval(answer)
    (problem,) = [check for check in check_method(method) if check.problem]
    assert problem.name == "missing"


def test_the_conformance_kit_tries_nothing_on_a_method_that_misses_something():
    checks = check_method(Lazy())
    assert [(check.name, check.problem) for check in checks] == [
        ("name", None),
        ("missing", "package lazily: pip install lazily"),
    ]
    assert "missing" in [check.name for check in check_method(Lazy([])) if check.problem is None]


def test_a_control_is_evaluated_by_the_core_alone(dataset, tmp_path):
    """Neither torch nor a distribution of methods is imported."""
    code = (
        "import sys\n"
        "for name in ('torch', 'earthinstruct_models', 'earthinstruct_instructsam', 'earthinstruct_baselines'):\n"
        "    sys.modules[name] = None\n"  # importing one of them raises
        "from earthinstruct.cli import main\n"
        "sys.exit(main(['evaluate', '--method', 'oracle', '--dataset', 'set/annotations.json']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("kept in ") == 3
