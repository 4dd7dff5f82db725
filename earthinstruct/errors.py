"""Errors that a user can cause and fix. The command line prints them in one line and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earthinstruct.contract import Usage

_NAMES_SHOWN = 25


class EarthInstructError(Exception):
    """Invalid input. The message names the thing, the place, what was expected and the next step."""


class DataError(EarthInstructError):
    """A file or folder is missing, malformed or inconsistent."""


class ContractError(EarthInstructError, ValueError):
    """A value breaks the contract between a method and the benchmark."""


class PredictionError(EarthInstructError):
    """A method could not predict an image, but spent time or tokens on it.

    Args:
        message: the reason.
        usage: the seconds and tokens spent, stored in the record of the failure. None if unknown.
    """

    def __init__(self, message: str, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.usage = usage


class UnknownNameError(EarthInstructError):
    """A name is not registered.

    Args:
        kind: the kind of name in the singular ("method", "dataset", "setting").
        name: the unknown name.
        known: all registered names.
        next_step: advice, added at the end of the message.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], next_step: str = "") -> None:
        names = sorted(known)
        by_lower = {known.lower(): known for known in names}
        close = [by_lower[found] for found in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
        hint = f"; did you mean {close[0]!r}?" if close else "."
        if len(names) > _NAMES_SHOWN:
            listed = f"{', '.join(close or names[:3])} and {len(names) - len(close or names[:3])} others"
        else:
            listed = ", ".join(names) or "none"
        super().__init__(f"unknown {kind} {name!r}{hint} Known: {listed}. {next_step}".rstrip())
