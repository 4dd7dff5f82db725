import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from earthinstruct import registry
from earthinstruct.cli import main

SUBMITTING = Path(__file__).parents[2] / "docs" / "submitting.md"


def _without_hash(text: str) -> str:
    return re.sub(r"(predictions file: )\w+", r"\1", text)


def test_the_template_keeps_the_contract(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new-method", "my-method"]) == 0
    folder = tmp_path / "my-method"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "pyproject.toml",
        "src/my_method/__init__.py",
        "tests/test_method.py",
    ]
    registered = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"][
        "earthinstruct.methods"
    ]
    assert registered == {"my-method": "my_method:MyMethod"}
    monkeypatch.syspath_prepend(folder / "src")
    assert main(["check-method", registered["my-method"]]) == 0
    assert import_module("my_method").MyMethod.name == "my-method"
    monkeypatch.setattr(registry, "entry_points", lambda group: [])  # the core alone
    assert main(["evaluate", "--method", registered["my-method"], "--setting", "open_vocabulary"]) == 0
    capsys.readouterr()
    assert main(["validate", "runs/scenes/open_vocabulary/my-method"]) == 0
    # docs/submitting.md shows what it says; the hash of the predictions is not the same on every machine
    shown, page = (_without_hash(text) for text in (capsys.readouterr().out, SUBMITTING.read_text()))
    assert shown in page
    assert main(["new-method", "my-method"]) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["My", "a/b", "../x", ""])
def test_a_name_that_makes_no_package_is_refused(name, tmp_path):
    assert main(["new-method", name, "--output", str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []
