"""`earthinstruct leaderboard`: tables from stored results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("leaderboard", help="tables from stored results: build, check, add", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("leaderboards"), metavar="DIR", help="default: leaderboards")
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    acts.add_parser("build", help="write every table").set_defaults(run=run_build)
    acts.add_parser("check", help="fail when a table is not what the results give").set_defaults(run=run_check)
    add = acts.add_parser("add", help="validate a result against its predictions, and file it")
    add.add_argument("result", type=Path, help="the result file")
    add.add_argument("--predictions", type=Path, metavar="FILE", help="default: predictions.jsonl beside the result")
    add.add_argument("--data", type=Path, metavar="DIR", help="the folder of your datasets")
    add.set_defaults(run=run_add)


def run_build(arguments: argparse.Namespace) -> int:
    """Run `leaderboard build`."""
    from earthinstruct.leaderboard import build

    for path in build(arguments.root):
        print(f"written  {path}")
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Run `leaderboard check`: 1 when a file differs."""
    from earthinstruct.leaderboard import check

    findings = check(arguments.root)
    for finding in findings:
        print(f"FAILED   {finding}")
    print("run `earthinstruct leaderboard build`" if findings else "ok       every table is what the results give")
    return 1 if findings else 0


def run_add(arguments: argparse.Namespace) -> int:
    """Run `leaderboard add`: 1 when the submission does not hold."""
    from earthinstruct.leaderboard import add, build
    from earthinstruct.results import read_result
    from earthinstruct.submission import require_valid, validate_submission

    predictions = arguments.predictions or arguments.result.with_name("predictions.jsonl")
    require_valid(validate_submission(predictions, arguments.result, data=arguments.data))
    print(f"filed    {add(arguments.root, read_result(arguments.result))}")
    build(arguments.root)
    return 0
