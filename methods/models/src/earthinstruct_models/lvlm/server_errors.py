"""What the errors of servers with OpenAI's chat completions say. Their bodies are objects, lists, text or HTML.

Servers differ in where they put the words, the code and the refused parameter; all known places are read here.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_DEEPEST = 8  # levels of errors inside errors
_MOST = 5  # entries of a list that are read
_LONGEST = 2_000  # characters of text that are read

_WORDS = ("message", "msg", "description", "error_description", "title")
_INSIDE = ("error", "errors", "detail", "details", "innererror", "metadata", "raw", "fieldViolations")
_CODES = ("code", "type", "status", "reason")
_PARAMETERS = {  # the parameters of a request, by the names that servers use
    "temperature": ("temperature",),
    "top_p": ("top_p", "topp"),
    "seed": ("seed",),
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "response_format": ("response_format", "response_schema", "response_json_schema", "response_mime_type"),
}
_HOPELESS = {401, 402, 403, 404}
_HOPELESS_CODES = {
    *("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated"),
    *("invalid_api_key", "API_KEY_INVALID", "model_not_found", "invalid_model", "DeploymentNotFound"),
}
_HOPELESS_WORDS = re.compile(  # of servers that send no code: LM Studio, Ollama
    r"no models? (is |are )?loaded|invalid model identifier|failed to load model"
    r"|(the |this )?model (does not exist|is not loaded|does not support (image|vision))",
    re.IGNORECASE,
)
_OF_ONE_REQUEST = {"content_filter", "content_policy_violation", "moderation"}
_STATUS_OF_CODE = {"rate_limit_exceeded": 429, "insufficient_quota": 429, "server_error": 500, "overloaded_error": 503}
_VALUE_CODES = re.compile(r"(above|below)_(max|min)|(less|greater)_than|_type\Z|_parsing\Z")
_UNSUPPORTED = ("unsupported_parameter", "unsupported_value", "extra_forbidden")


@dataclass(frozen=True)
class ServerError:
    """What an error says.

    Attributes:
        message: its words.
        codes: everything that names its kind: codes, types and reasons.
        parameter: the refused parameter, by OpenAI's name ("temperature") if it is known here; empty: none is named.
        flagged: a filter of contents stopped this one request.
    """

    message: str
    codes: frozenset[str] = frozenset()
    parameter: str = ""
    flagged: bool = False

    def hopeless(self, status: int) -> bool:
        """Whether every other request with this key and model would end in the same error."""
        if self.flagged or self.codes & _OF_ONE_REQUEST:
            return False
        refused = status in _HOPELESS or 300 <= status < 400
        return refused or bool(self.codes & _HOPELESS_CODES or _HOPELESS_WORDS.match(self.message))

    def lacking(self, status: int, options: Mapping[str, Any]) -> str | None:
        """The option of a refused request that the server does not support, or None.

        The named parameter decides. Only if an error of this kind names none, the options that its words mention do.
        """
        unsupported = bool(self.codes & set(_UNSUPPORTED))
        if not (status in (400, 422) or unsupported):
            return None
        named = [self.parameter] if self.parameter else _mentioned(self.message)
        for option in ("response_format", "seed", "top_p", "temperature", "max_tokens"):
            # a value out of range is an error of the user
            if option in named and option in options and (option == "response_format" or not self._is_about_a_value):
                return option
        return None

    @property
    def _is_about_a_value(self) -> bool:
        return any(_VALUE_CODES.search(code) for code in self.codes)


def read_error(body: object) -> ServerError:
    """Read the body of an error: JSON, or text.

    >>> read_error({"error": {"message": "No.", "param": "top_p", "code": "unsupported_parameter"}}).parameter
    'top_p'
    >>> read_error("<html><head><title>502 Bad Gateway</title></head></html>").message
    '502 Bad Gateway'
    """
    messages, codes, parameters, flagged = list[str](), set[str](), list[str](), False
    for part in _parts(body, 0):
        if isinstance(part, str):
            messages.append(part)
            continue
        codes.update(_texts(part.get(key) for key in _CODES))
        parameters += _parameters(part)
        flagged = flagged or "flagged_input" in part or "reasons" in part
    message = ": ".join(text for text in dict.fromkeys(messages) if text)
    return ServerError(message, frozenset(codes), parameters[0] if parameters else "", flagged)


def error_in_success(body: object) -> tuple[int, Any] | None:
    """The status and the body of an error that a server sent with status 200, or None.

    It is at the top or in the first choice. Without a code that says otherwise it is an error of the request, 400.
    """
    if isinstance(body, list) and body:
        body = body[0]  # as Gemini's errors
    if not isinstance(body, Mapping):
        return None
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
    error = body.get("error") or choice.get("error")
    if error is None and body.get("object") == "error":
        error = body
    if not error:
        return None
    codes = read_error({"error": error}).codes
    statuses = [int(code) for code in sorted(codes) if re.fullmatch(r"[45]\d\d", code)]
    known = [_STATUS_OF_CODE[code] for code in sorted(codes) if code in _STATUS_OF_CODE]
    return (statuses or known or [400])[0], {"error": error}


def _parts(value: object, depth: int) -> Iterator[str | Mapping[str, Any]]:
    """The texts and objects of an error, from the outside to the inside."""
    if depth > _DEEPEST:
        return
    if isinstance(value, str):
        yield from _parts_of_text(value.strip(), depth)
    elif isinstance(value, list):
        for part in value[:_MOST]:
            yield from _parts(part, depth + 1)
    elif isinstance(value, Mapping):
        yield value
        for key in (*_WORDS, *_INSIDE):
            yield from _parts(value.get(key), depth + 1)


def _parts_of_text(text: str, depth: int) -> Iterator[str | Mapping[str, Any]]:
    if text[:1] in ("{", "[") and len(text) < 100 * _LONGEST:
        try:
            yield from _parts(json.loads(text), depth + 1)
        except (ValueError, RecursionError):
            pass
        else:
            return
    text = text[: 10 * _LONGEST]
    if re.match(r"<(!doctype|html)", text, re.IGNORECASE):
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = html.unescape(title[1] if title else re.sub(r"<[^>]*>", " ", text))
    yield " ".join(text[:_LONGEST].split())


def _parameters(part: Mapping[str, Any]) -> list[str]:
    """The parameter that an object of an error names, as `param`, the place of a field, or the path to it."""
    place = part.get("loc")
    where = [step for step in place if isinstance(step, str) and step != "body"] if isinstance(place, list) else []
    found = []
    for path in _texts((part.get("param"), part.get("field"), ".".join(where))):
        known = _mentioned(path)
        found += known[:1] or [path]
    return found


def _mentioned(text: str) -> list[str]:
    words = set(re.findall(r"\w+", text.lower()))
    return [name for name, names in _PARAMETERS.items() if not words.isdisjoint(names)]


def _texts(values: Iterable[object]) -> list[str]:
    plain = (value for value in values if isinstance(value, str | int) and not isinstance(value, bool))
    return [str(value)[:_LONGEST] for value in plain if value != ""]
