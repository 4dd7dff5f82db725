"""Work on pieces one after another, here or in several processes, with results in the order of the pieces."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Protocol, TypeVar

from earthinstruct.errors import EarthInstructError

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


class Each(Protocol):
    """Applies work to each piece."""

    def __call__(self, work: Callable[[_Piece], _Result], pieces: Iterable[_Piece]) -> Iterator[_Result]:
        """The results, in the order of the pieces."""
        ...


def ahead(start: Callable[[_Piece], Callable[[], _Result]], pieces: Iterable[_Piece], limit: int) -> Iterator[_Result]:
    """The results of work on pieces, in their order, with at most `limit` pieces begun and not yet done.

    Args:
        start: begins the work on a piece, and returns what waits for its result.
        pieces: made as they are needed.
        limit: at least 1.
    """
    waiting: deque[Callable[[], _Result]] = deque()
    for piece in pieces:
        waiting.append(start(piece))
        if len(waiting) >= limit:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


@contextmanager
def in_order(workers: int) -> Iterator[Each]:
    """What applies work to pieces in so many processes; with 1, in this one.

    Pieces are made as they are needed: at most two for each process wait.

    Raises:
        EarthInstructError: fewer than 1, or a process died.
    """
    if workers < 1:
        raise EarthInstructError(f"workers must be at least 1, got {workers}")
    if workers == 1:
        yield lambda work, pieces: map(work, pieces)
        return
    # spawn: a forked child would inherit the locks of the threads of numerical libraries
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:

        def each(work: Callable[[_Piece], _Result], pieces: Iterable[_Piece]) -> Iterator[_Result]:
            return ahead(lambda piece: pool.submit(work, piece).result, pieces, 2 * workers)

        try:
            yield each
        except BrokenProcessPool as error:
            raise EarthInstructError(
                "a scoring process died, perhaps for want of memory; give fewer --workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
