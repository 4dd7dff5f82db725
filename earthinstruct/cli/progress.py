"""Progress bars on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from earthinstruct.texts import printable


class Update(Protocol):
    """Shows what is done, how much of it, of how much, and what else there is to say."""

    def __call__(self, what: str, done: float, total: int, more: str = "") -> None:
        """Show it."""


@contextmanager
def progress_bars() -> Iterator[Update]:
    """A bar for each thing that is reported on.

    Nothing is shown before the first report, so that an error in what was given stands alone.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    display = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[more]}"),
        console=Console(stderr=True),
    )
    bars: dict[str, Any] = {}

    def update(what: str, done: float, total: int, more: str = "") -> None:
        if not bars:
            display.start()
        if what not in bars:
            bars[what] = display.add_task(printable(what), total=total, more="")
        display.update(bars[what], completed=done, more=more)

    try:
        yield update
    finally:
        if bars:
            display.stop()
