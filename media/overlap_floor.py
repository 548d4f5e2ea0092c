"""The overlap floor: what is a sound of the caller's while the assistant is audible, and who goes on?

At the first hint of a sound the assistant's voice is held, before anybody knows what it is. Then the sound is
judged, window by window, until it is an interruption (the assistant stops for good, and the sound becomes the
caller's turn) or harmless (the assistant goes on, and the sound is forgotten unless it lasts). If it is over
before that is sure, or has lasted and still is not, its words tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, assert_never

from media.floor_table import Table, follow


class OverlapState(Enum):
    CLEAR = "no sound of the caller's is in question"
    SUSPECTED = "a sound, and the assistant's voice is held until it is known what it is"
    QUESTIONED = "the sound is over, and the assistant's voice is held until its words are known"
    OVERHEARD = "the sound goes on, and the assistant's voice is held until its words so far are known"
    TOLERATED = "a harmless sound goes on, and so does the assistant"


@dataclass(frozen=True, slots=True)
class SoundHinted:
    """A window that may be speech, while the assistant is audible, or just after a sound that is over."""

    at_s: float


@dataclass(frozen=True, slots=True)
class SoundEnded:
    """The sound is over, and may have been anything."""

    at_s: float


@dataclass(frozen=True, slots=True)
class SoundLasted:
    """The sound goes on, and may still be anything."""

    at_s: float


@dataclass(frozen=True, slots=True)
class FoundInterruption:
    """The caller wants the floor."""

    at_s: float


@dataclass(frozen=True, slots=True)
class FoundHarmless:
    """A backchannel, a noise, or the assistant's own echo."""

    at_s: float


@dataclass(frozen=True, slots=True)
class SoundDoubted:
    """What was found harmless may be speech after all."""

    at_s: float


@dataclass(frozen=True, slots=True)
class SoundFaded:
    """A harmless sound is over."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Unopposed:
    """Nothing is to be judged: the assistant fell silent by itself, or the client says that it is a turn."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Dismissed:
    """The client throws away what was said, or no audio comes any more."""

    at_s: float


OverlapEvent: TypeAlias = (
    SoundHinted
    | SoundEnded
    | SoundLasted
    | FoundInterruption
    | FoundHarmless
    | SoundDoubted
    | SoundFaded
    | Unopposed
    | Dismissed
)


@dataclass(frozen=True, slots=True)
class HoldVoice:
    """The assistant is silent for now, and what the caller says is kept from their floor."""


@dataclass(frozen=True, slots=True)
class AskWords:
    """What the sound says is to be found out."""


@dataclass(frozen=True, slots=True)
class DropWords:
    """Nobody wants to know any more."""


@dataclass(frozen=True, slots=True)
class ReleaseVoice:
    """The assistant goes on where it was held."""


@dataclass(frozen=True, slots=True)
class StopVoice:
    """The assistant is silent for good."""


@dataclass(frozen=True, slots=True)
class AdmitSound:
    """The sound is a turn of the caller's, from its beginning."""


@dataclass(frozen=True, slots=True)
class ForgetSound:
    """The sound never was."""


OverlapCommand: TypeAlias = (
    HoldVoice | AskWords | DropWords | ReleaseVoice | StopVoice | AdmitSound | ForgetSound
)

TABLE: Table[OverlapState] = {
    (OverlapState.CLEAR, SoundHinted): OverlapState.SUSPECTED,
    (OverlapState.SUSPECTED, SoundEnded): OverlapState.QUESTIONED,
    (OverlapState.SUSPECTED, SoundLasted): OverlapState.OVERHEARD,
    (OverlapState.SUSPECTED, FoundInterruption): OverlapState.CLEAR,
    (OverlapState.SUSPECTED, FoundHarmless): OverlapState.TOLERATED,
    (OverlapState.SUSPECTED, Unopposed): OverlapState.CLEAR,
    (OverlapState.SUSPECTED, Dismissed): OverlapState.CLEAR,
    (OverlapState.QUESTIONED, SoundHinted): OverlapState.SUSPECTED,
    (OverlapState.QUESTIONED, FoundInterruption): OverlapState.CLEAR,
    (OverlapState.QUESTIONED, FoundHarmless): OverlapState.CLEAR,
    (OverlapState.QUESTIONED, Unopposed): OverlapState.CLEAR,
    (OverlapState.QUESTIONED, Dismissed): OverlapState.CLEAR,
    (OverlapState.OVERHEARD, FoundInterruption): OverlapState.CLEAR,
    (OverlapState.OVERHEARD, FoundHarmless): OverlapState.TOLERATED,
    (OverlapState.OVERHEARD, Unopposed): OverlapState.CLEAR,
    (OverlapState.OVERHEARD, Dismissed): OverlapState.CLEAR,
    (OverlapState.TOLERATED, FoundInterruption): OverlapState.CLEAR,
    (OverlapState.TOLERATED, SoundDoubted): OverlapState.SUSPECTED,
    (OverlapState.TOLERATED, SoundFaded): OverlapState.CLEAR,
    (OverlapState.TOLERATED, Unopposed): OverlapState.CLEAR,
    (OverlapState.TOLERATED, Dismissed): OverlapState.CLEAR,
}


class OverlapFloor:
    """The machine."""

    def __init__(self) -> None:
        self.state = OverlapState.CLEAR

    def feed(self, event: OverlapEvent) -> tuple[OverlapCommand, ...]:
        """The commands that the event calls for, in order.

        Raises:
            IllegalEvent: the table forbids it; nothing changed.
        """
        before = self.state
        self.state = follow(TABLE, before, event)
        asked = before in (OverlapState.QUESTIONED, OverlapState.OVERHEARD)
        dropped = (DropWords(),) if asked else ()
        released = (ReleaseVoice(),) if asked or before is OverlapState.SUSPECTED else ()
        match event:
            case SoundHinted():
                return dropped if asked else (HoldVoice(),)
            case SoundEnded() | SoundLasted():
                return (AskWords(),)
            case FoundInterruption():
                # The turn is told of before the response's end, as the Realtime API orders them.
                return (*dropped, AdmitSound(), StopVoice())
            case FoundHarmless():
                forgotten = (ForgetSound(),) if self.state is OverlapState.CLEAR else ()
                return (*dropped, *forgotten, *released)
            case SoundDoubted():
                return (HoldVoice(),)
            case SoundFaded():
                return (ForgetSound(),)
            case Unopposed():
                return (*dropped, AdmitSound(), *released)
            case Dismissed():
                return (*dropped, ForgetSound(), *released)
            case _:
                assert_never(event)
