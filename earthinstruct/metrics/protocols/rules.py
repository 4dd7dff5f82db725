"""What a protocol decides."""

from __future__ import annotations

from dataclasses import dataclass

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
