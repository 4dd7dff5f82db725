"""The parts of InstructSAM that can be chosen by name: those of `earthinstruct_models.choices`, and its own."""

from __future__ import annotations

from collections.abc import Mapping

from earthinstruct_models.choices import ENCODERS, LVLMS, PROPOSERS, Choice

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
