"""Any server with OpenAI's chat completions: OpenAI itself, Azure, OpenRouter, Gemini, Mistral, vLLM, SGLang, Ollama.

Key and address come only from the environment (OPENAI_API_KEY, OPENAI_BASE_URL) and are sent only to the server.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import logging
import os
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Estimate
from earthinstruct.errors import EarthInstructError
from earthinstruct.texts import redacted
from earthinstruct_models.lvlm.interface import (
    Arrived,
    HopelessLvlmError,
    Images,
    Lvlm,
    LvlmError,
    Outcome,
    Reply,
    Schema,
    shortened,
)
from earthinstruct_models.lvlm.server_errors import ServerError, read_error
from earthinstruct_models.lvlm.tokens import image_tokens, text_tokens
from earthinstruct_models.parameters import check_choice, check_integer, check_number

_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)

KEY = "OPENAI_API_KEY"
ADDRESS = "OPENAI_BASE_URL"
OPENAI = "https://api.openai.com/v1/"  # the address without that variable
IMAGE_FORMATS = ("png", "jpeg")
REPLY_FORMATS = ("schema", "json_object", "plain")  # strictest first; the server may only support later ones
_CUT_OFF = ("length", "model_length", "max_tokens")  # reasons to finish
_FILTERED = ("content_filter", "safety", "sensitive", "recitation")
_NO_ANSWER = ("error", "abort", "insufficient_system_resource", "tool_calls", "function_call")
_HINTS = {
    401: f"check the environment variable {KEY}",
    402: "the account has no credit left",
    403: f"check the environment variable {KEY}, and whether the account may use the model",
    404: f"check the name of the model and the environment variable {ADDRESS}",
}
_TEXTS = ("text", "output_text")  # types of the parts of a content
_MOST_TOKENS = 1 << 53  # a larger number is none
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class _Feature:
    """What a server may refuse: `temperature`, `top_p`, `seed`, `max_tokens`, or a reply format."""

    name: str
    schema: bytes | None = None  # the refused JSON schema: another one may be accepted

    def matters(self, asked: Mapping[str, Any], schema: Schema | None) -> bool:
        """Whether a request with these options and this schema changes if the feature is left out."""
        if self.name in REPLY_FORMATS:
            return schema is not None and self.schema in (None, _content(schema))
        return self.name in asked and self.name != "max_tokens"  # the limit has another name

    def __str__(self) -> str:
        called = {"schema": "a JSON schema", "json_object": "JSON mode"}
        called["max_tokens"] = "max_tokens, only max_completion_tokens"
        return called.get(self.name, self.name)


class OpenAiLvlm(Lvlm):
    """A model behind an OpenAI-compatible server.

    Requests are asynchronous on a separate thread, at most `concurrency` at once over all callers; the first one goes
    alone, to find out what the server refuses. The openai package retries 408, 409, 429, 5xx, time-outs and lost
    connections; it waits longer each time, or as long as the server says (Retry-After). After an error that every other
    request would get too (a refused key, a model that does not exist, a used up quota), no further request is sent.

    Args:
        model: the model's name on the server, such as "gpt-4o-2024-11-20".
        temperature: of sampling; None: the server's own. It is left out, with a warning, if the model refuses it. So is
            the seed that each repeat of a run sends.
        top_p: as `temperature`.
        max_tokens: the longest reply.
        image_format: `png` (lossless) or `jpeg` (quality 95, smaller).
        reply_format: the strictest of `schema`, `json_object` and `plain` that is tried when a call gives a schema.
        concurrency: most requests at once.
        timeout: seconds until one try is given up.
        max_retries: tries after the first.
        deadline: most seconds for one reply, with all tries and waits.

    Raises:
        EarthInstructError: the openai package or the key is missing, or a parameter is out of range.
    """

    def __init__(
        self,
        model: str,
        temperature: float | None = 0.01,
        top_p: float | None = 1.0,
        max_tokens: int = 2000,
        image_format: str = "png",
        reply_format: str = "schema",
        concurrency: int = 8,
        timeout: float = 120.0,
        max_retries: int = 5,
        deadline: float = 600.0,
    ) -> None:
        try:
            import openai

            from earthinstruct_models.lvlm.bounded_http import BoundedClient
        except ModuleNotFoundError as error:
            raise EarthInstructError("a language model over a server needs openai: pip install openai") from error
        check_choice("image format", image_format, IMAGE_FORMATS)
        check_choice("reply format", reply_format, REPLY_FORMATS)
        max_tokens = check_integer("max_tokens", max_tokens)
        max_retries = check_integer("max_retries", max_retries, least=0)
        if temperature is not None:  # 1 and 1.0 are one parameter
            temperature = check_number("temperature", temperature, 0)
        if top_p is not None:
            top_p = check_number("top_p", top_p, 0, 1)
        timeout = check_number("timeout", timeout, 0)
        self.model = model
        self.image_format = image_format
        self.reply_format = reply_format
        self.deadline = check_number("deadline", deadline, 0)
        self.concurrency = check_integer("concurrency", concurrency)
        self._max_tokens = max_tokens
        self._sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        self._seed: int | None = None
        self._lacking: frozenset[_Feature] = frozenset()  # what the server does not support
        self._hopeless: str | None = None  # why no further request is sent
        server, self._secrets = server_of_environment()
        self._client = openai.AsyncOpenAI(
            timeout=timeout, max_retries=max_retries, http_client=BoundedClient(), **server
        )
        self.server = self._client.base_url.netloc.decode()
        self._address = str(self._client.base_url)  # without user and query
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def ask_many(
        self, images: Images, text: str, schema: Schema | None = None, *, arrived: Arrived | None = None
    ) -> list[Outcome]:
        """A reply, or the error, for each image, in order; at most `concurrency` requests at once."""

        async def one(i: int, image: NDArray[np.uint8]) -> Outcome:
            outcome = await self._outcome(image, text, schema)
            if arrived is not None and isinstance(outcome, Reply):
                arrived(i, outcome)
            return outcome

        async def all_outcomes() -> list[Outcome]:
            tasks = [asyncio.ensure_future(one(i, image)) for i, image in enumerate(images)]
            try:
                return list(await asyncio.gather(*tasks))
            finally:  # after an error of the caller, no further request is sent
                for task in tasks:
                    task.cancel()

        return self._run(all_outcomes())

    def repeat(self, number: int) -> None:
        """Send this number as the seed of the next requests; for 0, the run itself, send no seed."""
        self._seed = number or None

    def estimate(self, image: NDArray[np.uint8], text: str, schema: Schema | None = None) -> Estimate:
        """One request; tokens by the published rule of the model, see `tokens`."""
        height, width = image.shape[:2]
        of_image = image_tokens(self.model, width, height)
        of_text = text_tokens(text) + (text_tokens(_content(schema).decode()) if schema is not None else 0)
        return Estimate(1, None if of_image is None else of_image + of_text, self._max_tokens)

    def describe(self) -> dict[str, Any]:
        """Parameters that replies depend on, the server's host and port, and its address.

        The address with its path is hashed: a path may hold a key. OpenAI's own address is left out.
        """
        address = hashlib.sha256(self._address.encode()).hexdigest()[:16]
        return {
            "lvlm": "openai",
            "model": self.model,
            "server": self.server,
            **({} if self._address == OPENAI else {"address": address}),
            **self._sampling,
            "image_format": self.image_format,
            "reply_format": self.reply_format,
        }

    def close(self) -> None:
        """Close the connections and end the thread."""
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._client.close(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on the thread of this object, also if the caller has a running event loop."""
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._turn = asyncio.Semaphore(1)  # more once the first request is answered
                self._first = True
                self._thread = threading.Thread(target=self._loop.run_forever, name="openai", daemon=True)
                self._thread.start()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # interrupted: no further request is sent
            future.cancel()
            raise

    async def _outcome(self, image: NDArray[np.uint8], text: str, schema: Schema | None) -> Outcome:
        async with self._turn:
            try:
                if self._hopeless is not None:
                    return HopelessLvlmError(self._hopeless)
                return await self._answer(image, text, schema)
            finally:
                if self._first:
                    self._first = False
                    for _ in range(self.concurrency - 1):
                        self._turn.release()

    async def _answer(self, image: NDArray[np.uint8], text: str, schema: Schema | None) -> Outcome:
        import openai

        from earthinstruct_models.lvlm.bounded_http import BadAnswerError

        started = time.perf_counter()
        content = await asyncio.to_thread(_message, image, text, self.image_format)
        try:
            async with asyncio.timeout(self.deadline):
                completion, without = await self._completion(content, schema)
        except TimeoutError:
            return LvlmError(f"{self._where}: no reply within the deadline of {self.deadline:g} s")
        except openai.APITimeoutError:
            return LvlmError(f"{self._where}: every try timed out")
        except openai.APIStatusError as error:
            return self._refused(error.status_code, _said(error), error.response.headers.get("location"))
        except (BadAnswerError, openai.APIConnectionError) as error:
            bad = error if isinstance(error, BadAnswerError) else error.__cause__  # openai 2 wraps it
            if isinstance(bad, BadAnswerError):
                return LvlmError(f"{self._where}: {bad}")
            return LvlmError(f"{self._where}: no connection; check the environment variable {ADDRESS}")
        except (openai.OpenAIError, ValueError) as error:  # not JSON, or not a chat completion
            return LvlmError(f"{self._where}: not a chat completion ({type(error).__name__})")
        return self._reply(completion, time.perf_counter() - started, without)

    def _refused(self, status: int, said: ServerError, location: str | None) -> LvlmError:
        """The error of a status; a hopeless one is remembered."""
        message = f"{self._where}: {status} {shortened(redacted(said.message, self._secrets))}"
        if not said.hopeless(status):
            return LvlmError(message)
        hint = _HINTS.get(status)
        if location is not None:
            place = shortened(redacted(location, self._secrets))
            hint = f"it redirects to {place}, where no image is sent; check the environment variable {ADDRESS}"
        self._hopeless = f"{message}; {hint}" if hint else message
        return HopelessLvlmError(self._hopeless)

    async def _completion(self, content: list[dict[str, Any]], schema: Schema | None) -> tuple[Any, tuple[str, ...]]:
        """The server's answer, and what the request lacked.

        What the server refuses is left out; if it then answers, also in later requests.
        """
        import openai

        messages: Any = [{"role": "user", "content": content}]
        lacking = self._lacking
        while True:
            options = self._options(schema, lacking)
            try:
                completion = await self._client.chat.completions.create(model=self.model, messages=messages, **options)
            except openai.APIStatusError as error:
                option = _said(error).lacking(error.status_code, options)
                if option is None:
                    raise
                lacking |= {_refused_feature(option, options)}
                continue
            for feature in lacking - self._lacking:
                _LOG.warning("%s does not support %s; later requests leave it out", self._where, feature)
            self._lacking |= lacking
            asked = self._asked
            return completion, tuple(sorted(str(one) for one in lacking if one.matters(asked, schema)))

    @property
    def _asked(self) -> dict[str, float]:
        """The options of sampling."""
        options = {**self._sampling, "seed": self._seed}
        return {name: value for name, value in options.items() if value is not None}

    def _options(self, schema: Schema | None, lacking: frozenset[_Feature]) -> dict[str, Any]:
        without = {feature.name for feature in lacking if feature.schema in (None, _content(schema))}
        options: dict[str, Any] = {name: value for name, value in self._asked.items() if name not in without}
        if "max_tokens" in without:
            options["max_completion_tokens"] = self._max_tokens
        strictest = REPLY_FORMATS.index(self.reply_format)
        usable = next(name for name in REPLY_FORMATS[strictest:] if name not in without)
        if schema is not None and usable == "json_object":
            options["response_format"] = {"type": "json_object"}
        elif schema is not None and usable == "schema":
            strict = schema.get("additionalProperties") is False  # OpenAI's strict mode accepts only closed objects
            answer = {"name": "answer", "schema": dict(schema), "strict": strict}
            options["response_format"] = {"type": "json_schema", "json_schema": answer}
        return options

    def _reply(self, completion: Any, seconds: float, without: tuple[str, ...]) -> Outcome:
        """The reply in a chat completion; without an answer in words it is an error, which is not kept."""
        try:
            message, finish = completion.choices[0].message, str(completion.choices[0].finish_reason or "").lower()
            refusal = _words(getattr(message, "refusal", None))
            refused = bool(refusal) or finish.startswith(_FILTERED)
            reply = Reply(
                text=refusal or _words(message.content),
                input_tokens=_whole(completion.usage, "prompt_tokens"),
                output_tokens=_whole(completion.usage, "completion_tokens"),
                seconds=seconds,
                finish="refused" if refused else "truncated" if finish in _CUT_OFF else "complete",
                model=_words(completion.model),
                without=without,
            )
            called = bool(getattr(message, "tool_calls", None)) and not reply.text.strip()
        except (AttributeError, IndexError, KeyError, TypeError):  # the openai package accepts any JSON
            return LvlmError(f"{self._where}: not a chat completion (it has no choices)")
        if refused:
            return reply
        if finish in _NO_ANSWER or called:
            ended = finish or "tool_calls"
            return LvlmError(f"{self._where}: the reply ended with {ended!r}, not with an answer", reply)
        if not reply.text.strip():
            more = "; a larger max_tokens may help" if reply.finish == "truncated" else ""
            return LvlmError(f"{self._where}: the model wrote no answer, at most thoughts{more}", reply)
        return reply

    @property
    def _where(self) -> str:
        return f"model {self.model!r} at {self.server}"


def server_of_environment() -> tuple[dict[str, Any], list[str]]:
    """The server that the environment variables name.

    Returns:
        Its key, address and headers, as arguments of openai's client, and texts that must never be shown, the longest
        first.

    Raises:
        EarthInstructError: a variable is missing or malformed.
    """
    address = os.environ.get(ADDRESS, "").strip()
    key = os.environ.get(KEY, "").strip()
    if not key and not address:
        raise EarthInstructError(
            f"environment variable {KEY} or {ADDRESS}: set the key, or the address of a server that is not OpenAI's"
        )
    if not (key.isascii() and key.isprintable()):
        raise EarthInstructError(f"the environment variable {KEY} has characters that no key has; set it anew")
    secrets = [key]
    headers = {}
    if address:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise EarthInstructError(
                f"the environment variable {ADDRESS} must be an address such as http://localhost:8000/v1, without a "
                f"query; a key goes into {KEY}"
            )
        user, _, host = parts.netloc.rpartition("@")
        if user:  # sent as a header, so that it does not appear in logs of addresses
            headers["Authorization"] = "Basic " + base64.b64encode(unquote(user).encode()).decode()
            secrets += [user, unquote(user), unquote(user).partition(":")[2], headers["Authorization"]]
        address = urlunsplit((parts.scheme, host, parts.path, "", ""))
    server = {"api_key": key or "none", "base_url": address or OPENAI, "default_headers": headers}
    return server, sorted(filter(None, secrets), key=len, reverse=True)


def _message(image: NDArray[np.uint8], text: str, image_format: str) -> list[dict[str, Any]]:
    from PIL import Image

    buffer = io.BytesIO()
    options = {"quality": _JPEG_QUALITY} if image_format == "jpeg" else {}
    Image.fromarray(image).save(buffer, format=image_format.upper(), **options)
    data = base64.b64encode(buffer.getvalue()).decode()
    return [
        {"type": "text", "text": text},
        {"type": "image_url", "image_url": {"url": f"data:image/{image_format};base64,{data}"}},
    ]


def _content(schema: Schema | None) -> bytes:
    return msgspec.json.encode(schema, order="deterministic")


def _refused_feature(option: str, options: Mapping[str, Any]) -> _Feature:
    """The feature behind a refused option of a request."""
    if option != "response_format":
        return _Feature(option)
    asked = options["response_format"]
    if asked["type"] == "json_object":
        return _Feature("json_object")
    return _Feature("schema", _content(asked["json_schema"]["schema"]))


def _said(error: Any) -> ServerError:
    """What an error of the server says. Its body says more than the exception, also more than `error.body`."""
    said = read_error(error.response.text)
    return said if said.message else replace(said, message=str(error.message))


def _words(value: Any) -> str:
    """A value of a server as text, whatever its type; of a list, the texts of its parts, without thoughts."""
    if isinstance(value, list):
        parts = [part if isinstance(part, dict) else {"text": part} for part in value]
        return "".join(_words(part.get("text")) for part in parts if part.get("type", "text") in _TEXTS)
    return "" if value is None else str(value)


def _whole(usage: Any, name: str) -> int:
    value = getattr(usage, name, None)
    return value if type(value) is int and 0 <= value < _MOST_TOKENS else 0
