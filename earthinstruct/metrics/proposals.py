"""Proposal recall: the share of the ground truth that the class-agnostic regions of a method cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import scores
from earthinstruct.metrics.average_precision import rank_within
from earthinstruct.metrics.inputs import Truth
from earthinstruct.metrics.matching import Geometry, Pairs, find_pairs, match
from earthinstruct.metrics.protocols import Protocol
from earthinstruct.metrics.summary import Summary, value_of
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.values import ProposalRecall, ProposalScores
from earthinstruct.regions import Instances

PROPOSALS_AT = (10, 50, 100, 200)
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}  # COCO, box area in pixels


@dataclass(frozen=True, eq=False)
class ProposalChunk:
    """Data of one chunk for proposal recall, in addition to the tally of all proposals.

    Attributes:
        n_proposals: number of proposals.
        covered: restriction -> `tp` and `fn`, int64 (c,). A restriction is the number of proposals per image ("10") or
            the size of the objects ("small").
    """

    n_proposals: int
    covered: Mapping[str, Mapping[str, NDArray[np.int64]]]

    @staticmethod
    def join(chunks: Sequence[ProposalChunk]) -> ProposalChunk:
        """Join one or more chunks."""
        covered = {
            name: {column: np.sum([chunk.covered[name][column] for chunk in chunks], axis=0) for column in ("tp", "fn")}
            for name in chunks[0].covered
        }
        return ProposalChunk(sum(chunk.n_proposals for chunk in chunks), covered)


def tally_proposals(
    truth: Truth, proposals: Instances, geometry: Geometry, protocol: Protocol
) -> tuple[Tally, ProposalChunk]:
    """Match proposals by boxes or by masks: tp and fn of all proposals (fp is 0), and under each restriction."""
    targets = truth.instances
    pairs = find_pairs(proposals, targets, geometry, agnostic=True)
    rank = rank_within(proposals.image)
    area = targets.boxes[:, 2] * targets.boxes[:, 3]
    every = np.ones(len(targets), dtype=bool)
    found = _covered(truth, pairs, protocol)
    tp, fn = (count_per_image(targets, *truth.shape, chosen) for chosen in (found, ~found))
    restricted = {size: ((area >= low) & (area < high), found) for size, (low, high) in SIZES.items()}
    for n in PROPOSALS_AT:
        restricted[str(n)] = every, _covered(truth, pairs.where(rank[pairs.prediction] < n), protocol)
    covered = {
        name: {
            column: np.bincount(targets.category[counted & chosen], minlength=truth.shape[1])
            for column, chosen in (("tp", found_here), ("fn", ~found_here))
        }
        for name, (counted, found_here) in restricted.items()
    }
    tally = Tally(truth.images, truth.categories, {"tp": tp, "fp": np.zeros_like(tp), "fn": fn})
    return tally, ProposalChunk(len(proposals), covered)


def proposal_scores(summary: Summary, chunks: Mapping[Geometry, ProposalChunk], protocol: Protocol) -> ProposalScores:
    """Compute the recall of the proposals by boxes and, if both sides have masks, by masks."""
    return ProposalScores(
        **msgspec.structs.asdict(_recall(summary, "box", chunks["box"], protocol)),
        n_proposals=chunks["box"].n_proposals,
        mask=_recall(summary, "mask", chunks["mask"], protocol) if "mask" in chunks else None,
    )


def _recall(summary: Summary, geometry: Geometry, chunk: ProposalChunk, protocol: Protocol) -> ProposalRecall:
    name = f"proposals.{geometry}"
    shared = protocol.proposals_shared_by_categories
    over = np.ones_like(summary.has_truth) if shared else summary.has_truth
    values = scores.recall(summary.tallies[name].totals)
    groups = summary.group_means({"recall": values}, over)
    intervals = summary.intervals({"recall": scores.recall}, name, over)

    def mean(restriction: str) -> float | None:
        columns = chunk.covered[restriction]
        there = np.ones_like(over) if shared else columns["tp"] + columns["fn"] > 0
        return summary.mean(scores.recall(columns), summary.groups["all"], there)

    return ProposalRecall(
        recall=value_of(groups["all"]["recall"], intervals["recall"].mean),
        per_category={
            name: float(value) if there else None
            for name, value, there in zip(summary.categories, values, over, strict=True)
        },
        groups=groups,
        at={str(n): mean(str(n)) for n in PROPOSALS_AT},
        by_size={size: mean(size) for size in SIZES},
    )


def _covered(truth: Truth, pairs: Pairs, protocol: Protocol) -> NDArray[np.bool_]:
    """Which ground truths a one-to-one matching of the proposals covers: bool (targets,)."""
    targets = truth.instances
    found = np.zeros(len(targets), dtype=bool)
    of_category = targets.category[pairs.target]
    if protocol.proposals_shared_by_categories:
        matched_alone = [pairs]
    else:
        matched_alone = [pairs.where(of_category == c) for c in range(truth.shape[1])]
    for some in matched_alone:
        matched = match(some, protocol.rule)
        found[matched[matched >= 0]] = True
    return found
