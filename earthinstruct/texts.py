"""What is shown of texts that come from outside: from methods, models, servers and files."""

from __future__ import annotations

LONGEST_SHOWN = 1000  # characters
_SHORTENED = "... (shortened)"


def shortened(text: str) -> str:
    """A text of at most 1,000 characters: the end of a longer one is left out.

    >>> shortened("out of memory")
    'out of memory'
    >>> shortened("a" * 5_000_000)[-30:]
    'aaaaaaaaaaaaaaa... (shortened)'
    """
    if len(text) <= LONGEST_SHOWN:
        return text
    return text[: LONGEST_SHOWN - len(_SHORTENED)] + _SHORTENED


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
