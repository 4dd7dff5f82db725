"""The parts of InstructSAM that can be chosen by name: those of `earthinstruct_models.choices`, and its own."""

from __future__ import annotations

from earthinstruct_models.choices import LVLMS, Choice, kept_encoder
from earthinstruct_models.parts import KEPT, TABLES

from earthinstruct_instructsam.parts import KeptCounter


def _kept(choice: Choice) -> Choice:
    return Choice("earthinstruct_instructsam.parts:KeptCounter", inner={"part": choice})


_SMALL_ENCODER = kept_encoder("earthinstruct_instructsam.small:small_encoder", training_data=("scenes",))
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
    "proposer": TABLES["proposer"],
    "encoder": {**TABLES["encoder"], "small": _SMALL_ENCODER},
}
PARTS = tuple(CHOICES)
KEEPERS = {**KEPT, "counter": KeptCounter}  # for parts that are given as objects
