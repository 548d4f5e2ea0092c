"""The caller's turn on its way to becoming an item, and who is told of it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.engines.protocols import SttSession, Transcript
from media.errors import EngineError
from media.latency import TurnTimes
from media.stable_words import StableWords

JUDGED_S = 8.0
"""The turn-end engine hears this much of the turn's end."""


@dataclass(slots=True)
class Turn:
    """One turn of the caller.

    Attributes:
        item_id: the user item that it becomes.
        session: its transcription.
        start_ms: where its first speech lies in the call's audio.
        end_ms: where its last speech lies.
        held: audio that is not with the transcription yet: what came before the start was noticed, and what
            came in the present pause, which joins the turn only if the turn goes on.
        transcribing: the transcription that a pause began, or the first sign of one.
        guess: its result; void, as the transcription is, where the turn goes on.
        judging: the turn-end verdict that a pause began.
    """

    item_id: str
    session: SttSession
    start_ms: int
    held: list[Audio]
    end_ms: int = 0
    times: TurnTimes = field(default_factory=TurnTimes)
    words: StableWords = field(default_factory=StableWords)
    transcribing: asyncio.Task[Transcript | EngineError] | None = None
    guess: Transcript | None = None
    judging: asyncio.Task[None] | None = None
    _recent: deque[Audio] = field(default_factory=deque)
    _recent_s: float = 0.0

    def remember(self, window: Audio) -> None:
        """Keeps the end of the turn for whoever judges it, pauses included."""
        self._recent.append(window)
        self._recent_s += window.duration_s
        while self._recent_s > JUDGED_S:
            self._recent_s -= self._recent.popleft().duration_s

    def recent(self) -> Audio:
        """The last `JUDGED_S` of the turn."""
        return concatenate(list(self._recent), SPEECH_RATE_HZ) if self._recent else _NOTHING


_NOTHING = Audio(np.zeros(0, dtype=np.int16), SPEECH_RATE_HZ)


class TurnListener(Protocol):
    """Who is told of the caller's turns, in order, on the loop. None of these may block."""

    def turn_started(self, turn: Turn) -> None:
        """Somebody speaks."""

    def turn_words(self, turn: Turn, delta: str, text: str) -> None:
        """What it seems to say so far, and what of that has settled since the last time (`delta`)."""

    def turn_guessed(self, turn: Turn, transcript: Transcript) -> None:
        """What was said up to a pause that may be its end."""

    def turn_resumed(self, turn: Turn) -> None:
        """It was not the end: what was guessed is void."""

    def turn_ended(self, turn: Turn) -> None:
        """It is over; its transcript follows."""

    def turn_transcribed(self, turn: Turn, transcript: Transcript) -> None:
        """What was said. An empty text: nothing was."""

    def turn_failed(self, turn: Turn, error: EngineError) -> None:
        """It could not be transcribed."""

    def turn_dropped(self, turn: Turn) -> None:
        """It was cleared before it ended."""

    def voice_heard(self, speech_s: float) -> None:
        """A turn's speech has gone on for this long without a pause. Comes with every window of it."""

    def is_own_voice(self, window: Audio, probability: float) -> bool:
        """Whether the next 32 ms, with their P(speech), are the assistant's own voice: no speech, then."""

    def window_heard(self, window: Audio, probability: float) -> None:
        """The next 32 ms and their P(speech). Whether they belong to a turn may still be held back."""

    def audio_stalled(self) -> None:
        """No audio comes any more."""
