"""What is fuzzed: one line for each kind of thing that a stranger may send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz import realtime, rtp, signalling, sip, sip_calls, streams, ws


@dataclass(frozen=True)
class Target:
    """One kind.

    Attributes:
        name: as the command line has it.
        batch: how many messages one example has.
        few: examples for a short run.
        check: tries so many examples. Raises what it finds, made as small as possible.
    """

    name: str
    batch: int
    few: int
    check: Callable[[int], None]


TARGETS = (
    Target("realtime", realtime.BATCH, 25, realtime.check),
    Target("ws", ws.BATCH, 25, ws.check),
    Target("offers", signalling.BATCH, 6, signalling.check_offers),
    Target("candidates", signalling.BATCH, 6, signalling.check_candidates),
    Target("sip", sip.BATCH, 25, sip.check),
    Target("rtp", rtp.BATCH, 15, rtp.check),
    Target("sip-calls", sip_calls.BATCH, 12, sip_calls.check),
    Target("streams", streams.BATCH, 10, streams.check),
)
