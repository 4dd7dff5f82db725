"""`earthinstruct check`: fail when a metric value moved. For CI."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("check", help="fail when a metric value moved, for CI", description=__doc__)
    parser.add_argument("result", type=Path, help="a result file, a run folder, or a folder of run folders")
    parser.add_argument(
        "--against", type=Path, required=True, metavar="FILE|DIR", help="the baseline, or a folder of them"
    )
    parser.add_argument(
        "--tolerance", type=float, default=0.001, metavar="T", help="largest difference (default: 0.001)"
    )
    parser.add_argument(
        "--update", action="store_true", help="make what was found the baseline: after an intended change"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when a value moved, or a baseline of these methods was not run."""
    from earthinstruct.regression import (
        baseline_for,
        metric_values,
        moved_values,
        new_values,
        not_run,
        results_in,
        update_baseline,
    )

    found = results_in(arguments.result)
    if arguments.update:
        for file, result in found:
            print(f"written  {update_baseline(file, result, arguments.against)}")
        return 0
    failed = False
    for _, result in found:
        baseline = baseline_for(result, arguments.against)
        moved = moved_values(result, baseline, arguments.tolerance)
        for value in moved:
            print(f"moved    {value}")
        n_new = len(new_values(result, baseline))
        n = sum(1 for _ in metric_values(baseline))
        print(
            f"{'FAILED  ' if moved else 'ok      '} {result.method.name} on {result.task.name}: {n} values, "
            f"{len(moved)} moved by more than {arguments.tolerance}" + (f"; {n_new} new" if n_new else "")
        )
        failed |= bool(moved)
    if len(found) > 1:
        for file in not_run([result for _, result in found], arguments.against):
            print(f"FAILED   {file} is a baseline that {arguments.result} has no result for")
            failed = True
    return 1 if failed else 0
