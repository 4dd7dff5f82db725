"""`earthinstruct compare`: is one run better than another? Paired bootstrap over the images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("compare", help="the difference of two runs, and how sure it is", description=__doc__)
    parser.add_argument("first", type=Path, metavar="RUN_A", help="a run folder")
    parser.add_argument("second", type=Path, metavar="RUN_B", help="a run folder of the same task")
    parser.add_argument("--dataset", metavar="PATH", help="the dataset, where it has no name here")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of your datasets")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="bootstrap resamples (default: 1000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every difference there as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from rich.console import Console
    from rich.table import Table

    from earthinstruct.files import as_json
    from earthinstruct.running.compare import compare_runs

    compared = compare_runs(
        arguments.first,
        arguments.second,
        dataset=arguments.dataset,
        data=arguments.data,
        resamples=arguments.resamples,
    )
    if arguments.json is not None:
        arguments.json.write_bytes(as_json(compared))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("score", "over", "B - A", "95 % interval", "p"):
        table.add_column(heading, justify="left" if heading in ("score", "over") else "right")
    for row in compared:
        if row.score.endswith(".f1"):
            low, high = row.difference.ci95
            table.add_row(
                row.score,
                row.over,
                f"{100 * row.difference.value:+.1f}",
                f"{100 * low:+.1f} to {100 * high:+.1f}",
                f"{row.difference.p:.3f}",
                style="bold" if row.difference.p < 0.05 else "",
            )
    console = Console()
    console.print(f"A: {arguments.first}", f"B: {arguments.second}", sep="\n", markup=False, soft_wrap=True)
    console.print(table)
    console.print("percent; p < 0.05 in bold; precision and recall are in --json", style="dim")
    return 0
