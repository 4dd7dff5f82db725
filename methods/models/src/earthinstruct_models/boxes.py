"""Boxes of detectors: from their forms to those of the contract, COCO xywh in absolute pixels of the input image."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from earthinstruct.errors import EarthInstructError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def corners_of_centres(boxes: ArrayLike) -> Floats:
    """Boxes (n, 4) given by centre and size (cx, cy, w, h) as corners (x0, y0, x1, y1), in the same unit.

    >>> corners_of_centres([[0.5, 0.5, 0.2, 0.4]]).round(3).tolist()
    [[0.4, 0.3, 0.6, 0.7]]
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    half = boxes[:, 2:] / 2
    return np.hstack([boxes[:, :2] - half, boxes[:, :2] + half])


def inside_image(corners: ArrayLike, height: int, width: int) -> tuple[Floats, Integers]:
    """Boxes (n, 4), corners in pixels, clipped to the image; boxes without area inside it are dropped.

    Returns:
        Boxes (m, 4) as xywh in pixels, and int64 (m,), their indices among the n.

    >>> inside_image([[-5, 2, 10, 30], [40, 0, 50, 9], [3, 3, 2, 9]], height=20, width=40)
    (array([[ 0.,  2., 10., 18.]]), array([0]))
    """
    corners = np.asarray(corners, dtype=np.float64).reshape(-1, 4)
    clipped = np.clip(corners, 0, [width, height, width, height])
    size = clipped[:, 2:] - clipped[:, :2]
    kept = np.flatnonzero((size > 0).all(axis=1))
    return np.hstack([clipped[:, :2], size])[kept], kept


def best(scores: ArrayLike, threshold: float, limit: int) -> Integers:
    """Indices of scores that reach the threshold, the largest first, at most `limit`; equal scores keep their order.

    Raises:
        EarthInstructError: a score is not a number, as where a model overflows in half precision.

    >>> best([0.2, 0.9, 0.2, 0.1], threshold=0.2, limit=2)
    array([1, 0])
    """
    scores = np.asarray(scores, dtype=np.float64)
    if np.isnan(scores).any():
        raise EarthInstructError("the model gave scores that are not numbers; try another dtype or device")
    order = np.argsort(-scores, kind="stable")
    return order[scores[order] >= threshold][:limit]
