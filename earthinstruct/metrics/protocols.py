"""The rules under which a set is scored. Two sets of rules, by name: `standard` and `paper`.

`standard`: scores do not depend on the order of predictions, images or categories. A true positive is an edge of a
maximum one-to-one matching. Means are over the categories that have ground truth. An image without a prediction counts
as predicted empty. Detections are not capped.

`paper`: what the code of Zheng et al. (arXiv 2505.15818, May 2025) computes, to reproduce its numbers. Each choice
differs from `standard`, and some of the numbers depend on the order of the file.
"""

from __future__ import annotations

from dataclasses import dataclass

from earthinstruct.errors import UnknownNameError
from earthinstruct.metrics.matching import Rule


@dataclass(frozen=True)
class Protocol:
    """The choices on which two evaluations of the same predictions can differ.

    Attributes:
        name: written in every result file.
        rule: how predictions are matched to ground truth.
        first_polygon_only: an object of several polygons counts with its first one.
        counting_over_mentioned: counting means are over the categories that any ground truth or answer mentions (a
            zero included), not over those that have ground truth.
        skips_images_without_counts: where counts are given for some images, the others do not enter counting.
        least_counted_score: instances below this score are not counted when counts come from instances; None: all are.
        constant_score_ap: AP_nc50 is a COCO AP over predictions in file order, all with the same score and at most
            this many an image and category; None: the closed formula of `scores.ap_nc`.
        proposals_shared_by_categories: one matching of the proposals to the ground truth of all categories, and a
            mean over all categories; otherwise one matching a category, and a mean over those with ground truth.
    """

    name: str
    rule: Rule
    first_polygon_only: bool
    counting_over_mentioned: bool
    skips_images_without_counts: bool
    least_counted_score: float | None
    constant_score_ap: int | None
    proposals_shared_by_categories: bool


STANDARD = Protocol(
    name="standard",
    rule="maximum",
    first_polygon_only=False,
    counting_over_mentioned=False,
    skips_images_without_counts=False,
    least_counted_score=None,
    constant_score_ap=None,
    proposals_shared_by_categories=False,
)

PAPER = Protocol(
    name="paper",
    rule="greedy",
    first_polygon_only=True,
    counting_over_mentioned=True,
    skips_images_without_counts=True,
    least_counted_score=0.01,
    constant_score_ap=100,
    proposals_shared_by_categories=True,
)

PROTOCOLS = {protocol.name: protocol for protocol in (STANDARD, PAPER)}


def protocol_named(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
