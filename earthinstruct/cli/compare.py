"""`earthinstruct compare`: is one run better than another? A paired sign-flip test over the images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(
        verbs, "compare", "the difference of two runs, and how sure it is", __doc__, run, json="every difference"
    )
    parser.add_argument("first", type=Path, metavar="RUN_A", help="a run folder, or the result file in it")
    parser.add_argument("second", type=Path, metavar="RUN_B", help="a run folder of the same task")
    parser.add_argument("--dataset", metavar="PATH", help="the dataset (default: where run A had it)")
    options.add_data(parser)
    parser.add_argument(
        "--all", action="store_true", help="every category (default: those with p < 0.05 before correction)"
    )
    options.add_metric(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from earthinstruct.results import print_blocks
    from earthinstruct.scoring import compare

    compared = compare(**options.given(arguments, without=("all",)))
    options.write_json(arguments, compared.rows)
    print_blocks(compared.blocks(every_category=arguments.all))
    return 0
