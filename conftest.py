"""What the tests of all three distributions share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reference() -> Path:
    """Real images, ground truth, counts and proposals, in the folder that EARTHINSTRUCT_REFERENCE names."""
    folder = os.environ.get("EARTHINSTRUCT_REFERENCE")
    if not folder:
        pytest.skip("EARTHINSTRUCT_REFERENCE names no folder with reference data")
    return Path(folder)
