"""The parts of InstructSAM that can be chosen by name: those of `earthinstruct_models.choices`, and its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from earthinstruct_models.choices import LABEL_PROPOSERS, LVLMS, Choice, kept
from earthinstruct_models.parts import KEPT, TABLES
from earthinstruct_models.store import Kept, KeptLabelProposer, KeptProposer

from earthinstruct_instructsam.parts import KeptCounter


def _kept(choice: Choice) -> Choice:
    return Choice("earthinstruct_instructsam.parts:KeptCounter", inner={"part": choice})


_SMALL_ENCODER = kept("KeptEncoder", "earthinstruct_instructsam.small:small_encoder", training_data=("scenes",))
CHOICES = {
    "counter": {
        "recorded": Choice("earthinstruct_instructsam.counters.recorded:RecordedCounter"),
        "small": _kept(
            Choice(
                "earthinstruct_instructsam.counters.small:SmallCounter", weights_as="weights", training_data=("scenes",)
            )
        ),
        **{
            name: _kept(Choice("earthinstruct_instructsam.counters.lvlm:LvlmCounter", inner={"lvlm": lvlm}))
            for name, lvlm in LVLMS.items()
        },
    },
    "proposer": {**TABLES["proposer"], **LABEL_PROPOSERS},
    "encoder": {**TABLES["encoder"], "small": _SMALL_ENCODER},
}
PARTS = tuple(CHOICES)


def needs_labels(proposer: object) -> bool:
    """Whether a proposer, by name or as an object, proposes for given labels and scores them."""
    return proposer in LABEL_PROPOSERS if isinstance(proposer, str) else hasattr(proposer, "propose_for")


def _kept_proposer(part: Any, **options: Any) -> Kept:
    return (KeptLabelProposer if needs_labels(part) else KeptProposer)(part, **options)


KEEPERS: Mapping[str, Callable[..., Kept]] = {  # for parts that are given as objects
    **KEPT,
    "counter": KeptCounter,
    "proposer": _kept_proposer,
}
