"""The caller's audio on its way to being heard: bounded, the oldest goes first, and it is read in windows."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio
from media.clock import loop_time_s
from media.engines.protocols import VAD_WINDOW_SAMPLES

STALL_S: Final = 0.5
"""Audio that stops coming for this long has stalled: the track was muted, or the network is gone."""


class AudioInbox:
    """One caller's incoming audio, 16 kHz. One producer and one consumer, both on the loop.

    The consumer is woken once a window, not once a packet. Beyond `limit_s` of unread audio the oldest is
    dropped and counted: a conversation that fell behind is better served by what is being said now.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_samples = round(limit_s * SPEECH_RATE_HZ)
        self._queue: deque[Audio] = deque()
        self._queued_samples = 0
        self._ready = asyncio.Event()
        self._all_read = asyncio.Event()
        """The consumer waits for more than there is, or has gone."""
        self._closed = False
        self._last_s = float("-inf")
        """When audio, or a stall, was noticed last."""
        self._stalled = False
        self._watch: asyncio.TimerHandle | None = None
        self.dropped_s = 0.0
        """How much was dropped so far, in seconds."""

    def put(self, audio: Audio) -> None:
        """More audio."""
        if not len(audio):
            return
        self._queue.append(audio)
        self._queued_samples += len(audio)
        self._last_s = loop_time_s()
        self._stalled = False
        while self._queued_samples > self._limit_samples and len(self._queue) > 1:
            oldest = self._queue.popleft()
            self._queued_samples -= len(oldest)
            self.dropped_s += oldest.duration_s
        if self._queued_samples >= VAD_WINDOW_SAMPLES:
            self._ready.set()
            if not self._closed:
                self._all_read.clear()

    @property
    def lacking_samples(self) -> int:
        """How many more samples make the next window whole."""
        return VAD_WINDOW_SAMPLES - self._queued_samples % VAD_WINDOW_SAMPLES

    async def all_read(self) -> None:
        """Returns when all but less than a window was read and the reader came for more, or has gone."""
        await self._all_read.wait()

    async def window(self) -> Audio | None:
        """The oldest 32 ms, int16, waiting for them. None each time that no audio came for `STALL_S`."""
        while self._queued_samples < VAD_WINDOW_SAMPLES:
            if self._stalled:
                self._stalled = False
                self._all_read.clear()
                return None
            self._all_read.set()
            self._ready.clear()
            if self._watch is None:
                self._last_s = max(self._last_s, loop_time_s())
                self._watch_for_stall()
            await self._ready.wait()
        self._all_read.clear()
        return self._cut()

    def close(self) -> None:
        """Nobody reads any more."""
        self._closed = True
        self._all_read.set()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _watch_for_stall(self) -> None:
        """One timer for all windows: it looks when audio came last, and comes again where that was since."""
        self._watch = asyncio.get_running_loop().call_at(self._last_s + STALL_S, self._look)

    def _look(self) -> None:
        if loop_time_s() >= self._last_s + STALL_S:
            self._stalled = True
            self._last_s = loop_time_s()
            self._ready.set()
        self._watch_for_stall()

    def _cut(self) -> Audio:
        window = np.empty(VAD_WINDOW_SAMPLES, np.int16)
        filled = 0
        while filled < VAD_WINDOW_SAMPLES:
            samples = self._queue[0].as_int16()
            taken = samples[: VAD_WINDOW_SAMPLES - filled]
            window[filled : filled + len(taken)] = taken
            filled += len(taken)
            if len(taken) == len(samples):
                self._queue.popleft()
            else:
                self._queue[0] = Audio(samples[len(taken) :], SPEECH_RATE_HZ)
        self._queued_samples -= VAD_WINDOW_SAMPLES
        return Audio(window, SPEECH_RATE_HZ)
