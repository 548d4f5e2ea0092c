"""When nobody says anything: the assistant asks again, and in the end may hang up.

The time runs while neither side speaks and nothing is being answered. Sounds without words (a cough) stop it,
but only words of the caller's make the assistant begin anew with its questions. A session may have a time of
its own (`idle_timeout_s`), after which the assistant goes on by itself, each time anew, instead of asking.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, assert_never

from pydantic import Field

from media.floor_table import Table, follow
from media.section import Section


class SilenceSettings(Section):
    """`silence` in `config.yaml`: what the assistant does when the caller says nothing."""

    ask_after_s: float | None = Field(None, gt=0, le=3600)
    """How long nobody has spoken when the assistant asks; None: it waits for ever."""
    questions: tuple[str, ...] = Field(("Are you still there?",), max_length=10)
    """What it asks, one after the other, until the caller says something; then from the first again."""
    hang_up: bool = False
    """End the call when the last question has stayed unanswered for as long."""


class SilenceState(Enum):
    LIVELY = "somebody speaks, or is about to"
    QUIET = "nobody speaks, the time runs"
    ELAPSED = "the time is over: it is asked, or hung up"


@dataclass(frozen=True, slots=True)
class Quieted:
    """Neither side speaks any more, and nothing is being answered."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Stirred:
    """One of them speaks, or something is being answered."""


@dataclass(frozen=True, slots=True)
class CallerSaid:
    """There are words of the caller's, spoken or typed."""


@dataclass(frozen=True, slots=True)
class SilenceElapsed:
    """The timer that `ArmTimer` set."""


SilenceEvent: TypeAlias = Quieted | Stirred | CallerSaid | SilenceElapsed


@dataclass(frozen=True, slots=True)
class ArmTimer:
    """Send `SilenceElapsed` at this time."""

    deadline_s: float


@dataclass(frozen=True, slots=True)
class DisarmTimer:
    """The armed timer must not fire."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Say this."""

    question: str


@dataclass(frozen=True, slots=True)
class GoOn:
    """Answer the silence, which has lasted for so long."""

    idle_timeout_s: float


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call."""


SilenceCommand: TypeAlias = ArmTimer | DisarmTimer | Ask | GoOn | HangUp

TABLE: Table[SilenceState] = {
    (SilenceState.LIVELY, Quieted): SilenceState.QUIET,
    (SilenceState.LIVELY, CallerSaid): SilenceState.LIVELY,
    (SilenceState.QUIET, Stirred): SilenceState.LIVELY,
    (SilenceState.QUIET, CallerSaid): SilenceState.QUIET,
    (SilenceState.QUIET, SilenceElapsed): SilenceState.ELAPSED,
    (SilenceState.ELAPSED, Stirred): SilenceState.LIVELY,
    (SilenceState.ELAPSED, CallerSaid): SilenceState.ELAPSED,
}


class Silence:
    """The machine. What it asks stirs it like everything that is said; without a time it never asks."""

    def __init__(self, settings: SilenceSettings) -> None:
        self.state = SilenceState.LIVELY
        self.idle_timeout_s: float | None = None
        """The session's. A change holds from the next `Quieted` on."""
        self._settings = settings
        self._asked = 0
        """Questions since the caller's last words."""

    def feed(self, event: SilenceEvent) -> tuple[SilenceCommand, ...]:
        """The commands that the event calls for, in order.

        Raises:
            IllegalEvent: the table forbids it; nothing changed.
        """
        before = self.state
        self.state = follow(TABLE, before, event)
        match event:
            case Quieted():
                if self.idle_timeout_s is not None:
                    return (ArmTimer(event.at_s + self.idle_timeout_s),)
                after_s = self._settings.ask_after_s
                return () if after_s is None or self._nothing_left else (ArmTimer(event.at_s + after_s),)
            case Stirred():
                return (DisarmTimer(),) if before is SilenceState.QUIET else ()
            case CallerSaid():
                self._asked = 0
                return ()
            case SilenceElapsed():
                return self._elapsed()
            case _:
                assert_never(event)

    @property
    def _nothing_left(self) -> bool:
        """Whether nothing would follow if the time elapsed."""
        return self._asked >= len(self._settings.questions) and not self._settings.hang_up

    def _elapsed(self) -> tuple[SilenceCommand, ...]:
        if self.idle_timeout_s is not None:
            return (GoOn(self.idle_timeout_s),)
        if self._asked >= len(self._settings.questions):
            return (HangUp(),)
        self._asked += 1
        return (Ask(self._settings.questions[self._asked - 1]),)
