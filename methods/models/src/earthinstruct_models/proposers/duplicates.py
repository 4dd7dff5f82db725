"""Removes duplicate proposals: of several for the same object only the best is kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from earthinstruct.contract import Proposals
from earthinstruct.regions import RLE


def distinct(regions: NDArray[np.float64] | list[RLE], overlap: float, limit: int | None = None) -> list[int]:
    """Select the regions whose IoU with every better selected region is at most `overlap`.

    Args:
        regions: best first: boxes (n, 4) xywh, or masks.
        overlap: an IoU in [0, 1].
        limit: most regions to select; None: all.
    """
    if not len(regions):
        return []
    ious = np.asarray(coco_mask.iou(regions, regions, np.zeros(len(regions), dtype=np.uint8)))
    kept: list[int] = []
    for i, with_others in enumerate(ious):
        if len(kept) == limit:
            break
        if not kept or with_others[kept].max() <= overlap:
            kept.append(i)
    return kept


def without_duplicates(proposals: Proposals, overlap: float) -> Proposals:
    """Drop every proposal whose IoU with a better kept proposal is larger than `overlap`, in [0, 1].

    The proposals, best first, are compared by their masks if present, else by their boxes.

    >>> without_duplicates(Proposals([[0, 0, 10, 10], [0, 0, 10, 9], [5, 5, 9, 9]]), 0.5).boxes.tolist()
    [[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 9.0, 9.0]]
    """
    kept = distinct(np.array(proposals.boxes) if proposals.masks is None else list(proposals.masks), overlap)
    return Proposals(
        proposals.boxes[kept],
        None if proposals.masks is None else tuple(proposals.masks[i] for i in kept),
        None if proposals.scores is None else proposals.scores[kept],
    )
