"""How objects print as tables, and render as HTML in a notebook: one list of blocks, written in two ways."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, TypeAlias

from earthinstruct.texts import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

Block: TypeAlias = "Table | Text | str"  # a string is a line that is never broken

_WIDEST = 1000  # columns: a printed object does not depend on the terminal


class Shown:
    """A base class of objects that print as blocks. A subclass defines `blocks`.

    It is no `abc.ABC`, whose metaclass does not go with that of `msgspec.Struct`.
    """

    __slots__ = ()

    def blocks(self) -> Iterable[Block]:
        """What is printed, from the top."""
        raise NotImplementedError

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(
            file=io.StringIO(), width=_WIDEST, color_system=None, force_jupyter=False, legacy_windows=False
        )
        with console.capture() as captured:
            print_blocks(self.blocks(), console)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())

    def _repr_html_(self) -> str:
        return "\n".join(_html(block) for block in self.blocks())


def print_blocks(blocks: Iterable[Block], console: Console | None = None) -> None:
    """Print blocks, by default to standard output. A pipe has no width to fit, so nothing wraps there.

    Every text is printed as it is: it has no markup, and control characters in it are escaped.
    """
    from rich.console import Console
    from rich.text import Text

    console = console or Console(width=None if sys.stdout.isatty() else _WIDEST)
    for block in blocks:
        if isinstance(block, str):
            console.print(printable(block), markup=False, emoji=False, highlight=False, soft_wrap=True)
        elif isinstance(block, Text):
            console.print(Text(printable(block.plain), block.style))
        else:
            console.print(_plain_table(block))


def new_table(*headings: str, left: Iterable[str] = (), no_wrap: bool = True) -> Table:
    """An empty table with headings; numbers stand at the right, the columns in `left` at the left."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right", no_wrap=no_wrap)
    return table


def _plain_table(table: Table) -> Table:
    """A table of `new_table` whose texts are printed as they are."""
    from rich.table import Table

    plain = Table(box=table.box, header_style=table.header_style, pad_edge=table.pad_edge)
    for column in table.columns:
        plain.add_column(
            _plain(column.header), justify=column.justify, no_wrap=column.no_wrap, overflow=column.overflow
        )
    cells = zip(*(column.cells for column in table.columns), strict=True)
    for row, of_row in zip(table.rows, cells, strict=True):
        plain.add_row(*map(_plain, of_row), style=row.style)
    return plain


def _plain(cell: RenderableType) -> RenderableType:
    from rich.text import Text

    return Text(printable(cell)) if isinstance(cell, str) else cell


def _html(block: Block) -> str:
    from rich.text import Text

    if isinstance(block, str | Text):
        return f"<p>{escape(printable(str(block)))}</p>"
    head = "".join(f"<th>{_cell(column.header)}</th>" for column in block.columns)
    rows = zip(*(column.cells for column in block.columns), strict=True)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(content: object) -> str:
    return escape(printable(str(content)))
