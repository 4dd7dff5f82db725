"""`earthinstruct list`: methods, datasets, tasks, metrics, training sets, and what each needs on this machine.

`list methods NAME` shows the parameters of a method, its parts and its presets.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from earthinstruct.cli import options

if TYPE_CHECKING:
    from earthinstruct.registry import MethodDetails, Parameter
    from earthinstruct.results import Block

KINDS = ("methods", "datasets", "tasks", "metrics", "training-sets")
_STATES = {  # of methods -> heading
    "ready": "ready",
    "missing": "something is missing, see earthinstruct doctor --method NAME",
    "broken": "cannot be loaded",
    "control": "controls: they are given the ground truth, to test metrics",
}


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(verbs, "list", "list methods, datasets, tasks, metrics or training sets", __doc__, run)
    parser.add_argument("what", metavar="WHAT", help=", ".join(KINDS))
    parser.add_argument("name", nargs="?", metavar="NAME", help="of a method: its parameters, parts and presets")
    options.add_data(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the verb.

    Raises:
        EarthInstructError: a name of something else than a method.
    """
    from earthinstruct.datasets import list_datasets, list_tasks, list_training_sets
    from earthinstruct.errors import EarthInstructError, UnknownNameError
    from earthinstruct.metrics import list_metrics
    from earthinstruct.registry import list_methods, method_details

    if arguments.what not in KINDS:
        raise UnknownNameError("thing to list", arguments.what, KINDS)
    if arguments.name is not None and arguments.what != "methods":
        raise EarthInstructError(f"only methods are shown one by one: leave out {arguments.name!r}, or list methods")
    if arguments.name is not None:
        details = method_details(arguments.name)
        return _shown(arguments, details, _details(details))
    rows: Sequence[Mapping[str, str | None]]
    if arguments.what == "datasets":
        rows = list_datasets(arguments.data)
    else:
        lists = {"methods": list_methods, "tasks": list_tasks, "metrics": list_metrics}
        rows = (lists | {"training-sets": list_training_sets})[arguments.what]()
    return _shown(arguments, rows, _methods(rows) if arguments.what == "methods" else [_table(rows)])


def _shown(arguments: argparse.Namespace, value: Any, blocks: Iterable[Block]) -> int:
    """Show a list as JSON or as text."""
    from earthinstruct.results import print_blocks

    if arguments.json is None:
        print_blocks(blocks)
    options.write_json(arguments, value)
    return 0


def _table(rows: Sequence[Mapping[str, str | None]]) -> Block:
    """One row each. Names are never cut; on a narrow terminal the last columns fold."""
    from earthinstruct.results import new_table

    table = new_table(*rows[0], left=rows[0], no_wrap=False)
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.overflow = "fold"  # an address is one word
    for row in rows:
        table.add_row(*(str(value or "") for value in row.values()))
    return table


def _methods(rows: Sequence[Mapping[str, str | None]]) -> Iterator[Block]:
    """One line each, by state; on a narrow terminal summaries are cut, names are not."""
    from rich.text import Text

    from earthinstruct.registry import more_methods
    from earthinstruct.results import new_table
    from earthinstruct.texts import printable

    widest = max(len(str(row["name"])) for row in rows)
    for state, heading in _STATES.items():
        found = [row for row in rows if row["state"] == state]
        if not found:
            continue
        yield heading
        table = new_table("", "", left=("",), no_wrap=False)
        table.show_header = False
        table.columns[0].no_wrap = True
        for row in found:
            said = row["missing"] if state == "broken" else row["summary"]
            text = Text(printable(str(said)), no_wrap=True, overflow="ellipsis")
            table.add_row(f"  {row['name']}".ljust(widest + 2), text)
        yield table
        yield ""
    yield "earthinstruct list methods NAME shows the parameters of a method"
    if more := more_methods():
        yield more


def _details(details: MethodDetails) -> Iterator[Block]:
    """The summary of one method, what it is missing, and its parameters."""
    yield f"{details.name}: {details.summary}"
    yield from (f"missing: {line}" for line in details.missing)
    yield from _taken("parameters, as -M NAME=VALUE", details.parameters)
    for part, choices in details.parts.items():
        yield ""
        yield f"{part}, as -M {part}=NAME, and its parameters, as -M {part}.KEY=VALUE"
        texts = {name: [*map(_with_default, taken)] or ["-"] for name, taken in choices.items()}
        first = {tuple(taken): name for name, taken in reversed(texts.items())}
        yield _pairs(
            {
                name: taken if taken == ["-"] or first[tuple(taken)] == name else [f"the same as {first[tuple(taken)]}"]
                for name, taken in texts.items()
            },
            "  ",
        )
    if details.presets:
        yield ""
        yield "presets, as -M preset=NAME"
        yield _pairs(
            {
                name: [f"{key}={_value(value)}" for key, value in preset.items()]
                for name, preset in details.presets.items()
            },
            "  ",
        )


def _taken(heading: str, parameters: Sequence[Parameter]) -> Iterator[Block]:
    if not parameters:
        return
    yield ""
    yield heading
    yield _pairs({_with_default(parameter): parameter.meaning.split() for parameter in parameters}, " ")


def _pairs(rows: Mapping[str, Sequence[str]], between: str) -> Block:
    """Names, and beside each some texts, in as many lines as they need on the terminal, or in 100 columns elsewhere."""
    from earthinstruct.results import new_table

    table = new_table("", "", left=("",), no_wrap=False)
    table.show_header = False
    table.columns[0].no_wrap = True
    columns = shutil.get_terminal_size((100, 24)).columns
    room = max(20, columns - max(map(len, rows)) - 4)  # two blanks before a name and two behind it
    for name, texts in rows.items():
        for i, line in enumerate(_lines(texts, between, room)):
            table.add_row("" if i else f"  {name}", line)
    return table


def _lines(texts: Sequence[str], between: str, room: int) -> Iterator[str]:
    """Texts in lines that they fit into; a longer text has a line of its own."""
    line = ""
    for text in texts:
        longer = f"{line}{between}{text}" if line else text
        if line and len(longer) > room:
            yield line
            longer = text
        line = longer
    yield line


def _with_default(parameter: Parameter) -> str:
    return f"{parameter.name} (required)" if parameter.required else f"{parameter.name}={_value(parameter.default)}"


def _value(value: Any) -> str:
    """A value as `-M` takes it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
