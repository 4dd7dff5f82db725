"""`earthinstruct compare`: is one run better than another? Paired bootstrap over the images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthinstruct.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from earthinstruct.scoring import Compared


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("compare", help="the difference of two runs, and how sure it is", description=__doc__)
    parser.add_argument("first", type=Path, metavar="RUN_A", help="a run folder, or the result file in it")
    parser.add_argument("second", type=Path, metavar="RUN_B", help="a run folder of the same task")
    parser.add_argument("--dataset", metavar="PATH", help="the dataset (default: where run A had it)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of your datasets")
    parser.add_argument(
        "--resamples", type=options.at_least(1), default=1000, metavar="N", help="bootstrap resamples (default: 1000)"
    )
    parser.add_argument(
        "--all", action="store_true", help="every category (default: those whose 95 %% interval excludes 0)"
    )
    options.add_metric(parser)
    options.add_json(parser, "every difference")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from rich.console import Console

    from earthinstruct.metrics import HEADLINES
    from earthinstruct.scoring import compare_runs

    compared = compare_runs(
        options.run_folder(arguments.first),
        options.run_folder(arguments.second),
        dataset=arguments.dataset,
        data=arguments.data,
        resamples=arguments.resamples,
        metrics=arguments.metrics,
    )
    options.write_json(arguments, compared)
    console = Console()
    console.print(f"A: {arguments.first}", f"B: {arguments.second}", sep="\n", markup=False, soft_wrap=True)
    scores = [row for row in compared if row.score in HEADLINES]
    console.print(_table([row for row in scores if row.is_group]))
    console.print("percent; precision and recall are in --json", style="dim")
    categories = [row for row in scores if not row.is_group]
    shown = [row for row in categories if arguments.all or _differs(row)]
    if shown:
        console.print(_table(shown))
    if len(shown) < len(categories):
        console.print(
            f"{len(categories) - len(shown)} of {len(categories)} rows of single categories are left out: their 95 % "
            "interval includes 0; --all shows them",
            style="dim",
        )
    extra = [row for row in compared if row.score.startswith("extra.") and row.is_group]
    if extra:
        console.print(_table(extra))
        console.print("metric plug-ins: fractions, or in the unit of each; by category in --json", style="dim")
    errors = [row for row in compared if row.score.startswith("errors.") and row.is_group and row.over == "all"]
    console.print(_table(errors))
    console.print(
        "objects over all images, by category in --json; fewer are better, more are better of `correct`\n"
        "p of each row by itself, < 0.05 in bold; of 20 without a difference, shown or not, one is bold by chance",
        style="dim",
    )
    return 0


def _differs(row: Compared) -> bool:
    low, high = row.difference.ci95
    return low > 0 or high < 0


def _table(rows: Sequence[Compared]) -> Table:
    from rich.table import Table

    from earthinstruct.metrics import listed

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("score", "over", "A", "B", "B - A", "95 % interval", "p"):
        table.add_column(heading, justify="left" if heading in ("score", "over") else "right")
    for row in rows:
        off, unit = row.difference, listed(row.score).unit
        table.add_row(
            row.score.removeprefix("errors.").removeprefix("extra.").removesuffix(".mean"),
            row.over,
            unit.text(off.first),
            unit.text(off.second),
            unit.text(off.value, signed=True),
            " to ".join(unit.text(bound, signed=True) for bound in off.ci95),
            f"{off.p:.3f}",
            style="bold" if off.p < 0.05 else "",
        )
    return table
