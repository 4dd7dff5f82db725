"""Any server with OpenAI's chat completions: OpenAI itself, vLLM, SGLang, Ollama.

Key and address come only from the environment (OPENAI_API_KEY, OPENAI_BASE_URL) and are sent only to the server.
"""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import os
import threading
import time
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.results import redacted
from earthinstruct_models.lvlm.interface import Arrived, Images, Lvlm, LvlmError, Outcome, Reply, Schema, shortened

_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)

KEY = "OPENAI_API_KEY"
ADDRESS = "OPENAI_BASE_URL"
IMAGE_FORMATS = ("png", "jpeg")
REPLY_FORMATS = ("schema", "json_object", "plain")  # strictest first; the server may only support later ones
_CALLED = {"schema": "JSON schema", "json_object": "JSON mode", "max_tokens": "max_tokens, only max_completion_tokens"}
_JPEG_QUALITY = 95


class OpenAiLvlm(Lvlm):
    """A model behind an OpenAI-compatible server.

    Requests are asynchronous on a separate thread, at most `concurrency` at once over all callers. The openai package
    retries 408, 409, 429, 5xx, time-outs and lost connections; it waits longer each time, or as long as the server says
    (Retry-After).

    Args:
        model: the model's name on the server, such as "gpt-4o-2024-11-20".
        temperature: of sampling; None: the server's own, for models that refuse the parameter.
        top_p: of sampling; None: the server's own.
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
        except ModuleNotFoundError as error:
            raise EarthInstructError("a language model over a server needs openai: pip install openai") from error
        if image_format not in IMAGE_FORMATS:
            raise UnknownNameError("image format", image_format, IMAGE_FORMATS)
        if reply_format not in REPLY_FORMATS:
            raise UnknownNameError("reply format", reply_format, REPLY_FORMATS)
        for name, value in {"max_tokens": max_tokens, "concurrency": concurrency}.items():
            if value < 1:
                raise EarthInstructError(f"{name} must be at least 1, got {value}")
        self.model = model
        self.image_format = image_format
        self.reply_format = reply_format
        self.deadline = deadline
        self.concurrency = concurrency
        self._sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        self._lacking: set[str] = set()  # features that the server does not support
        self._refusal: str | None = None  # the key was refused: no further request is sent
        server, self._secrets = server_of_environment()
        self._client = openai.AsyncOpenAI(timeout=timeout, max_retries=max_retries, **server)
        self.server = self._client.base_url.host
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

    def describe(self) -> dict[str, Any]:
        """Parameters that replies depend on, and the name of the server."""
        return {
            "lvlm": "openai",
            "model": self.model,
            "server": self.server,
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
                self._turn = asyncio.Semaphore(self.concurrency)
                self._thread = threading.Thread(target=self._loop.run_forever, name="openai", daemon=True)
                self._thread.start()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # interrupted: no further request is sent
            future.cancel()
            raise

    async def _outcome(self, image: NDArray[np.uint8], text: str, schema: Schema | None) -> Outcome:
        import openai

        async with self._turn:
            if self._refusal is not None:
                return LvlmError(self._refusal)
            started = time.perf_counter()
            content = await asyncio.to_thread(_message, image, text, self.image_format)
            try:
                async with asyncio.timeout(self.deadline):
                    completion = await self._completion(content, schema)
            except TimeoutError:
                return LvlmError(f"{self._where}: no reply within the deadline of {self.deadline:g} s")
            except openai.APITimeoutError:
                return LvlmError(f"{self._where}: every try timed out")
            except openai.AuthenticationError:
                self._refusal = f"{self._where}: the key was refused (401); check the environment variable {KEY}"
                return LvlmError(self._refusal)
            except openai.APIStatusError as error:
                return LvlmError(
                    f"{self._where}: {error.status_code} {shortened(redacted(_said(error), self._secrets))}"
                )
            except openai.APIConnectionError:
                return LvlmError(f"{self._where}: no connection; check the environment variable {ADDRESS}")
            except (openai.OpenAIError, ValueError) as error:  # not JSON, or not a chat completion
                return LvlmError(f"{self._where}: not a chat completion ({type(error).__name__})")
            return self._reply(completion, time.perf_counter() - started)

    async def _completion(self, content: list[dict[str, Any]], schema: Schema | None) -> Any:
        """The server's answer. A feature that the server refuses is left out, also in later requests."""
        import openai

        messages: Any = [{"role": "user", "content": content}]
        while True:
            options = self._options(schema)
            try:
                return await self._client.chat.completions.create(model=self.model, messages=messages, **options)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                lack = _lack(_said(error), options)
                if lack is None:
                    raise
                _LOG.warning("%s does not support %s; later requests leave it out", self._where, _CALLED[lack])
                self._lacking.add(lack)

    def _options(self, schema: Schema | None) -> dict[str, Any]:
        options: dict[str, Any] = {name: value for name, value in self._sampling.items() if value is not None}
        if "max_tokens" in self._lacking:
            options["max_completion_tokens"] = options.pop("max_tokens")
        strictest = REPLY_FORMATS.index(self.reply_format)
        usable = next(name for name in REPLY_FORMATS[strictest:] if name not in self._lacking)
        if schema is not None and usable == "json_object":
            options["response_format"] = {"type": "json_object"}
        elif schema is not None and usable == "schema":
            strict = schema.get("additionalProperties") is False  # OpenAI's strict mode accepts only closed objects
            wanted = {"name": "answer", "schema": dict(schema), "strict": strict}
            options["response_format"] = {"type": "json_schema", "json_schema": wanted}
        return options

    def _reply(self, completion: Any, seconds: float) -> Outcome:
        try:
            message, finish = completion.choices[0].message, completion.choices[0].finish_reason
            refusal = getattr(message, "refusal", None)
            refused = bool(refusal) or finish == "content_filter"
            return Reply(
                text=_words(refusal or message.content),
                input_tokens=_whole(completion.usage, "prompt_tokens"),
                output_tokens=_whole(completion.usage, "completion_tokens"),
                seconds=seconds,
                finish="refused" if refused else "truncated" if finish == "length" else "complete",
                model=_words(completion.model),
            )
        except (AttributeError, IndexError, KeyError, TypeError):  # the openai package accepts any JSON
            return LvlmError(f"{self._where}: not a chat completion (it has no choices)")

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
    server = {"api_key": key or "none", "base_url": address or None, "default_headers": headers}
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


def _lack(said: str, options: Mapping[str, Any]) -> str | None:
    """The feature of a refused request that the server does not support."""
    if "max_tokens" in options and "max_completion_tokens" in said:
        return "max_tokens"
    wanted = options.get("response_format")
    if wanted is not None and any(word in said for word in ("response_format", "json_schema", "json_object", "schema")):
        return "schema" if wanted["type"] == "json_schema" else "json_object"
    return None


def _said(error: Any) -> str:
    """The message of an error of the server."""
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or error.message)


def _words(value: Any) -> str:
    """A value of a server as text, whatever its type."""
    return "" if value is None else str(value)


def _whole(usage: Any, name: str) -> int:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) and value >= 0 else 0
