"""How objects print as tables, and render as HTML in a notebook: one list of blocks, written in two ways."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from earthinstruct.errors import EarthInstructError
from earthinstruct.texts import printable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

_WIDEST = 1000  # columns: a printed object does not depend on the terminal


@dataclass(frozen=True)
class FileLink:
    """A line that ends with a file or folder, which a notebook links to."""

    words: str
    path: Path

    def __str__(self) -> str:
        return f"{self.words} {self.path}"

    @property
    def address(self) -> str:
        """Where a page of the working directory finds it: servers of notebooks open no file by an absolute path."""
        path = self.path.absolute()
        below = path.is_relative_to(Path.cwd())
        return f"./{quote(Path(os.path.relpath(path)).as_posix())}" if below else path.as_uri()


Block: TypeAlias = "Table | Text | FileLink | str"  # a string is a line that is never broken


class Shown:
    """A base class of objects that print as blocks. A subclass defines `blocks`.

    A dataclass among them gives `repr=False`, so that an object that ends a line of a session prints as its blocks.

    It is no `abc.ABC`, whose metaclass does not go with that of `msgspec.Struct`.
    """

    __slots__ = ()

    def blocks(self) -> Iterable[Block]:
        """What is printed, from the top."""
        raise NotImplementedError

    def page_blocks(self) -> Iterable[Block]:
        """What a notebook shows, which is as wide as it needs to be."""
        return self.blocks()

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(
            file=io.StringIO(), width=_WIDEST, color_system=None, force_jupyter=False, legacy_windows=False
        )
        with console.capture() as captured:
            print_blocks(self.blocks(), console)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return "\n".join(_html(block) for block in self.page_blocks())


class ScoreTable(Shown):
    """A base class of objects that hold scores: they print, and become frames, files and figures.

    A subclass defines `to_pandas`.
    """

    __slots__ = ()

    def to_pandas(self) -> pd.DataFrame:
        """The scores, one a row."""
        raise NotImplementedError

    def to_parquet(self, path: Path | str) -> None:
        """Write the rows of `to_pandas` to a Parquet file.

        Raises:
            EarthInstructError: pyarrow is missing.
            OSError: the file cannot be written.
        """
        write_parquet(self.to_pandas(), path)

    def plot(self, name: str) -> Figure:
        """Draw a figure of it; `earthinstruct.plot` names the figures.

        Raises:
            EarthInstructError: no figure has this name, it cannot be drawn of this object, or matplotlib is missing.
        """
        from earthinstruct import plot  # what is shown may be drawn; the public function knows how

        return plot(self, name)  # type: ignore[arg-type]  # it refuses in words what it cannot draw


def write_parquet(frame: pd.DataFrame, path: Path | str) -> None:
    """Write a frame to a Parquet file.

    Raises:
        EarthInstructError: pyarrow is missing.
        OSError: the file cannot be written.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise EarthInstructError("a Parquet file needs pyarrow: pip install 'earthinstruct[parquet]'") from error
    frame.to_parquet(path, index=False)


def print_blocks(blocks: Iterable[Block], console: Console | None = None) -> None:
    """Print blocks, by default to standard output. A pipe has no width to fit, so nothing wraps there.

    Every text is printed as it is: it has no markup, and control characters in it are escaped.
    """
    from rich.console import Console
    from rich.text import Text

    console = console or Console(width=None if sys.stdout.isatty() else _WIDEST)
    for block in blocks:
        if isinstance(block, str | FileLink):
            console.print(printable(str(block)), markup=False, emoji=False, highlight=False, soft_wrap=True)
        elif isinstance(block, Text):
            console.print(Text(printable(block.plain), block.style))
        elif console.is_terminal:
            console.print(_plain_table(block))
        else:  # without the blanks that fill the last column
            with console.capture() as captured:
                console.print(_plain_table(block))
            for line in captured.get().splitlines():
                console.print(line.rstrip(), markup=False, emoji=False, highlight=False, soft_wrap=True)


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


_STYLES = {"bold": "font-weight: bold", "dim": "opacity: 0.7"}  # of rich -> of CSS


def _html(block: Block) -> str:
    from rich.text import Text

    if isinstance(block, FileLink):
        path = escape(printable(str(block.path)))
        return f'<p>{escape(block.words)} <a href="{escape(block.address)}" target="_blank">{path}</a></p>'
    if isinstance(block, str):
        return f"<p>{escape(printable(block))}</p>"
    if isinstance(block, Text):
        return f"<p{_style(_STYLES.get(str(block.style), ''))}>{escape(printable(block.plain))}</p>"
    aligned = [f"text-align: {column.justify}; white-space: pre; padding: 0.1em 0.5em" for column in block.columns]
    head = "".join(
        f"<th{_style(style)}>{_cell(column.header)}</th>" for style, column in zip(aligned, block.columns, strict=True)
    )
    body = []
    for row, cells in zip(block.rows, zip(*(column.cells for column in block.columns), strict=True), strict=True):
        row_style = _style(_STYLES.get(str(row.style or ""), ""))
        columns = zip(aligned, cells, strict=True)
        body.append(
            f"<tr{row_style}>{''.join(f'<td{_style(style)}>{_cell(cell)}</td>' for style, cell in columns)}</tr>"
        )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _style(style: str) -> str:
    return f' style="{style}"' if style else ""


def _cell(content: object) -> str:
    return escape(printable(str(content)))
