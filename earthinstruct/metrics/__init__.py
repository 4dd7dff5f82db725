"""Every score: pairs, matching, tallies, and the scores that are reductions of them."""

from earthinstruct.metrics.measure import Predicted, Truth, measure, tallies
from earthinstruct.metrics.protocols import PROTOCOLS, Protocol, protocol_named
from earthinstruct.metrics.tally import Tally
from earthinstruct.metrics.values import Metrics, PartScores, Value

__all__ = [
    "PROTOCOLS",
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
