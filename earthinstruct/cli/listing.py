"""`earthinstruct list`: methods, datasets, tasks, metrics, and what each needs on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from earthinstruct.cli import options

KINDS = ("methods", "datasets", "tasks", "metrics")


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("list", help="what there is: methods, datasets, tasks, metrics", description=__doc__)
    parser.add_argument("what", metavar="WHAT", help=", ".join(KINDS))
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of your datasets")
    options.add_json_flag(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from earthinstruct.errors import UnknownNameError

    if arguments.what not in KINDS:
        raise UnknownNameError("thing to list", arguments.what, KINDS)
    rows = {"methods": methods, "datasets": lambda: datasets(arguments.data), "tasks": tasks, "metrics": metrics}[
        arguments.what
    ]()
    if arguments.json is not None:
        options.write_json(arguments, rows)
        return 0
    from rich.console import Console
    from rich.table import Table

    from earthinstruct.registry import more_methods

    if arguments.what == "methods":
        rows = [row | {"missing": _in_brief(row["missing"] or "")} for row in rows]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for key in rows[0]:
        table.add_column(key, overflow="fold")
    for row in rows:
        table.add_row(*(str(value or "") for value in row.values()))
    Console().print(table)
    if arguments.what == "methods" and any(row["missing"] for row in rows):
        print("earthinstruct doctor --method NAME says how to get what is missing")
    if arguments.what == "methods" and (more := more_methods()):
        print(more)
    return 0


def _in_brief(missing: str) -> str:
    """What is missing, without how to get it.

    >>> _in_brief("weights sam3: get the folder; lvlm 'openai' needs model: give -M lvlm.model=VALUE")
    "weights sam3, lvlm 'openai' needs model"
    """
    if missing.startswith("warning:"):
        return missing
    return ", ".join(problem.partition(": ")[0] for problem in missing.split("; "))


def methods() -> list[dict[str, str | None]]:
    """Every registered method; one that cannot be loaded says why."""
    from earthinstruct.errors import EarthInstructError
    from earthinstruct.registry import METHODS, missing_for, plugins

    rows: list[dict[str, str | None]] = []
    for plugin in plugins(METHODS).values():
        try:
            summary, missing = _first_line(plugin.load()), "; ".join(missing_for(plugin.name))
            rows.append({"name": plugin.name, "from": plugin.distribution, "summary": summary, "missing": missing})
        except EarthInstructError as error:
            rows.append(
                {"name": plugin.name, "from": plugin.distribution, "summary": "", "missing": f"warning: {error}"}
            )
    return rows


def datasets(root: Path | None) -> list[dict[str, str | None]]:
    """Every named dataset."""
    from earthinstruct.datasets import dataset_sources

    return [
        {"name": source.name, "summary": source.summary, "missing": source.missing(root)}
        for source in dataset_sources().values()
    ]


def tasks() -> list[dict[str, str | None]]:
    """Every task of the named datasets."""
    from earthinstruct.datasets import dataset_sources
    from earthinstruct.tasks import tasks_of

    return [
        {"name": task.name, "version": task.version, "scored categories": ", ".join(task.categories)}
        for source in dataset_sources().values()
        for task in tasks_of(source.name, source.vocabulary)
    ]


def metrics() -> list[dict[str, str | None]]:
    """Every score in a result file, by its path in `metrics` there."""
    from earthinstruct.metrics import CATALOGUE

    return [{"name": name, "from": "earthinstruct", "meaning": score.meaning} for name, score in CATALOGUE.items()]


def _first_line(described: object) -> str:
    return (described.__doc__ or "").strip().partition("\n")[0]
