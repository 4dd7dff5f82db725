"""The parts of InstructSAM that can be chosen by name: those of `earthinstruct_models.choices`, and its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from earthinstruct_models import choices
from earthinstruct_models.choices import ENCODERS, LVLMS, PROPOSERS, Choice, still_needed

__all__ = ["CHOICES", "PARTS", "Choice", "choice_of", "distributed", "still_needed"]

CHOICES: Mapping[str, Mapping[str, Choice]] = {
    "counter": {
        "recorded": Choice("earthinstruct_instructsam.counters.recorded:RecordedCounter"),
        "small": Choice("earthinstruct_instructsam.counters.small:SmallCounter"),
        **{
            name: Choice("earthinstruct_instructsam.counters.lvlm:LvlmCounter", inner={"lvlm": lvlm})
            for name, lvlm in LVLMS.items()
        },
    },
    "proposer": PROPOSERS,
    "encoder": {**ENCODERS, "small": Choice("earthinstruct_instructsam.small:small_encoder")},
}
PARTS = tuple(CHOICES)


def choice_of(part: str, name: str) -> Choice:
    """The choice of that name, as `earthinstruct_models.choices.choice_of` finds it."""
    return choices.choice_of(part, name, CHOICES[part])


def distributed(
    chosen: Mapping[str, Choice], given: Mapping[str, Any], own: Iterable[str] = ()
) -> dict[str, dict[str, Any]]:
    """Which parameters go to which part, as `earthinstruct_models.choices.distributed` says it."""
    return choices.distributed("instructsam", chosen, given, own)
