"""A call's audio where it is carried as data over a socket, and not as RTP.

Such a client may send in bursts of any size, and nothing paces what is sent to it. So both directions get
their clock here: what the caller says is heard as if it were said in real time, and the playout runs as it
would for a listener, its frames thrown away: what counts as heard, and as an interruption, is the same on
every transport.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio, silence
from media.clock import loop_time_s
from media.engines.protocols import VAD_WINDOW_SAMPLES
from media.errors import CallerError
from media.resampler import StreamResampler
from signaling.call_host import CallConversation, VoiceOut

MAX_UNHEARD_S: Final = 300.0
"""Audio that may wait to be heard. More than the Realtime API's largest event holds (15 MiB of base64)."""
PIECE_S: Final = 0.1
"""Audio is handed on in pieces of so much at most."""
AHEAD_S: Final = 0.2
"""So far may audio come before its time and still be heard at once: clients send in chunks."""
LATE_S: Final = 1.0
"""What was held up on its way by no more than this is made good at once."""
PACE: Final = 1.1
"""What came too soon is heard this much faster than it was said, so that a fast clock adds up to no delay."""
_SILENCE_S: Final = 5.0
"""How long the playout's clock may stand still while there is nothing to be heard."""


class HearingSchedule:
    """When audio is due to be heard that arrived in bursts. Pure: it is told the time.

    A client that sends in real time, late or in chunks, is never made to wait. One that sends a file at once
    is heard as if it had been read out.
    """

    def __init__(self) -> None:
        self._heard_until_s = float("-inf")

    def arrived(self, now_s: float, duration_s: float) -> float:
        """Says when the first sample of what arrived now is due; the rest follows at `PACE`."""
        begins_s = max(self._heard_until_s, now_s - LATE_S)
        self._heard_until_s = begins_s + duration_s / PACE
        return begins_s - AHEAD_S

    def forget(self) -> None:
        """What arrived so far is not waited for."""
        self._heard_until_s = float("-inf")


@dataclass(slots=True)
class _Waiting:
    """Audio that is not heard yet, and when it is due."""

    audio: Audio
    due_s: float


class SocketLeg:
    """Hands a caller's audio to the conversation, and keeps the time of what they hear.

    Args:
        conversation: of the call.
    """

    def __init__(self, conversation: CallConversation) -> None:
        self._conversation = conversation
        conversation.playout.pausable = False
        self._schedule = HearingSchedule()
        self._waiting: deque[_Waiting] = deque()
        self._unheard_s = 0.0
        self._resampler: StreamResampler | None = None
        self._resampler_hz = 0
        self._given_samples = 0
        """To the conversation, at its rate."""
        self._hurries = 0
        """How many wait for everything to be heard."""
        self._changed = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()

    async def run(self) -> None:
        """Carries the audio until it is cancelled. The conversation runs elsewhere."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear(), name="socket ear")
            tasks.create_task(play_unheard(self._conversation.playout), name="socket playout")

    def hear(self, audio: Audio) -> None:
        """More of what the caller says, at any rate, as much at once as they like.

        Raises:
            CallerError: `input_audio_buffer_full`: over `MAX_UNHEARD_S` would wait; none of this is heard.
        """
        if not len(audio):
            return
        if self._unheard_s + audio.duration_s > MAX_UNHEARD_S:
            raise CallerError(
                f"More than {MAX_UNHEARD_S:g} s of audio wait to be heard: send it as fast as it is spoken.",
                code="input_audio_buffer_full",
                param="audio",
            )
        self._waiting.append(_Waiting(audio, self._schedule.arrived(loop_time_s(), audio.duration_s)))
        self._unheard_s += audio.duration_s
        self._emptied.clear()
        self._changed.set()

    async def heard_all(self) -> None:
        """Hurries what waits, and returns when the conversation has listened to all that came so far.

        The last of it is filled up with silence to a whole window: what is said next is not its end.
        """
        self._hurries += 1
        self._changed.set()
        try:
            await self._emptied.wait()
            if self._resampler is not None:
                self._give(self._resampler.finish())
                self._resampler = None
            self._give(silence(-self._given_samples % VAD_WINDOW_SAMPLES / SPEECH_RATE_HZ, SPEECH_RATE_HZ))
            await self._conversation.heard_all()
        finally:
            self._hurries -= 1

    def forget(self) -> None:
        """Drops what was not heard yet."""
        self._waiting.clear()
        self._unheard_s = 0.0
        self._resampler = None
        self._schedule.forget()
        self._emptied.set()

    async def _hear(self) -> None:
        while True:
            self._changed.clear()
            wait_s = self._wait_s()
            if wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if wait_s == float("inf") else wait_s):
                        await self._changed.wait()
                continue
            self._give(self._converted(self._next_piece()))
            # Before the next piece, so that nothing is ever dropped: the conversation's own inbox is short.
            await self._conversation.heard_all()
            if not self._waiting:
                self._emptied.set()

    def _wait_s(self) -> float:
        if not self._waiting:
            return float("inf")
        at_once = self._hurries > 0 or self._conversation.session.turn_detection is None
        return 0.0 if at_once else self._waiting[0].due_s - loop_time_s()

    def _next_piece(self) -> Audio:
        waiting = self._waiting[0]
        piece = waiting.audio.slice_s(0, PIECE_S)
        rest = Audio(waiting.audio.samples[len(piece) :], waiting.audio.rate_hz)
        if len(rest):
            waiting.audio = rest
            waiting.due_s += piece.duration_s / PACE
        else:
            self._waiting.popleft()
        self._unheard_s = max(0.0, self._unheard_s - piece.duration_s) if self._waiting else 0.0
        return piece

    def _converted(self, audio: Audio) -> Audio:
        if self._resampler is None or self._resampler_hz != audio.rate_hz:
            if self._resampler is not None:
                self._give(self._resampler.finish())
            self._resampler = StreamResampler(audio.rate_hz, SPEECH_RATE_HZ)
            self._resampler_hz = audio.rate_hz
        return self._resampler.push(audio)

    def _give(self, audio: Audio) -> None:
        if len(audio):
            self._given_samples += len(audio)
            self._conversation.hear(audio)


async def play_unheard(voice: VoiceOut) -> None:
    """Takes the playout's frames when they are due, and throws them away. Stands still in silence."""
    silent = True
    while True:
        if silent:
            await voice.until_sound(_SILENCE_S)
        frame, _ = await voice.next_frame()
        silent = not np.count_nonzero(frame.samples)
