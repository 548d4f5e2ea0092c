"""The caller's floor: is the caller speaking, pausing, or done?

Whether a pause ends the turn is decided here: the more complete the turn sounds, the shorter the pause that
ends it, from `incomplete_wait_s` down to `complete_wait_s`. Both count from the last speech, not from when
its end was noticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, assert_never

from pydantic import Field

from media.floor_table import Table, follow
from media.section import Section


class TurnTakingSettings(Section):
    """`turn_taking` in `config.yaml`: when a turn is over."""

    complete_wait_s: float = Field(0.32, ge=0, le=5)
    """A pause after which a turn that sounds complete is over, from the end of speech."""
    incomplete_wait_s: float = Field(1.6, ge=0, le=10)
    """The same for a turn that sounds quite unfinished."""
    complete_threshold: float = Field(0.8, gt=0, le=1)
    """P(complete) from which a turn sounds complete; below it the wait grows in proportion."""
    answer_early: bool = True
    """Begin the answer while it is not sure yet that the turn is over; it is heard only when it is."""
    silence_s: float = Field(0.5, ge=0, le=10)
    """The pause that ends a turn where silence alone decides (`server_vad`)."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a pause may last, for one turn.

    Attributes:
        complete_wait_s: where the turn sounds complete.
        incomplete_wait_s: where it sounds quite unfinished.
        complete_threshold: P(complete) from which it sounds complete, above 0; None: silence alone decides.
    """

    complete_wait_s: float
    incomplete_wait_s: float
    complete_threshold: float | None


class CallerState(Enum):
    LISTENING = "nobody speaks"
    SPEAKING = "the caller speaks"
    PAUSING = "the caller has paused; is the turn over?"


@dataclass(frozen=True, slots=True)
class VoiceStarted:
    """Speech, confirmed. In a pause: the same turn goes on."""

    at_s: float


@dataclass(frozen=True, slots=True)
class VoicePaused:
    """The first hint of a pause. `speech_end_s` is when the last speech was heard."""

    at_s: float
    speech_end_s: float


@dataclass(frozen=True, slots=True)
class TurnJudged:
    """What the turn-end engine thinks of the pause."""

    at_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class PauseElapsed:
    """The timer that `ArmTimer` set."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Committed:
    """The client says that the turn is over."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Cleared:
    """The client throws away what was said of this turn."""

    at_s: float


CallerEvent: TypeAlias = VoiceStarted | VoicePaused | TurnJudged | PauseElapsed | Committed | Cleared


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A turn begins: transcribe from here."""


@dataclass(frozen=True, slots=True)
class WeighPause:
    """Transcribe what there is and judge whether it is complete: the turn may be over."""


@dataclass(frozen=True, slots=True)
class ResumeTurn:
    """It was not over: what `WeighPause` began is void."""


@dataclass(frozen=True, slots=True)
class ArmTimer:
    """Send `PauseElapsed` at this time; replaces an earlier one."""

    deadline_s: float


@dataclass(frozen=True, slots=True)
class DisarmTimer:
    """The armed timer must not fire."""


@dataclass(frozen=True, slots=True)
class EndTurn:
    """The turn is over; it becomes an item."""


@dataclass(frozen=True, slots=True)
class DropTurn:
    """The turn is forgotten."""


CallerCommand: TypeAlias = OpenTurn | WeighPause | ResumeTurn | ArmTimer | DisarmTimer | EndTurn | DropTurn

TABLE: Table[CallerState] = {
    (CallerState.LISTENING, VoiceStarted): CallerState.SPEAKING,
    (CallerState.LISTENING, Cleared): CallerState.LISTENING,
    (CallerState.SPEAKING, VoicePaused): CallerState.PAUSING,
    (CallerState.SPEAKING, Committed): CallerState.LISTENING,
    (CallerState.SPEAKING, Cleared): CallerState.LISTENING,
    (CallerState.PAUSING, VoiceStarted): CallerState.SPEAKING,
    (CallerState.PAUSING, TurnJudged): CallerState.PAUSING,
    (CallerState.PAUSING, PauseElapsed): CallerState.LISTENING,
    (CallerState.PAUSING, Committed): CallerState.LISTENING,
    (CallerState.PAUSING, Cleared): CallerState.LISTENING,
}


class CallerFloor:
    """The machine. `patience` holds for the pauses that begin after it was set."""

    def __init__(self, patience: Patience) -> None:
        self.state = CallerState.LISTENING
        self.patience = patience
        self._speech_end_s = 0.0

    def feed(self, event: CallerEvent) -> tuple[CallerCommand, ...]:
        """The commands that the event calls for, in order.

        Raises:
            IllegalEvent: the table forbids it; nothing changed.
        """
        before = self.state
        self.state = follow(TABLE, before, event)
        paused = before is CallerState.PAUSING
        match event:
            case VoiceStarted():
                return (DisarmTimer(), ResumeTurn()) if paused else (OpenTurn(),)
            case VoicePaused():
                self._speech_end_s = event.speech_end_s
                return (WeighPause(), ArmTimer(self._deadline_s(self._unjudged_wait_s())))
            case TurnJudged():
                return (ArmTimer(self._deadline_s(self._judged_wait_s(event.probability))),)
            case PauseElapsed():
                return (EndTurn(),)
            case Committed():
                return (DisarmTimer(), EndTurn()) if paused else (EndTurn(),)
            case Cleared():
                if before is CallerState.LISTENING:
                    return ()
                return (DisarmTimer(), DropTurn()) if paused else (DropTurn(),)
            case _:
                assert_never(event)

    def _deadline_s(self, wait_s: float) -> float:
        return self._speech_end_s + wait_s

    def _unjudged_wait_s(self) -> float:
        """Until a verdict comes, a turn that will be judged counts as unfinished."""
        if self.patience.complete_threshold is None:
            return self.patience.complete_wait_s
        return self.patience.incomplete_wait_s

    def _judged_wait_s(self, probability: float) -> float:
        patience = self.patience
        if patience.complete_threshold is None:
            return patience.complete_wait_s
        doubt = max(0.0, 1.0 - probability / patience.complete_threshold)
        return patience.complete_wait_s + doubt * (patience.incomplete_wait_s - patience.complete_wait_s)
