"""A pytest plug-in, active wherever EarthInstruct is installed: compares a result with a guarded result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def assert_result_unchanged() -> Callable[..., None]:
    """A function `(result_file, guarded, tolerance=0.001)` that fails if a metric value moved.

    `guarded` is a result file, or a folder with a result of the same task, method and protocol.
    """

    def check(result_file: Path | str, guarded: Path | str, tolerance: float = 0.001) -> None:
        from earthinstruct.results import guarded_for, moved_values, read_result

        result = read_result(Path(result_file))
        moved = moved_values(result, guarded_for(result, Path(guarded)), tolerance)
        assert not moved, "metric values moved:\n" + "\n".join(map(str, moved))  # noqa: S101

    return check
