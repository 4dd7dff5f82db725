"""A real third-party distribution, installed for this test alone, is a method by its name, and has a metric."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from earthinstruct.scoring import validate

SOURCE = Path(__file__).parent / "plugin_fixture"
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"  # as an installer does


@pytest.fixture
def earthinstruct(tmp_path):
    """Runs the command line where the plug-in is installed; returns its output."""
    source, wheels, site = tmp_path / "source", tmp_path / "wheels", tmp_path / "site"
    shutil.copytree(SOURCE, source)  # a build leaves files behind
    subprocess.run([sys.executable, "-c", BUILD, str(wheels)], cwd=source, check=True, capture_output=True)
    (wheel,) = wheels.glob("bright_spots-1.2.0-*.whl")
    with zipfile.ZipFile(wheel) as packed:  # pure Python is installed by unpacking: there may be no pip
        packed.extractall(site)

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
    metric = "bright_spots.count_bias:CountBias"
    shown = earthinstruct("evaluate", "--method", "bright-spots", "--metric", metric, *options)
    assert "bright-spots on set" in shown
    assert "count-bias, objects" in shown
    folder = tmp_path / "runs" / "set" / "open_vocabulary" / "bright-spots"
    result = json.loads((folder / "result.json").read_text())
    assert result["method"]["version"] == "1.2.0"
    assert result["method"]["parameters"] == {"deviations": 1.5, "least_pixels": 1}
    assert result["run"]["n_done"] == 3

    bias, counted = result["metrics"]["extra"]["count-bias"], result["metrics"]["counting"]["tally"]
    assert bias["unit"] == "objects"
    for category, tally in counted.items():
        assert bias["per_category"][category]["value"] == pytest.approx((tally["fp"] - tally["fn"]) / 3)
    # everything else is checked all the same
    findings = {f.check: f for f in validate(folder, folder / "result.json", dataset=str(file))}
    assert [check for check, finding in findings.items() if finding.problem] == ["metric plug-ins"]
    assert findings["metric plug-ins"].problem.startswith("'count-bias': metric plug-ins cannot be validated")
