"""What is scored: the ground truth and the predictions, in columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.matching import Geometry
from earthinstruct.regions import ImageId, Instances


@dataclass(frozen=True, eq=False)
class Truth:
    """What is there.

    Attributes:
        images: ids of n images.
        categories: names of the c scored categories.
        groups: group -> its categories; `all` is the group behind the headline numbers.
        instances: ground truth, its categories indexing `categories`.
        no_masks_reason: why `instances` has no masks.
    """

    images: tuple[ImageId, ...]
    categories: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    instances: Instances
    no_masks_reason: str | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(images, categories)."""
        return len(self.images), len(self.categories)


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a method says is there.

    Attributes:
        instances: its categories index the truth's; -1 where the label maps to nothing that is scored.
        counts: int64 (n, c), the counts it gave; rows of images where `has_counts` is false are ignored.
        has_counts: bool (n,), images for which it gave counts.
        mentioned: bool (c,), categories that any of its counts mention, a zero included.
        proposals: class-agnostic regions in the method's order (categories are ignored), or None.
        no_masks_reason: why `instances` has no masks.
    """

    instances: Instances
    counts: NDArray[np.int64]
    has_counts: NDArray[np.bool_]
    mentioned: NDArray[np.bool_]
    proposals: Instances | None = None
    no_masks_reason: str | None = None

    def reaching(self, threshold: float | None) -> NDArray[np.bool_]:
        """Which instances are there at a score threshold: bool (instances,); all without scores or a threshold."""
        scores = self.instances.scores
        if threshold is None or scores is None:
            return np.ones(len(self.instances), dtype=bool)
        return np.asarray(scores >= threshold)


def geometries(truth: Truth, predicted: Predicted) -> tuple[Geometry, ...]:
    """What can be matched: boxes, and masks where both sides have them."""
    return ("box", "mask") if _masks(truth, predicted.instances) and predicted.no_masks_reason is None else ("box",)


def proposal_geometries(truth: Truth, proposals: Instances) -> tuple[Geometry, ...]:
    """The same for proposals."""
    return ("box", "mask") if _masks(truth, proposals) else ("box",)


def _masks(truth: Truth, regions: Instances) -> bool:
    return regions.masks is not None and truth.instances.masks is not None and truth.no_masks_reason is None
