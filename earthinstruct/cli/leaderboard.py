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
    acts = parser.add_subparsers(dest="act", required=True, metavar="VERB")
    build = acts.add_parser("build", help="write every table", description="Write every table.")
    build.set_defaults(run=run_build)
    check = acts.add_parser(
        "check",
        help="fail when a table is not what the results give",
        description="Fail when a table is not what the results give.",
    )
    check.set_defaults(run=run_check)
    add = acts.add_parser(
        "add",
        help="validate a result against its predictions, and file it",
        description="Validate a result against its predictions, file it under results/, and build the tables.",
    )
    add.add_argument("result", type=Path, metavar="RUN|RESULT", help="a run folder, or the result file")
    add.add_argument("--predictions", type=Path, metavar="PATH", help="default: those beside the result")
    add.add_argument("--data", type=Path, metavar="DIR", help="the folder of your datasets")
    add.set_defaults(run=run_add)
    for act in (build, check, add):  # before the act or behind it
        act.add_argument("--root", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="default: leaderboards")
        options.add_json_flag(act)


def run_build(arguments: argparse.Namespace) -> int:
    """Run `leaderboard build`."""
    from earthinstruct.results import build_leaderboards

    written = build_leaderboards(arguments.root)
    for path in written:
        print(f"written  {path}")
    options.write_json(arguments, {"written": [str(path) for path in written]})
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Run `leaderboard check`: 1 when a file differs."""
    from earthinstruct.results import check_leaderboards

    findings = check_leaderboards(arguments.root)
    for finding in findings:
        print(f"FAILED   {finding}")
    print("run `earthinstruct leaderboard build`" if findings else "ok       every table is what the results give")
    options.write_json(arguments, {"findings": findings})
    return 1 if findings else 0


def run_add(arguments: argparse.Namespace) -> int:
    """Run `leaderboard add`: 1 when the submission does not hold."""
    from earthinstruct.scoring import add_to_leaderboard

    added = add_to_leaderboard(
        arguments.result, root=arguments.root, predictions=arguments.predictions, data=arguments.data
    )
    options.print_findings(added.findings)
    if added.filed:
        print(f"filed    {added.filed}")
    options.write_json(arguments, added)
    return 0 if added.filed else 1
