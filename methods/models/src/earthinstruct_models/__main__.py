"""`python -m earthinstruct_models list | fetch NAME`: lists the known weights and downloads them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from earthinstruct.errors import EarthInstructError
from earthinstruct_models.weights import FOLDER_VARIABLE, WEIGHTS, fetch, known_weights, weights_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 after an error."""
    parser = argparse.ArgumentParser(prog="python -m earthinstruct_models", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|fetch")
    verbs.add_parser("list", help="list the weights, where they are published, and whether they are on this machine")
    fetching = verbs.add_parser("fetch", help="download weights into the weights folder; continues a broken download")
    fetching.add_argument("name", metavar="NAME")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        if options.verb == "list":
            _list(console)
        else:
            _fetch(console, options.name)
    except EarthInstructError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _list(console: Console) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("name", "here", "licence", "get it"):
        table.add_column(column, overflow="fold")
    for weights in WEIGHTS.values():
        table.add_row(weights.name, "yes" if weights.here else "", weights.licence or "see page", weights.page)
    console.print(table)
    console.print(f"kept in {weights_folder()} (set {FOLDER_VARIABLE} for another folder)", highlight=False)


def _fetch(console: Console, name: str) -> None:
    weights = known_weights(name)
    licence = weights.licence or f"not recorded here, see {weights.page}"
    console.print(f"{name}: licence {licence}; from {weights.url or weights.page}", highlight=False)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    errors = Console(stderr=True)
    with Progress(
        *columns, TimeRemainingColumn(), console=errors, transient=True, disable=not errors.is_terminal
    ) as progress:
        task = progress.add_task(name, total=None)
        path = fetch(name, lambda have, total: progress.update(task, completed=have, total=total))
    console.print(path, path.with_name(f"{path.name}.sha256").read_text(encoding="utf-8"), sep="\n", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
