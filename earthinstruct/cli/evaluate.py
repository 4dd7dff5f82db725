"""`earthinstruct evaluate`: run a method over a dataset, score it, print one table."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from earthinstruct.cli import options
from earthinstruct.cli.progress import progress_bars


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = options.add_verb(
        verbs, "evaluate", "run a method over a dataset, then score it: one table", __doc__, run, json="the scores"
    )
    options.add_method(parser)
    options.add_dataset(parser, default="scenes")
    parser.add_argument(
        "--setting", default="all", metavar="S", help="open_vocabulary, open_ended, open_subclass or all (default: all)"
    )
    parser.add_argument(
        "--instruction-file", type=Path, metavar="FILE", help="an instruction text to use in place of ours (one task)"
    )
    options.add_images(parser)
    parser.add_argument(
        "--limit", type=options.at_least(1), metavar="N", help="only the first N images, kept apart in <method>-limit-N"
    )
    options.add_output(parser)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="start again, and replace earlier predictions (default: go on with an interrupted run)",
    )
    _add_engine(parser)
    options.add_scoring(parser)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where it runs")
    group.add_argument(
        "--engine", default="local", metavar="NAME", help="local, or ray for a Ray cluster (default: local)"
    )
    group.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes, each with the method in memory (default: 1)"
    )
    group.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="of an image: one that takes longer counts as failed, and its worker is replaced",
    )
    group.add_argument(
        "--worker-memory", type=float, metavar="GB", help="replace a worker that holds more than this after an image"
    )
    group.add_argument("--gpus-per-worker", type=float, metavar="G", help="GPUs that Ray reserves for each worker")
    group.add_argument(
        "--address", metavar="A", help="of a running Ray cluster, or auto (default: a Ray of its own, on this machine)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when images failed."""
    from earthinstruct.errors import EarthInstructError
    from earthinstruct.results import print_blocks
    from earthinstruct.running import evaluate

    try:
        with progress_bars() as update, _interrupts() as stopping:
            evaluation = evaluate(
                **options.given(arguments),
                progress=lambda task, done, total, failed: update(task.name, done, total, failed),
                stopping=stopping,
            )
    except KeyboardInterrupt:
        again = "the same command without --overwrite" if arguments.overwrite else "the same command"
        kept = f"the predictions made so far are kept in {arguments.output}"
        options.say(f"stopped; {kept}: continue with {again}", error=True)
        return options.INTERRUPTED
    print_blocks(evaluation.blocks())
    options.write_json(arguments, evaluation.results)
    if not evaluation.results:
        raise EarthInstructError("every task was skipped; see the reasons above")
    return 1 if any(result.run.n_failed for result in evaluation.results) else 0


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """The first interrupt asks to stop after the current images; the second stops at once."""
    before = signal.getsignal(signal.SIGINT)
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        print("\nfinishing the current images; interrupt again to stop at once", file=sys.stderr)

    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        # under nohup and the like, interrupts are ignored, and stay so
        yield lambda: False
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
