"""The command line: one file a verb. A verb's imports happen when it runs, so that help is immediate."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

from earthinstruct.cli import (
    check,
    check_method,
    compare,
    completion,
    data,
    doctor,
    evaluate,
    export,
    leaderboard,
    listing,
    new_method,
    options,
    predict,
    report,
    score,
    validate,
    weights,
)
from earthinstruct.cli.config import defaults_from
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.texts import message_of, printable_lines, redacted

SECONDS_TO_END = 15.0
_REQUIRED = "the following arguments are required: "  # what argparse says of them

VERBS = (
    evaluate,
    score,
    predict,
    compare,
    report,
    export,
    check,
    validate,
    leaderboard,
    listing,
    weights,
    data,
    check_method,
    new_method,
    doctor,
    completion,
)


class _Parser(argparse.ArgumentParser):
    """Argument errors in one line, with a suggestion for a misspelt verb or option. Options are not abbreviated."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Here every word is known, or an error of the verb that it was given to."""
        if self._subparsers is None:  # before argparse misses what a misspelt option should have given
            known = self._option_string_actions
            for word in takewhile(lambda word: word != "--", args or ()):
                option = word.partition("=")[0]
                if option.startswith("--") and option not in known:
                    self.error(str(UnknownNameError("option", option, known)))
            if "--config" in known:
                self._take_config(args)
        parsed, unknown = super().parse_known_args(args, namespace)
        for word in unknown:
            self.error(f"unexpected argument {word!r}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        if message.startswith(_REQUIRED):
            meaning = {"/".join(action.option_strings): action.help for action in self._actions}
            missing = message.removeprefix(_REQUIRED).split(", ")
            message = _REQUIRED + ", ".join(
                f"{name} ({meaning[name]})" if name in meaning else name for name in missing
            )
        self.exit(options.USAGE, f"{printable_lines(f'error: {message}')}\nFor help: {self.prog} --help\n")

    def _take_config(self, args: Any) -> None:
        """Make the options in the config file, if one is given, the defaults of the command."""
        alone = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        alone.add_argument("--config", nargs="?", type=Path)
        given = alone.parse_known_args(args)[0].config
        if given is None:
            return
        try:
            defaults = defaults_from(given, self)
        except EarthInstructError as error:
            self.error(str(error))
        self.set_defaults(**defaults)
        for action in self._actions:
            action.required = action.required and action.dest not in defaults

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """The one place where argparse holds a word against the words that it may be."""
        if action.choices is not None and value not in action.choices:
            self.error(str(UnknownNameError(str(action.metavar or action.dest).lower(), value, action.choices)))


class _Version(argparse.Action):
    """Prints the version, which is looked up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"earthinstruct {version('earthinstruct')}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The parser of the command line: every verb with its options."""
    top = _Parser(
        prog="earthinstruct",
        description="Count, detect and segment objects in remote-sensing images under free instructions.",
    )
    top.add_argument("--version", action=_Version)
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
    if arguments is not None:
        return _run(arguments)
    program = _Program()
    program.code = _run(None)
    program.end()
    return program.code


class _Program:
    """The end of this process, which a method must neither prevent nor make look like a success."""

    def __init__(self) -> None:
        self.code: int | None = None  # of the verb, once it is done
        self._leave, self._process = os._exit, os.getpid()
        os._exit = self._exit  # type: ignore[assignment]

    def _exit(self, status: int) -> None:
        """`os._exit`, which a method may call: its 0 is not the code of a verb that is not done."""
        if status == 0 and os.getpid() == self._process:
            if self.code is None:
                print("error: the method ended the program; what went into files is there", file=sys.stderr, flush=True)
            status = options.USAGE if self.code is None else self.code
        self._leave(status)

    def end(self) -> None:
        """Let Python end the process, but not for ever: it waits for every thread that a method left."""
        threading.Thread(target=self._end_late, daemon=True).start()

    def _end_late(self) -> None:
        time.sleep(SECONDS_TO_END)
        main = threading.main_thread()
        left = [thread.name for thread in threading.enumerate() if not thread.daemon and thread is not main]
        names = f" (threads of the method: {', '.join(left)})" if left else ""
        options.say(f"warning: something keeps the program from ending{names}; it ends now", error=True)
        self._exit(0)


def _run(arguments: Sequence[str] | None) -> int:
    parsed = parser().parse_args(arguments)
    try:
        with options.output(parsed):
            code = int(parsed.verb(parsed))
        sys.stdout.flush()
        return code
    except EarthInstructError as error:
        said = redacted(message_of(error), options.secrets(parsed))
        print(printable_lines(f"error: {said}"), file=sys.stderr)
        return options.USAGE
    except SystemExit as error:  # of a plug-in, where nothing else caught it
        if isinstance(error.__context__, BrokenPipeError):  # rich turns it into this
            return options.FINDING
        status = redacted(repr(error.code), options.secrets(parsed))
        options.say(f"error: sys.exit({status}) ended the command; what went into files is there", error=True)
        return options.USAGE
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` does
        _print_no_more()
        return options.FINDING
    except (OSError, ValueError, AttributeError) as error:
        if not _printing_fails():
            raise
        _print_no_more()
        options.say(f"error: standard output cannot be written: {error}; what went into files is there", error=True)
        return options.USAGE
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return options.INTERRUPTED


def _printing_fails() -> bool:
    """Whether text cannot be printed: a full disk behind standard output, or a method closed or removed it."""
    if sys.stdout is None:
        return True
    try:
        print(flush=True)
    except (OSError, ValueError):
        return True
    return False


def _print_no_more() -> None:
    """Nothing is left to fail when Python ends."""
    if sys.stdout is not None and not sys.stdout.closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
