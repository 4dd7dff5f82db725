"""Removes duplicate proposals: of several for the same object only the best is kept."""

from __future__ import annotations

from collections.abc import Sequence

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


def merged(found: Sequence[Proposals], overlap: float) -> tuple[Proposals, NDArray[np.float64]]:
    """One list of regions from the regions of each label: regions that show the same object become one.

    Of regions of any labels whose masks have an IoU larger than `overlap`, the one with the best score stays.

    Args:
        found: for each of m labels its regions, with scores and masks.
        overlap: an IoU in [0, 1].

    Returns:
        n regions, best first, with their best scores; float64 (n, m): for each region and label the best score of the
        regions that became it, 0 where the label has none.
    """
    label = np.repeat(np.arange(len(found)), [len(proposals) for proposals in found])
    scores = np.concatenate([np.zeros(0), *(proposals.scores for proposals in found)])
    order = np.argsort(-scores, kind="stable")
    masks = [mask for proposals in found for mask in proposals.masks or ()]
    ordered = [masks[i] for i in order]
    kept = distinct(ordered, overlap)
    table = np.zeros((len(kept), len(found)))
    if kept:
        ious = coco_mask.iou(ordered, [ordered[i] for i in kept], np.zeros(len(kept), dtype=np.uint8))
        owner = np.asarray(ious).argmax(axis=1)
        owner[kept] = np.arange(len(kept))
        np.maximum.at(table, (owner, label[order]), scores[order])
    boxes = np.concatenate([np.zeros((0, 4)), *(proposals.boxes for proposals in found)])[order[kept]]
    return Proposals(boxes, tuple(ordered[i] for i in kept), scores[order[kept]]), table


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
