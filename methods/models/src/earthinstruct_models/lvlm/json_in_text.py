r"""Finds the JSON in the reply of a language model. Nothing is guessed: what cannot be read is reported.

The reader accepts JSON and its variants in replies: text and fences around it, single quotes, keys without quotes,
comments, trailing and missing commas, Python's tuples, `True`, `False`, `None`, `nan` and `inf`. If a piece is broken
or the text ends early, the rest is kept and the lost pieces are named. What an answer means is decided in `parsing`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from earthinstruct.texts import without_thoughts

Container = dict[str, Any] | list[Any]

_DEEPEST = 64  # levels of nesting
_LONGEST_INTEGER = 300  # digits; longer numbers become infinite, like floats
_LONGEST_SHOWN = 60  # characters of a piece in a message
_CLOSERS = {"{": "}", "[": "]", "(": ")"}
_QUOTES = "\"'“"

_SPACE = re.compile(r"(?:\s|//[^\n]*|\#[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|\'[^\'\\]*(?:\\.[^\'\\]*)*\'|“[^”]*”', re.DOTALL)
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
_WORD = re.compile(r"-?[A-Za-z]+")
_BARE_KEY = re.compile(r"[^\W\d][\w -]{0,80}(?=:)")
_OPEN = re.compile(r"[\[{]")
_WORDS: Mapping[str, Any] = {
    **{"true": True, "false": False, "null": None, "True": True, "False": False, "None": None},
    **{"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf},
    **{"nan": math.nan, "inf": math.inf, "-inf": -math.inf},
}

_BETWEEN = re.compile(r"[\s,;]*")  # what separates the elements of one answer
_BROKEN = re.compile(  # an object or array that cannot be read; other brackets are prose
    r"(?:\{[^{}\[\]]*?[:=\"]|\[\s*[\"'“]|\[[\w ]+:\s*\d)[^{}\[\]]*[}\]]?"
)
_CONTINUED = re.compile(r"\s*,\s*(?:[\"'][^\n]*|\Z)")  # after an object that was closed too early, or a last comma

# {"category": 0}, [{"label": "name", "bbox": [x1, y1, x2, y2]}, ...]: the format of the answer, repeated
_NOUN = r"(?:category|categories|(?:object|class|label|name|item|kind|type)s?)(?:[ _-]?(?:name|label|\d|[a-z]))?"
_BLANK = rf"[\"'<]*(?:{_NOUN}|count|number|integer|int|n|[xy][12]|[xy]_?m(?:in|ax)|\.\.\.)[\"'>]*"
_BLANKS = rf"(?:{_BLANK}|\[\s*{_BLANK}(?:\s*,\s*{_BLANK})*\s*\])"
_MEMBER = rf"[\"'<]*(?:{_NOUN}[\"'>]*\s*:\s*(?:{_BLANKS}|\d+)|(?:count|number|b?box\w*)[\"'>]*\s*:\s*(?:{_BLANKS}|0))"
_FORMAT = re.compile(
    rf"(?:\[\s*)?\{{\s*{_MEMBER}(?:\s*,\s*(?:{_MEMBER}|\.\.\.))*\s*\}}(?:\s*,\s*\.\.\.)?(?:\s*\])?", re.IGNORECASE
)
_EXAMPLE = re.compile(r"(?:\b(?:example|for instance|template)|e\.g\.)[^\n]*\s*(?:```\w*\s*)?\Z", re.IGNORECASE)
_CUE = 200  # characters before an example


@dataclass(frozen=True)
class Found:
    """JSON found in a text.

    Attributes:
        runs: the outermost objects and arrays in Python, in order. Those with nothing but spaces and commas between
            them are one run, because they are the elements of one answer.
        unread: the pieces that could not be read and were left out, in words, a torn last one included.
        truncated: the text ends before the value does.
    """

    runs: list[list[Container]] = field(default_factory=list)
    unread: tuple[str, ...] = ()
    truncated: bool = False

    @property
    def values(self) -> list[Container]:
        """The outermost objects and arrays."""
        return [value for run in self.runs for value in run]

    @property
    def problem(self) -> str | None:
        """Why an answer cannot be read whole; None: it can."""
        if self.truncated or self.unread:
            return "broken or cut off JSON" + "".join(f": {piece}" for piece in self.unread[:1])
        return None if self.runs else "no JSON"


def find_json(text: str) -> Found:
    r"""All outermost objects and arrays of a text, without the thoughts (`<think>`) and without a repeated format.

    >>> find_json('There are two.\n```json\n{"ship": 2}\n``` and {"harbor": 1}').runs
    [[{'ship': 2}], [{'harbor': 1}]]
    >>> find_json('{"ship": 2}\n{"harbor": 1}\nFormat: {"category": 0}').runs
    [[{'ship': 2}, {'harbor': 1}]]
    >>> find_json('[{"label": "ship", "box": [1, 2, 3, 4]}, {"label": "har')
    Found(runs=[[[{'label': 'ship', 'box': [1, 2, 3, 4]}]]], unread=('the piece \'{"label": "har\'',), truncated=True)
    """
    text = without_thoughts(text)
    runs: list[list[Container]] = []
    examples: list[tuple[list[Container], str]] = []
    unread: list[str] = []
    at = end = 0
    reader = None
    while opening := _OPEN.search(text, at):
        if repeated := _FORMAT.match(text, opening.start()):
            at = repeated.end()
            continue
        reader = _Reader(text, opening.start())
        try:
            value = reader.container(0)
        except _TooDeepError:
            unread.append("brackets nested too deep")
            break
        except _NotJsonError:
            broken = _BROKEN.match(text, opening.start())
            unread += [_piece(broken[0])] if broken else []
            at = opening.end()
            continue
        unread += reader.unread
        between, whole = text[end : opening.start()], not (reader.unread or reader.ended)
        at = end = reader.at
        if _EXAMPLE.search(between[-_CUE:]):
            examples.append(([value], _piece(text[opening.start() : end])))
        elif runs and _BETWEEN.fullmatch(between) and (value or whole):
            runs[-1].append(value)
        elif value or whole:
            runs.append([value])
        if reader.ended:
            break  # the rest is inside the torn value
        if continued := _CONTINUED.match(text, end):
            unread.append(_piece(continued[0]))
    unread += [f"an example beside the answer, {piece}" for _, piece in examples if runs]
    found = Found(runs or [run for run, _ in examples], tuple(unread), reader is not None and reader.ended)
    return _of_parts(found) or found


def _of_parts(found: Found) -> Found | None:
    """The JSON in the text parts of a message, if that is what was found: [{"type": "text", "text": "..."}]."""
    parts = found.values[0] if len(found.values) == 1 else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) and "type" in part for part in parts):
        return None
    texts = [part["text"] for part in parts if part["type"] in ("text", "output_text") and "text" in part]
    if not texts or not all(isinstance(text, str) for text in texts):
        return None
    inner = find_json("".join(texts))
    return Found(inner.runs, found.unread + inner.unread, found.truncated or inner.truncated)


def _piece(text: str) -> str:
    words = " ".join(text[: 4 * _LONGEST_SHOWN].split())
    return f"the piece {words if len(words) <= _LONGEST_SHOWN else words[:_LONGEST_SHOWN] + '...'!r}"


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
        self.unread: list[str] = []
        self.ended = False

    def container(self, depth: int) -> Container:
        """The object or array that begins here; if it is torn or a piece is broken, the rest of it.

        Raises:
            _NotJsonError: its first piece is not JSON: it is a bracket in prose.
        """
        if depth >= _DEEPEST:
            raise _TooDeepError
        closer = _CLOSERS[self.text[self.at]]
        pieces: list[Any] = []  # values, or pairs of key and value
        certain = False  # that this is JSON
        self.at += 1
        while not self.ended and not self._closed(closer):
            start, unread = self.at, len(self.unread)
            try:
                key = self._key() if closer == "}" else None
                certain = certain or (self.text[start] in _QUOTES and key is not None)
                value = self._value(depth)
                if self.ended and not _survives(value, in_array=key is None):
                    self.unread[unread:] = [_piece(self.text[start:])]
                    break
                if not self.ended:
                    self._separated(closer)
                pieces.append(value if key is None else (key, value))
                certain = True
            except _EndError:
                self.ended = True
                self.unread[unread:] = [_piece(self.text[start:])]
            except _NotJsonError:
                if not certain:
                    raise
                self.at = start
                self._skip_piece()
                self.unread[unread:] = [_piece(self.text[start : self.at])]
        return self._object(pieces) if closer == "}" else pieces

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key, value in pairs:
            if key in members and members[key] != value:
                self.unread.append(f"{key[:_LONGEST_SHOWN]!r} has two different values")
            members[key] = value
        return members

    def _value(self, depth: int) -> Any:
        start = self._next()
        if start in _CLOSERS:
            return self.container(depth + 1)
        if start in _QUOTES:
            return self._string()
        for pattern, read in ((_NUMBER, _number), (_WORD, _word)):
            if match := pattern.match(self.text, self.at):
                if match.end() == len(self.text):
                    raise _EndError  # more may be missing
                self.at = match.end()
                return read(match[0])
        raise _NotJsonError

    def _key(self) -> str:
        if self._next() in _QUOTES:
            key = self._string()
        elif bare := _BARE_KEY.match(self.text, self.at):
            key = bare[0].strip()
            self.at = bare.end()
        else:
            raise _NotJsonError
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
        elif here in "]})":
            self.unread.append(f"{here!r} where {closer!r} is expected")
        return here in "]})"

    def _separated(self, closer: str) -> None:
        """Skip the comma after a piece; it may be missing before a bracket or a quote."""
        try:
            here = self._next()
        except _EndError:
            self.ended = True
            return
        if here == ",":
            self.at += 1
        elif here != closer and here not in "]}[{" + _QUOTES:
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
    holds_containers = isinstance(value, list) and any(isinstance(part, dict | list) for part in value)
    return holds_containers or (isinstance(value, dict) and not in_array)


def _number(text: str) -> int | float:
    whole = text.lstrip("+-").isdigit() and len(text) <= _LONGEST_INTEGER
    return int(text) if whole else float(text)


def _word(text: str) -> Any:
    if text not in _WORDS:
        raise _NotJsonError
    return _WORDS[text]


def _unquoted(quoted: str) -> str:
    """The content of a string in quotes. Escapes that JSON does not have are kept unchanged."""
    inside = quoted[1:-1]
    if quoted[0] == "'":
        inside = re.sub(r'\\(.)|(")', lambda m: "'" if m[1] == "'" else f"\\{m[1] or m[2]}", inside, flags=re.DOTALL)
    try:
        return str(json.loads(f'"{inside}"', strict=False))
    except ValueError:
        return inside
