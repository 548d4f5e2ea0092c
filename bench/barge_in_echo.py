"""A room in which the caller's loudspeaker is heard by their microphone, for `bench/barge_in.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from media.opus import RTP_RATE_HZ
from signaling.heard import FRAME_S, HeardFrame

FRAME_SAMPLES = round(FRAME_S * RTP_RATE_HZ)
_TAIL_S = 0.3
_TAIL_LEVEL = 0.05
_NOISE_DBFS = -65.0


class EchoingRoom:
    """What comes back of what was heard: later, weaker, coloured, with a tail.

    Args:
        heard: the caller's received frames, which grow.
        delay_s: from a packet's arrival to its sound at the microphone, the caller's jitter buffer included.
        gain_db: by how much it comes back louder.
        seed: which room.
    """

    def __init__(self, heard: Sequence[HeardFrame], delay_s: float, gain_db: float, seed: int) -> None:
        self._heard = heard
        self._delay_s = delay_s
        chance = self._chance = np.random.default_rng(seed)
        time_s = np.arange(round(_TAIL_S * RTP_RATE_HZ)) / RTP_RATE_HZ
        reverberation_s = chance.uniform(0.2, 0.5)
        response = chance.normal(size=len(time_s)) * 10 ** (-3 * time_s / reverberation_s) * _TAIL_LEVEL
        response[0] = 1
        response /= np.sqrt(np.sum(np.square(response)))
        self._past_samples = len(response)
        self._size = 1 << (len(response) + FRAME_SAMPLES).bit_length()
        hertz = np.fft.rfftfreq(self._size, 1 / RTP_RATE_HZ)
        small_speaker = 1 / (1 + (250 / np.maximum(hertz, 1)) ** 4) / (1 + (hertz / 6000) ** 4)
        self._response = np.fft.rfft(response * 10 ** (gain_db / 20), self._size) * small_speaker

    def __call__(self, due_s: float) -> npt.NDArray[np.int16]:
        """20 ms of it, as int16 at 48 kHz."""
        noise = self._chance.normal(size=FRAME_SAMPLES) * 32768 * 10 ** (_NOISE_DBFS / 20)
        played = self._played(due_s)
        if played is None:
            return noise.astype(np.int16)
        wet = np.fft.irfft(np.fft.rfft(played, self._size) * self._response, self._size)
        back = wet[self._past_samples : self._past_samples + FRAME_SAMPLES] + noise
        return np.clip(back, -32768, 32767).astype(np.int16)

    def _played(self, due_s: float) -> npt.NDArray[np.float64] | None:
        """What the loudspeaker plays in a frame, and the tail's length before it; None where it is silent."""
        if not self._heard:
            return None
        first = self._heard[0]
        end = first.position_samples + round((due_s - self._delay_s - first.at_s) * RTP_RATE_HZ)
        start = end - self._past_samples - FRAME_SAMPLES
        played = np.zeros(end - start)
        for frame in reversed(self._heard):
            at = frame.position_samples - start
            if at + len(frame.audio) <= 0:
                break
            piece = frame.audio.as_int16()[max(0, -at) : max(0, len(played) - at)]
            played[max(0, at) : max(0, at) + len(piece)] = piece
        return played if played.any() else None
