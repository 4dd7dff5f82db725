"""Progress bars on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from earthinstruct.texts import printable

Update = Callable[[str, float, int, int], None]  # what is done, how much of it, of how much, how much failed


@contextmanager
def progress_bars() -> Iterator[Update]:
    """A bar for each thing that is reported on.

    Nothing is shown before the first report, so that an error in what was given stands alone.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    display = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
        console=Console(stderr=True),
    )
    bars: dict[str, Any] = {}

    def update(what: str, done: float, total: int, failed: int) -> None:
        if not bars:
            display.start()
        if what not in bars:
            bars[what] = display.add_task(printable(what), total=total, failed="")
        display.update(bars[what], completed=done, failed=f"{failed} failed" if failed else "")

    try:
        yield update
    finally:
        if bars:
            display.stop()
