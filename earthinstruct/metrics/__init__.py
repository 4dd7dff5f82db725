"""Every score: pairs, matching, tallies, and the scores that are reductions of them."""

from earthinstruct.metrics.error_types import PREDICTION_VERDICTS, TARGET_VERDICTS, Verdicts, verdicts
from earthinstruct.metrics.extra import Metric
from earthinstruct.metrics.inputs import Predicted, Truth, geometries
from earthinstruct.metrics.matching import find_pairs, match
from earthinstruct.metrics.measure import measure
from earthinstruct.metrics.protocols import PROTOCOLS, Protocol, protocol_named
from earthinstruct.metrics.sweep import SWEEP_THRESHOLDS
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.values import Metrics, PartScores, Value

__all__ = [
    "PREDICTION_VERDICTS",
    "PROTOCOLS",
    "SWEEP_THRESHOLDS",
    "TARGET_VERDICTS",
    "Metric",
    "Metrics",
    "PartScores",
    "Predicted",
    "Protocol",
    "Tally",
    "Truth",
    "Value",
    "Verdicts",
    "count_per_image",
    "find_pairs",
    "geometries",
    "match",
    "measure",
    "protocol_named",
    "verdicts",
]
