"""`earthinstruct check`: fail when a metric value moved. For CI."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "check", "fail when a metric value moved, for CI", __doc__, run)
    parser.add_argument("result", type=Path, help="a result file, a run folder, or a folder of run folders")
    parser.add_argument(
        "--against", type=Path, required=True, metavar="FILE|DIR", help="the guarded result, or a folder of them"
    )
    parser.add_argument(
        "--tolerance",
        type=options.at_least(0, float),
        default=0.001,
        metavar="T",
        help="largest difference (default: 0.001)",
    )
    parser.add_argument(
        "--update", action="store_true", help="guard what was found from now on: after an intended change"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when a value moved, or a guarded result of these methods was not run."""
    from earthinstruct.results import check, guard_results, print_blocks

    if arguments.update:
        written = guard_results(arguments.result, arguments.against)
        for file in written:
            options.say(f"written  {file}")
        options.write_json(arguments, {"written": [str(file) for file in written]})
        return 0
    found = check(**options.given(arguments, without=("update",)))
    print_blocks(found.blocks())
    options.write_json(arguments, {"tolerance": found.tolerance, "results": found.results, "not_run": found.not_run})
    return 0 if found.ok else 1
