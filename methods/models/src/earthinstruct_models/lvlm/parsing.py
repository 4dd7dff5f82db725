r"""Reads JSON and counts from the reply of a language model. Nothing is guessed: unreadable pieces are reported.

The reader accepts JSON and its variants in replies: text and fences around it, single quotes, comments, trailing
commas, Python's `True`, `False`, `None`, `nan` and `inf`. If a piece is broken or the text ends early, the rest is kept
and the lost pieces are counted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from earthinstruct_models.lvlm.interface import LvlmError, Reply, checked

LARGEST_COUNT = 100_000  # objects of one kind in one image; more is a mistake of the model
_DEEPEST = 64  # levels of nesting
_LONGEST_INTEGER = 300  # digits; longer numbers become infinite, like floats

_SPACE = re.compile(r"(?:\s|//[^\n]*|\#[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|\'[^\'\\]*(?:\\.[^\'\\]*)*\'', re.DOTALL)
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
_WORD = re.compile(r"-?[A-Za-z]+")
_OPEN = re.compile(r"[\[{]")
_WORDS: Mapping[str, Any] = {
    **{"true": True, "false": False, "null": None, "True": True, "False": False, "None": None},
    **{"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf},
    **{"nan": math.nan, "inf": math.inf, "-inf": -math.inf},
}

_WRAPPERS = ("counts", "count", "object_counts", "answer", "answers", "result", "results", "output", "objects")
_NAME_KEYS = ("label", "name", "category", "class", "object", "kind", "type")
_COUNT_KEYS = ("count", "number", "quantity", "total", "n")
_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_DIGITS = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")


@dataclass(frozen=True)
class Found:
    """JSON found in a text.

    Attributes:
        value: the object or array in Python.
        dropped: number of elements and members that could not be read and were left out, including a torn last one.
        truncated: the text ends before the value does.
        repeated: keys that an object has more than once, with different values (`value` holds the last one).
    """

    value: dict[str, Any] | list[Any]
    dropped: int = 0
    truncated: bool = False
    repeated: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything was read."""
        return not self.dropped and not self.truncated


def find_json(text: str) -> Found | None:
    r"""The final JSON of a text: its last object, or array of objects or arrays; otherwise its last array.

    >>> find_json('There are two.\n```json\n{"ship": 2}\n``` as [1] says').value
    {'ship': 2}
    >>> find_json('[{"label": "ship", "box": [1, 2, 3, 4]}, {"label": "har')
    Found(value=[{'label': 'ship', 'box': [1, 2, 3, 4]}], dropped=1, truncated=True, repeated=())
    >>> find_json("I see nothing.") is None
    True
    """
    best = None
    for found in _containers(text):
        if best is None or _is_structure(found.value) or not _is_structure(best.value):
            best = found
    return best


def parse_counts(reply: Reply) -> dict[str, int]:
    r"""The counts in a reply: label -> whole number >= 0.

    Accepted are an object of labels and numbers, an array of objects with a label and a count (a repeated label is
    summed) or with one label and number each, and either of these inside an object under a name such as "counts". A
    number may be a float without a fraction, digits in a string ("3", "1,200"), or an English word up to twenty; null
    is 0.

    Raises:
        LvlmError: the reply is a refusal, is cut off, or has no such JSON: it has a fraction, a negative number, a
            value that is not a number, one label with two counts, or an unreadable piece. The error keeps the reply.

    >>> parse_counts(Reply('Sure!\n```json\n{"counts": {"ship": "3", "harbor": 2.0, "dam": null}}\n```'))
    {'ship': 3, 'harbor': 2, 'dam': 0}
    >>> parse_counts(Reply('[{"label": "ship", "count": 3}]'))
    {'ship': 3}
    """
    found = find_json(checked(reply).text)
    try:
        if found is None:
            raise _NoCountError("the reply holds no JSON")
        if not found.complete:
            raise _NoCountError("the JSON of the reply is broken or cut off")
        if found.repeated:
            raise _NoCountError(f"the reply gives {found.repeated[0]!r} two different values")
        return _counts(found.value)
    except _NoCountError as error:
        raise LvlmError(str(error), reply) from None


class _NoCountError(ValueError):
    """A value is not a count."""


def _counts(value: Any, depth: int = 0) -> dict[str, int]:
    if depth > len(_WRAPPERS):
        raise _NoCountError("the counts of the reply are nested too deep")
    if isinstance(value, list):
        return _summed(value)
    inner = [
        value[key] for key in value if key.strip().lower() in _WRAPPERS and isinstance(value[key], dict | list)
    ] or [part for part in value.values() if len(value) == 1 and _is_structure(part) and not _is_entry(part)]
    if len(inner) == 1:
        return _counts(inner[0], depth + 1)
    if set(map(str.lower, value)) & set(_NAME_KEYS) and set(map(str.lower, value)) & set(_COUNT_KEYS):
        return dict([_entry(value)])
    counts: dict[str, int] = {}
    for key, number in value.items():
        label = _label(key)
        count = _count(label, _count_of(number) if _is_entry(number) else number)
        if counts.setdefault(label, count) != count:
            raise _NoCountError(f"the reply gives {label!r} two different values")
    return counts


def _summed(entries: list[Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise _NoCountError(f"element {i} of the reply is not an object with a label and a count")
        label, count = _entry(entry)
        counts[label] = counts.get(label, 0) + count
    return counts


def _entry(entry: dict[str, Any]) -> tuple[str, int]:
    """The label and the count of {"label": "ship", "count": 3} or {"ship": 3}."""
    fields = {key.lower(): part for key, part in entry.items()}
    label = next((fields[key] for key in _NAME_KEYS if isinstance(fields.get(key), str)), None)
    if label is not None and set(fields) & set(_COUNT_KEYS):
        return _label(label), _count(label, _count_of(entry))
    if len(entry) == 1:
        ((label, number),) = entry.items()
        return _label(label), _count(label, number)
    raise _NoCountError(f"the reply has an entry without a label or a count: {str(entry)[:100]!r}")


def _is_entry(value: Any) -> bool:
    """Whether a value is an object with a count, such as {"count": 3, "confidence": "high"}."""
    return isinstance(value, dict) and any(
        key.lower() in _COUNT_KEYS and not isinstance(part, dict | list) for key, part in value.items()
    )


def _count_of(entry: dict[str, Any]) -> Any:
    fields = {key.lower(): part for key, part in entry.items()}
    return next(fields[key] for key in _COUNT_KEYS if key in fields)


def _label(text: str) -> str:
    label = " ".join(text.split())
    if not label:
        raise _NoCountError("the reply has a count without a label")
    if not label.isprintable():
        raise _NoCountError(f"the reply has the label {label!r}, which is no text")
    return label


def _count(label: str, value: Any) -> int:
    number = _number_in(value) if isinstance(value, str) else 0 if value is None else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise _NoCountError(f"the reply gives {label!r} the count {str(value)[:100]!r}, which is not a number")
    if not math.isfinite(number) or number != int(number):
        raise _NoCountError(f"the reply gives {label!r} the count {number}, which is not a whole number")
    if not 0 <= number <= LARGEST_COUNT:
        raise _NoCountError(f"the reply gives {label!r} a count outside 0 to {LARGEST_COUNT:,}")
    return int(number)


def _number_in(text: str) -> float | str:
    """The number that a string spells, or the string."""
    word = text.strip().lower()
    if word in _NUMBER_WORDS:
        return _NUMBER_WORDS.index(word)
    return float(word.replace(",", "")) if _DIGITS.fullmatch(word) else text


def _is_structure(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(part, dict | list) for part in value))


def _containers(text: str) -> Iterator[Found]:
    """The outermost objects and arrays of a text."""
    at = 0
    while opening := _OPEN.search(text, at):
        reader = _Reader(text, opening.start())
        try:
            value = reader.container(0)
        except _TooDeepError:
            return
        except _NotJsonError:
            at = opening.end()
            continue
        at = reader.at
        if value or not (reader.dropped or reader.ended):
            yield Found(value, reader.dropped, reader.ended, tuple(reader.repeated))
        if reader.ended:
            return  # the rest is inside the torn value


class _NotJsonError(Exception):
    """The text here is not JSON."""


class _EndError(Exception):
    """The text ends inside a value."""


class _TooDeepError(Exception):
    """The value is nested too deep."""


class _Reader:
    """Reads one object or array from a position in a text."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at
        self.dropped = 0
        self.ended = False
        self.repeated: list[str] = []

    def container(self, depth: int) -> dict[str, Any] | list[Any]:
        """The object or array that begins here; if it is torn or a piece is broken, the rest of it.

        Raises:
            _NotJsonError: its first piece is not JSON: it is a bracket in prose.
        """
        if depth >= _DEEPEST:
            raise _TooDeepError
        closer = "}" if self.text[self.at] == "{" else "]"
        pieces: list[Any] = []  # values, or pairs of key and value
        certain = False  # that this is JSON
        self.at += 1
        while not self.ended and not self._closed(closer):
            start, dropped = self.at, self.dropped
            try:
                key = self._key() if closer == "}" else None
                certain = certain or key is not None
                value = self._value(depth)
                if self.ended and not _survives(value, in_array=key is None):
                    self.dropped = dropped + 1
                    break
                if not self.ended:
                    self._separated()
                pieces.append(value if key is None else (key, value))
                certain = True
            except _EndError:
                self.ended = True
                self.dropped = dropped + 1
            except _NotJsonError:
                if not certain:
                    raise
                self.dropped = dropped + 1
                self.at = start
                self._skip_piece()
        return self._object(pieces) if closer == "}" else pieces

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key, value in pairs:
            if key in members and members[key] != value:
                self.repeated.append(key)
            members[key] = value
        return members

    def _value(self, depth: int) -> Any:
        start = self._next()
        if start in "{[":
            return self.container(depth + 1)
        if start in "\"'":
            return self._string()
        for pattern, read in ((_NUMBER, _number), (_WORD, _word)):
            if match := pattern.match(self.text, self.at):
                if match.end() == len(self.text):
                    raise _EndError  # more may be missing
                self.at = match.end()
                return read(match[0])
        raise _NotJsonError

    def _key(self) -> str:
        if self._next() not in "\"'":
            raise _NotJsonError
        key = self._string()
        if self._next() != ":":
            raise _NotJsonError
        self.at += 1
        return key

    def _string(self) -> str:
        match = _STRING.match(self.text, self.at)
        if match is None:
            raise _EndError
        self.at = match.end()
        return _unquoted(match[0])

    def _next(self) -> str:
        """The next character after spaces and comments."""
        space = _SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at
        if self.at >= len(self.text):
            raise _EndError
        return self.text[self.at]

    def _closed(self, closer: str) -> bool:
        """Skip the closing bracket if it is here; the bracket of another container is left to that container."""
        try:
            here = self._next()
        except _EndError:
            self.ended = True
            return True
        if here == closer:
            self.at += 1
        elif here in "]}":
            self.dropped += 1
        return here in "]}"

    def _separated(self) -> None:
        """Skip the comma after a piece."""
        try:
            here = self._next()
        except _EndError:
            self.ended = True
            return
        if here == ",":
            self.at += 1
        elif here not in "]}":
            raise _NotJsonError

    def _skip_piece(self) -> None:
        """Skip a broken piece: to after the next comma of this level, or to the closing bracket."""
        level = 0
        while self.at < len(self.text):
            here = self.text[self.at]
            if here in "]}" and level == 0:
                return
            quoted = _STRING.match(self.text, self.at) if here == '"' else None
            self.at = quoted.end() if quoted else self.at + 1
            if here == "," and level == 0:
                return
            level += (here in "[{") - (here in "]}")
        self.ended = True


def _survives(value: Any, in_array: bool) -> bool:
    """Whether a torn container is kept: an object in an array lacks fields, an array of scalars lacks numbers."""
    return _is_structure(value) and not (in_array and isinstance(value, dict))


def _number(text: str) -> int | float:
    whole = text.lstrip("+-").isdigit() and len(text) <= _LONGEST_INTEGER
    return int(text) if whole else float(text)


def _word(text: str) -> Any:
    if text not in _WORDS:
        raise _NotJsonError
    return _WORDS[text]


def _unquoted(quoted: str) -> str:
    """The content of a string in double or single quotes. Escapes that JSON does not have are kept unchanged."""
    inside = quoted[1:-1]
    if quoted[0] == "'":
        inside = re.sub(r'\\(.)|(")', lambda m: "'" if m[1] == "'" else f"\\{m[1] or m[2]}", inside, flags=re.DOTALL)
    try:
        return str(json.loads(f'"{inside}"', strict=False))
    except ValueError:
        return inside
