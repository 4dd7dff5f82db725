"""What the tests of all verbs share: a method, a dataset, and a way to call the command line."""

import pytest

from earthinstruct.cli import main

METHOD = """
from earthinstruct import Prediction

class Finds:
    name = "finds"
    def predict(self, image, instruction):
        return Prediction(labels=["ship"], boxes=[[1, 1, 4, 4]], masks=None, scores=[0.5])

class Fails(Finds):
    name = "fails"
    def predict(self, image, instruction):
        raise RuntimeError("no weights")

class Rude(Finds):
    def predict(self, image, instruction):
        image[:] = 0
        return Prediction()
"""


@pytest.fixture
def method(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(METHOD)
    return str(path)


@pytest.fixture
def file(coco, write_coco):
    return str(write_coco(coco))


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Runs the command line in an empty folder; returns the exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
