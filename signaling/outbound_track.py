"""The assistant's voice as a track that aiortc sends."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from aiortc import MediaStreamTrack
from av import Packet
from av.stream import Stream

from media.audio import Audio
from media.opus import RTP_RATE_HZ, OpusEncoder, pause_packet
from signaling.call_host import VoiceOut

TAIL_FRAMES: Final = 3
"""Silent frames that are still sent when sound ends, so that the listener's decoder ends in silence, too."""
KEEP_ALIVE_FRAMES: Final = 250
"""5 s: in silence an empty packet is sent this often, for whoever on the way forgets silent streams."""
_TIME_BASE: Final = Fraction(1, RTP_RATE_HZ)


class TalkspurtEncoder:
    """Frames in, packets out: nothing while there is nothing to say, but for a rare sign of life.

    A talkspurt is followed by a few silent frames and a packet that says that a pause begins (DTX), so that
    players take what does not come for silence, and not for a loss. The stream begins with such an end:
    whoever waits for its first packet gets it at once.
    """

    def __init__(self, encoder: OpusEncoder) -> None:
        self._encoder = encoder
        self._silent_frames = 0
        self._pause = b""

    def push(self, frame: Audio) -> bytes | None:
        """The frame's packet, if one is to be sent."""
        samples = frame.as_int16()
        self._silent_frames = 0 if samples.any() else self._silent_frames + 1
        if self._silent_frames <= TAIL_FRAMES:
            packet = self._encoder.encode(samples)
            self._pause = pause_packet(packet)
            return packet
        paused_frames = self._silent_frames - TAIL_FRAMES - 1
        return self._pause if paused_frames % KEEP_ALIVE_FRAMES == 0 else None


class OutboundTrack(MediaStreamTrack):
    """Sends what the conversation's playout gives, when it gives it: the playout is the pacer.

    RTP's time goes on while nothing is sent, and over gaps in the playout's positions (the machine stalled).
    aiortc takes the packets as they are. (It sets the marker on each of them, not only a spurt's first.)
    """

    kind = "audio"

    def __init__(self, voice: VoiceOut, encoder: OpusEncoder) -> None:
        super().__init__()
        self._voice = voice
        self._talkspurts = TalkspurtEncoder(encoder)

    async def recv(self) -> Packet[Stream]:
        while True:
            frame, position_samples = await self._voice.next_frame()
            payload = self._talkspurts.push(frame)
            if payload is not None:
                packet = Packet(payload)
                packet.pts = position_samples
                packet.time_base = _TIME_BASE
                return packet
