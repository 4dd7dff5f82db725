"""The parts that methods choose by name, and the parameters of each part. A part is imported when it is chosen.

A method composes its own table from these, and adds the parts that only it has.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earthinstruct.contract import UNKNOWN_DATA
from earthinstruct.datasets import training_sets_given
from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError
from earthinstruct_models.devices import missing_device
from earthinstruct_models.encoders.table import ENCODERS as NAMED_ENCODERS
from earthinstruct_models.lvlm.openai import server_of_environment
from earthinstruct_models.pretrained import weight_files
from earthinstruct_models.proposers.sam3 import SAM3S
from earthinstruct_models.weights import WEIGHTS, find_weights

SHARED = ("device", "images", "cache")  # without a prefix, these go to every part that takes them
_PLACES = {  # parameters that name a file or a folder
    "counts": "DIR",
    "images": "DIR",
    "folder": "DIR",
    "tokenizer": "DIR",
    "proposals": "FILE",
    "checkpoint": "FILE",
    "config": "FILE",
    "weights": "PATH",
    "replies": "NEW FILE",  # made if missing
    "cache": "NEW DIR",  # made if missing
}


@dataclass(frozen=True)
class Choice:
    """A part by name."""

    factory: str  # the class or function that makes it, as `module:name`; its keyword arguments are the parameters
    fixed: Mapping[str, Any] = field(default_factory=dict)  # arguments that the name fixes
    # argument -> the choice of an object that is made first; its parameters are parameters of the part
    inner: Mapping[str, Choice] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)  # needed beyond the dependencies: module -> name for pip
    # the name of the weights, from the parameters; None if the part takes no weights by name
    weights: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    weights_as: str = "checkpoint"  # the parameter that gets the path of the weights, unless it is given
    # what a part without weights by name was trained on, as in `Weights`; (): it has not learned
    training_data: Iterable[str] = (UNKNOWN_DATA,)
    # what else is missing, one line each, from the name of the part and its parameters
    also: Callable[[str, Mapping[str, Any]], Iterable[str]] = lambda _part, _given: ()

    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters by name."""
        found = self._own()
        if not self.inner and UNKNOWN_DATA in self.training_data:
            found["training_data"] = inspect.Parameter("training_data", inspect.Parameter.KEYWORD_ONLY, default=None)
        for choice in self.inner.values():
            found |= choice.parameters()
        return found

    def required(self, given: Mapping[str, Any]) -> list[str]:
        """The required parameters that are not yet given."""
        found = None if self._named_weights(given) is None else self.weights_as
        names = [
            name
            for name, parameter in self._own().items()
            if parameter.default is parameter.empty and given.get(name) is None and name != found
        ]
        return names + [name for choice in self.inner.values() for name in choice.required(given)]

    def trained_on(self, given: Mapping[str, Any]) -> tuple[str, ...]:
        """What the part with these parameters was trained on, each name once.

        It is unknown for other weights than those in the weights folder, unless the parameter `training_data` says it.
        """
        if given.get("training_data") is not None:
            return training_sets_given(given["training_data"])
        if self.inner:
            return tuple(dict.fromkeys(name for part in self.inner.values() for name in part.trained_on(given)))
        named, place = self.weights(given), given.get(self.weights_as)
        if named is not None:
            return WEIGHTS[named].training_data_of(place)
        return tuple(self.training_data) if place is None else (UNKNOWN_DATA,)

    def make(self, given: Mapping[str, Any]) -> Any:
        """Make the part from its parameters, with its weights from the weights folder.

        Raises:
            DataError: the weights are missing; says where to get them and where they go.
        """
        needed = self._named_weights(given)
        if needed is not None:
            given = {**given, self.weights_as: find_weights(needed)}
        inner = {name: choice.make(given) for name, choice in self.inner.items()}
        own = {name: given[name] for name in self._own() if name in given}
        return _load(self.factory)(**own, **self.fixed, **inner)

    def missing(self, part: str, given: Mapping[str, Any]) -> list[str]:
        """What the part with these parameters lacks on this machine, one line each, with what to do."""
        lines = missing_packages(self.packages)
        needed = self._named_weights(given)
        if needed is not None and not WEIGHTS[needed].here:
            lines.append(f"weights {needed}: {WEIGHTS[needed].how_to_get}")
        elif needed is not None:
            given = {**given, self.weights_as: WEIGHTS[needed].path}
        for name in self._own():
            option = name if name in SHARED else f"{part}.{name}"
            if name == "device":
                lines += missing_device(given.get(name), option)
            elif name in _PLACES:
                lines += missing_place(given.get(name), option, _PLACES[name])
        lines += self.also(part, given)
        return lines + [line for choice in self.inner.values() for line in choice.missing(part, given)]

    def _own(self) -> dict[str, inspect.Parameter]:
        signature = inspect.signature(_load(self.factory)).parameters
        return {name: value for name, value in signature.items() if name not in {*self.fixed, *self.inner}}

    def _named_weights(self, given: Mapping[str, Any]) -> str | None:
        return self.weights(given) if given.get(self.weights_as) is None else None


def always(name: str | None) -> Callable[[Mapping[str, Any]], str | None]:
    """Weights that do not depend on the parameters."""
    return lambda _: name


def _also_of_sam2(part: str, given: Mapping[str, Any]) -> list[str]:
    model = str(given.get("model", ""))
    return missing_place(model, f"{part}.model", "FILE") if model.endswith((".yaml", ".yml")) else []


def _also_of_open_clip(part: str, given: Mapping[str, Any]) -> list[str]:
    from earthinstruct_models.encoders.open_clip import missing_of_architecture

    architecture, config, tokenizer = (given.get(name) for name in ("architecture", "config", "tokenizer"))
    if config is not None and not Path(config).is_file():
        return []
    reader = {} if tokenizer is None else {"transformers": "transformers"}
    return missing_packages(reader) + missing_of_architecture(part, architecture, config, tokenizer)


def _also_of_named(tokenizer: str | None) -> Callable[[str, Mapping[str, Any]], Iterable[str]]:
    def also(part: str, given: Mapping[str, Any]) -> list[str]:
        if tokenizer is None or given.get("tokenizer") is not None or WEIGHTS[tokenizer].here:
            return []
        return [f"weights {tokenizer}: {WEIGHTS[tokenizer].how_to_get}"]

    return also


def _also_of_openai(part: str, given: Mapping[str, Any]) -> list[str]:
    try:
        server_of_environment()
    except EarthInstructError as error:
        return [str(error)]
    return []


def _also_of_transformers(part: str, given: Mapping[str, Any]) -> list[str]:
    spread = {} if given.get("device_map") is None else {"accelerate": "accelerate"}
    return missing_packages(spread) + missing_model(given.get("folder"))


def _of_sam2(given: Mapping[str, Any]) -> str | None:
    name = given.get("model", "sam2_hiera_l")
    return name if name in WEIGHTS else None


def kept(keeper: str, factory: str, **needs: Any) -> Choice:
    """The choice of a part whose answers a class of `earthinstruct_models.store` keeps; `needs`: fields of `Choice`."""
    return Choice(f"earthinstruct_models.store:{keeper}", inner={"part": Choice(factory, **needs)})


def transformers_lvlm(weights: str | None) -> Choice:
    """The choice of a language model on this machine, with these weights; None: a folder must be given."""
    return kept(
        "KeptLvlm",
        "earthinstruct_models.lvlm.transformers:TransformersLvlm",
        packages={"transformers": "transformers"},
        weights=always(weights),
        weights_as="folder",
        also=_also_of_transformers,
    )


PROPOSERS: Mapping[str, Choice] = {
    "recorded": Choice("earthinstruct_models.proposers.recorded:RecordedProposer"),
    "sam2": kept(
        "KeptProposer",
        "earthinstruct_models.proposers.sam2:Sam2Proposer",
        packages={"sam2": "--no-build-isolation sam2"},
        weights=_of_sam2,
        also=_also_of_sam2,
    ),
    "segments": kept(
        "KeptProposer",
        "earthinstruct_models.proposers.segments:SegmentsProposer",
        training_data=(),
    ),
}
LABEL_PROPOSERS: Mapping[str, Choice] = {  # for methods that know the labels before the regions
    name: kept(
        "KeptLabelProposer",
        "earthinstruct_models.proposers.sam3:Sam3Proposer",
        fixed={"kind": name},
        packages={"transformers": "transformers"},
        weights=always(published.weights),
        weights_as="folder",
        also=_also_of_transformers,
    )
    for name, published in SAM3S.items()
}
ENCODERS: Mapping[str, Choice] = {
    "open_clip": kept(
        "KeptEncoder", "earthinstruct_models.encoders.open_clip:OpenClipEncoder", also=_also_of_open_clip
    ),
    **{
        name: kept(
            "KeptEncoder",
            "earthinstruct_models.encoders.open_clip:named_encoder",
            fixed={"name": name},
            packages={} if entry.tokenizer is None else {"transformers": "transformers"},
            weights=always(name),
            also=_also_of_named(entry.tokenizer),
        )
        for name, entry in NAMED_ENCODERS.items()
    },
}
LVLMS: Mapping[str, Choice] = {
    "openai": kept(
        "KeptLvlm", "earthinstruct_models.lvlm.openai:OpenAiLvlm", packages={"openai": "openai"}, also=_also_of_openai
    ),
    "transformers": transformers_lvlm("qwen2.5-vl-7b"),
}


def missing_packages(needed: Mapping[str, str]) -> list[str]:
    """Which packages, module -> the name for pip, are not installed, and how to get them."""
    return [
        f"package {module}: pip install {to_install}"
        for module, to_install in needed.items()
        if importlib.util.find_spec(module) is None
    ]


def missing_place(path: object, option: str, kind: str) -> list[str]:
    """What is wrong with the path of a file or folder; an empty list if nothing is wrong or the path is None.

    Args:
        path: the path.
        option: the name of the parameter, for the message.
        kind: `FILE`, `DIR` or `PATH` (either), which must exist; `NEW FILE` or `NEW DIR`, which may exist.
    """
    if path is None:
        return []
    place = Path(str(path))
    plain = kind.removeprefix("NEW ")
    right = {"FILE": place.is_file(), "DIR": place.is_dir(), "PATH": place.exists()}[plain]
    if right or (kind != plain and not place.exists()):
        return []
    problem = f"is not a {'file' if plain == 'FILE' else 'folder'}" if place.exists() else "does not exist"
    return [f"{option.rpartition('.')[2]} {path}: it {problem}; give -M {option}={plain}"]


def missing_model(folder: object, source: str = "the model's repository") -> list[str]:
    """What the folder of a transformers model lacks; an empty list if it is None or not a folder."""
    if folder is None or not Path(str(folder)).is_dir():
        return []
    try:
        weight_files(Path(str(folder)), source)
    except DataError as error:
        return [f"model {folder}: {error}"]
    return []


def distributed(
    method: str, chosen: Mapping[str, Choice], given: Mapping[str, Any], own: Iterable[str] = ()
) -> dict[str, dict[str, Any]]:
    """Distribute parameters to the parts.

    `part.key` goes to that part. `key` goes to the only part that takes it; a key in `SHARED` goes to all parts.

    Args:
        method: the name of the method, for the message.
        chosen: part -> its choice.
        given: the parameters.
        own: the names of the method's own parameters, for the message.

    Raises:
        UnknownNameError: no chosen part takes a parameter.
        EarthInstructError: two parts take a parameter that has no prefix.
    """
    accepted = {part: tuple(choice.parameters()) for part, choice in chosen.items()}
    parameters: dict[str, dict[str, Any]] = {part: {} for part in chosen}
    for key, value in given.items():
        part, dot, name = key.rpartition(".")
        wanted = [p for p in chosen if name in accepted[p] and (not dot or p == part)]
        if not wanted and dot and part in chosen:
            other = f"Another {part} takes others: earthinstruct list methods {method}."
            raise UnknownNameError(f"parameter of the {part} of method {method!r}", name, accepted[part], other)
        if not wanted:
            known = {*own, *(name for names in accepted.values() for name in names)}
            taken = (f"The {p} takes {', '.join(names) or 'none'}." for p, names in accepted.items())
            raise UnknownNameError(f"parameter of method {method!r}", key, known, " ".join(taken))
        if len(wanted) > 1 and name not in SHARED:
            choices = " or ".join(f"-M {p}.{name}=VALUE" for p in wanted)
            raise EarthInstructError(f"parameter {name!r} is taken by {' and '.join(wanted)}: give {choices}")
        for p in wanted:
            parameters[p][name] = value
    return parameters


def still_needed(part: str, name: str, choice: Choice, given: Mapping[str, Any]) -> list[str]:
    """The required parameters of a part that are not given, as messages."""
    return [
        f"{part} {name!r} needs {key}: give -M {key if key in SHARED else f'{part}.{key}'}={_PLACES.get(key, 'VALUE')}"
        for key in choice.required(given)
    ]


def _load(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    factory: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return factory
