"""The HTTP client below openai's: it reads bounded answers, and sends images to no other server."""

from __future__ import annotations

import json
from typing import Any

import openai

from earthinstruct_models.lvlm.server_errors import error_in_success, read_error

LARGEST_ANSWER = 16 * 2**20  # bytes; a reply of a language model has some thousands
_MOST_REDIRECTS = 3
_KEPT_HEADERS = ("retry-after", "retry-after-ms", "x-request-id", "x-should-retry")


class BadAnswerError(openai.OpenAIError):
    """An answer that is not read: it is too large, compressed, or nested too deep."""


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """An HTTP client with openai's settings.

    An answer of more than `LARGEST_ANSWER` bytes, or a compressed one, is not read. A redirect is followed only to the
    same host. An error that comes with status 200 gets the status that it names, so that openai retries it accordingly;
    a hopeless error is never retried.
    """

    def __init__(self) -> None:
        super().__init__(follow_redirects=False, headers={"accept-encoding": "identity"})

    async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """Send a request and read the whole answer."""
        response = await super().send(request, stream=True, **options)
        for _ in range(_MOST_REDIRECTS):
            if not _stays(request, response.next_request):
                break
            await response.aclose()
            request = response.next_request
            response = await super().send(request, stream=True, **options)
        try:
            content = await _bounded(response)
        finally:
            await response.aclose()
        return _as_it_says(response, content)


def _stays(request: Any, following: Any) -> bool:
    """Whether a redirect leads to the same host and sends the same request."""
    if following is None or following.method != request.method:
        return False
    old, new = request.url, following.url
    return (new.host, new.scheme, new.port) == (old.host, old.scheme, old.port)


async def _bounded(response: Any) -> bytes:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise BadAnswerError(f"the answer is compressed ({encoding[:20]!r}), which was not requested")
    content = bytearray()
    async for part in response.aiter_raw():
        content += part
        if len(content) > LARGEST_ANSWER:
            raise BadAnswerError(f"the answer has more than {LARGEST_ANSWER / 2**20:g} MiB")
    return bytes(content)


def _as_it_says(response: Any, content: bytes) -> Any:
    status, headers = response.status_code, dict(response.headers)
    try:
        body = json.loads(content)
    except ValueError:
        body = None  # openai reports it
    except RecursionError:
        raise BadAnswerError("the JSON of the answer is nested too deep") from None
    if status == 200 and (found := error_in_success(body)) is not None:
        status, body = found
        content = json.dumps(body).encode()
        headers = {"content-type": "application/json", **{key: headers[key] for key in _KEPT_HEADERS if key in headers}}
    if status >= 300 and read_error(body).hopeless(status):
        headers["x-should-retry"] = "false"
    headers.pop("content-length", None)
    headers.pop("transfer-encoding", None)
    return type(response)(
        status, headers=headers, content=content, request=response.request, extensions=response.extensions
    )
