"""The progress of a command, on standard error: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from earthinstruct.texts import printable

if TYPE_CHECKING:
    from rich.console import Console

SECONDS_BETWEEN_LINES = 60.0


class Update(Protocol):
    """Shows what is done, how much of it, of how much, and what else there is to say."""

    def __call__(self, what: str, done: float, total: int, more: str = "") -> None:
        """Show it."""


@contextmanager
def progress_bars(clock: Callable[[], float] = time.monotonic) -> Iterator[Update]:
    """Show each thing that is reported on: a bar on a terminal; elsewhere a line a minute, and one when it is done.

    Nothing is shown before the first report, so that an error in what was given stands alone.

    Args:
        clock: gives the seconds since some moment.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with _bars(console) as update:
            yield update
    else:
        yield _Lines(console, clock)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[float, int], None]]:
    """Show one thing, as `progress_bars` does; yields a callback `(done, total)`."""
    with progress_bars() as update:
        yield partial(update, what)


class _Lines:
    """Prints a line about each thing when a minute has passed since the last one, and when it is done."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._last: dict[str, float] = {}

    def __call__(self, what: str, done: float, total: int, more: str = "") -> None:
        """Print a line, if it is time."""
        now = self._clock()
        if now - self._last.setdefault(what, now) < SECONDS_BETWEEN_LINES and done < total:
            return
        self._last[what] = now
        said = ", ".join(part for part in (f"{printable(what)}: {done:g} of {total}", more) if part)
        self._console.print(said, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _bars(console: Console) -> Iterator[Update]:
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
        console=console,
    )
    bars: dict[str, Any] = {}

    def update(what: str, done: float, total: int, more: str = "") -> None:
        if not bars:
            display.start()
        if what not in bars:
            bars[what] = display.add_task(printable(what), total=total, more="")
        display.update(bars[what], completed=done, total=total, more=more)

    try:
        yield update
    finally:
        if bars:
            display.stop()
