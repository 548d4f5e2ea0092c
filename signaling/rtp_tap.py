"""Hears a track's packets as they arrive, before aiortc's jitter buffer (80 ms, and more after a loss).

This replaces `RTCRtpReceiver._handle_rtp_packet`, which is private: tests/signaling/test_rtp_tap.py fails
loudly when aiortc changes it. Only the synthetic caller uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from aiortc import RTCRtpReceiver
from aiortc.rtp import RtpPacket

from media.audio import Audio
from media.clock import loop_time_s
from media.errors import ServerFault
from signaling.heard import HeardFrame

RATE_HZ = 48_000
"""Opus over RTP counts at this rate, whatever it carries (RFC 7587, section 4.1)."""
_HALF_WRAP = 1 << 31


def tap(receiver: RTCRtpReceiver, heard: Callable[[HeardFrame], None]) -> None:
    """Hands each Opus packet's sound to `heard`. The receiver's own track then stays silent.

    Raises:
        ServerFault: this aiortc cannot be tapped.
    """
    if not hasattr(receiver, "_handle_rtp_packet"):
        raise ServerFault("aiortc has changed: RTCRtpReceiver._handle_rtp_packet is gone.")
    receiver._handle_rtp_packet = _OpusTap(heard).take  # type: ignore[method-assign]


class _OpusTap:
    """Decodes packets in the order of their arrival."""

    def __init__(self, heard: Callable[[HeardFrame], None]) -> None:
        self._heard = heard
        self._decoder = av.CodecContext.create("libopus", "r")
        self._decoder.format = av.AudioFormat("s16")
        self._decoder.layout = av.AudioLayout("mono")
        self._decoder.sample_rate = RATE_HZ
        self._first_timestamp: int | None = None
        self._position = 0

    async def take(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        """As `RTCRtpReceiver._handle_rtp_packet`, whose clock is not the loop's."""
        at_s = loop_time_s()
        if not packet.payload:
            return
        position = self._unwrap(packet.timestamp)
        encoded = av.Packet(packet.payload)
        encoded.pts = position
        encoded.time_base = Fraction(1, RATE_HZ)
        for frame in self._decoder.decode(encoded):
            samples = frame.to_ndarray().reshape(-1).astype(np.int16, copy=False)
            self._heard(HeardFrame(at_s, position, Audio(samples, RATE_HZ)))

    def _unwrap(self, timestamp: int) -> int:
        """The packet's position in samples since the first one; RTP's 32 bits wrap."""
        if self._first_timestamp is None:
            self._first_timestamp = timestamp
        low = (timestamp - self._first_timestamp) & 0xFFFFFFFF
        delta = (low - self._position) & 0xFFFFFFFF
        self._position += delta if delta < _HALF_WRAP else delta - (1 << 32)
        return self._position
