"""Who answered a call: a person, or a machine that wants a message?

A person says little, and waits for an answer. A machine says much without a pause, says so in words, or
beeps. What is heard is told with the time, in seconds; nothing here reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias, assert_never

from pydantic import Field

from media.events import Answerer
from media.floor_table import Table, follow
from media.section import Section


class AnsweringSettings(Section):
    """`telephone.answering_machines` in `config.yaml`."""

    detect: bool = True
    """Find out who answered a call that was placed, before anything is said."""
    then: Literal["hang_up", "message", "go_on"] = "hang_up"
    """What is done with a machine: leave `message` after its beep, or go on as with a person."""
    message: str = Field("", max_length=1000)
    """What is said to it; empty: the LLM is asked for a message."""
    human_s: float = Field(1.9, gt=0, le=10)
    """A greeting that is no longer, and followed by a pause, is a person's."""
    machine_s: float = Field(5.5, gt=0, le=30)
    """A greeting that goes on for so long without a pause is a machine's."""
    pause_s: float = Field(0.75, gt=0, le=5)
    """The pause after which a greeting is taken to be over."""
    words_s: float = Field(0.75, ge=0, le=5)
    """How much longer its words are waited for, where they are not known by then."""
    silence_s: float = Field(4.0, gt=0, le=30)
    """Where nothing is said for so long, it is uncertain who is there."""
    message_after_s: float = Field(2.5, gt=0, le=20)
    """A machine that was silent for so long, and did not beep, has its beep behind it."""
    limit_s: float = Field(40.0, gt=0, le=300)
    """A message is left by then, whatever the machine does."""


class AnsweringState(Enum):
    SILENT = "nothing was said yet"
    GREETING = "somebody greets"
    PAUSED = "was that all?"
    SETTLED = "a person, or uncertain"
    MACHINE_SPEAKS = "a machine greets"
    MACHINE_PAUSES = "will it beep?"
    RECORDING = "the machine takes a message"


@dataclass(frozen=True, slots=True)
class Answered:
    """Listening begins."""

    at_s: float


@dataclass(frozen=True, slots=True)
class VoiceBegan:
    at_s: float


@dataclass(frozen=True, slots=True)
class VoiceEnded:
    at_s: float


@dataclass(frozen=True, slots=True)
class WordsKnown:
    """What was said until the present pause is known, and says nothing of a machine; perhaps of a person."""

    at_s: float
    human: bool


@dataclass(frozen=True, slots=True)
class MachineSaid:
    """The words are a machine's."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Beeped:
    """A beep is over."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Elapsed:
    """The timer that `ArmTimer` set."""

    at_s: float


AnsweringEvent: TypeAlias = Answered | VoiceBegan | VoiceEnded | WordsKnown | MachineSaid | Beeped | Elapsed


@dataclass(frozen=True, slots=True)
class ArmTimer:
    """Send `Elapsed` at this time; replaces an earlier one. One that is past is due at once."""

    deadline_s: float


@dataclass(frozen=True, slots=True)
class Decide:
    """It is known who answered."""

    who: Answerer


@dataclass(frozen=True, slots=True)
class LeaveMessage:
    """The machine records now."""


AnsweringCommand: TypeAlias = ArmTimer | Decide | LeaveMessage

_S = AnsweringState

TABLE: Table[AnsweringState] = {
    (_S.SILENT, Answered): _S.SILENT,
    (_S.SILENT, VoiceBegan): _S.GREETING,
    (_S.SILENT, Elapsed): _S.SETTLED,
    (_S.SILENT, Beeped): _S.RECORDING,
    (_S.GREETING, VoiceEnded): _S.PAUSED,
    (_S.GREETING, WordsKnown): _S.GREETING,
    (_S.GREETING, Elapsed): _S.MACHINE_SPEAKS,
    (_S.GREETING, MachineSaid): _S.MACHINE_SPEAKS,
    (_S.GREETING, Beeped): _S.RECORDING,
    (_S.PAUSED, VoiceBegan): _S.GREETING,
    (_S.PAUSED, WordsKnown): _S.PAUSED,
    (_S.PAUSED, Elapsed): _S.SETTLED,
    (_S.PAUSED, MachineSaid): _S.MACHINE_PAUSES,
    (_S.PAUSED, Beeped): _S.RECORDING,
    (_S.MACHINE_SPEAKS, VoiceEnded): _S.MACHINE_PAUSES,
    (_S.MACHINE_SPEAKS, Beeped): _S.RECORDING,
    (_S.MACHINE_SPEAKS, Elapsed): _S.RECORDING,
    (_S.MACHINE_PAUSES, VoiceBegan): _S.MACHINE_SPEAKS,
    (_S.MACHINE_PAUSES, Beeped): _S.RECORDING,
    (_S.MACHINE_PAUSES, Elapsed): _S.RECORDING,
}

LISTENING = frozenset({_S.SILENT, _S.GREETING, _S.PAUSED})
"""It is not known yet who answered."""
OVER = frozenset({_S.SETTLED, _S.RECORDING})
"""Nothing more is to be found out."""


class AnsweringMachine:
    """The machine that knows machines."""

    def __init__(self, settings: AnsweringSettings) -> None:
        self._settings = settings
        self.state = _S.SILENT
        self._answered_s = 0.0
        self._began_s = 0.0
        """When the greeting began."""
        self._ended_s = 0.0
        """When its last speech ended."""
        self._words_known = False
        self._human = False

    def takes(self, event: AnsweringEvent) -> bool:
        """Whether the event means anything now. Words and beeps come when they come."""
        return (self.state, type(event)) in TABLE

    def feed(self, event: AnsweringEvent) -> tuple[AnsweringCommand, ...]:
        """The commands that the event calls for, in order.

        Raises:
            IllegalEvent: the table forbids it; nothing changed.
        """
        before = self.state
        self.state = follow(TABLE, before, event)
        match event:
            case Answered():
                self._answered_s = event.at_s
                return (ArmTimer(event.at_s + self._settings.silence_s),)
            case VoiceBegan():
                return self._voice_began(before, event.at_s)
            case VoiceEnded():
                self._ended_s, self._words_known = event.at_s, False
                if before is _S.MACHINE_SPEAKS:
                    return (self._message_timer(),)
                return (ArmTimer(event.at_s + self._settings.pause_s + self._settings.words_s),)
            case WordsKnown():
                self._words_known, self._human = True, event.human
                if before is _S.PAUSED:
                    return (ArmTimer(self._ended_s + self._settings.pause_s),)
                return ()
            case MachineSaid():
                return (Decide("machine"), self._message_timer())
            case Beeped():
                return (Decide("machine"), LeaveMessage()) if before in LISTENING else (LeaveMessage(),)
            case Elapsed():
                return self._elapsed(before)
            case _:
                assert_never(event)

    def _voice_began(self, before: AnsweringState, at_s: float) -> tuple[AnsweringCommand, ...]:
        if before is _S.MACHINE_PAUSES:
            return (ArmTimer(self._answered_s + self._settings.limit_s),)
        if before is _S.SILENT:
            self._began_s = at_s
        return (ArmTimer(self._began_s + self._settings.machine_s),)

    def _elapsed(self, before: AnsweringState) -> tuple[AnsweringCommand, ...]:
        match before:
            case _S.SILENT:
                return (Decide("uncertain"),)
            case _S.GREETING:
                self._ended_s = self._began_s + self._settings.machine_s
                return (Decide("machine"), ArmTimer(self._answered_s + self._settings.limit_s))
            case _S.PAUSED:
                short = self._ended_s - self._began_s <= self._settings.human_s
                return (Decide("human" if short or self._human else "uncertain"),)
            case _:
                return (LeaveMessage(),)

    def _message_timer(self) -> ArmTimer:
        if self.state is _S.MACHINE_SPEAKS:
            return ArmTimer(self._answered_s + self._settings.limit_s)
        return ArmTimer(self._ended_s + self._settings.message_after_s)
