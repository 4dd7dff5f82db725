"""Errors that a user can cause and fix. The command line prints them in one line and exits with status 2.

`checked_arguments` gives public functions such an error for an argument of a wrong type.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

_NAMES_SHOWN = 25
_P = ParamSpec("_P")
_R = TypeVar("_R")


class EarthInstructError(Exception):
    """Invalid input. The message names the thing, the place, what was expected and the next step."""


class DataError(EarthInstructError):
    """A file or folder is missing, malformed or inconsistent."""


class ContractError(EarthInstructError, ValueError):
    """A value breaks the contract between a method and the benchmark."""


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


def checked_arguments(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a public function refuse unknown arguments, and those without the annotated type, before it does anything.

    Only the outer type, the items of sequences and the choices of unions are checked. A class given where an object is
    expected is refused too.

    Raises:
        EarthInstructError: by the decorated function; it names the argument, the expected type and the given value, or
            the argument that is meant.
    """
    signature = inspect.signature(function)
    stars = {name for name, each in signature.parameters.items() if each.kind is each.VAR_POSITIONAL}

    @functools.cache
    def hints() -> dict[str, Any]:
        # without that of the answer, whose package may be imported for type checkers alone
        given = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
        return typing.get_type_hints(types.SimpleNamespace(__annotations__=given), inspect.unwrap(function).__globals__)

    @functools.wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            if unknown := [name for name in kwargs if name not in signature.parameters]:
                raise UnknownNameError(f"argument of {function.__name__}", unknown[0], signature.parameters) from None
            return function(*args, **kwargs)  # raises it in Python's own words
        several = [(name, value) for name, values in given.items() if name in stars for value in values]
        for name, value in [*((name, value) for name, value in given.items() if name not in stars), *several]:
            if not _fits(value, hints()[name]):
                kind = (
                    f"the class {value.__name__}: give an object, as {value.__name__}()"
                    if isinstance(value, type)
                    else f"{type(value).__name__} {value!r}"
                )
                raise EarthInstructError(
                    f"{function.__name__}: {name} must be {_in_words(hints()[name])}, got {kind[:200]}"
                )
        return function(*args, **kwargs)

    return checked


def _unaliased(hint: Any) -> Any:
    """The type that an alias names: `type X = ...`, as NDArray is in NumPy 2.5; any other type as it is."""
    named = getattr(typing.get_origin(hint) or hint, "__value__", None)
    return hint if named is None else _unaliased(named)


def _fits(value: object, hint: Any) -> bool:
    hint = _unaliased(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, choice) for choice in arguments)
    if origin is typing.Literal:
        return isinstance(value, tuple(map(type, arguments)))  # the function knows which words it takes
    if origin is type:
        return isinstance(value, type)
    if origin is Sequence:
        return (
            isinstance(value, Sequence)
            and not isinstance(value, str)
            and all(_fits(item, arguments[0]) for item in value)
        )
    if origin is not None:
        return isinstance(value, origin)
    if hint in (int, float):
        number = numbers.Integral if hint is int else numbers.Real  # NumPy's too
        return isinstance(value, number) and not isinstance(value, bool)
    return isinstance(value, hint) and not (isinstance(value, type) and hint is not type)


def _in_words(hint: Any) -> str:
    hint = _unaliased(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        words = list(dict.fromkeys(_in_words(choice) for choice in arguments))
        return f"{', '.join(words[:-1])} or {words[-1]}"
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin is Sequence:
        return f"a sequence of ({_in_words(arguments[0])})"
    if origin is Mapping:
        return "a mapping"
    if hint is type(None):
        return "None"
    if origin is Callable:
        return "a function"
    if origin is not None:
        return "a class" if origin is type else f"an {origin.__name__}"
    return str(getattr(hint, "__name__", hint))
