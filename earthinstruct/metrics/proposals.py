"""Proposal recall: how much of the ground truth the class-agnostic regions of a method cover."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.instances import Instances
from earthinstruct.metrics import scores
from earthinstruct.metrics.average_precision import rank_within
from earthinstruct.metrics.inputs import Predicted
from earthinstruct.metrics.matching import Geometry, Pairs, find_pairs, match
from earthinstruct.metrics.protocols import Protocol
from earthinstruct.metrics.summary import Summary
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.values import ProposalRecall, ProposalScores

PROPOSALS_AT = (10, 50, 100, 200)
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}  # COCO, box area in pixels


def proposal_scores(summary: Summary, predicted: Predicted, protocol: Protocol) -> ProposalScores | None:
    """Recall of the proposals by boxes and, where both sides have them, by masks; None where a method gives none."""
    proposals, truth = predicted.proposals, summary.truth
    if proposals is None:
        return None
    with_masks = proposals.masks is not None and truth.instances.masks is not None and truth.no_masks_reason is None
    return ProposalScores(
        **msgspec.structs.asdict(_recall(summary, proposals, "box", protocol)),
        n_proposals=len(proposals),
        mask=_recall(summary, proposals, "mask", protocol) if with_masks else None,
    )


def _recall(summary: Summary, proposals: Instances, geometry: Geometry, protocol: Protocol) -> ProposalRecall:
    truth = summary.truth
    pairs = find_pairs(proposals, truth.instances, geometry, agnostic=True)
    found = _covered(summary, pairs, protocol)
    tp = count_per_image(truth.instances, *truth.shape, found)
    tally = Tally(truth.images, truth.categories, {"tp": tp, "fp": np.zeros_like(tp), "fn": summary.actual - tp})
    over = np.ones_like(summary.has_truth) if protocol.proposals_shared_by_categories else summary.has_truth
    values = scores.recall(tally.totals)
    groups = summary.group_means({"recall": values}, over)
    intervals = summary.intervals({"recall": scores.recall}, tally, over)
    area = truth.instances.boxes[:, 2] * truth.instances.boxes[:, 3]
    rank = rank_within(proposals.image)
    return ProposalRecall(
        recall=summary.value(groups["all"]["recall"], intervals.get("recall")),
        per_category={
            name: float(value) if there else None
            for name, value, there in zip(truth.categories, values, over, strict=True)
        },
        groups=groups,
        at={
            str(n): _mean_recall(
                summary, _covered(summary, pairs.where(rank[pairs.prediction] < n), protocol), None, protocol
            )
            for n in PROPOSALS_AT
        },
        by_size={
            size: _mean_recall(summary, found, (area >= low) & (area < high), protocol)
            for size, (low, high) in SIZES.items()
        },
    )


def _covered(summary: Summary, pairs: Pairs, protocol: Protocol) -> NDArray[np.bool_]:
    """Which ground truths a one-to-one matching of proposals covers: bool (targets,)."""
    targets = summary.truth.instances
    found = np.zeros(len(targets), dtype=bool)
    of_category = targets.category[pairs.target]
    if protocol.proposals_shared_by_categories:
        parts = [pairs]
    else:
        parts = [pairs.where(of_category == c) for c in range(summary.truth.shape[1])]
    for part in parts:
        matched = match(part, protocol.rule)
        found[matched[matched >= 0]] = True
    return found


def _mean_recall(
    summary: Summary, found: NDArray[np.bool_], counted: NDArray[np.bool_] | None, protocol: Protocol
) -> float | None:
    """Mean recall over the categories of `all`, of the `counted` ground truths (None: all)."""
    targets, shape = summary.truth.instances, summary.truth.shape
    there = np.ones_like(found) if counted is None else counted
    actual = count_per_image(targets, *shape, there).sum(axis=0)
    tp = count_per_image(targets, *shape, there & found).sum(axis=0)
    over = np.ones_like(summary.has_truth) if protocol.proposals_shared_by_categories else actual > 0
    return summary.mean(scores.recall({"tp": tp, "fn": actual - tp}), summary.groups["all"], over)
