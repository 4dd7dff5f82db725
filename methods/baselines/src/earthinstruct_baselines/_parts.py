"""The models that a baseline is built from, chosen by name; `part.key` is a parameter of a part."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from earthinstruct_models.choices import (
    ENCODERS,
    LVLMS,
    PROPOSERS,
    Choice,
    choice_of,
    close_parts,
    described,
    distributed,
    missing_packages,
    missing_parts,
    still_needed,
)
from earthinstruct_models.lvlm import RememberedLvlm

from earthinstruct.errors import EarthInstructError


def remembered(lvlms: Mapping[str, Choice]) -> dict[str, Choice]:
    """Language models that remember their replies; `replies` is one more parameter of each."""
    return {
        name: Choice("earthinstruct_models.lvlm:RememberedLvlm", inner={"lvlm": lvlm}) for name, lvlm in lvlms.items()
    }


TABLES: Mapping[str, Mapping[str, Choice]] = {
    "proposer": PROPOSERS,
    "encoder": ENCODERS,
    "lvlm": remembered(LVLMS),
}


class Parts:
    """The parts of one method: made from names and parameters, or given as objects.

    A language model remembers its replies, also one that is given: an image that is asked about again costs nothing.

    Args:
        method: the name of the method, for errors.
        chosen: part -> the name of a choice, or an object that is the part already.
        parameters: of the parts: `key`, or `part.key` where two parts take it.
        tables: part -> name -> choice.

    Raises:
        UnknownNameError: no such choice or parameter.
        EarthInstructError: a part lacks a parameter or a file.
    """

    def __init__(
        self,
        method: str,
        chosen: Mapping[str, Any],
        parameters: Mapping[str, Any],
        tables: Mapping[str, Mapping[str, Choice]] = TABLES,
    ) -> None:
        self._names, choices, for_part = _plan(method, chosen, parameters, tables)
        for part, choice in choices.items():
            needed = still_needed(part, self._names[part], choice, for_part[part])
            if needed:
                raise EarthInstructError(f"{method}: {needed[0]}")
        made = {part: choice.make(for_part[part]) for part, choice in choices.items()}
        self._made = {part: made.get(part, given) for part, given in chosen.items()}
        if "lvlm" in self._made and "lvlm" not in made:
            self._made["lvlm"] = RememberedLvlm(self._made["lvlm"])

    def __getitem__(self, part: str) -> Any:
        """The part."""
        return self._made[part]

    def describe(self) -> dict[str, Any]:
        """`parameters`, `weights` and `device` of all parts."""
        return described(self._made, self._names)

    def close(self) -> None:
        """Release what the parts hold."""
        close_parts(self._made.values())


def lacking(
    method: type,
    parts: Sequence[str],
    parameters: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, Choice]] = TABLES,
) -> list[str]:
    """What the parts of a method lack on this machine, and how to get it.

    Args:
        method: its class.
        parts: their names, which are arguments of the class.
        parameters: as for the class.
        tables: part -> name -> choice.

    Raises:
        UnknownNameError: no such choice or parameter.
    """
    absent = missing_packages({"torch": "torch"})
    if absent:  # a part that cannot be imported cannot tell its parameters
        return absent
    own = inspect.signature(method).parameters
    chosen = {part: parameters.get(part, own[part].default) for part in parts}
    of_parts = {key: value for key, value in parameters.items() if key not in own}
    return missing_parts(*_plan(str(getattr(method, "name", "")), chosen, of_parts, tables))


def _plan(
    method: str, chosen: Mapping[str, Any], parameters: Mapping[str, Any], tables: Mapping[str, Mapping[str, Choice]]
) -> tuple[dict[str, str], dict[str, Choice], dict[str, dict[str, Any]]]:
    """For every part that is chosen by name: the name, the choice, its parameters."""
    names = {part: name for part, name in chosen.items() if isinstance(name, str)}
    choices = {part: choice_of(part, name, tables[part]) for part, name in names.items()}
    return names, choices, distributed(method, choices, parameters)
