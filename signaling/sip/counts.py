"""What came over SIP, and what of it was dropped."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SipCounts:
    """Since the start.

    Attributes:
        understood: messages.
        refused: datagrams and connections of strangers, connections beyond the limit, and those that came to
            nothing over TLS.
        malformed: messages that were not understood.
        stray: responses and ACKs of no transaction, as late ones are, and those to challenges.
        overloaded: requests that got 503, as too many were under way.
    """

    understood: int = 0
    refused: int = 0
    malformed: int = 0
    stray: int = 0
    overloaded: int = 0
