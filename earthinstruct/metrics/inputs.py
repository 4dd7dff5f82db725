"""The inputs of scoring: ground truth and predictions, in columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.matching import Geometry, lie_on
from earthinstruct.regions import ImageId, Instances


@dataclass(frozen=True, eq=False)
class Ignored:
    """Ground-truth objects that are neither found nor missed, in columns.

    Attributes:
        instances: m objects; their category is an index into the categories of the ground truth.
        crowd: bool (m,), regions that hold many objects.
    """

    instances: Instances
    crowd: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Truth:
    """The ground truth, in columns.

    Attributes:
        images: ids of n images.
        categories: names of the c scored categories.
        groups: group -> its categories; the headline scores are means over the group `all`.
        instances: the ground-truth objects; their category is an index into `categories`.
        no_masks_reason: why `instances` has no masks; None if it has.
        ignored: the ignored objects, with masks if `instances` has masks; or None.
    """

    images: tuple[ImageId, ...]
    categories: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    instances: Instances
    no_masks_reason: str | None = None
    ignored: Ignored | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(images, categories)."""
        return len(self.images), len(self.categories)


@dataclass(frozen=True, eq=False)
class Predicted:
    """The predictions of a method, in columns.

    Attributes:
        instances: the predicted objects; their category is an index into the categories of the ground truth, or -1 if
            the label maps to no scored category.
        counts: int64 (n, c), the counts that the method gave; rows where `has_counts` is false are ignored.
        has_counts: bool (n,), images for which the method gave counts.
        mentioned: bool (c,), categories that any of the given counts mentions, also with 0.
        proposals: class-agnostic regions in the method's order (their category is ignored), or None.
        no_masks_reason: why `instances` has no masks; None if it has.
        only_counts: whether the method names no instances in any image, and gives counts: scores of instances are then
            undefined.
        no_boxes_reason: why `instances` has no boxes; None if it has, and if the method only counts.
        no_points_reason: why `instances` has no points, although the method points; None if it has, or never points.
    """

    instances: Instances
    counts: NDArray[np.int64]
    has_counts: NDArray[np.bool_]
    mentioned: NDArray[np.bool_]
    proposals: Instances | None = None
    no_masks_reason: str | None = None
    only_counts: bool = False
    no_boxes_reason: str | None = None
    no_points_reason: str | None = None

    @property
    def has_boxes(self) -> bool:
        """Whether the instances have boxes."""
        return self.no_boxes_reason is None and not self.only_counts

    @property
    def geometry(self) -> Geometry:
        """The geometry that says where the instances are: their points if they have no boxes."""
        return "box" if self.has_boxes or self.instances.points is None else "point"


ScoreThreshold: TypeAlias = float | Mapping[ImageId, float] | None  # one for all images, one for each image, or none


def reaching(truth: Truth, predicted: Predicted, threshold: ScoreThreshold) -> NDArray[np.bool_]:
    """Which instances reach a score threshold: bool (instances,). All do without scores or threshold."""
    scores = predicted.instances.scores
    if threshold is None or scores is None:
        return np.ones(len(predicted.instances), dtype=bool)
    if isinstance(threshold, Mapping):
        of_image = np.array([threshold[image] for image in truth.images], dtype=np.float64)
        return np.asarray(scores >= of_image[predicted.instances.image])
    return np.asarray(scores >= threshold)


def lie_on_ignored(truth: Truth, predictions: Instances, geometry: Geometry) -> NDArray[np.bool_]:
    """Which predictions lie on an ignored object of their image and category: bool (predictions,)."""
    if truth.ignored is None:
        return np.zeros(len(predictions), dtype=bool)
    return lie_on(predictions, truth.ignored.instances, geometry, truth.ignored.crowd)


def geometries(truth: Truth, predicted: Predicted) -> tuple[Geometry, ...]:
    """The geometries that can be matched: boxes, masks if both sides have them, and points."""
    found = geometries_of(truth.instances, predicted.instances) if predicted.has_boxes else ()
    return found if predicted.instances.points is None else (*found, "point")


def geometries_of(targets: Instances, regions: Instances) -> tuple[Geometry, ...]:
    """Like `geometries`, for predictions or proposals."""
    return ("box",) if targets.masks is None or regions.masks is None else ("box", "mask")
