"""The assistant's voice as a track that aiortc sends."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
from aiortc import MediaStreamTrack
from av import Packet
from av.stream import Stream

from media.audio import Audio
from media.codecs import VoiceEncoder
from media.opus import RTP_RATE_HZ, pause_packet
from signaling.call_host import VoiceOut
from signaling.rtp_out import OutboundPacket

TAIL_FRAMES: Final = 3
"""Silent frames that are still sent when sound ends, so that the listener's decoder ends in silence, too."""
KEEP_ALIVE_S: Final = 5.0
"""In silence an empty packet is sent this often, for whoever on the way forgets silent streams."""
_TIME_BASE: Final = Fraction(1, RTP_RATE_HZ)


class TalkspurtEncoder:
    """Frames in, packets out.

    A talkspurt is followed by a few silent frames and an empty packet, which says that a pause begins (DTX):
    players take what does not come then for silence, and not for a loss. More silence gives more empty
    packets. The stream begins with such an end: whoever waits for its first packet gets it at once.
    """

    def __init__(self, encoder: VoiceEncoder) -> None:
        self._encoder = encoder
        self._silent_frames = 0
        self._pause = b""
        self.between_spurts = True
        """Whether no sound was sent since the last spurt's end, if there was one."""

    @property
    def pausing(self) -> bool:
        """Whether it was said that a pause begins, and nothing since."""
        return self._silent_frames > TAIL_FRAMES

    def push(self, frame: Audio) -> bytes:
        """The frame's packet."""
        samples = frame.as_int16()
        self._silent_frames = 0 if np.count_nonzero(samples) else self._silent_frames + 1
        if not self._silent_frames:
            self.between_spurts = False
        if self.pausing:
            self.between_spurts = True
            return self._pause
        packet = self._encoder.encode(samples)
        self._pause = pause_packet(packet)
        return packet


class OutboundTrack(MediaStreamTrack):
    """Sends what the conversation's playout gives, when it gives it: the playout is the pacer.

    In silence nothing is sent but a rare sign of life. RTP's time goes on meanwhile, and over gaps in the
    playout's positions (the machine stalled).
    `next_packet` is for `signaling.rtp_out`; an aiortc that is another calls `recv`.
    """

    kind = "audio"

    def __init__(self, voice: VoiceOut, encoder: VoiceEncoder) -> None:
        super().__init__()
        self._voice = voice
        self._talkspurts = TalkspurtEncoder(encoder)

    async def next_packet(self) -> OutboundPacket:
        if self._talkspurts.pausing:
            await self._voice.until_sound(KEEP_ALIVE_S)
        frame, position_samples = await self._voice.next_frame()
        silent_before = self._talkspurts.between_spurts
        payload = self._talkspurts.push(frame)
        begins = silent_before and not self._talkspurts.between_spurts
        return OutboundPacket(payload, position_samples, begins)

    async def recv(self) -> Packet[Stream]:
        """The same for aiortc, which sets the marker on each packet, not only on a spurt's first."""
        outbound = await self.next_packet()
        packet = Packet(outbound.payload)
        packet.pts = outbound.position_samples
        packet.time_base = _TIME_BASE
        return packet
