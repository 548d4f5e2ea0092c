"""How a data channel makes up for what the network loses.

aiortc 1.16 waits as RFC 4960 proposes: 3 s before the first round trip was measured, 1 s at least from then
on. A session's events are few, so that no later one shows a loss sooner: over a network that loses one packet
in ten, every tenth event would be a second late, and a channel might take three to open. Browsers wait for
some tenths of a second.

And it repeats its request for an association with the tag that the peer named meanwhile, where RFC 9260
(section 8.5.1) wants none: two of its kind that lose both answers at first never come together.
"""

from __future__ import annotations

import logging

from aiortc import RTCSctpTransport
from aiortc.rtcsctptransport import Chunk, InitChunk, serialize_packet

INITIAL_S = 1.0
"""Before a round trip was measured (RFC 9260, section 16)."""
MORE_TRIES = 18
"""aiortc asks nine times for the association, as long apart each time, and then closes it for good. With
these, a peer whose DTLS stands later than ours has 27 s, as it would have at aiortc's own pace."""
MIN_S = 0.4
"""Longer than an acknowledgement may be held back (0.2 s, RFC 9260, section 6.2)."""
MAX_S = 60.0

_TOUCHED = (
    *("_rto", "_srtt", "_rttvar", "_update_rto"),
    *("_send_chunk", "_t1_chunk", "_t1_failures", "_local_port", "_remote_port", "transport"),
)

log = logging.getLogger(__name__)


def make_up_for_loss(transport: RTCSctpTransport) -> None:
    """Has an association that has not begun send again sooner, and so that the peer takes it."""
    if not all(hasattr(transport, name) for name in _TOUCHED):
        log.warning("this aiortc is not the one that was tested: what data channels lose comes late")
        return
    measure, send = transport._update_rto, transport._send_chunk
    repeated = 0

    def measure_round_trip(R: float) -> None:  # noqa: N803 - aiortc's name
        measure(R)
        # RFC 9260, section 6.3.1, as aiortc has it but for the least.
        smoothed_s, varies_s = transport._srtt, transport._rttvar
        assert smoothed_s is not None
        assert varies_s is not None
        transport._rto = max(MIN_S, min(smoothed_s + 4 * varies_s, MAX_S))

    async def send_chunk(chunk: Chunk) -> None:
        nonlocal repeated
        if chunk is transport._t1_chunk:
            repeated += 1
            if repeated <= MORE_TRIES:
                transport._t1_failures = 0
        if not isinstance(chunk, InitChunk):
            await send(chunk)
            return
        remote_port = transport._remote_port
        assert remote_port is not None
        packet = serialize_packet(transport._local_port, remote_port, 0, chunk)
        await transport.transport._send_data(packet)

    transport._rto = INITIAL_S
    transport._update_rto = measure_round_trip  # type: ignore[method-assign]
    transport._send_chunk = send_chunk  # type: ignore[method-assign]
