"""`earthinstruct leaderboard`: tables from stored results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("leaderboard", help="tables from stored results: build, check, add", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("leaderboards"), metavar="DIR", help="default: leaderboards")
    acts = parser.add_subparsers(required=True, metavar="VERB")
    build = options.add_verb(acts, "build", "write every table", "Write every table.", run_build)
    fails = "fail when a table is not what the results give"
    check = options.add_verb(acts, "check", fails, f"{fails.capitalize()}.", run_check)
    add = options.add_verb(
        acts,
        "add",
        "validate a result against its predictions, and file it",
        "Validate a result against its predictions, file it under results/, and build the tables.",
        run_add,
    )
    add.add_argument("result", type=Path, metavar="RUN|RESULT", help="a run folder, or the result file")
    add.add_argument("--predictions", type=Path, metavar="PATH", help="default: those beside the result")
    options.add_data(add)
    for act in (build, check, add):  # before the act or behind it
        act.add_argument("--root", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="default: leaderboards")


def run_build(arguments: argparse.Namespace) -> int:
    """Run `leaderboard build`."""
    from earthinstruct.results import build_leaderboards

    written = build_leaderboards(**options.given(arguments))
    for path in written:
        options.say(f"written  {path}")
    options.write_json(arguments, {"written": [str(path) for path in written]})
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Run `leaderboard check`: 1 when a file differs."""
    from earthinstruct.results import check_leaderboards

    findings = check_leaderboards(**options.given(arguments))
    for finding in findings:
        options.say(f"FAILED   {finding}")
    options.say(
        "run `earthinstruct leaderboard build`" if findings else "ok       every table is what the results give"
    )
    options.write_json(arguments, {"findings": findings})
    return 1 if findings else 0


def run_add(arguments: argparse.Namespace) -> int:
    """Run `leaderboard add`: 1 when the submission does not hold."""
    from earthinstruct.scoring import add_to_leaderboard

    added = add_to_leaderboard(**options.given(arguments))
    options.print_findings(added.findings)
    if added.filed:
        options.say(f"filed    {added.filed}")
    options.write_json(arguments, added)
    return 0 if added.filed else 1
