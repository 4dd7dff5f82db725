"""Average precision per category: over the scores of a method, or as COCO computes it when every score is the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from earthinstruct.instances import ImageId, Instances
from earthinstruct.metrics.matching import Pairs, match
from earthinstruct.metrics.scores import average_precision


def ap_over_scores(predictions: Instances, pairs: Pairs, n_targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """COCO AP without a cap; equal scores enter together, so the order of the file has no say.

    Args:
        predictions: n predictions with scores.
        pairs: what they overlap.
        n_targets: int64 (c,), ground truths of each category.

    Returns:
        float64 (c,), 0 where there is no ground truth.

    Raises:
        ValueError: the predictions have no scores.
    """
    if predictions.scores is None:
        raise ValueError("average precision needs scores")
    order = np.argsort(-predictions.scores, kind="stable")
    matched = match(pairs, "maximum", order) >= 0
    return _per_category(predictions.category[order], matched[order], predictions.scores[order], n_targets)


def ap_of_constant_scores(
    predictions: Instances,
    pairs: Pairs,
    n_targets: NDArray[np.int64],
    images: Sequence[ImageId],
    kept: NDArray[np.bool_],
    cap: int,
) -> NDArray[np.float64]:
    """COCO AP with every score 1: predictions in file order, images in the order of their ids.

    Args:
        predictions: n predictions.
        pairs: what they overlap.
        n_targets: int64 (c,), ground truths of each category.
        images: the ids of the images.
        kept: bool (n,), which predictions are there.
        cap: how many predictions of a category in an image enter, the first of the file.

    Returns:
        float64 (c,), 0 where there is no ground truth.
    """
    by_id = np.empty(len(images), dtype=np.int64)
    by_id[sorted(range(len(images)), key=lambda i: (str(type(images[i])), images[i]))] = np.arange(len(images))
    cell = predictions.image * len(n_targets) + predictions.category
    order = np.argsort(by_id[predictions.image], kind="stable")
    order = order[(kept & (predictions.category >= 0))[order]]
    order = order[rank_within(cell[order]) < cap]
    entering = np.zeros(len(predictions), dtype=bool)
    entering[order] = True
    matched = match(pairs.where(entering[pairs.prediction]), "coco") >= 0
    return _per_category(predictions.category[order], matched[order], None, n_targets)


def rank_within(cell: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many entries of the same value come before each: int64 (n,).

    >>> rank_within(np.array([7, 3, 7, 7, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    within = np.argsort(cell, kind="stable")
    ordered = cell[within]
    rank = np.empty(len(cell), dtype=np.int64)
    rank[within] = np.arange(len(cell)) - np.searchsorted(ordered, ordered, side="left")
    return rank


def _per_category(
    category: NDArray[np.int64],
    matched: NDArray[np.bool_],
    values: NDArray[np.float64] | None,
    n_targets: NDArray[np.int64],
) -> NDArray[np.float64]:
    return np.array(
        [
            average_precision(matched[category == c], n, None if values is None else values[category == c])
            if n
            else 0.0
            for c, n in enumerate(n_targets.tolist())
        ]
    )
