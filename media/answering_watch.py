"""The shell around `media/answering_machine.py`: hears the far side, holds the timer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import assert_never

from media.answering_machine import (
    OVER,
    Answered,
    AnsweringEvent,
    AnsweringMachine,
    AnsweringSettings,
    AnsweringState,
    ArmTimer,
    Beeped,
    Decide,
    Elapsed,
    LeaveMessage,
    MachineSaid,
    VoiceBegan,
    VoiceEnded,
    WordsKnown,
)
from media.audio import SPEECH_RATE_HZ, Audio
from media.beep import BeepDetector
from media.clock import loop_time_s
from media.events import Answerer
from media.greeting_words import whose_greeting
from media.vad_gate import GatePaused, GateStarted, VadGate, VadSettings

log = logging.getLogger(__name__)


class AnsweringWatch:
    """Follows a call that was placed from its first sound: `media.overhearing.Overhearing`.

    Args:
        settings: what tells a machine.
        decided: told who answered, once.
        record: told when a machine takes a message, if one answered.
    """

    def __init__(
        self, settings: AnsweringSettings, decided: Callable[[Answerer], None], record: Callable[[], None]
    ) -> None:
        self._machine = AnsweringMachine(settings)
        self._decided = decided
        self._record = record
        self._gate = VadGate(VadSettings())
        self._beeps = BeepDetector()
        self._words: dict[str, str] = {}
        """Of each turn."""
        self._greeted = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def greeted(self) -> bool:
        """Whether anything was said at all."""
        return self._greeted

    def begin(self) -> None:
        """The call was answered, and can be heard."""
        self._feed(Answered(loop_time_s()))

    def stop(self) -> None:
        """Finds out no more. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def window_heard(self, window: Audio, probability: float) -> None:
        if self._machine.state in OVER:
            return
        now_s = loop_time_s()
        match self._gate.push(probability):
            case GateStarted(start_sample=sample):
                self._greeted = True
                self._feed(VoiceBegan(now_s - self._since_s(sample)))
            case GatePaused(end_sample=sample):
                self._feed(VoiceEnded(now_s - self._since_s(sample)))
        if self._beeps.push(window):
            self._feed(Beeped(now_s))

    def words_heard(self, item_id: str, text: str) -> None:
        self._words[item_id] = text
        whose = whose_greeting(" ".join(self._words.values()))
        if whose == "machine":
            self._feed(MachineSaid(loop_time_s()))
        elif text and self._machine.state is AnsweringState.PAUSED:
            self._feed(WordsKnown(loop_time_s(), human=whose == "human"))

    def _since_s(self, sample: int) -> float:
        return (self._gate.samples - sample) / SPEECH_RATE_HZ

    def _feed(self, event: AnsweringEvent) -> None:
        if not self._machine.takes(event):
            return
        for command in self._machine.feed(event):
            match command:
                case ArmTimer():
                    self.stop()
                    self._timer = asyncio.get_running_loop().call_at(command.deadline_s, self._elapse)
                case Decide():
                    log.info("known who answered", extra={"answered_by": command.who})
                    self._decided(command.who)
                case LeaveMessage():
                    self._record()
                case _:
                    assert_never(command)
        if self._machine.state in OVER:
            self.stop()

    def _elapse(self) -> None:
        self._timer = None
        self._feed(Elapsed(loop_time_s()))
