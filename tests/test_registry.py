import statistics
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from earthinstruct import registry
from earthinstruct.datasets import dataset_sources, load_dataset
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.registry import METHODS, PluginError, make_method, parse_parameters, plugins

METHOD = '''
from earthinstruct import Prediction

class Found:
    """Finds nothing."""
    name = "found"
    def __init__(self, size: int, seed: int = 0):
        self.size, self.seed = size, seed
    def predict(self, image, instruction):
        return Prediction()

class NotAMethod:
    pass

class Broken(Found):
    def __init__(self):
        raise RuntimeError("no weights")
'''


class NamedEntryPoint(EntryPoint):
    """An entry point of a distribution that is not installed."""

    @property
    def dist(self):
        return SimpleNamespace(name=vars(self)["owner"])


@pytest.fixture
def registered(monkeypatch):
    """Replaces the installed entry points."""

    def register(*entries):
        made = []
        for name, value, owner in entries:
            entry = NamedEntryPoint(name, value, METHODS)
            vars(entry)["owner"] = owner
            made.append(entry)
        monkeypatch.setattr(registry, "entry_points", lambda group: made)

    return register


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "own_method.py"
    path.write_text(METHOD)
    return path


def test_a_broken_plugin_takes_nothing_down_until_it_is_asked_for(registered):
    registered(("good", "earthinstruct.testing:Check", "a"), ("broken", "earthinstruct.no_such:Thing", "b"))
    known = plugins(METHODS)
    assert list(known) == ["broken", "good"]
    assert known["good"].load()
    with pytest.raises(PluginError, match="'broken' of distribution 'b' cannot be loaded: ModuleNotFoundError"):
        make_method("broken")


def test_two_plugins_of_one_name_are_an_error_that_names_both(registered):
    registered(("same", "x:A", "first"), ("same", "y:B", "second"))
    with pytest.raises(PluginError, match="'first' and by 'second'"):
        plugins(METHODS)


def test_an_unknown_method_gets_a_suggestion(registered):
    registered(("instructsam", "x:A", "first"))
    with pytest.raises(UnknownNameError, match=r"did you mean 'instructsam'.*path/file\.py:Class"):
        make_method("instructsan")


def test_a_method_can_be_given_by_file(file):
    method = make_method(f"{file}:Found", {"size": 3})
    assert (method.name, method.size, method.seed) == ("found", 3, 0)


def test_a_file_does_not_take_the_place_of_a_module_of_its_name(file):
    file = file.rename(file.with_name("statistics.py"))
    assert make_method(f"{file}:Found", {"size": 3}).name == "found"
    assert sys.modules["statistics"] is statistics
    file.write_text("1 / 0")
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        make_method(f"{file}:Found")
    assert "method_file_statistics" not in sys.modules


def test_a_method_can_be_given_by_module(file, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    assert make_method("own_method:Found", {"size": 1}).name == "found"


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("Found", {}, "Missing:\n  parameter size: give -M size=VALUE"),
        ("Found", {"sise": 1}, "did you mean 'size'"),
        ("NotAMethod", {}, "has no `name` and `predict"),
        ("Broken", {}, "cannot be made: RuntimeError: no weights"),
        ("Foun", {}, r"unknown name in .*own_method\.py: 'Foun'; did you mean 'Found'"),
    ],
)
def test_what_cannot_be_made_says_why(file, name, parameters, message):
    with pytest.raises(EarthInstructError, match=message):
        make_method(f"{file}:{name}", parameters)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PluginError, match=r"none\.py does not exist"):
        make_method(f"{tmp_path}/none.py:Found")


def test_a_file_that_is_not_given_as_one_says_how(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    with pytest.raises(PluginError, match=r"is a file, without a class; give own_method\.py:Class"):
        make_method("own_method.py")
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])  # as for the installed command
    monkeypatch.delitem(sys.modules, "own_method", raising=False)
    with pytest.raises(PluginError, match=r"No module named 'own_method'; a file is given as own_method\.py:Found"):
        make_method("own_method:Found")


def test_parameters_are_json_or_text():
    assert parse_parameters(["a=1", "b=x/y=z", "c=null", 'd=[1, "x"]']) == {
        "a": 1,
        "b": "x/y=z",
        "c": None,
        "d": [1, "x"],
    }
    with pytest.raises(EarthInstructError, match="must be key=value"):
        parse_parameters(["seed"])


SOURCE = """
from pathlib import Path
from earthinstruct.datasets import DatasetSource, load_dataset
from earthinstruct.tasks import Vocabulary

def load(root, images):
    return load_dataset(str(root / "annotations.json"))

MINE = DatasetSource("x", "mine", Vocabulary(("ship", "harbor")), load, lambda root: None)
"""


def test_datasets_are_plugged_in_and_a_broken_one_raises_when_asked_for(
    registered, tmp_path, monkeypatch, coco, write_coco
):
    file = write_coco(coco)
    (tmp_path / "own_dataset.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    registered(
        ("mine", "own_dataset:MINE", "a"),
        ("broken", "earthinstruct.no_such:Thing", "b"),
        ("other", "own_dataset:load", "c"),
    )
    sources = dataset_sources()
    assert "'other' of distribution 'c' is a function; its entry point must name" in sources["other"].missing(None)
    assert sources["mine"].summary == "mine"
    assert sources["broken"].missing(None).startswith("warning: ")
    assert len(load_dataset("mine", file.parent).images) == 3
    with pytest.raises(PluginError, match="'broken'"):
        load_dataset("broken")
