"""Proposal recall: how much of the ground truth the class-agnostic regions of a method cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.instances import Instances
from earthinstruct.metrics import scores
from earthinstruct.metrics.average_precision import rank_within
from earthinstruct.metrics.inputs import Truth
from earthinstruct.metrics.matching import Geometry, Pairs, find_pairs, match
from earthinstruct.metrics.protocols import Protocol
from earthinstruct.metrics.summary import Summary
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.values import ProposalRecall, ProposalScores

PROPOSALS_AT = (10, 50, 100, 200)
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}  # COCO, box area in pixels


@dataclass(frozen=True, eq=False)
class ProposalPart:
    """What proposal recall needs of some images.

    Attributes:
        tally: tp and fn of all proposals (fp is 0).
        n_proposals: how many there are.
        covered: restriction ("10" proposals an image, ..., "small" objects, ...) -> `tp` and `fn`, int64 (c,).
    """

    tally: Tally
    n_proposals: int
    covered: Mapping[str, Mapping[str, NDArray[np.int64]]]

    @classmethod
    def of(cls, truth: Truth, proposals: Instances, geometry: Geometry, protocol: Protocol) -> ProposalPart:
        """Match proposals by boxes or by masks."""
        targets = truth.instances
        pairs = find_pairs(proposals, targets, geometry, agnostic=True)
        rank = rank_within(proposals.image)
        area = targets.boxes[:, 2] * targets.boxes[:, 3]
        every = np.ones(len(targets), dtype=bool)
        found = _covered(truth, pairs, protocol)
        tp, fn = (count_per_image(targets, *truth.shape, chosen) for chosen in (found, ~found))
        restricted = {
            str(n): (every, _covered(truth, pairs.where(rank[pairs.prediction] < n), protocol)) for n in PROPOSALS_AT
        } | {size: ((area >= low) & (area < high), found) for size, (low, high) in SIZES.items()}
        covered = {
            name: {
                column: np.bincount(targets.category[there & chosen], minlength=truth.shape[1])
                for column, chosen in (("tp", found_here), ("fn", ~found_here))
            }
            for name, (there, found_here) in restricted.items()
        }
        tally = Tally(truth.images, truth.categories, {"tp": tp, "fp": np.zeros_like(tp), "fn": fn})
        return cls(tally.compact(), len(proposals), covered)

    @staticmethod
    def join(parts: Sequence[ProposalPart]) -> ProposalPart:
        """That of all parts; at least one."""
        covered = {
            name: {column: np.sum([part.covered[name][column] for part in parts], axis=0) for column in ("tp", "fn")}
            for name in parts[0].covered
        }
        return ProposalPart(Tally.join([part.tally for part in parts]), sum(p.n_proposals for p in parts), covered)


def proposal_scores(
    summary: Summary, box: ProposalPart, mask: ProposalPart | None, protocol: Protocol
) -> ProposalScores:
    """Recall of the proposals by boxes and, where both sides have them, by masks."""
    return ProposalScores(
        **msgspec.structs.asdict(_recall(summary, box, protocol)),
        n_proposals=box.n_proposals,
        mask=None if mask is None else _recall(summary, mask, protocol),
    )


def _recall(summary: Summary, part: ProposalPart, protocol: Protocol) -> ProposalRecall:
    shared = protocol.proposals_shared_by_categories
    over = np.ones_like(summary.has_truth) if shared else summary.has_truth
    values = scores.recall(part.tally.totals)
    groups = summary.group_means({"recall": values}, over)
    intervals = summary.intervals({"recall": scores.recall}, part.tally, over)

    def mean(restriction: str) -> float | None:
        columns = part.covered[restriction]
        there = np.ones_like(over) if shared else columns["tp"] + columns["fn"] > 0
        return summary.mean(scores.recall(columns), summary.groups["all"], there)

    return ProposalRecall(
        recall=summary.value(groups["all"]["recall"], intervals.get("recall")),
        per_category={
            name: float(value) if there else None
            for name, value, there in zip(summary.categories, values, over, strict=True)
        },
        groups=groups,
        at={str(n): mean(str(n)) for n in PROPOSALS_AT},
        by_size={size: mean(size) for size in SIZES},
    )


def _covered(truth: Truth, pairs: Pairs, protocol: Protocol) -> NDArray[np.bool_]:
    """Which ground truths a one-to-one matching of proposals covers: bool (targets,)."""
    targets = truth.instances
    found = np.zeros(len(targets), dtype=bool)
    of_category = targets.category[pairs.target]
    if protocol.proposals_shared_by_categories:
        parts = [pairs]
    else:
        parts = [pairs.where(of_category == c) for c in range(truth.shape[1])]
    for part in parts:
        matched = match(part, protocol.rule)
        found[matched[matched >= 0]] = True
    return found
