"""Whole commands in a separate process, including reading the files."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from benchmarks.data import Scenes


@pytest.mark.parametrize("file", ["predictions-000.jsonl", "results.json"])
def test_score(benchmark: Any, scenes: Scenes, file: str) -> None:
    benchmark.group = f"earthinstruct score --sweep {scenes.name}"
    command = [sys.executable, "-m", "earthinstruct", "score", scenes.folder / file, "--sweep", "--no-output"]
    command += ["--dataset", scenes.folder / "annotations.json", "--setting", "open_vocabulary"]
    benchmark.pedantic(subprocess.run, (command,), {"check": True, "stdout": subprocess.DEVNULL}, rounds=3)
