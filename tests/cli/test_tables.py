"""The table of results in the terminal."""

from __future__ import annotations

import io

from msgspec.structs import replace
from rich.console import Console

from earthinstruct import evaluate
from earthinstruct.cli.tables import print_results


def printed(results) -> list[str]:
    console = Console(file=io.StringIO(), width=100)
    print_results(results, console=console)
    return console.file.getvalue().splitlines()


def test_error_types_follow_the_scores(constant, dataset, tmp_path):
    settings = ("open_vocabulary", "open_ended")
    results = [
        evaluate(constant, dataset, setting=setting, output=tmp_path, resamples=0).results[0] for setting in settings
    ]
    # (1, 1, 4, 4) in three images: the first ship; beside the second (IoU 4 / 76); nothing there
    rows = {line.split()[0]: line.split()[1:] for line in printed(results) if line}
    assert rows["errors"] == list(settings)
    assert rows["correct"] == ["1", "1"]
    assert rows["background"] == ["2", "2"]
    assert rows["missed"] == ["3", "3"]
    assert "duplicate" not in rows  # none
    happened = replace(results[0], run=replace(results[0].run, events={"truncated replies": 2, "labels lost": 1}))
    assert "set/open_vocabulary: 1 labels lost, 2 truncated replies" in printed([happened])
    without = replace(results[0], metrics=replace(results[0].metrics, errors=None))
    assert not any(line.startswith("errors") for line in printed([without]))
