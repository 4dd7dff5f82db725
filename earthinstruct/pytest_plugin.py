"""A pytest plug-in, active where EarthInstruct is installed: holds a result against a stored baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def assert_result_unchanged() -> Callable[..., None]:
    """A function `(result_file, baseline, tolerance=0.001)` that fails when a metric value moved.

    `baseline` is a result file, or a folder that holds one of the same task, method and protocol.
    """

    def check(result_file: Path | str, baseline: Path | str, tolerance: float = 0.001) -> None:
        from earthinstruct.regression import baseline_for, moved_values
        from earthinstruct.results import read_result

        result = read_result(Path(result_file))
        moved = moved_values(result, baseline_for(result, Path(baseline)), tolerance)
        assert not moved, "metric values moved:\n" + "\n".join(map(str, moved))  # noqa: S101

    return check
