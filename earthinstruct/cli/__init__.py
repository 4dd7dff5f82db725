"""The command line: one file a verb. A verb's imports happen when it runs, so that help is immediate."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from earthinstruct.cli import (
    check,
    check_method,
    compare,
    data,
    doctor,
    evaluate,
    leaderboard,
    listing,
    new_method,
    options,
    predict,
    report,
    score,
    validate,
)
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.redaction import redacted

VERBS = (
    evaluate,
    score,
    predict,
    compare,
    report,
    check,
    validate,
    leaderboard,
    listing,
    data,
    check_method,
    new_method,
    doctor,
)


class _Parser(argparse.ArgumentParser):
    """Argument errors in one line, with a suggestion for a misspelt verb."""

    def error(self, message: str) -> NoReturn:
        self.exit(options.USAGE, f"error: {message}\nFor help: {self.prog} --help\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """The one place where argparse holds a word against the words that it may be."""
        if action.choices is not None and value not in action.choices:
            self.error(str(UnknownNameError(str(action.metavar or action.dest).lower(), value, action.choices)))


def parser() -> argparse.ArgumentParser:
    """What understands the command line: every verb with its options."""
    top = _Parser(
        prog="earthinstruct",
        description="Count, detect and segment objects in remote-sensing images under free instructions.",
    )
    verbs = top.add_subparsers(required=True, metavar="VERB")
    for module in VERBS:
        module.register(verbs)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: the words after the program's name; None: `sys.argv`.

    Returns:
        0: done; 1: a finding (failed images, a check that does not hold); 2: invalid input;
        130: stopped by the user.
    """
    parsed = parser().parse_args(arguments)
    try:
        with options.output(parsed):
            code = int(parsed.verb(parsed))
        sys.stdout.flush()
        return code
    except EarthInstructError as error:
        print(f"error: {redacted(str(error), options.secrets(parsed))}", file=sys.stderr)
        return options.USAGE
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` does
        _print_no_more()
        return options.FINDING
    except (OSError, ValueError) as error:
        if not _printing_fails():
            raise
        _print_no_more()
        print(f"error: standard output cannot be written: {error}; what went into files is there", file=sys.stderr)
        return options.USAGE
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return options.INTERRUPTED


def _printing_fails() -> bool:
    """Whether text cannot be printed: a full disk behind standard output, or a method closed it."""
    try:
        print(flush=True)
    except (OSError, ValueError):
        return True
    return False


def _print_no_more() -> None:
    """Nothing is left to fail when Python ends."""
    if not sys.stdout.closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
