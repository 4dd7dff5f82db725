"""`earthinstruct report`: one run as a page to look at, with its images; or an index of a folder of runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options
from earthinstruct.cli.progress import progress_bar


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(
        verbs, "report", "a page of scores, charts and images of one run, or an index of many", __doc__, run
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN|DIR", help="a run folder, or the result file in it; a folder of runs: an index"
    )
    parser.add_argument(
        "--against",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="other run folders of the same task: what became better and worse, image by image",
    )
    parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="also save figures for papers there, as PDF and SVG (extra plot)"
    )
    parser.add_argument("--dataset", metavar="NAME|PATH", help="the dataset (default: where the run had it)")
    options.add_data(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the page (default: report.html in the run folder, index.html in a folder of runs)",
    )
    parser.add_argument(
        "--max-images",
        type=options.at_least(0),
        default=argparse.SUPPRESS,
        metavar="N",
        help="images to show, the worst first (default: 200)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from earthinstruct.reporting import report

    with progress_bar("images") as progress:
        file = report(**options.given(arguments), progress=progress)
    if arguments.figures is not None:
        options.say(f"figures  {arguments.figures}")
    options.say(f"report   {file} ({file.stat().st_size / 1e6:.1f} MB)")
    options.write_json(arguments, {"file": str(file)})
    return 0
