"""What the synthetic caller hears: each packet's sound with the time of its arrival, before any buffer."""

from __future__ import annotations

from collections.abc import Callable

from media.audio import Audio
from media.opus import RTP_RATE_HZ, opus_decoder
from media.reception import Packet
from signaling.heard import HeardFrame

_HALF_WRAP = 1 << 31
_PAUSE_BYTES = 2
"""A packet of no more than these holds no sound: the sender says that it pauses (DTX)."""


class OpusTap:
    """Decodes packets in the order of their arrival: `signaling.rtp_in.PacketTaker`.

    Args:
        heard: is given each packet's sound. Packets without any, by which a silent sender shows that it is
            there, are only counted.
    """

    def __init__(self, heard: Callable[[HeardFrame], None]) -> None:
        self._heard = heard
        self._decoder = opus_decoder(RTP_RATE_HZ)
        self._first_timestamp: int | None = None
        self._position = 0
        self.packets = 0
        """All that came."""

    def __call__(self, packet: Packet, at_s: float) -> None:
        self.packets += 1
        if len(packet.payload) <= _PAUSE_BYTES:
            return
        position = self._unwrap(packet.timestamp)
        samples = self._decoder.decode(packet.payload)
        self._heard(HeardFrame(at_s, position, Audio(samples, RTP_RATE_HZ)))

    def _unwrap(self, timestamp: int) -> int:
        """The packet's position in samples since the first one; RTP's 32 bits wrap."""
        if self._first_timestamp is None:
            self._first_timestamp = timestamp
        low = (timestamp - self._first_timestamp) & 0xFFFFFFFF
        delta = (low - self._position) & 0xFFFFFFFF
        self._position += delta if delta < _HALF_WRAP else delta - (1 << 32)
        return self._position
