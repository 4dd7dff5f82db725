"""AP_nc50 as a COCO average precision with equal scores, for protocols that define it so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.matching import Pairs, match
from earthinstruct.metrics.scores import average_precision
from earthinstruct.regions import ImageId, Instances, by_id


@dataclass(frozen=True, eq=False)
class InFileOrder:
    """The predictions of some images that enter the precision-recall curve, in file order within each image.

    Attributes:
        image: int64 (n,), index into the images of the chunk.
        category: int64 (n,).
        matched: bool (n,), true positives.
    """

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    matched: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        predictions: Instances,
        pairs: Pairs,
        on_ignored: NDArray[np.bool_],
        kept: NDArray[np.bool_],
        n_categories: int,
        cap: int,
    ) -> InFileOrder:
        """Match the `kept` predictions as COCO does: the first `cap` of each image and category, in file order.

        Unmatched predictions on ignored objects do not enter. `on_ignored` and `kept` are bool (predictions,).
        """
        entering = np.flatnonzero(kept & (predictions.category >= 0))
        cell = predictions.image[entering] * n_categories + predictions.category[entering]
        entering = entering[rank_within(cell) < cap]
        there = np.zeros(len(predictions), dtype=bool)
        there[entering] = True
        matched = match(pairs.where(there[pairs.prediction]), "coco") >= 0
        entering = entering[matched[entering] | ~on_ignored[entering]]
        return cls(predictions.image[entering], predictions.category[entering], matched[entering])

    @staticmethod
    def join(chunks: Sequence[InFileOrder], n_images: Sequence[int]) -> InFileOrder:
        """Join chunks; `n_images` holds the number of images of each."""
        before = np.cumsum([0, *n_images]).tolist()
        return InFileOrder(
            np.concatenate([chunk.image + start for chunk, start in zip(chunks, before, strict=False)]),
            np.concatenate([chunk.category for chunk in chunks]),
            np.concatenate([chunk.matched for chunk in chunks]),
        )

    def average_precision(self, images: Sequence[ImageId], n_targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """COCO AP of each category, with images sorted by id: float64 (c,), 0 for categories without ground truth."""
        place = np.empty(len(images), dtype=np.int64)
        place[by_id(images)] = np.arange(len(images))
        order = np.argsort(place[self.image], kind="stable")
        category, matched = self.category[order], self.matched[order]
        return np.array(
            [average_precision(matched[category == c], n) if n else 0.0 for c, n in enumerate(n_targets.tolist())]
        )


def rank_within(cell: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of equal entries before each entry: int64 (n,).

    >>> rank_within(np.array([7, 3, 7, 7, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    within = np.argsort(cell, kind="stable")
    ordered = cell[within]
    rank = np.empty(len(cell), dtype=np.int64)
    rank[within] = np.arange(len(cell)) - np.searchsorted(ordered, ordered, side="left")
    return rank
