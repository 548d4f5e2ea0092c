"""The caller's audio on its way to being heard: bounded, and the oldest goes first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio
from media.engines.protocols import VAD_WINDOW_SAMPLES


class AudioInbox:
    """One caller's incoming audio. One producer and one consumer, both on the loop.

    Beyond `limit_s` of unread audio the oldest is dropped and counted: a conversation that fell behind is
    better served by what is being said now.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._queue: deque[Audio] = deque()
        self._queued_s = 0.0
        self._arrived = asyncio.Event()
        self.dropped_s = 0.0
        """How much was dropped so far, in seconds."""

    def put(self, audio: Audio) -> None:
        """More audio."""
        if not len(audio):
            return
        self._queue.append(audio)
        self._queued_s += audio.duration_s
        while self._queued_s > self._limit_s and len(self._queue) > 1:
            oldest = self._queue.popleft()
            self._queued_s -= oldest.duration_s
            self.dropped_s += oldest.duration_s
        self._arrived.set()

    async def get(self) -> Audio:
        """The oldest audio that is there, waiting for some."""
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        audio = self._queue.popleft()
        self._queued_s -= audio.duration_s
        return audio

    async def windows(self, stall_s: float) -> AsyncGenerator[Audio | None, None]:
        """The audio in windows for voice activity; None each time that none has come for so long."""
        rest = np.zeros(0, dtype=np.int16)
        while True:
            try:
                async with asyncio.timeout(stall_s):
                    audio = await self.get()
            except TimeoutError:
                yield None
                continue
            rest = np.concatenate([rest, audio.as_int16()])
            while len(rest) >= VAD_WINDOW_SAMPLES:
                yield Audio(rest[:VAD_WINDOW_SAMPLES], SPEECH_RATE_HZ)
                rest = rest[VAD_WINDOW_SAMPLES:]
