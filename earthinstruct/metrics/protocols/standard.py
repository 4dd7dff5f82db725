"""Protocol `standard`: no number depends on the order of predictions, images or categories.

A true positive is an edge of a maximum one-to-one matching. Means are over the categories that have ground truth. An
image without a prediction counts as predicted empty. There is no cap on the number of detections.
"""

from earthinstruct.metrics.protocols.rules import Protocol

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
