"""What Ctrl-C does during a run."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """The first interrupt asks to stop after the current images and tiles; the second stops at once."""
    before = signal.getsignal(signal.SIGINT)
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        print("\nfinishing the current images or tiles; interrupt again to stop at once", file=sys.stderr)

    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        # under nohup and the like, interrupts are ignored, and stay so
        yield lambda: False
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
