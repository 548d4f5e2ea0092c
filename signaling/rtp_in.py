"""A receiver's RTP packets as they arrive, instead of what aiortc makes of them.

aiortc's own path has a jitter buffer of 80 ms, in which one lost packet leaves a delay of 280 ms for the rest
of the call (aiortc issue 543), neither FEC nor concealment, and a decoder thread for each call. This replaces
it through two methods of `RTCRtpReceiver`; reports to the sender (RTCP) go on.

It is the only file, beside `signaling.ice`, that depends on aiortc's insides: tests/signaling/test_rtp_in.py
fails loudly when they change, and where `can_take_packets` says no, the stock path is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aiortc import RTCRtpReceiver
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RtpPacket

from media.clock import loop_time_s
from media.errors import ServerFault
from media.opus import RTP_RATE_HZ

PacketTaker = Callable[[RtpPacket, float], None]
"""Is given each packet and its arrival in loop time, on the loop."""

PRIVATE_PARTS: Final = (
    "_enabled",
    "_handle_rtp_packet",
    "_run_rtcp",
    "_RTCRtpReceiver__codecs",
    "_RTCRtpReceiver__decoder_thread",
    "_RTCRtpReceiver__remote_streams",
    "_RTCRtpReceiver__rtcp_task",
    "_RTCRtpReceiver__started",
)
"""What is used of a receiver's insides."""


def can_take_packets(receiver: RTCRtpReceiver) -> bool:
    """Whether this aiortc is as it was when this was written, as far as an attribute's name tells."""
    return all(hasattr(receiver, name) for name in PRIVATE_PARTS)


def take_packets(receiver: RTCRtpReceiver, taker: PacketTaker) -> None:
    """Hands the receiver's Opus packets to `taker`. To be called before the connection stands.

    The receiver's track then stays silent, and no decoder thread is started.

    Raises:
        ServerFault: this aiortc is another.
    """
    if not can_take_packets(receiver):
        raise ServerFault("This aiortc keeps its RTP packets to itself; 1.16 is known to work.")
    inlet = _Inlet(receiver, taker)
    receiver.receive = inlet.receive  # type: ignore[method-assign]
    receiver._handle_rtp_packet = inlet.handle  # type: ignore[method-assign]


class _Inlet:
    """Stands in for two methods of one receiver."""

    def __init__(self, receiver: RTCRtpReceiver, taker: PacketTaker) -> None:
        self._receiver = receiver
        self._taker = taker
        self._opus: set[int] = set()
        self._streams: dict[int, StreamStatistics] = receiver._RTCRtpReceiver__remote_streams  # type: ignore[attr-defined]

    async def receive(self, parameters: RTCRtpReceiveParameters) -> None:
        """As `RTCRtpReceiver.receive`, but for the thread."""
        receiver = self._receiver
        if receiver._RTCRtpReceiver__started:  # type: ignore[attr-defined]
            return
        for codec in parameters.codecs:
            receiver._RTCRtpReceiver__codecs[codec.payloadType] = codec  # type: ignore[attr-defined]
            if codec.payloadType is not None and codec.mimeType.lower() == "audio/opus":
                self._opus.add(codec.payloadType)
        receiver.transport._register_rtp_receiver(receiver, parameters)
        # The receiver owns this task, as it would its own, and ends it when it is stopped.
        reporting = asyncio.ensure_future(receiver._run_rtcp())  # noqa: TID251
        receiver._RTCRtpReceiver__rtcp_task = reporting  # type: ignore[attr-defined]
        receiver._RTCRtpReceiver__started = True  # type: ignore[attr-defined]

    async def handle(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        """As `RTCRtpReceiver._handle_rtp_packet`, whose clock is not the loop's."""
        if packet.payload_type not in self._opus or not self._receiver._enabled:
            return
        statistics = self._streams.get(packet.ssrc)
        if statistics is None:
            # What is lost is reported from these; a sender adds FEC when it hears of losses.
            statistics = self._streams[packet.ssrc] = StreamStatistics(RTP_RATE_HZ)
        statistics.add(packet)
        self._taker(packet, loop_time_s())
