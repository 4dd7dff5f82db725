"""The interface of a vision-language model: requests, replies and errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Estimate, HopelessError, PredictionError, Usage

_TEXT_SHOWN = 300

Images = Sequence[NDArray[np.uint8]]  # RGB, (height, width, 3) each, of any sizes
Schema = Mapping[str, Any]  # a JSON Schema


@dataclass(frozen=True)
class Reply:
    """What a language model wrote about one image.

    Attributes:
        text: its words, or its refusal; lone surrogates become "?", also in `model`.
        input_tokens: tokens it was sent, including those of the image.
        output_tokens: tokens it wrote.
        seconds: wall time of the request, retries included; for a batch on this machine, an equal share of it.
        finish: `complete`; `truncated` if it reached the limit of tokens; `refused` if it declined to answer or a
            content filter stopped it.
        model: the model named in the reply: "gpt-4o-2024-11-20" where "gpt-4o" was requested.
        without: what the request lacked because the server refuses it, such as "temperature".
    """

    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    finish: Literal["complete", "truncated", "refused"] = "complete"
    model: str = ""
    without: tuple[str, ...] = ()

    @property
    def events(self) -> dict[str, int]:
        """What a reader of the result should know of the request, for the `events` of a usage."""
        return {f"requests without {name}": 1 for name in self.without}

    def __post_init__(self) -> None:
        for name in ("text", "model"):
            object.__setattr__(self, name, getattr(self, name).encode("utf-8", "replace").decode())


class LvlmError(PredictionError):
    """A language model gave no usable answer.

    Args:
        message: why.
        reply: its reply, if one came; the tokens of the reply are the error's `usage`.
    """

    def __init__(self, message: str, reply: Reply | None = None) -> None:
        super().__init__(
            message if reply is None else f"{message}; it wrote {shortened(reply.text)}",
            None if reply is None else Usage({}, reply.input_tokens, reply.output_tokens),
        )
        self.reply = reply


class HopelessLvlmError(LvlmError, HopelessError):
    """A language model that would answer no other request either, such as a server that refuses the key."""


Outcome = Reply | LvlmError
Arrived = Callable[[int, Reply], None]


class Lvlm(Protocol):
    """A vision-language model. Calls may come from several threads. A subclass defines `ask_many`; `ask` calls it."""

    def ask(self, image: NDArray[np.uint8], text: str, schema: Schema | None = None) -> Reply:
        """One reply.

        Args:
            image: RGB, uint8 (height, width, 3).
            text: the prompt.
            schema: the JSON Schema of the wanted reply, for models that can enforce one; others ignore it.

        Raises:
            LvlmError: no reply came. A refused or truncated reply is returned, because it was paid for: see `checked`.
        """
        (outcome,) = self.ask_many([image], text, schema)
        if isinstance(outcome, LvlmError):
            raise outcome
        return outcome

    def ask_many(
        self, images: Images, text: str, schema: Schema | None = None, *, arrived: Arrived | None = None
    ) -> list[Outcome]:
        """A reply, or the error, for each image, in order.

        Args:
            images: RGB, uint8 (height, width, 3), of any sizes.
            text: the prompt, the same for all.
            schema: as for `ask`.
            arrived: a callback `(index, reply)`, called as soon as a reply arrives, in any order and thread.
        """
        ...

    def estimate(self, image: NDArray[np.uint8], text: str, schema: Schema | None = None) -> Estimate:
        """What a reply will cost; arguments as for `ask`. By default no request to a server, and unknown tokens."""
        return Estimate(requests=0, input_tokens=None, output_tokens=None)

    def describe(self) -> dict[str, Any]:
        """Parameters that replies depend on, `device` and `weights` [{name, sha256}] if it has any; no credentials."""
        ...


def closed_object(members: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of an object with exactly these members, name -> schema."""
    return {"type": "object", "properties": dict(members), "required": list(members), "additionalProperties": False}


def checked(reply: Reply) -> Reply:
    """Return the reply if it is complete.

    Raises:
        LvlmError: it is a refusal or was cut off.
    """
    if reply.finish == "refused":
        raise LvlmError("the model refused to answer", reply)
    if reply.finish == "truncated":
        raise LvlmError(
            f"the reply was cut off after {reply.output_tokens} tokens (a larger limit of tokens may help)", reply
        )
    return reply


def answered(outcomes: Sequence[Outcome]) -> list[Reply]:
    """Return the replies if all came.

    Raises:
        LvlmError: the first error; its `usage` is the sum over all replies.
    """
    replies = [outcome for outcome in outcomes if isinstance(outcome, Reply)]
    for outcome in outcomes:
        if isinstance(outcome, LvlmError):
            others = (Usage({}, reply.input_tokens, reply.output_tokens) for reply in replies)
            outcome.usage = Usage.join([*others, outcome.usage or Usage()])
            raise outcome
    return replies


def shortened(text: str) -> str:
    r"""A text in quotes on one line, without its middle if it is long.

    >>> print(shortened("two\nlines"))
    'two\nlines'
    """
    if len(text) > _TEXT_SHOWN:
        half = _TEXT_SHOWN // 2
        return f"{text[:half]!r} ... {text[-half:]!r} ({len(text):,} characters)"
    return repr(text)
