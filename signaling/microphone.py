"""A microphone that says what it is given, and silence otherwise: 20 ms at a time, in real time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from media.audio import Audio
from media.clock import loop_time_s
from media.resampler import resample
from signaling.heard import FRAME_S, speech_end_s

MICROPHONE_RATE_HZ: Final = 48_000
FRAME_SAMPLES = round(FRAME_S * MICROPHONE_RATE_HZ)


@dataclass(slots=True)
class _Utterance:
    samples: npt.NDArray[np.int16]
    speech_end_samples: int
    spoken: asyncio.Future[float]
    sent_samples: int = 0


class Microphone:
    """Gives a frame every 20 ms on an absolute schedule: a stall is caught up with at once."""

    def __init__(self) -> None:
        self._utterances: deque[_Utterance] = deque()
        self._started_s: float | None = None
        self._frames = 0
        self._failure: Exception | None = None
        self._room: Callable[[float], npt.NDArray[np.int16]] | None = None
        self.muted = False

    async def say(self, audio: Audio) -> float:
        """Says it after what is being said already.

        Returns, when the last sample of its speech has left: that sample's loop time. What follows it in the
        recording (silence) is sent after that.

        Raises:
            Exception: what it failed with, before or meanwhile.
        """
        if self._failure is not None:
            raise self._failure
        samples = resample(audio, MICROPHONE_RATE_HZ).as_int16()
        end = min(len(samples), round(speech_end_s(audio) * MICROPHONE_RATE_HZ))
        spoken = asyncio.get_running_loop().create_future()
        self._utterances.append(_Utterance(samples, end, spoken))
        result: float = await spoken
        return result

    def speak_in(self, room: Callable[[float], npt.NDArray[np.int16]]) -> None:
        """From now on it picks this up, too: for each frame's time, 20 ms at 48 kHz."""
        self._room = room

    def hush(self) -> None:
        """Breaks off whatever is being said."""
        for utterance in self._utterances:
            utterance.spoken.cancel()
        self._utterances.clear()

    def fail(self, error: Exception) -> None:
        """Breaks off likewise, for good: whoever waits for it, or says something later, is told why."""
        self._failure = error
        for utterance in self._utterances:
            if not utterance.spoken.done():
                utterance.spoken.set_exception(error)
        self._utterances.clear()

    async def next_frame(self) -> tuple[npt.NDArray[np.int16], int]:
        """The next 20 ms, 48 kHz, when they were spoken, and their position in samples."""
        now_s = loop_time_s()
        if self._started_s is None:
            self._started_s = now_s
        due_s = self._started_s + self._frames * FRAME_S
        if due_s > now_s:
            await asyncio.sleep(due_s - now_s)
        samples = self._next_samples()
        if self._room is not None and not self.muted:
            samples = np.clip(samples.astype(np.int32) + self._room(due_s), -32768, 32767).astype(np.int16)
        position = self._frames * FRAME_SAMPLES
        self._frames += 1
        return samples, position

    def _next_samples(self) -> npt.NDArray[np.int16]:
        samples = np.zeros(FRAME_SAMPLES, dtype=np.int16)
        if not self._utterances:
            return samples
        utterance = self._utterances[0]
        piece = utterance.samples[utterance.sent_samples : utterance.sent_samples + FRAME_SAMPLES]
        samples[: len(piece)] = piece
        speech_left = utterance.speech_end_samples - utterance.sent_samples
        utterance.sent_samples += FRAME_SAMPLES
        if speech_left <= FRAME_SAMPLES and not utterance.spoken.done():
            # A microphone hands a frame over when it is full: the frame's last sample was spoken just now.
            late_s = (FRAME_SAMPLES - max(0, speech_left)) / MICROPHONE_RATE_HZ
            utterance.spoken.set_result(loop_time_s() - late_s)
        if utterance.sent_samples >= len(utterance.samples):
            self._utterances.popleft()
        return samples * 0 if self.muted else samples
