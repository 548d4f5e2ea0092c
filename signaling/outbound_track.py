"""The assistant's voice as a track that aiortc sends."""

from __future__ import annotations

from fractions import Fraction

from aiortc import MediaStreamTrack
from av import AudioFrame

from signaling.call_host import VoiceOut


class OutboundTrack(MediaStreamTrack):
    """Sends what the conversation's playout gives, when it gives it: the playout is the pacer.

    A gap in its positions (the machine stalled) becomes a gap in the RTP timestamps, as it should.
    """

    kind = "audio"

    def __init__(self, voice: VoiceOut) -> None:
        super().__init__()
        self._voice = voice

    async def recv(self) -> AudioFrame:
        audio, position_samples = await self._voice.next_frame()
        frame = AudioFrame.from_ndarray(audio.as_int16().reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = audio.rate_hz
        frame.pts = position_samples
        frame.time_base = Fraction(1, audio.rate_hz)
        return frame
