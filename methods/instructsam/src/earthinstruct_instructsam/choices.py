"""The parts that can be chosen by name, and which parameter goes to which. A part is imported when it is chosen."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from earthinstruct_models.encoders.table import ENCODERS as NAMED_ENCODERS
from earthinstruct_models.weights import WEIGHTS, find_weights

from earthinstruct.errors import EarthInstructError, UnknownNameError

PARTS = ("counter", "proposer", "encoder")
SHARED = ("device", "images")  # given without a part, these go to every part that takes them
_PLACES = {"counts": "DIR", "images": "DIR", "proposals": "FILE", "checkpoint": "FILE"}


@dataclass(frozen=True)
class Choice:
    """A part by name.

    Attributes:
        factory: the class or function that makes it, as `module:name`; its keyword arguments are the parameters.
        fixed: arguments that the name settles.
        inner: argument -> `module:name` of an object that is made first; its parameters are parameters of the part.
        packages: module -> what to give pip, of what the part needs beyond the dependencies.
        weights: from the parameters, the name of the weights that the part takes; None where it takes none by name.
        weights_as: the parameter that their path is, unless it is given.
        environment: variables that must be set.
    """

    factory: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    inner: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    weights: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    weights_as: str = "checkpoint"
    environment: tuple[str, ...] = ()

    def parameters(self) -> dict[str, inspect.Parameter]:
        """What can be given, by name."""
        taken = {*self.fixed, *self.inner}
        own = {name: parameter for name, parameter in _signature(self.factory).items() if name not in taken}
        return own | {name: value for path in self.inner.values() for name, value in _signature(path).items()}

    def required(self, given: Mapping[str, Any]) -> list[str]:
        """The parameters that are still to be given."""
        found = None if self._named_weights(given) is None else self.weights_as
        return [
            name
            for name, parameter in self.parameters().items()
            if parameter.default is parameter.empty and given.get(name) is None and name != found
        ]

    def make(self, given: Mapping[str, Any]) -> Any:
        """The part, from parameters that it takes, and its weights from the weights folder.

        Raises:
            DataError: they are not there; says where to get them and where they go.
        """
        needed = self._named_weights(given)
        if needed is not None:
            given = {**given, self.weights_as: find_weights(needed)}
        inner = {name: _load(path)(**_only(given, _signature(path))) for name, path in self.inner.items()}
        own = _only(given, _signature(self.factory))
        return _load(self.factory)(**{**own, **self.fixed, **inner})

    def lacks(self, given: Mapping[str, Any]) -> list[str]:
        """What is missing on this machine, and how to get it."""
        absent = [
            f"package {module}: pip install {to_install}"
            for module, to_install in self.packages.items()
            if importlib.util.find_spec(module) is None
        ]
        absent += [f"environment variable {name}: set it" for name in self.environment if not os.environ.get(name)]
        needed = self._named_weights(given)
        if needed is not None and not WEIGHTS[needed].here:
            absent.append(f"weights {needed}: {WEIGHTS[needed].how_to_get}")
        return absent

    def _named_weights(self, given: Mapping[str, Any]) -> str | None:
        return self.weights(given) if given.get(self.weights_as) is None else None


def _always(name: str) -> Callable[[Mapping[str, Any]], str | None]:
    return lambda _: name


def _of_sam2(given: Mapping[str, Any]) -> str | None:
    name = given.get("model", "sam2_hiera_l")
    return name if name in WEIGHTS else None


CHOICES: Mapping[str, Mapping[str, Choice]] = {
    "counter": {
        "openai": Choice(
            "earthinstruct_instructsam.counters.lvlm:LvlmCounter",
            inner={"lvlm": "earthinstruct_models.lvlm.openai:OpenAiLvlm"},
            packages={"openai": "openai"},
            environment=("OPENAI_API_KEY",),
        ),
        "recorded": Choice("earthinstruct_instructsam.counters.recorded:RecordedCounter"),
        "small": Choice("earthinstruct_instructsam.counters.small:SmallCounter"),
        "transformers": Choice(
            "earthinstruct_instructsam.counters.lvlm:LvlmCounter",
            inner={"lvlm": "earthinstruct_models.lvlm.transformers:TransformersLvlm"},
            packages={"transformers": "transformers"},
            weights=_always("qwen2.5-vl-7b"),
            weights_as="folder",
        ),
    },
    "proposer": {
        "recorded": Choice("earthinstruct_models.proposers.recorded:RecordedProposer"),
        "sam2": Choice(
            "earthinstruct_models.proposers.sam2:Sam2Proposer",
            packages={"sam2": "--no-build-isolation sam2"},
            weights=_of_sam2,
        ),
        "segments": Choice(
            "earthinstruct_models.proposers.segments:SegmentsProposer", packages={"skimage": "scikit-image"}
        ),
    },
    "encoder": {
        "open_clip": Choice("earthinstruct_models.encoders.open_clip:OpenClipEncoder"),
        "small": Choice("earthinstruct_instructsam.small:small_encoder"),
        **{
            name: Choice("earthinstruct_models.encoders.open_clip:named_encoder", {"name": name}, weights=_always(name))
            for name in NAMED_ENCODERS
        },
    },
}


def choice_of(part: str, name: str) -> Choice:
    """The choice of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in CHOICES[part]:
        raise UnknownNameError(part, name, CHOICES[part])
    return CHOICES[part][name]


def distributed(
    chosen: Mapping[str, Choice], given: Mapping[str, Any], own: Iterable[str] = ()
) -> dict[str, dict[str, Any]]:
    """Which parameters go to which part.

    `part.key` goes to that part; `key` goes to the one part that takes it, or, where it is one of `SHARED`, to all.

    Args:
        chosen: part -> its choice.
        given: the parameters.
        own: the names of parameters that are no part's, for the message.

    Raises:
        UnknownNameError: no chosen part takes a parameter.
        EarthInstructError: two parts take it, and it does not say which is meant.
    """
    accepted = {part: tuple(choice.parameters()) for part, choice in chosen.items()}
    parameters: dict[str, dict[str, Any]] = {part: {} for part in chosen}
    for key, value in given.items():
        part, dot, name = key.rpartition(".")
        wanted = [p for p in chosen if name in accepted[p] and (not dot or p == part)]
        if not wanted:
            raise UnknownNameError(
                "parameter of method 'instructsam'",
                key,
                {*own, *(f"{p}.{n}" if dot else n for p, names in accepted.items() for n in names)},
                " ".join(f"The {p} takes {', '.join(names) or 'none'}." for p, names in accepted.items()),
            )
        if len(wanted) > 1 and name not in SHARED:
            choices = " or ".join(f"-M {p}.{name}=VALUE" for p in wanted)
            raise EarthInstructError(f"parameter {name!r} is taken by {' and '.join(wanted)}: give {choices}")
        for p in wanted:
            parameters[p][name] = value
    return parameters


def still_needed(part: str, name: str, choice: Choice, given: Mapping[str, Any]) -> list[str]:
    """The parameters that a part cannot do without and that are not given, in words."""
    return [f"{part} {name!r} needs {key}: give -M {key}={_PLACES.get(key, 'VALUE')}" for key in choice.required(given)]


def _load(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    factory: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return factory


def _signature(path: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(_load(path)).parameters


def _only(given: Mapping[str, Any], accepted: Iterable[str]) -> dict[str, Any]:
    return {name: given[name] for name in accepted if name in given}
