"""Texts that come from outside, as they are shown: without control characters, without secrets, and not too long.

Every text that a method, a server or a library wrote passes `redacted` before it goes into a file or to a terminal, and
`printable` before it is printed.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote

from earthinstruct.errors import EarthInstructError

LONGEST_REASON = 1_000  # characters
_LONGEST_LINE = 20_000  # characters, of what is printed
_SHORTENED = "... (shortened)"
# C0, DEL and C1, which terminals obey; what ends a line or turns the direction of writing; halves of characters
_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")

_THINKING = "(?:think|thinking|thought|reasoning|reflection)"
_THOUGHTS = re.compile(rf"<({_THINKING})>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_END_OF_THOUGHTS = re.compile(rf"\A.*</{_THINKING}>", re.DOTALL | re.IGNORECASE)  # the prompt may open the thoughts


def without_thoughts(reply: str) -> str:
    """The reply of a language model without its thoughts.

    >>> without_thoughts("<think>Four? No.</think>There are 3.")
    'There are 3.'
    """
    return _END_OF_THOUGHTS.sub("", _THOUGHTS.sub("", reply))


def printable(text: str) -> str:
    r"""A text as one line that changes nothing on a terminal: control characters are written as escapes.

    >>> print(printable("a ship\x1b]0;title\x07, two\nlines"))
    a ship\x1b]0;title\x07, two\nlines
    """
    return _CONTROL.sub(_escaped, shortened(text, _LONGEST_LINE))


def spreadsheet_cell(text: str) -> str:
    r"""A printable text that a spreadsheet does not take for a formula.

    >>> print(spreadsheet_cell("=1+1"), spreadsheet_cell("a-b"), spreadsheet_cell("\t=1"))
    '=1+1 a-b \t=1
    """
    plain = printable(text)
    return f"'{plain}" if plain.startswith(("=", "+", "-", "@")) else plain


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


def plural(n: int, noun: str, nouns: str = "") -> str:
    """A number with its noun; `nouns`: the plural, where it is more than an added s.

    >>> plural(1, "image"), plural(1_200, "image"), plural(0, "box", "boxes")
    ('1 image', '1,200 images', '0 boxes')
    """
    return f"{n:,} {noun if n == 1 else nouns or f'{noun}s'}"


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


_HIDDEN = "***"
_SHORTEST_SECRET = 6  # characters; a shorter text occurs by chance in other texts
_WORDS = r"(?:pwd|passwd|password|passphrase|secret|token|bearer|authorization|credential|cookie|signature)"
_KEYS = r"(?:(?:api|access|private|secret|account|subscription|shared)[_\-. ]?key)"
# what the name of a secret ends in; a text is secret also if such a word stands elsewhere in its name
_SECRET_NAME = re.compile(rf"(?:(?:^|[_\-.])(?:key|pass|auth|sig)|{_KEYS}|{_WORDS}|credentials)\d*$", re.IGNORECASE)
_SECRET_NAME_OF_TEXT = re.compile(rf"(?:^|[_\-.])(?:{_WORDS}|{_KEYS})s?(?:$|[_\-.])", re.IGNORECASE)
_NO_SECRETS = ("PWD", "OLDPWD")  # environment variables: folders

# user and password before a host: everything up to the last @ of the authority. A password may contain a slash, so
# after a colon that does not start a port the match goes on beyond it. Without a scheme, only user:password@ matches.
_CREDENTIALS = re.compile(
    r"(?<=://)(?:[^/\s?#]*@|[^/\s?#@:]*:(?!\d+(?:[/?#]|$))[^\s,;]*@)|(?<![\w/@.:-])[\w.+-]+:[^\s/@,;]+(?:@[^\s/@,;]+)*@(?=[\w\[])"
)
_QUERY_OF_ADDRESS = re.compile(r"(\w://[^\s?#]*)[?#]\S*")
_ADDRESS = re.compile(r"\w://\S+")
_PAIR = re.compile(  # name=value, in a query without an address or elsewhere
    rf"([?&;][\w.\-]*(?:key|sig|auth)|(?<![\w.\-])[\w.\-]*(?:{_KEYS}|{_WORDS}))=[^\s&;,'\"()]+", re.IGNORECASE
)
_HEADER = re.compile(r"\b([Bb]earer|[Bb]asic(?=\s+\S*[A-Z\d=]))(\s+)[\w\-.~+/]{6,}=*")


def secret_values(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Collect the texts that nothing may show.

    They are the values of parameters and environment variables whose names look like a secret, and the passwords and
    queries of addresses among all values; each also as it is written in addresses, in JSON and in HTML.

    Returns:
        The texts, longest first, so that replacing a short secret does not break up a longer one that contains it.

    >>> found = secret_values({"api_key": "sk-12345", "hubs": [{"token": "hf 1234"}], "key": "", "size": 3})
    >>> [text for text in found if text not in secret_values({})]
    ['hf%201234', 'sk-12345', 'hf 1234', 'hf+1234']
    """
    environment = {name: value for name, value in os.environ.items() if name not in _NO_SECRETS}
    plain = {text for values in (environment, parameters) for text in _secrets_in(values)}
    found = {form for text in plain if len(text) >= _SHORTEST_SECRET for form in _forms(text)}
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def redacted(text: str, secrets: Sequence[str]) -> str:
    """Replace each secret in a text by `***`, and so the user, the password and the query of each address.

    The text may be an error message that quotes a request. The secrets are given longest first.

    >>> redacted("401: sk-12345 at https://me:p@ss@host/v1?sig=1", ["sk-12345"])
    '401: *** at https://***@host/v1?***'
    >>> redacted("POST /v1?api_key=1 with Authorization: Bearer abc.def", ())
    'POST /v1?api_key=*** with Authorization: Bearer ***'
    """
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    text = _QUERY_OF_ADDRESS.sub(rf"\1?{_HIDDEN}", _CREDENTIALS.sub(f"{_HIDDEN}@", text))
    return _HEADER.sub(rf"\1\2{_HIDDEN}", _PAIR.sub(rf"\1={_HIDDEN}", text))


def without_secrets(parameters: Mapping[str, Any], secrets: Sequence[str] = ()) -> dict[str, Any]:
    """Remove secrets from parameters: keys, tokens, user and password in an address, and these secrets in any text."""
    return {
        str(key): _without_credentials(value, secrets)
        for key, value in parameters.items()
        if not _is_secret(str(key), value)
    }


@contextmanager
def secrets_hidden(parameters: Mapping[str, Any] | None) -> Iterator[None]:
    """Remove secrets from each `EarthInstructError` that leaves the block, such as one that a method raised."""
    try:
        yield
    except EarthInstructError as error:
        secrets = secret_values(parameters or {})
        said = message_of(error)
        shown = redacted(said, secrets)
        if shown != said:
            error.args = (shown, *error.args[1:])
        elif not any(secret in message_of(cause) for cause in _causes(error) for secret in secrets):
            raise
        raise error from None  # a traceback shows the causes


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _is_secret(name: str, value: object) -> bool:
    text = isinstance(value, str | list | tuple | Mapping)
    return bool(_SECRET_NAME.search(name)) or (text and bool(_SECRET_NAME_OF_TEXT.search(name)))


def _secrets_in(value: Any, name: str = "") -> Iterator[str]:
    """The secret texts in a value that has this name."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _secrets_in(entry, name if _is_secret(name, value) else str(key))
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _secrets_in(entry, name)
    elif _is_secret(name, value):
        yield str(value)
    elif isinstance(value, str) and "://" in value:
        for address in _ADDRESS.findall(value):
            yield from _secrets_of_address(address)


def _secrets_of_address(address: str) -> Iterator[str]:
    if user := _CREDENTIALS.search(address):
        name, _, password = user[0][:-1].partition(":")
        yield from (password, unquote(password)) if password else (name, unquote(name))
    for _, value in parse_qsl(address.partition("?")[2].partition("#")[0]):
        yield value


def _forms(secret: str) -> Iterable[str]:
    """A secret as it is written in different places."""
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    quoted |= {re.sub(r"%..", lambda code: code[0].lower(), text) for text in quoted}
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return {secret, *quoted, *escaped, json.dumps(secret)[1:-1].replace("/", "\\/"), html.escape(secret)}


def _without_credentials(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _HIDDEN)
        return _QUERY_OF_ADDRESS.sub(r"\1", _CREDENTIALS.sub("", value))
    if isinstance(value, Mapping):
        return without_secrets(value, secrets)
    if isinstance(value, list | tuple):
        return [_without_credentials(entry, secrets) for entry in value]
    return value
