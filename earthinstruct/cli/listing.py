"""`earthinstruct list`: methods, datasets, tasks, metrics, and what each needs on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from earthinstruct.cli import options

KINDS = ("methods", "datasets", "tasks", "metrics")


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "list", "list methods, datasets, tasks or metrics", __doc__, run)
    parser.add_argument("what", metavar="WHAT", help=", ".join(KINDS))
    options.add_data(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from earthinstruct.datasets import list_datasets, list_tasks
    from earthinstruct.errors import UnknownNameError
    from earthinstruct.metrics import list_metrics
    from earthinstruct.registry import list_methods

    if arguments.what not in KINDS:
        raise UnknownNameError("thing to list", arguments.what, KINDS)
    rows: Sequence[Mapping[str, str | None]]
    if arguments.what == "datasets":
        rows = list_datasets(arguments.data)
    else:
        rows = {"methods": list_methods, "tasks": list_tasks, "metrics": list_metrics}[arguments.what]()
    if arguments.json is not None:
        options.write_json(arguments, rows)
        return 0
    from rich.table import Table

    from earthinstruct.registry import more_methods
    from earthinstruct.results import print_blocks

    if arguments.what == "methods":
        rows = [{**row, "missing": _in_brief(row["missing"] or "")} for row in rows]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for key in rows[0]:
        table.add_column(key, overflow="fold", no_wrap=key in ("name", "from"))
    for row in rows:
        table.add_row(*(str(value or "") for value in row.values()))
    print_blocks([table])
    if arguments.what == "methods" and any(row["missing"] for row in rows):
        options.say("earthinstruct doctor --method NAME says how to get what is missing")
    if arguments.what == "methods" and (more := more_methods()):
        options.say(more)
    return 0


def _in_brief(missing: str) -> str:
    """What is missing, without how to get it.

    >>> _in_brief("weights sam3: get the folder; lvlm 'openai' needs model: give -M lvlm.model=VALUE")
    "weights sam3, lvlm 'openai' needs model"
    """
    if missing.startswith("warning:"):
        return missing
    return ", ".join(problem.partition(": ")[0] for problem in missing.split("; "))
