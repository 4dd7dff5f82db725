"""`earthinstruct compare`: is one run better than another? A paired sign-flip test over the images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options

_FORMATS = ("table", "markdown", "latex", "csv")


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(
        verbs, "compare", "the differences of runs, and how sure they are", __doc__, run, json="every difference"
    )
    parser.add_argument(
        "first",
        type=Path,
        metavar="RUN_A",
        help="a run folder, or the result file in it; or a folder of runs of one task",
    )
    parser.add_argument("second", type=Path, nargs="?", metavar="RUN_B", help="a run folder of the same task")
    parser.add_argument("others", type=Path, nargs="*", metavar="RUN", help="more runs of the task")
    parser.add_argument("--dataset", metavar="PATH", help="the dataset (default: where run A had it)")
    options.add_data(parser)
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="table",
        help="table, or for papers: one row a run in markdown, latex (with booktabs) or csv (default: table)",
    )
    parser.add_argument("--all", action="store_true", help="every row (default: those that show a difference)")
    options.add_metric(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from earthinstruct.results import print_blocks
    from earthinstruct.scoring import compare

    given = options.given(arguments, without=("all", "format"))
    first, second, others = (given.pop(name) for name in ("first", "second", "others"))
    compared = compare(first, second, *others, **given)
    options.write_json(arguments, compared.records())
    if arguments.format == "table":
        print_blocks(compared.blocks(every_row=arguments.all))
        return 0
    if arguments.format == "csv":
        options.say(compared.side_by_side.verdict, error=True)  # no line of CSV
    for line in getattr(compared, f"to_{arguments.format}")().splitlines():
        options.say(line)
    return 0
