"""What a language model is asked and what it replies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Usage
from earthinstruct.errors import PredictionError

_TEXT_SHOWN = 300


@dataclass(frozen=True)
class Reply:
    """What a language model wrote about one image.

    Attributes:
        text: its words, those of the refusal where it refuses; halves of characters (lone surrogates) become "?".
        input_tokens: tokens it was sent, those of the image included.
        output_tokens: tokens it wrote.
        seconds: wall time of the request, retries included; for a batch on this machine, an equal share of it.
        finish: `complete`; `truncated` when it ran into the limit of tokens; `refused` when it declined to answer or a
            content filter stopped it.
        model: the model that says it answered: "gpt-4o-2024-11-20" where "gpt-4o" was asked.
    """

    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    finish: Literal["complete", "truncated", "refused"] = "complete"
    model: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.text.encode("utf-8", "replace").decode())


class LvlmError(PredictionError):
    """A language model gave no usable answer.

    Args:
        message: why.
        reply: what it wrote, where it did: the text and the tokens are paid for, and are its `usage`.
    """

    def __init__(self, message: str, reply: Reply | None = None) -> None:
        super().__init__(
            message if reply is None else f"{message}; it wrote {shortened(reply.text)}",
            None if reply is None else Usage({}, reply.input_tokens, reply.output_tokens),
        )
        self.reply = reply


Arrived = Callable[[int, Reply], None]


class Lvlm(Protocol):
    """A language model that sees. Calls may come from several threads. A subclass has `ask` from its `ask_many`."""

    def ask(self, image: NDArray[np.uint8], text: str, schema: Mapping[str, Any] | None = None) -> Reply:
        """One reply.

        Args:
            image: RGB, uint8 (height, width, 3).
            text: the prompt.
            schema: the JSON Schema of the wanted reply, for models that can be held to one; others ignore it.

        Raises:
            LvlmError: no reply came. One that is refused or truncated is returned, for it is paid for: see `checked`.
        """
        (outcome,) = self.ask_many([image], text, schema)
        if isinstance(outcome, LvlmError):
            raise outcome
        return outcome

    def ask_many(
        self,
        images: Sequence[NDArray[np.uint8]],
        text: str,
        schema: Mapping[str, Any] | None = None,
        *,
        arrived: Arrived | None = None,
    ) -> list[Reply | LvlmError]:
        """A reply, or why there is none, for each image, in order.

        Args:
            images: RGB, uint8 (height, width, 3), of any sizes.
            text: the prompt, the same for all.
            schema: as for `ask`.
            arrived: called with the index of an image and its reply as soon as there is one, in any order and thread.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Parameters that replies depend on, `device` and `weights` [{name, sha256}] where there are; no credential."""
        ...


def checked(reply: Reply) -> Reply:
    """The reply, if it is complete.

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


def answered(outcomes: Sequence[Reply | LvlmError]) -> list[Reply]:
    """The replies, where all came.

    Raises:
        LvlmError: one did not, the first of them; its `usage` is then that of all of them.
    """
    replies = [outcome for outcome in outcomes if isinstance(outcome, Reply)]
    for outcome in outcomes:
        if isinstance(outcome, LvlmError):
            others = (Usage({}, reply.input_tokens, reply.output_tokens) for reply in replies)
            outcome.usage = Usage.join([*others, outcome.usage or Usage()])
            raise outcome
    return replies


def shortened(text: str) -> str:
    r"""A text in quotes on one line, without its middle when it is long.

    >>> print(shortened("two\nlines"))
    'two\nlines'
    """
    if len(text) > _TEXT_SHOWN:
        half = _TEXT_SHOWN // 2
        return f"{text[:half]!r} ... {text[-half:]!r} ({len(text):,} characters)"
    return repr(text)
