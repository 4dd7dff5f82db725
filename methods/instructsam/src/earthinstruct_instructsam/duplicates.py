"""Proposals of the same thing: only the best is kept. An option; the paper keeps all."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from earthinstruct.contract import Proposals


def without_duplicates(proposals: Proposals, overlap: float) -> Proposals:
    """Drop every proposal whose IoU with a better one that is kept is larger than `overlap`.

    Args:
        proposals: best first; compared by their masks, or by their boxes where there are none.
        overlap: in [0, 1].

    Returns:
        The kept ones, in order.

    >>> without_duplicates(Proposals([[0, 0, 10, 10], [0, 0, 10, 9], [5, 5, 9, 9]]), 0.5).boxes.tolist()
    [[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 9.0, 9.0]]
    """
    if not len(proposals):
        return proposals
    regions = np.array(proposals.boxes) if proposals.masks is None else list(proposals.masks)
    ious = np.asarray(coco_mask.iou(regions, regions, np.zeros(len(proposals), dtype=np.uint8)))
    kept: list[int] = []
    for i in range(len(proposals)):
        if not kept or ious[i, kept].max() <= overlap:
            kept.append(i)
    return Proposals(
        proposals.boxes[kept],
        None if proposals.masks is None else tuple(proposals.masks[i] for i in kept),
        None if proposals.scores is None else proposals.scores[kept],
    )
