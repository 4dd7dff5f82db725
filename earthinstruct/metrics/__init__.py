"""Every score: match predictions to ground truth, tally per image and category, and reduce the tallies to scores."""

from earthinstruct.metrics.catalogue import (
    CATALOGUE,
    GEOMETRIES,
    HEADLINES,
    PERCENT,
    POOLED,
    WHOLE_OBJECTS,
    Unit,
    in_group,
    list_metrics,
    listed,
    title_of,
    value_at,
)
from earthinstruct.metrics.compare import ONE_IMAGE, SHOWN_BELOW, Difference, Paired, corrected, paired
from earthinstruct.metrics.error_types import COUNTING_ERRORS, PREDICTION_VERDICTS, TARGET_VERDICTS, Verdicts, verdicts
from earthinstruct.metrics.extra import ExtraMetric, GivenMetrics, Metric, extra_metrics
from earthinstruct.metrics.inputs import Ignored, Predicted, ScoreThreshold, Truth, geometries, reaching
from earthinstruct.metrics.intervals import NOT_COMPUTED
from earthinstruct.metrics.matching import Pairs, find_pairs, match
from earthinstruct.metrics.measuring import Chunk, measure, metrics_of
from earthinstruct.metrics.outcomes import Outcomes
from earthinstruct.metrics.protocols import PROTOCOLS, STANDARD, Protocol, protocol_named
from earthinstruct.metrics.scores import Score
from earthinstruct.metrics.slices import SliceImages, slice_scores
from earthinstruct.metrics.suspects import Suspect
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.thresholds import (
    Choice,
    Sweeping,
    boxes_of_chunk,
    choose_threshold,
    sweep_of,
    threshold_in_words,
    threshold_of,
)
from earthinstruct.metrics.values import (
    Count,
    ErrorCosts,
    ErrorCounts,
    GeometryScores,
    Metrics,
    ProposalScores,
    RareCategories,
    Slice,
    Value,
)

__all__ = [
    "CATALOGUE",
    "COUNTING_ERRORS",
    "GEOMETRIES",
    "HEADLINES",
    "NOT_COMPUTED",
    "ONE_IMAGE",
    "PERCENT",
    "POOLED",
    "PREDICTION_VERDICTS",
    "PROTOCOLS",
    "SHOWN_BELOW",
    "STANDARD",
    "TARGET_VERDICTS",
    "WHOLE_OBJECTS",
    "Choice",
    "Chunk",
    "Count",
    "Difference",
    "ErrorCosts",
    "ErrorCounts",
    "ExtraMetric",
    "GeometryScores",
    "GivenMetrics",
    "Ignored",
    "Metric",
    "Metrics",
    "Outcomes",
    "Paired",
    "Pairs",
    "Predicted",
    "ProposalScores",
    "Protocol",
    "RareCategories",
    "Score",
    "ScoreThreshold",
    "Slice",
    "SliceImages",
    "Suspect",
    "Sweeping",
    "Tally",
    "Truth",
    "Unit",
    "Value",
    "Verdicts",
    "boxes_of_chunk",
    "choose_threshold",
    "corrected",
    "count_per_image",
    "extra_metrics",
    "find_pairs",
    "geometries",
    "in_group",
    "list_metrics",
    "listed",
    "match",
    "measure",
    "metrics_of",
    "paired",
    "protocol_named",
    "reaching",
    "slice_scores",
    "sweep_of",
    "threshold_in_words",
    "threshold_of",
    "title_of",
    "value_at",
    "verdicts",
]
