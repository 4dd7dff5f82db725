"""Every score: pairs, matching, tallies, and the scores that are reductions of them."""

from earthinstruct.metrics.inputs import Predicted, Truth
from earthinstruct.metrics.measure import measure, tallies
from earthinstruct.metrics.protocols import PROTOCOLS, Protocol, protocol_named
from earthinstruct.metrics.sweep import SWEEP_THRESHOLDS
from earthinstruct.metrics.tally import Tally
from earthinstruct.metrics.values import Metrics, PartScores, Value

__all__ = [
    "PROTOCOLS",
    "SWEEP_THRESHOLDS",
    "Metrics",
    "PartScores",
    "Predicted",
    "Protocol",
    "Tally",
    "Truth",
    "Value",
    "measure",
    "protocol_named",
    "tallies",
]
