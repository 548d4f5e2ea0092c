"""The synthetic microphone as a WebRTC track, encoded as browsers do: with FEC."""

from __future__ import annotations

from fractions import Fraction

from aiortc import MediaStreamTrack
from av import Packet
from av.stream import Stream

from media.opus import RTP_RATE_HZ, OpusSettings, opus_encoder
from signaling.microphone import Microphone

_TIME_BASE = Fraction(1, RTP_RATE_HZ)


class MicrophoneTrack(MediaStreamTrack):
    """What a microphone picks up, a packet every 20 ms."""

    kind = "audio"

    def __init__(self, microphone: Microphone) -> None:
        super().__init__()
        self._microphone = microphone
        self._encoder = opus_encoder(OpusSettings())

    async def recv(self) -> Packet[Stream]:
        samples, position = await self._microphone.next_frame()
        packet = Packet(self._encoder.encode(samples))
        packet.pts = position
        packet.time_base = _TIME_BASE
        return packet
