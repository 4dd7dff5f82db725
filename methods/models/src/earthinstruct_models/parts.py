"""The parts of a method: chosen by name or given as objects, made with their parameters, described and released."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from earthinstruct.contract import UNKNOWN_DATA
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct_models.choices import (
    ENCODERS,
    LVLMS,
    PROPOSERS,
    Choice,
    distributed,
    missing_packages,
    still_needed,
)
from earthinstruct_models.store import Kept, KeptEncoder, KeptLvlm, KeptProposer

Tables = Mapping[str, Mapping[str, Choice]]  # part -> name -> choice
TABLES: Tables = {"proposer": PROPOSERS, "encoder": ENCODERS, "lvlm": LVLMS}
KEPT: Mapping[str, Callable[..., Kept]] = {"proposer": KeptProposer, "encoder": KeptEncoder, "lvlm": KeptLvlm}
CACHE_NOTE = "a stage read from the cache shows the seconds of reading it"


class Parts:
    """The parts of one method. Their answers are kept, so that each is computed once.

    Args:
        method: the name of the method, for errors.
        chosen: part -> the name of a choice, or a part object.
        parameters: of the parts: `key`, or `part.key` if two parts take it; `cache` is a folder that keeps the answers
            for the next run. Of two values for one parameter the later one holds.
        tables: the choices.
        kept: part -> the wrapper that keeps the answers of a part object.
        own: the names of the method's own parameters, for errors.

    Raises:
        UnknownNameError: no such choice or parameter.
        EarthInstructError: a part lacks a parameter or a file.
    """

    def __init__(
        self,
        method: str,
        chosen: Mapping[str, Any],
        parameters: Mapping[str, Any],
        tables: Tables = TABLES,
        kept: Mapping[str, Callable[..., Kept]] = KEPT,
        own: Iterable[str] = (),
    ) -> None:
        self._names, choices, for_part = _plan(method, chosen, parameters, tables, own)
        self._trained_on = {part: choice.trained_on(for_part[part]) for part, choice in choices.items()}
        for part, choice in choices.items():
            needed = still_needed(part, self._names[part], choice, for_part[part])
            if needed:
                raise EarthInstructError(f"{method}: {needed[0]}")
        made = {part: choice.make(for_part[part]) for part, choice in choices.items()}
        cache: str | Path | None = parameters.get("cache")
        self.notes = [] if cache is None else [CACHE_NOTE]
        self._made = {
            part: made[part] if part in made else given if isinstance(given, Kept) else kept[part](given, cache=cache)
            for part, given in chosen.items()
        }

    def __getitem__(self, part: str) -> Any:
        """The part."""
        return self._made[part]

    def describe(self) -> dict[str, Any]:
        """The descriptions of the parts, together.

        Returns:
            `parameters` (named `part.key`), `weights`, `training_data` of each part, `deterministic`, and `device`:
            "cpu", or "proposer cuda, encoder cpu" if the parts differ; None if no part has one.
        """
        parameters: dict[str, Any] = {}
        weights: list[dict[str, str]] = []
        devices: dict[str, str] = {}
        training_data: dict[str, list[str]] = {}
        for part, made in self._made.items():
            described = dict(made.describe())
            weights += described.pop("weights", ())
            of_object: tuple[str, ...] = tuple(described.pop("training_data", (UNKNOWN_DATA,)))
            training_data[part] = list(self._trained_on.get(part, of_object))
            if "device" in described:
                devices[part] = str(described.pop("device"))
            own_name = described.pop(part, type(getattr(made, "part", made)).__name__)
            parameters[part] = self._names.get(part, own_name)
            parameters |= {f"{part}.{key}": value for key, value in described.items()}
        if len(set(devices.values())) > 1:
            device: str | None = ", ".join(f"{part} {device}" for part, device in devices.items())
        else:
            device = next(iter(devices.values()), None)
        return {
            "parameters": parameters,
            "weights": weights,
            "device": device,
            "training_data": training_data,
            "deterministic": self.deterministic,
        }

    @property
    def deterministic(self) -> bool | None:
        """True if every part says that it always gives the same answer to the same question; None: not all say so."""
        return all(getattr(made, "deterministic", False) for made in self._made.values()) or None

    def repeat(self, number: int) -> None:
        """Tell the parts which repeat the next calls belong to, see `earthinstruct.Method`."""
        for made in self._made.values():
            repeat = getattr(made, "repeat", None)
            if callable(repeat):
                repeat(number)

    def close(self) -> None:
        """Close the parts."""
        for part in self._made.values():
            close = getattr(part, "close", None)
            if callable(close):
                close()


def lacking(method: type, parts: Iterable[str], parameters: Mapping[str, Any], tables: Tables = TABLES) -> list[str]:
    """What the parts of a method lack on this machine, and how to get it; parts and parameters are those of its class.

    Raises:
        UnknownNameError: no such choice or parameter.
    """
    absent = missing_packages({"torch": "torch"})
    if absent:  # the parameters of a part are unknown if it cannot be imported
        return absent
    own = inspect.signature(method).parameters
    chosen = {part: parameters.get(part, own[part].default) for part in parts}
    of_parts = {key: value for key, value in parameters.items() if key not in own or key == "cache"}
    names, choices, for_part = _plan(str(getattr(method, "name", "")), chosen, of_parts, tables, own)
    lines: list[str] = []
    for part, choice in choices.items():
        lines += choice.missing(part, for_part[part]) + still_needed(part, names[part], choice, for_part[part])
    return list(dict.fromkeys(lines))


def choices_of(parts: Iterable[str], tables: Tables = TABLES) -> dict[str, dict[str, list[inspect.Parameter]]]:
    """Part -> the names that may be chosen for it -> the parameters of the part.

    Without torch, which most parts import, no parameter is known.
    """
    known = not missing_packages({"torch": "torch"})
    return {part: {name: _taken(choice) if known else [] for name, choice in tables[part].items()} for part in parts}


def _taken(choice: Choice) -> list[inspect.Parameter]:
    """The parameters of a part; one that the weights folder gives needs no value."""
    required = choice.required({})
    return [
        parameter if name in required or parameter.default is not parameter.empty else parameter.replace(default=None)
        for name, parameter in choice.parameters().items()
    ]


def _plan(
    method: str, chosen: Mapping[str, Any], parameters: Mapping[str, Any], tables: Tables, own: Iterable[str]
) -> tuple[dict[str, str], dict[str, Choice], dict[str, dict[str, Any]]]:
    """The name, the choice and the parameters of every part that is chosen by name."""
    names = {part: name for part, name in chosen.items() if isinstance(name, str)}
    for part, name in names.items():
        if name not in tables[part]:
            raise UnknownNameError(part, name, tables[part])
    choices = {part: tables[part][name] for part, name in names.items()}
    taken = {key: value for key, value in parameters.items() if value is not None or key != "cache"}
    if not any("cache" in choice.parameters() for choice in choices.values()):
        taken.pop("cache", None)  # it belongs to the parts that are given as objects
    return names, choices, distributed(method, choices, taken, own)
