"""A real third-party distribution, built and installed for this test alone, is a method by its name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "plugin_fixture"
INSTALL = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")


@pytest.fixture
def earthinstruct(tmp_path):
    """Runs the command line where the plug-in is installed; returns its output."""
    shutil.copytree(SOURCE, tmp_path / "source")  # a build leaves files behind
    site = tmp_path / "site"
    subprocess.run([sys.executable, *INSTALL, "--target", str(site), str(tmp_path / "source")], check=True)

    def call(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "earthinstruct", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(site), "COLUMNS": "120"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_an_installed_plugin_is_listed_checked_and_evaluated(earthinstruct, coco, write_coco, tmp_path):
    listed = {entry["name"]: entry for entry in json.loads(earthinstruct("list", "methods", "--json"))}
    assert listed["bright-spots"]["from"] == "bright-spots"

    assert "FAILED" not in earthinstruct("check-method", "bright-spots", "-M", "least_pixels=1")

    file = write_coco(coco)
    options = ("--dataset", file, "--setting", "open_vocabulary", "-M", "least_pixels=1")
    assert "bright-spots on set" in earthinstruct("evaluate", "--method", "bright-spots", *options)
    result = json.loads((tmp_path / "runs" / "set" / "open_vocabulary" / "bright-spots" / "result.json").read_text())
    assert result["method"]["version"] == "1.2.0"
    assert result["method"]["parameters"] == {"deviations": 1.5, "least_pixels": 1}
    assert result["run"]["n_done"] == 3
