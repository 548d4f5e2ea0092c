"""The caller's floor: is the caller speaking, pausing, or done?

How long a pause may last is weighed elsewhere (`media/endpointing.py`) and told with the events; it counts
from the last speech, not from when its end was noticed. Here is what follows from it.
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

    patience_s: float = Field(0.25, gt=0, le=3)
    """The pause that ends a turn which surely is complete, from the end of speech. One that surely is not is
    given seven and a half times as long."""
    answer_early: bool = True
    """Begin the answer while it is not sure yet that the turn is over; it is heard only when it is."""
    silence_s: float = Field(0.5, ge=0, le=10)
    """The pause that ends a turn where silence alone decides (`server_vad`)."""


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
    """The first hint of a pause.

    Attributes:
        speech_end_s: when the last speech was heard.
        wait_s: how long the pause may last from then, until more is known.
    """

    at_s: float
    speech_end_s: float
    wait_s: float


@dataclass(frozen=True, slots=True)
class PauseWeighed:
    """More is known of the pause: it may last for `wait_s` from the last speech."""

    at_s: float
    wait_s: float


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


CallerEvent: TypeAlias = VoiceStarted | VoicePaused | PauseWeighed | PauseElapsed | Committed | Cleared


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
    (CallerState.PAUSING, PauseWeighed): CallerState.PAUSING,
    (CallerState.PAUSING, PauseElapsed): CallerState.LISTENING,
    (CallerState.PAUSING, Committed): CallerState.LISTENING,
    (CallerState.PAUSING, Cleared): CallerState.LISTENING,
}


class CallerFloor:
    """The machine."""

    def __init__(self) -> None:
        self.state = CallerState.LISTENING
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
                return (WeighPause(), ArmTimer(event.speech_end_s + event.wait_s))
            case PauseWeighed():
                return (ArmTimer(self._speech_end_s + event.wait_s),)
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
