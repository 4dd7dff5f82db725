"""`earthinstruct check`: fail when a metric value moved. For CI."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("check", help="fail when a metric value moved, for CI", description=__doc__)
    parser.add_argument("result", type=Path, help="a result file, or a run folder")
    parser.add_argument(
        "--against", type=Path, required=True, metavar="FILE|DIR", help="the baseline, or a folder of them"
    )
    parser.add_argument(
        "--tolerance", type=float, default=0.001, metavar="T", help="largest difference (default: 0.001)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when a value moved."""
    from earthinstruct.regression import baseline_for, metric_values, moved_values
    from earthinstruct.results import read_result

    file = arguments.result / "result.json" if arguments.result.is_dir() else arguments.result
    result = read_result(file)
    moved = moved_values(result, baseline_for(result, arguments.against), arguments.tolerance)
    for value in moved:
        print(f"moved    {value}")
    n = sum(1 for _ in metric_values(result))
    print(
        f"{result.method.name} on {result.task.name}: {n} values, {len(moved)} moved by more than {arguments.tolerance}"
    )
    return 1 if moved else 0
