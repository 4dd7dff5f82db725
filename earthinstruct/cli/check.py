"""`earthinstruct check`: fail when a metric value moved. For CI."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("check", help="fail when a metric value moved, for CI", description=__doc__)
    parser.add_argument("result", type=Path, help="a result file, a run folder, or a folder of run folders")
    parser.add_argument(
        "--against", type=Path, required=True, metavar="FILE|DIR", help="the guarded result, or a folder of them"
    )
    parser.add_argument(
        "--tolerance", type=_tolerance, default=0.001, metavar="T", help="largest difference (default: 0.001)"
    )
    parser.add_argument(
        "--update", action="store_true", help="guard what was found from now on: after an intended change"
    )
    options.add_json_flag(parser)
    parser.set_defaults(run=run)


def _tolerance(text: str) -> float:
    try:
        tolerance = float(text)
    except ValueError:
        tolerance = -1
    if not 0 <= tolerance < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number >= 0")
    return tolerance


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when a value moved, or a guarded result of these methods was not run."""
    from earthinstruct.results import guard, guarded_for, metric_values, moved_values, new_values, not_run, results_in

    found = results_in(arguments.result)
    if arguments.update:
        written = [guard(file, result, arguments.against) for file, result in found]
        for file in written:
            print(f"written  {file}")
        options.write_json(arguments, {"written": [str(file) for file in written]})
        return 0
    checked: list[dict[str, Any]] = []
    for file, result in found:
        guarded = guarded_for(result, arguments.against)
        moved = moved_values(result, guarded, arguments.tolerance)
        for value in moved:
            print(f"moved    {value}")
        new = new_values(result, guarded)
        n = sum(1 for _ in metric_values(guarded))
        print(
            f"{'FAILED  ' if moved else 'ok      '} {result.method.name} on {result.task.name}: {n} values, "
            f"{len(moved)} moved by more than {arguments.tolerance}" + (f"; {len(new)} new" if new else "")
        )
        checked.append(
            {
                "result": str(file),
                "method": result.method.name,
                "task": result.task.name,
                "protocol": result.protocol,
                "n_values": n,
                "moved": moved,
                "new": new,
            }
        )
    absent = not_run([result for _, result in found], arguments.against) if len(found) > 1 else []
    for file in absent:
        print(f"FAILED   {file} is guarded, and {arguments.result} has no result for it")
    options.write_json(
        arguments,
        {"tolerance": arguments.tolerance, "results": checked, "not_run": [str(file) for file in absent]},
    )
    return 1 if absent or any(row["moved"] for row in checked) else 0
