"""Ground truth and predictions in memory, at the sizes of NWPU VHR-10 and DIOR val."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.data import Scenes, write

SIZES = {"nwpu": 1, "dior_val": 9}  # copies of the NWPU annotation


@pytest.fixture(scope="session", params=SIZES)
def scenes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """The files of one size, and their contents."""
    if not os.environ.get("EARTHINSTRUCT_REFERENCE"):
        pytest.skip("EARTHINSTRUCT_REFERENCE names no folder with reference data")
    folder: Path = tmp_path_factory.mktemp(request.param)
    write(folder, SIZES[request.param])
    return Scenes(request.param, folder)
