"""The rules under which a set is scored. Two sets of rules, by name: `standard` and `paper`."""

from earthinstruct.errors import UnknownNameError
from earthinstruct.metrics.protocols.paper import PAPER
from earthinstruct.metrics.protocols.rules import Protocol
from earthinstruct.metrics.protocols.standard import STANDARD

PROTOCOLS = {protocol.name: protocol for protocol in (STANDARD, PAPER)}


def protocol_named(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


__all__ = ["PAPER", "PROTOCOLS", "STANDARD", "Protocol", "protocol_named"]
