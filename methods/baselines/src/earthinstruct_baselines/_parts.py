"""Makes the models that a baseline is built from, by name; `part.key` is a parameter of a part."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from earthinstruct_models.encoders.table import ENCODERS
from earthinstruct_models.lvlm import RememberedLvlm

from earthinstruct.errors import EarthInstructError, UnknownNameError

_NAMED_ENCODER = "earthinstruct_models.encoders.open_clip:named_encoder"
CHOICES: Mapping[str, Mapping[str, str]] = {
    "proposer": {
        "sam2": "earthinstruct_models.proposers.sam2:Sam2Proposer",
        "segments": "earthinstruct_models.proposers.segments:SegmentsProposer",
        "recorded": "earthinstruct_models.proposers.recorded:RecordedProposer",
    },
    "encoder": {
        "open_clip": "earthinstruct_models.encoders.open_clip:OpenClipEncoder",
        **dict.fromkeys(ENCODERS, _NAMED_ENCODER),
    },
    "lvlm": {
        "openai": "earthinstruct_models.lvlm.openai:OpenAiLvlm",
        "transformers": "earthinstruct_models.lvlm.transformers:TransformersLvlm",
    },
}
_REPLIES = "replies"  # of every language model: the file that keeps what it wrote


def make_parts(method: str, chosen: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a method.

    Args:
        method: its name, for errors.
        chosen: part -> the name of a choice, or an object that is the part already.
        parameters: `part.key` -> value.

    Raises:
        UnknownNameError: no such choice or parameter.
        EarthInstructError: a part lacks a parameter or a file.
    """
    given: dict[str, dict[str, Any]] = {part: {} for part in chosen}
    for key, value in parameters.items():
        part, _, name = key.partition(".")
        if part not in chosen or not name:
            raise UnknownNameError(f"parameter of method {method!r}", key, [f"{part}.NAME" for part in chosen])
        given[part][name] = value
    return {part: _made(method, part, choice, given[part]) for part, choice in chosen.items()}


def described(parts: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """`parameters`, `weights` and `device` of all parts, as a method's `describe` gives them."""
    parameters: dict[str, Any] = {}
    weights: list[dict[str, str]] = []
    devices: list[str] = []
    for part, made in parts.items():
        own = dict(made.describe())
        weights += own.pop("weights", [])
        devices += [str(own.pop("device"))] if "device" in own else []
        name = own.pop(part, type(made).__name__)
        parameters[part] = chosen[part] if isinstance(chosen[part], str) else name
        parameters |= {f"{part}.{key}": value for key, value in own.items()}
    return {"parameters": parameters, "weights": weights, "device": ", ".join(dict.fromkeys(devices)) or None}


def close_parts(parts: Mapping[str, Any]) -> None:
    """Release what the parts hold."""
    for part in parts.values():
        close = getattr(part, "close", None)
        if callable(close):
            close()


def _made(method: str, part: str, choice: Any, given: dict[str, Any]) -> Any:
    if not isinstance(choice, str):
        if given:
            raise EarthInstructError(f"{method}: the {part} is there already and takes no parameters: {sorted(given)}")
        return choice
    if choice not in CHOICES[part]:
        raise UnknownNameError(part, choice, CHOICES[part])
    replies = given.pop(_REPLIES, None) if part == "lvlm" else None
    module, _, attribute = CHOICES[part][choice].partition(":")
    factory: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    fixed = {"name": choice} if CHOICES[part][choice] == _NAMED_ENCODER else {}
    accepted = {
        name: parameter for name, parameter in inspect.signature(factory).parameters.items() if name not in fixed
    }
    for name in given:
        if name not in accepted:
            raise UnknownNameError(
                f"parameter of {part} {choice!r}", f"{part}.{name}", [f"{part}.{n}" for n in accepted]
            )
    for name, parameter in accepted.items():
        if parameter.default is parameter.empty and name not in given:
            raise EarthInstructError(f"{part} {choice!r} needs {name}: give it with -M {part}.{name}=VALUE")
    made = factory(**fixed, **given)
    return made if replies is None else RememberedLvlm(made, replies)
