"""Evaluation protocols: the rules under which predictions are scored. Two exist, `standard` and `paper`.

`standard`: scores do not depend on the order of predictions, images or categories. A true positive is an edge of a
maximum one-to-one matching. Means are over the categories with ground truth. An image without a prediction counts as
predicted empty. Detections are not capped.

`paper`: reproduces the numbers of the code of Zheng et al. (arXiv 2505.15818, May 2025). It differs from `standard` in
every choice, and some of its numbers depend on file order.
"""

from __future__ import annotations

from dataclasses import dataclass

from earthinstruct.errors import UnknownNameError
from earthinstruct.metrics.matching import Rule


@dataclass(frozen=True)
class Protocol:
    """The choices on which two evaluations of the same predictions can differ. The defaults are those of `standard`.

    Attributes:
        name: written in every result file.
        version: written beside the name; it rises when a rule changes. Results of two versions are not compared.
        rule: how predictions are matched to ground truth.
        first_polygon_only: only the first polygon of an object is used.
        counting_over_mentioned: counting means are over the categories that any ground truth or any given count
            mentions (also with 0), instead of the categories with ground truth.
        skips_images_without_counts: if counts are given for some images, counting ignores the other images.
        least_counted_score: when counts come from instances, ignore instances below this score. None: count all.
        constant_score_ap: AP_nc50 is the COCO AP of predictions in file order with equal scores, capped at this number
            per image and category. None: use the closed formula of `scores.ap_nc`.
        thresholds: the score thresholds that a sweep tries. None: all distinct scores.
        proposals_shared_by_categories: match proposals once to the ground truth of all categories, and average over
            all categories. Otherwise match once per category, and average over the categories with ground truth.
    """

    name: str
    version: int
    rule: Rule = "maximum"
    first_polygon_only: bool = False
    counting_over_mentioned: bool = False
    skips_images_without_counts: bool = False
    least_counted_score: float | None = None
    constant_score_ap: int | None = None
    thresholds: tuple[float, ...] | None = None
    proposals_shared_by_categories: bool = False


STANDARD = Protocol("standard", version=4)
PAPER = Protocol(
    name="paper",
    version=4,
    rule="greedy",
    first_polygon_only=True,
    counting_over_mentioned=True,
    skips_images_without_counts=True,
    least_counted_score=0.01,
    constant_score_ap=100,
    thresholds=tuple(i / 50 for i in range(50)),  # 0.00, 0.02, ..., 0.98
    proposals_shared_by_categories=True,
)
PROTOCOLS = {protocol.name: protocol for protocol in (STANDARD, PAPER)}


def protocol_named(name: str) -> Protocol:
    """Look up a protocol by name.

    Raises:
        UnknownNameError: no protocol has this name.
    """
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
