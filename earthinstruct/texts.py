"""What is shown of texts that come from outside: from methods, models, servers and files."""

from __future__ import annotations

import re

LONGEST_REASON = 1_000  # characters
_LONGEST_LINE = 20_000  # characters, of what is printed
_SHORTENED = "... (shortened)"
# C0, DEL and C1, which terminals obey; what ends a line or turns the direction of writing; halves of characters
_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")


def printable(text: str) -> str:
    r"""A text as one line that changes nothing on a terminal: control characters are written as escapes.

    >>> print(printable("a ship\x1b]0;title\x07, two\nlines"))
    a ship\x1b]0;title\x07, two\nlines
    """
    return _CONTROL.sub(_escaped, shortened(text, _LONGEST_LINE))


def printable_lines(text: str) -> str:
    r"""A text of several lines, printable; all but the first are indented, so that none looks like another message.

    >>> print(printable_lines("missing:\nerror: \x1b[31m"))
    missing:
      error: \x1b[31m
    """
    first, *others = text.split("\n")
    return "\n".join([printable(first), *(f"  {printable(line.strip(' '))}" for line in others)])


def printable_json(text: str) -> str:
    r"""JSON whose texts hold no control characters, only their escapes, which mean the same.

    >>> print(printable_json('{"label": "\x9b31m"}'))
    {"label": "\u009b31m"}
    """
    return _CONTROL.sub(lambda match: match[0] if match[0] in "\n\r\t" else f"\\u{ord(match[0]):04x}", text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def shortened(text: str, longest: int = LONGEST_REASON) -> str:
    """A text of at most 1,000 characters, or another number: the end of a longer one is left out.

    >>> shortened("out of memory")
    'out of memory'
    >>> shortened("a" * 5_000_000)[-30:]
    'aaaaaaaaaaaaaaa... (shortened)'
    """
    if len(text) <= longest:
        return text
    return text[: longest - len(_SHORTENED)] + _SHORTENED


def message_of(error: BaseException) -> str:
    """The message of an error; the name of its type if the message cannot be read: a plug-in may raise anything there.

    >>> class Mute(Exception):
    ...     def __str__(self):
    ...         raise SystemExit(0)
    >>> message_of(ValueError("no words")), message_of(Mute())
    ('no words', 'Mute')
    """
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return type(error).__name__


def error_in_words(error: BaseException) -> str:
    """The type and the message of an error.

    >>> error_in_words(ValueError("no words"))
    'ValueError: no words'
    """
    name, message = type(error).__name__, message_of(error)
    return name if message == name else f"{name}: {message}"
