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

    table = Table(box=None, header_style="bold", pad_edge=False)
    for key in rows[0] if rows else ("nothing",):
        table.add_column(key, overflow="fold")
    for row in rows:
        table.add_row(*(str(value or "") for value in row.values()))
    Console().print(table)
    return 0


def methods() -> list[dict[str, str | None]]:
    """Every registered method; one that cannot be loaded says why."""
    from earthinstruct.registry import METHODS, PluginError, plugins

    rows: list[dict[str, str | None]] = []
    for plugin in plugins(METHODS).values():
        try:
            factory = plugin.load()
            missing = getattr(factory, "missing", None)
            problems = missing() if callable(missing) else []
            summary = (factory.__doc__ or "").strip().partition("\n")[0]
            rows.append(
                {"name": plugin.name, "from": plugin.distribution, "summary": summary, "missing": "; ".join(problems)}
            )
        except PluginError as error:
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
    """Every score in a result file."""
    return [
        {
            "name": "counting.f1",
            "meaning": "mean over categories of the F1 of object counts (Cnt F1); also precision, recall",
        },
        {
            "name": "box.f1",
            "meaning": "mean over categories of the F1 of boxes at IoU 0.5 (Box F1); also precision, recall",
        },
        {"name": "box.ap_nc50", "meaning": "average precision without confidence: one operating point"},
        {"name": "box.ap50", "meaning": "average precision at IoU 0.5, for methods with scores"},
        {"name": "mask.f1", "meaning": "as box.f1, from masks (Mask F1); also precision, recall, ap_nc50, ap50"},
        {"name": "mask.miou", "meaning": "mean over categories of the IoU of united masks"},
        {
            "name": "proposals.recall",
            "meaning": "mean over categories of the ground truth that proposals cover at IoU 0.5",
        },
        {"name": "sweep", "meaning": "box scores at 50 score thresholds, and the best of them (an oracle)"},
        {
            "name": "adherence",
            "meaning": "open_subclass: share of instances whose label maps to a member of the parent",
        },
    ]
