"""The caller's voice, out of a WebRTC receiver."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aiortc import RTCRtpReceiver
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

from media.audio import SPEECH_RATE_HZ, Audio
from media.inbound_voice import InboundVoice
from media.resampler import StreamResampler
from signaling.rtp_in import can_take_packets, take_packets

_STOCK_RATE_HZ = 48_000

log = logging.getLogger(__name__)


class CallerVoice:
    """Hands over what the caller says as 16 kHz mono, from the first packet on.

    By our own path if aiortc lets us have its packets; else, with a warning, by aiortc's jitter buffer.

    Args:
        receiver: of the caller's audio; its connection does not stand yet.
        heard: takes the sound.
        lacking_samples: how much of it that needs until it does anything.
    """

    def __init__(
        self, receiver: RTCRtpReceiver, heard: Callable[[Audio], None], lacking_samples: Callable[[], int]
    ) -> None:
        self._receiver = receiver
        self._heard = heard
        self._voice: InboundVoice | None = None
        if can_take_packets(receiver):
            self._voice = voice = InboundVoice(heard, lacking_samples=lacking_samples)
            take_packets(receiver, voice.take, lambda: voice.lacking_rtp_samples)
        else:
            log.warning(
                "this aiortc is not the one that was tested: callers are heard later, and worse after losses"
            )

    async def run(self) -> None:
        """What is to be done while the call lasts: nothing, unless the voice comes by aiortc's own path."""
        if self._voice is None:
            await self._drain()

    def close(self) -> None:
        """Hears no more. May be called twice."""
        if self._voice is not None:
            self._voice.close()

    async def _drain(self) -> None:
        resampler = StreamResampler(_STOCK_RATE_HZ, SPEECH_RATE_HZ)
        while True:
            try:
                frame = await self._receiver.track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, AudioFrame):
                interleaved = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
                mono = interleaved.mean(axis=1).astype("int16")
                self._heard(resampler.push(Audio(mono, _STOCK_RATE_HZ)))
