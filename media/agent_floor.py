"""The agent's floor: is a response being made, and is one being heard?

The two overlap: the end of one response may still be playing while the next is made, so the four states are
the four combinations.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, assert_never

from media.floor_table import Table, follow
from media.items import ResponseOptions, StatusReason


class AgentState(Enum):
    IDLE = "nothing is made, nothing is heard"
    THINKING = "a response is made, nothing is heard"
    SPEAKING = "a response is made, sound goes out"
    FINISHING = "nothing is made any more, sound still goes out"


@dataclass(frozen=True, slots=True)
class Asked:
    """A response is wanted."""

    at_s: float
    options: ResponseOptions


@dataclass(frozen=True, slots=True)
class SoundBegan:
    """The first sound of a response was handed to the transport."""

    at_s: float


@dataclass(frozen=True, slots=True)
class SoundEnded:
    """The last sound that was ready was handed to the transport, and no other response's sound follows."""

    at_s: float


@dataclass(frozen=True, slots=True)
class MadeSilent:
    """The response is made, and nothing of it remains to be heard."""

    at_s: float


@dataclass(frozen=True, slots=True)
class MadeAudible:
    """The response is made, and some of it is still to be heard."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """The caller or the client cuts in: nothing more is to be made or heard."""

    at_s: float
    reason: StatusReason


AgentEvent: TypeAlias = Asked | SoundBegan | SoundEnded | MadeSilent | MadeAudible | Stopped


@dataclass(frozen=True, slots=True)
class StartResponse:
    options: ResponseOptions


@dataclass(frozen=True, slots=True)
class AbandonResponse:
    """Cancel what is being made."""

    reason: StatusReason


@dataclass(frozen=True, slots=True)
class FlushPlayout:
    """Throw away what was to be heard, and cut the history to what was."""


AgentCommand: TypeAlias = StartResponse | AbandonResponse | FlushPlayout

TABLE: Table[AgentState] = {
    (AgentState.IDLE, Asked): AgentState.THINKING,
    (AgentState.THINKING, SoundBegan): AgentState.SPEAKING,
    (AgentState.THINKING, MadeSilent): AgentState.IDLE,
    (AgentState.THINKING, MadeAudible): AgentState.FINISHING,
    (AgentState.THINKING, Stopped): AgentState.IDLE,
    (AgentState.SPEAKING, SoundBegan): AgentState.SPEAKING,
    (AgentState.SPEAKING, SoundEnded): AgentState.THINKING,
    (AgentState.SPEAKING, MadeAudible): AgentState.FINISHING,
    (AgentState.SPEAKING, Stopped): AgentState.IDLE,
    (AgentState.FINISHING, Asked): AgentState.SPEAKING,
    (AgentState.FINISHING, SoundBegan): AgentState.FINISHING,
    (AgentState.FINISHING, SoundEnded): AgentState.IDLE,
    (AgentState.FINISHING, Stopped): AgentState.IDLE,
}

MAKING = frozenset({AgentState.THINKING, AgentState.SPEAKING})
"""The states in which a response is being made: another cannot be asked for."""


class AgentFloor:
    """The machine."""

    def __init__(self) -> None:
        self.state = AgentState.IDLE

    def feed(self, event: AgentEvent) -> tuple[AgentCommand, ...]:
        """The commands that the event calls for, in order.

        Raises:
            IllegalEvent: the table forbids it; nothing changed.
        """
        before = self.state
        self.state = follow(TABLE, before, event)
        match event:
            case Asked():
                return (StartResponse(event.options),)
            case Stopped():
                if before in MAKING:
                    return (AbandonResponse(event.reason), FlushPlayout())
                return (FlushPlayout(),)
            case SoundBegan() | SoundEnded() | MadeSilent() | MadeAudible():
                return ()
            case _:
                assert_never(event)
