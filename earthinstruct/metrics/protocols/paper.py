"""Protocol `paper`: what the code of Zheng et al. (arXiv 2505.15818, May 2025) computes, to reproduce its numbers.

Each choice below differs from `standard`, and some of the numbers depend on the order of the file.
"""

from earthinstruct.metrics.protocols.rules import Protocol

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
