"""`Outcomes`: predictions with scores and whether each is a true positive, for curves over score thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.scores import RECALL_POINTS, last_of_equals, precision_at_recalls

_SCORES_AT_ONCE = 100_000
_CELLS_AT_ONCE = 1 << 22  # scores times categories


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The predictions of some images, in any order. Outcomes of disjoint sets of images join to those of the whole set.

    Attributes:
        scores: float64 (n,).
        category: int32 (n,), index of the category; -1 means no category.
        matched: bool (n,), true positives. Above any score threshold, their number is the size of the matching of the
            predictions above this threshold.
        image: int32 (n,), index of the image.
        targets: int64 (images, c), number of ground truths of each image and category.
    """

    scores: NDArray[np.float64]
    category: NDArray[np.int32]
    matched: NDArray[np.bool_]
    image: NDArray[np.int32]
    targets: NDArray[np.int64]

    @cached_property
    def n_targets(self) -> NDArray[np.int64]:
        """Number of ground truths of each category: int64 (c,)."""
        return np.asarray(self.targets.sum(axis=0))

    @staticmethod
    def none(targets: NDArray[np.int64]) -> Outcomes:
        """No predictions in images with these objects."""
        return Outcomes(np.zeros(0), np.zeros(0, np.int32), np.zeros(0, bool), np.zeros(0, np.int32), targets)

    @staticmethod
    def join(chunks: Sequence[Outcomes]) -> Outcomes:
        """Join the outcomes of one or more chunks, whose images follow each other."""
        before = np.cumsum([0, *(len(chunk.targets) for chunk in chunks)]).tolist()
        return Outcomes(
            np.concatenate([chunk.scores for chunk in chunks]),
            np.concatenate([chunk.category for chunk in chunks]),
            np.concatenate([chunk.matched for chunk in chunks]),
            np.concatenate([chunk.image + np.int32(start) for chunk, start in zip(chunks, before, strict=False)]),
            np.concatenate([chunk.targets for chunk in chunks]),
        )

    def of_images(self, chosen: NDArray[np.bool_]) -> Outcomes:
        """The outcomes on some images: bool (images,). The others become images without objects and predictions."""
        there = self._take(chosen[self.image])
        return replace(there, targets=np.where(chosen[:, None], self.targets, 0))

    def totals_at(self, thresholds: NDArray[np.float64]) -> dict[str, NDArray[np.int64]]:
        """`tp`, `fp`, `fn` of the predictions that reach each of t increasing thresholds: int64 (t, c)."""
        shape = (len(thresholds) + 1, len(self.n_targets))
        reached = np.searchsorted(thresholds, self.scores, side="right")  # number of thresholds that a score reaches

        def at_least(counted: NDArray[np.bool_]) -> NDArray[np.int64]:
            cell = (reached * shape[1] + self.category)[counted]
            histogram = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
            return np.cumsum(histogram[::-1], axis=0)[-2::-1]

        labelled = self.category >= 0
        tp = at_least(labelled & self.matched)
        return {"tp": tp, "fp": at_least(labelled) - tp, "fn": self.n_targets - tp}

    def at_distinct_scores(self) -> Iterator[tuple[NDArray[np.float64], dict[str, NDArray[np.int64]]]]:
        """`totals_at` all distinct scores in increasing order; yields (thresholds, totals), some at a time."""
        order = np.argsort(self.scores)
        ordered = self._take(order)
        beyond = self.totals_at(self.scores[order[:1]])  # totals of the predictions not yet processed
        at_once = max(1, min(_SCORES_AT_ONCE, _CELLS_AT_ONCE // len(self.n_targets)))
        start, n = 0, len(order)
        while start < n:
            last = ordered.scores[min(start + at_once, n) - 1]
            stop = int(np.searchsorted(ordered.scores, last, side="right"))
            here = ordered._take(slice(start, stop))
            distinct = np.unique(here.scores)
            within = here.totals_at(distinct)
            beyond = {name: beyond[name] - within[name][:1] for name in ("tp", "fp")}
            tp = within["tp"] + beyond["tp"]
            yield distinct, {"tp": tp, "fp": within["fp"] + beyond["fp"], "fn": self.n_targets - tp}
            start = stop

    def precision_at_recalls(self) -> NDArray[np.float64]:
        """The precision-recall curve of each category, whose mean is its AP: float64 (101, c), NaN without objects."""
        found = np.full((RECALL_POINTS, len(self.n_targets)), np.nan)
        order = np.lexsort((-self.scores, self.category))
        bounds = np.searchsorted(self.category[order], np.arange(found.shape[1] + 1))
        for c in np.flatnonzero(self.n_targets).tolist():
            own = order[bounds[c] : bounds[c + 1]]
            end, right = last_of_equals(self.scores[own]), self.matched[own]
            found[:, c] = precision_at_recalls(right, ~right, end, int(self.n_targets[c]))
        return found

    def _take(self, chosen: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Outcomes:
        return Outcomes(
            self.scores[chosen], self.category[chosen], self.matched[chosen], self.image[chosen], self.targets
        )
