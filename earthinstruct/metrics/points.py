"""Points: which objects a point lies in, and which it lies near.

A point lies in an object if its pixel (floor(x), floor(y)) belongs to the object's mask. Where the ground truth has no
masks, it lies in the box [x, x + width) x [y, y + height). It lies near the object if it lies in the box made twice as
wide and high about its centre. Points have no IoU: `closeness` takes its place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthinstruct.regions import Instances

NEAREST, _PER_HALF_SIDE = 0.4, 0.15  # closeness is 0.4 at the centre of the box and 0.1 where near ends


def regions_of(objects: Instances) -> NDArray[np.float64]:
    """The box of each object: that of its mask, if there are masks: float64 (n, 4), xywh."""
    return objects.boxes if objects.masks is None else objects.masks.boxes


def doubled(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes made twice as wide and high about their centres: float64 (n, 4), xywh.

    >>> doubled(np.array([[10.0, 20, 4, 2]])).tolist()
    [[8.0, 19.0, 8.0, 4.0]]
    """
    return np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, 2 * boxes[:, 2:]])


def lie_in(
    points: NDArray[np.float64], objects: Instances, point: NDArray[np.int64], target: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether points lie in objects, for pairs of a point and an object, by index: bool (pairs,)."""
    if objects.masks is not None:
        return objects.masks.hold(target, points[point])
    return _in_boxes(points[point], objects.boxes[target])


def closeness(
    points: NDArray[np.float64], objects: Instances, point: NDArray[np.int64], target: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How close points lie to objects: float64 (pairs,).

    1 in the object, from 0.4 to 0.1 near it (the less, the farther from the centre of its box), otherwise 0.
    """
    places, boxes = points[point], regions_of(objects)[target]
    found = np.zeros(len(point))
    near = np.flatnonzero(_in_boxes(places, doubled(boxes)))
    half = boxes[near, 2:] / 2
    away = (np.abs(places[near] - boxes[near, :2] - half) / half).max(axis=1, initial=0)
    found[near] = NEAREST - _PER_HALF_SIDE * np.minimum(away, 2)
    found[lie_in(points, objects, point, target)] = 1
    return found


def _in_boxes(points: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(((points >= boxes[:, :2]) & (points < boxes[:, :2] + boxes[:, 2:])).all(axis=1))
