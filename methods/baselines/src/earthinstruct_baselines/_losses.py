"""What is lost of the answers of a language model: counted, and said."""

from __future__ import annotations

import logging
import threading
from collections import Counter

_LOG = logging.getLogger(__name__)


class Losses:
    """Counts what could not be used, over all images, and logs each image that lost something.

    Args:
        method: the name of the method, for the log.
    """

    def __init__(self, method: str) -> None:
        self._method = method
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def add(self, **lost: int) -> None:
        """Add the losses of one image, by kind in words joined by underscores."""
        found = {kind.replace("_", " "): n for kind, n in lost.items() if n}
        if not found:
            return
        with self._lock:
            self.counts.update(found)
        _LOG.warning("%s: one image lost %s", self._method, _said(found))

    def notes(self) -> list[str]:
        """One sentence, or nothing where nothing was lost."""
        return [f"lost so far: {_said(self.counts)}"] if self.counts else []

    def close(self) -> None:
        """Log the sums."""
        if self.counts:
            _LOG.warning("%s: all images lost %s", self._method, _said(self.counts))


def _said(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
