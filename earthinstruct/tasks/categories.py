"""The category vocabularies of the datasets: names, base and novel splits, parent categories, annotation rules.

Source: Zheng et al., InstructSAM (arXiv 2505.15818), main text and appendix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Vocabulary:
    """The categories of a dataset.

    Attributes:
        categories: the names, in the order of their ids.
        novel: the categories held out as novel; the others are base. Empty if the dataset has no such split.
        parents: parent category -> its members, for open_subclass tasks.
        resolution: ground sample distance, in words.
        rules: annotation rules of the dataset that an instruction may state.
    """

    categories: tuple[str, ...]
    novel: tuple[str, ...] = ()
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    resolution: str = ""
    rules: tuple[str, ...] = ()

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Groups of categories whose means are reported: `all`, `base`, `novel` and one for each parent.

        A parent named like one of the first three gets no group.
        """
        groups = {"all": self.categories}
        if self.novel:
            groups["base"] = tuple(name for name in self.categories if name not in self.novel)
            groups["novel"] = self.novel
        for parent, members in self.parents.items():
            groups.setdefault(parent.replace(" ", "_"), members)
        return groups


DIOR = Vocabulary(
    categories=(
        "airplane",
        "airport",
        "baseball field",
        "basketball court",
        "bridge",
        "chimney",
        "expressway service area",
        "expressway toll station",
        "dam",
        "golf field",
        "ground track field",
        "harbor",
        "overpass",
        "ship",
        "stadium",
        "storage tank",
        "tennis court",
        "train station",
        "vehicle",
        "windmill",
    ),
    novel=("airport", "basketball court", "ground track field", "windmill"),
    parents={
        "sports field": (
            "baseball field",
            "basketball court",
            "golf field",
            "ground track field",
            "tennis court",
            "stadium",
        ),
        "means of transport": ("airplane", "ship", "vehicle"),
    },
    resolution="0.3 m to 30 m",
    rules=(
        "Count an airport only when the whole of it is visible.",
        "Count each pier as one harbor.",
        "An expressway toll station is a row of booths across an expressway.",
        "Expressway service areas on both sides of a road are two.",
        "An overpass leads over a road, a bridge leads over a river.",
        "Count the parallel carriageways of a bridge or an overpass separately.",
        "Count ships and vehicles even where they are small and dense.",
    ),
)

NWPU = Vocabulary(
    categories=(
        "airplane",
        "ship",
        "storage_tank",
        "baseball_field",
        "tennis_court",
        "basketball_court",
        "track_field",
        "harbor",
        "bridge",
        "vehicle",
    ),
    novel=("ship", "basketball_court", "harbor"),
    parents={
        "sports field": ("baseball_field", "tennis_court", "basketball_court", "track_field"),
        "means of transport": ("airplane", "ship", "vehicle"),
    },
    resolution="0.08 m to 2 m",
    rules=(
        "Leave out ships and vehicles that are too small to be outlined in an image of low resolution.",
        "Count each pier as one harbor.",
    ),
)
