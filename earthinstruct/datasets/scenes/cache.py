"""The test split on this machine: generated on first use, and checked against a pinned hash on every use."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from platformdirs import user_cache_path

from earthinstruct.datasets.scenes.generate import VERSION, draw_scenes
from earthinstruct.errors import DataError

TEST_SHA256 = "c4a25390495ae616383b52c1b609bfc6301d5a76abb20cee553b8b795ed8bd69"


def cached_test_split(cache: Path | None = None) -> Path:
    """The folder of the test split, with `annotations.json` and `images/`.

    Args:
        cache: the folder for generated datasets; None: the user's cache folder.

    Raises:
        DataError: the folder cannot be written, or the ground truth generated on this machine differs from the pinned
            one.
    """
    folder = (cache or user_cache_path("earthinstruct")) / f"scenes-v{VERSION}" / "test"
    if _hash(folder) == TEST_SHA256:
        return folder
    shutil.rmtree(folder, ignore_errors=True)  # from another release, or damaged
    try:
        draw_scenes(folder, "test")
    except DataError:
        if _hash(folder) != TEST_SHA256:  # otherwise another process has just made it
            raise
    found = _hash(folder)
    if found != TEST_SHA256:
        raise DataError(
            f"the ground truth of the scenes generated in {folder} (sha256 {found}) differs from version {VERSION} "
            f"({TEST_SHA256}), so scores cannot be compared. Please report your platform and numpy version"
        )
    return folder


def _hash(folder: Path) -> str | None:
    file = folder / "annotations.json"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None
