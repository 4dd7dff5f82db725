"""The parts that methods choose by name, and which parameter goes to which. A part is imported when it is chosen.

A method adds the parts that it alone has, and composes its own table from these.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct_models.encoders.table import ENCODERS as NAMED_ENCODERS
from earthinstruct_models.lvlm.openai import ADDRESS, KEY
from earthinstruct_models.weights import WEIGHTS, find_weights

SHARED = ("device", "images", "cache")  # given without a part, these go to every part that takes them
_PLACES = {"counts": "DIR", "images": "DIR", "folder": "DIR", "proposals": "FILE", "checkpoint": "FILE"}


@dataclass(frozen=True)
class Choice:
    """A part by name.

    Attributes:
        factory: the class or function that makes it, as `module:name`; its keyword arguments are the parameters.
        fixed: arguments that the name settles.
        inner: argument -> the choice of an object that is made first; its parameters are parameters of the part.
        packages: module -> what to give pip, of what the part needs beyond the dependencies.
        weights: from the parameters, the name of the weights that the part takes; None where it takes none by name.
        weights_as: the parameter that their path is, unless it is given.
        environment: variables of which one must be set -> what it is.
    """

    factory: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    inner: Mapping[str, Choice] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    weights: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    weights_as: str = "checkpoint"
    environment: Mapping[str, str] = field(default_factory=dict)

    def parameters(self) -> dict[str, inspect.Parameter]:
        """What can be given, by name."""
        found = self._own()
        for choice in self.inner.values():
            found |= choice.parameters()
        return found

    def required(self, given: Mapping[str, Any]) -> list[str]:
        """The parameters that are still to be given."""
        found = None if self._named_weights(given) is None else self.weights_as
        names = [
            name
            for name, parameter in self._own().items()
            if parameter.default is parameter.empty and given.get(name) is None and name != found
        ]
        return names + [name for choice in self.inner.values() for name in choice.required(given)]

    def make(self, given: Mapping[str, Any]) -> Any:
        """The part, from parameters that it takes, and its weights from the weights folder.

        Raises:
            DataError: they are not there; says where to get them and where they go.
        """
        needed = self._named_weights(given)
        if needed is not None:
            given = {**given, self.weights_as: find_weights(needed)}
        inner = {name: choice.make(given) for name, choice in self.inner.items()}
        own = {name: given[name] for name in self._own() if name in given}
        return _load(self.factory)(**own, **self.fixed, **inner)

    def lacks(self, given: Mapping[str, Any]) -> list[str]:
        """What is missing on this machine, and how to get it."""
        absent = missing_packages(self.packages)
        if self.environment and not any(os.environ.get(name, "").strip() for name in self.environment):
            variables, values = " or ".join(self.environment), ", or ".join(self.environment.values())
            absent.append(f"environment variable {variables}: set {values}")
        needed = self._named_weights(given)
        if needed is not None and not WEIGHTS[needed].here:
            absent.append(f"weights {needed}: {WEIGHTS[needed].how_to_get}")
        return absent + [problem for choice in self.inner.values() for problem in choice.lacks(given)]

    def _own(self) -> dict[str, inspect.Parameter]:
        signature = inspect.signature(_load(self.factory)).parameters
        return {name: value for name, value in signature.items() if name not in {*self.fixed, *self.inner}}

    def _named_weights(self, given: Mapping[str, Any]) -> str | None:
        return self.weights(given) if given.get(self.weights_as) is None else None


def always(name: str) -> Callable[[Mapping[str, Any]], str | None]:
    """The weights of a choice that takes the same whatever its parameters."""
    return lambda _: name


def _of_sam2(given: Mapping[str, Any]) -> str | None:
    name = given.get("model", "sam2_hiera_l")
    return name if name in WEIGHTS else None


def transformers_lvlm(weights: str) -> Choice:
    """A language model on this machine, from these weights unless a folder is given."""
    lvlm = Choice(
        "earthinstruct_models.lvlm.transformers:TransformersLvlm",
        packages={"transformers": "transformers"},
        weights=always(weights),
        weights_as="folder",
    )
    return Choice("earthinstruct_models.store:KeptLvlm", inner={"lvlm": lvlm})


def _encoder(choice: Choice) -> Choice:
    return Choice("earthinstruct_models.store:KeptEncoder", inner={"encoder": choice})


def _proposer(choice: Choice) -> Choice:
    return Choice("earthinstruct_models.store:KeptProposer", inner={"proposer": choice})


PROPOSERS: Mapping[str, Choice] = {
    "recorded": Choice("earthinstruct_models.proposers.recorded:RecordedProposer"),
    "sam2": _proposer(
        Choice(
            "earthinstruct_models.proposers.sam2:Sam2Proposer",
            packages={"sam2": "--no-build-isolation sam2"},
            weights=_of_sam2,
        )
    ),
    "segments": _proposer(
        Choice("earthinstruct_models.proposers.segments:SegmentsProposer", packages={"skimage": "scikit-image"})
    ),
}
_OPEN_CLIP = "earthinstruct_models.encoders.open_clip"
ENCODERS: Mapping[str, Choice] = {
    "open_clip": _encoder(Choice(f"{_OPEN_CLIP}:OpenClipEncoder")),
    **{
        name: _encoder(Choice(f"{_OPEN_CLIP}:named_encoder", {"name": name}, weights=always(name)))
        for name in NAMED_ENCODERS
    },
}
LVLMS: Mapping[str, Choice] = {
    "openai": Choice(
        "earthinstruct_models.store:KeptLvlm",
        inner={
            "lvlm": Choice(
                "earthinstruct_models.lvlm.openai:OpenAiLvlm",
                packages={"openai": "openai"},
                environment={KEY: "the key", ADDRESS: "the address of a server that is not OpenAI's"},
            )
        },
    ),
    "transformers": transformers_lvlm("qwen2.5-vl-7b"),
}


def missing_packages(needed: Mapping[str, str]) -> list[str]:
    """Which packages are not installed, and how to get them.

    Args:
        needed: module -> what to give pip.
    """
    return [
        f"package {module}: pip install {to_install}"
        for module, to_install in needed.items()
        if importlib.util.find_spec(module) is None
    ]


def choice_of(part: str, name: str, table: Mapping[str, Choice]) -> Choice:
    """The choice of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in table:
        raise UnknownNameError(part, name, table)
    return table[name]


def distributed(
    method: str, chosen: Mapping[str, Choice], given: Mapping[str, Any], own: Iterable[str] = ()
) -> dict[str, dict[str, Any]]:
    """Which parameters go to which part.

    `part.key` goes to that part; `key` goes to the one part that takes it, or, where it is one of `SHARED`, to all.

    Args:
        method: the name of the method, for the message.
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
            raise _unknown_parameter(method, key, accepted, own)
        if len(wanted) > 1 and name not in SHARED:
            choices = " or ".join(f"-M {p}.{name}=VALUE" for p in wanted)
            raise EarthInstructError(f"parameter {name!r} is taken by {' and '.join(wanted)}: give {choices}")
        for p in wanted:
            parameters[p][name] = value
    return parameters


def _unknown_parameter(
    method: str, key: str, accepted: Mapping[str, Collection[str]], own: Iterable[str]
) -> UnknownNameError:
    dotted = "." in key
    known = {*own, *(f"{p}.{name}" if dotted else name for p, names in accepted.items() for name in names)}
    taken = (f"The {p} takes {', '.join(names) or 'none'}." for p, names in accepted.items())
    return UnknownNameError(f"parameter of method {method!r}", key, known, " ".join(taken))


def still_needed(part: str, name: str, choice: Choice, given: Mapping[str, Any]) -> list[str]:
    """The parameters that a part cannot do without and that are not given, in words."""
    return [
        f"{part} {name!r} needs {key}: give -M {key if key in SHARED else f'{part}.{key}'}={_PLACES.get(key, 'VALUE')}"
        for key in choice.required(given)
    ]


def _load(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    factory: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return factory
