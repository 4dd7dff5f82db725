"""Checks of the parameters of models: a command line may give any text where a number is expected."""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real

from earthinstruct.errors import EarthInstructError, UnknownNameError


def check_integer(name: str, value: object, least: int = 1) -> int:
    """Return an integer of at least `least` as a plain one, also NumPy's, which JSON cannot encode.

    Raises:
        EarthInstructError: it is smaller, or not an integer.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise EarthInstructError(f"{name} must be an integer >= {least}, got {value!r}")
    return int(value)


def check_number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """Return a finite number in [low, high] as a float, also NumPy's, which JSON cannot encode.

    Raises:
        EarthInstructError: it is not such a number.
    """
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not (math.isfinite(number) and low <= number <= high):
        bounds = ("" if math.isinf(low) else f" from {low:g}") + ("" if math.isinf(high) else f" to {high:g}")
        raise EarthInstructError(f"{name} must be a number{bounds}, got {value!r}")
    return number


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither true nor false.

    Raises:
        EarthInstructError: it is not.
    """
    if not isinstance(value, bool):
        raise EarthInstructError(f"{name} must be true or false, got {value!r}")


def check_choice(what: str, value: object, known: Collection[str], next_step: str = "") -> None:
    """Refuse a word that is not among the known ones; `next_step` is advice at the end of the message.

    Raises:
        UnknownNameError: it is not; names the closest.
    """
    if not isinstance(value, str) or value not in known:
        raise UnknownNameError(what, str(value), known, next_step)
