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
