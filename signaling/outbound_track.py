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
KEEP_ALIVE_S: Final = 5.0
"""In silence an empty packet is sent this often, for whoever on the way forgets silent streams."""
_TIME_BASE: Final = Fraction(1, RTP_RATE_HZ)


class TalkspurtEncoder:
    """Frames in, packets out.

    A talkspurt is followed by a few silent frames and an empty packet, which says that a pause begins (DTX):
    players take what does not come then for silence, and not for a loss. More silence gives more empty
    packets. The stream begins with such an end: whoever waits for its first packet gets it at once.
    """

    def __init__(self, encoder: OpusEncoder) -> None:
        self._encoder = encoder
        self._silent_frames = 0
        self._pause = b""

    @property
    def pausing(self) -> bool:
        """Whether it was said that a pause begins, and nothing since."""
        return self._silent_frames > TAIL_FRAMES

    def push(self, frame: Audio) -> bytes:
        """The frame's packet."""
        samples = frame.as_int16()
        self._silent_frames = 0 if samples.any() else self._silent_frames + 1
        if self.pausing:
            return self._pause
        packet = self._encoder.encode(samples)
        self._pause = pause_packet(packet)
        return packet


class OutboundTrack(MediaStreamTrack):
    """Sends what the conversation's playout gives, when it gives it: the playout is the pacer.

    In silence nothing is sent but a rare sign of life. RTP's time goes on meanwhile, and over gaps in the
    playout's positions (the machine stalled).
    aiortc takes the packets as they are. (It sets the marker on each of them, not only a spurt's first.)
    """

    kind = "audio"

    def __init__(self, voice: VoiceOut, encoder: OpusEncoder) -> None:
        super().__init__()
        self._voice = voice
        self._talkspurts = TalkspurtEncoder(encoder)

    async def recv(self) -> Packet[Stream]:
        if self._talkspurts.pausing:
            await self._voice.until_sound(KEEP_ALIVE_S)
        frame, position_samples = await self._voice.next_frame()
        packet = Packet(self._talkspurts.push(frame))
        packet.pts = position_samples
        packet.time_base = _TIME_BASE
        return packet
