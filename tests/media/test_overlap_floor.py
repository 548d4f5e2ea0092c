"""The overlap floor, cell by cell."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from media import overlap_floor
from media.floor_table import IllegalEvent, mermaid
from media.overlap_floor import (
    AdmitSound,
    AskWords,
    Dismissed,
    DropWords,
    ForgetSound,
    FoundHarmless,
    FoundInterruption,
    HoldVoice,
    OverlapCommand,
    OverlapEvent,
    OverlapFloor,
    OverlapState,
    ReleaseVoice,
    SoundDoubted,
    SoundEnded,
    SoundFaded,
    SoundHinted,
    SoundLasted,
    StopVoice,
    Unopposed,
)

HINTED = SoundHinted(10.0)
ENDED = SoundEnded(10.1)
LASTED = SoundLasted(10.1)
INTERRUPTION = FoundInterruption(10.1)
HARMLESS = FoundHarmless(10.1)
DOUBTED = SoundDoubted(10.1)
FADED = SoundFaded(10.1)
UNOPPOSED = Unopposed(10.1)
DISMISSED = Dismissed(10.1)
EVENTS: tuple[OverlapEvent, ...] = (
    HINTED,
    ENDED,
    LASTED,
    INTERRUPTION,
    HARMLESS,
    DOUBTED,
    FADED,
    UNOPPOSED,
    DISMISSED,
)

PATHS: dict[OverlapState, tuple[OverlapEvent, ...]] = {
    OverlapState.CLEAR: (),
    OverlapState.SUSPECTED: (HINTED,),
    OverlapState.QUESTIONED: (HINTED, ENDED),
    OverlapState.OVERHEARD: (HINTED, LASTED),
    OverlapState.TOLERATED: (HINTED, HARMLESS),
}
CELLS: dict[tuple[OverlapState, OverlapEvent], tuple[OverlapState, tuple[OverlapCommand, ...]]] = {
    (OverlapState.CLEAR, HINTED): (OverlapState.SUSPECTED, (HoldVoice(),)),
    (OverlapState.SUSPECTED, ENDED): (OverlapState.QUESTIONED, (AskWords(),)),
    (OverlapState.SUSPECTED, LASTED): (OverlapState.OVERHEARD, (AskWords(),)),
    (OverlapState.SUSPECTED, INTERRUPTION): (OverlapState.CLEAR, (AdmitSound(), StopVoice())),
    (OverlapState.SUSPECTED, HARMLESS): (OverlapState.TOLERATED, (ReleaseVoice(),)),
    (OverlapState.SUSPECTED, UNOPPOSED): (OverlapState.CLEAR, (AdmitSound(), ReleaseVoice())),
    (OverlapState.SUSPECTED, DISMISSED): (OverlapState.CLEAR, (ForgetSound(), ReleaseVoice())),
    (OverlapState.QUESTIONED, HINTED): (OverlapState.SUSPECTED, (DropWords(),)),
    (OverlapState.QUESTIONED, INTERRUPTION): (OverlapState.CLEAR, (DropWords(), AdmitSound(), StopVoice())),
    (OverlapState.QUESTIONED, HARMLESS): (OverlapState.CLEAR, (DropWords(), ForgetSound(), ReleaseVoice())),
    (OverlapState.QUESTIONED, UNOPPOSED): (OverlapState.CLEAR, (DropWords(), AdmitSound(), ReleaseVoice())),
    (OverlapState.QUESTIONED, DISMISSED): (OverlapState.CLEAR, (DropWords(), ForgetSound(), ReleaseVoice())),
    (OverlapState.OVERHEARD, INTERRUPTION): (OverlapState.CLEAR, (DropWords(), AdmitSound(), StopVoice())),
    (OverlapState.OVERHEARD, HARMLESS): (OverlapState.TOLERATED, (DropWords(), ReleaseVoice())),
    (OverlapState.OVERHEARD, UNOPPOSED): (OverlapState.CLEAR, (DropWords(), AdmitSound(), ReleaseVoice())),
    (OverlapState.OVERHEARD, DISMISSED): (OverlapState.CLEAR, (DropWords(), ForgetSound(), ReleaseVoice())),
    (OverlapState.TOLERATED, INTERRUPTION): (OverlapState.CLEAR, (AdmitSound(), StopVoice())),
    (OverlapState.TOLERATED, DOUBTED): (OverlapState.SUSPECTED, (HoldVoice(),)),
    (OverlapState.TOLERATED, FADED): (OverlapState.CLEAR, (ForgetSound(),)),
    (OverlapState.TOLERATED, UNOPPOSED): (OverlapState.CLEAR, (AdmitSound(),)),
    (OverlapState.TOLERATED, DISMISSED): (OverlapState.CLEAR, (ForgetSound(),)),
}


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(OverlapState, EVENTS)), ids=lambda value: str(value)
)
def test_cell(state: OverlapState, event: OverlapEvent) -> None:
    floor = OverlapFloor()
    for step in PATHS[state]:
        floor.feed(step)
    assert floor.state is state
    if (state, event) not in CELLS:
        with pytest.raises(IllegalEvent, match=f"{type(event).__name__} is illegal in {state.name}"):
            floor.feed(event)
        assert floor.state is state
        return
    target, commands = CELLS[state, event]
    assert floor.feed(event) == commands
    assert floor.state is target


def test_the_cells_tested_are_the_table() -> None:
    assert {(state, type(event)) for state, event in CELLS} == set(overlap_floor.TABLE)
    assert {type(event) for event in EVENTS} == set(get_args(OverlapEvent))


def test_who_is_held_is_released_or_stopped() -> None:
    """No way out of where it is held leaves the assistant silent and unstopped."""
    held = (OverlapState.SUSPECTED, OverlapState.QUESTIONED, OverlapState.OVERHEARD)
    for (state, _), (target, commands) in CELLS.items():
        if state in held and target not in held:
            assert ReleaseVoice() in commands or StopVoice() in commands


def test_the_diagram_begins_clear() -> None:
    diagram = mermaid(overlap_floor.TABLE, OverlapState.CLEAR)
    assert "[*] --> CLEAR" in diagram
    assert "SUSPECTED --> CLEAR: FoundInterruption, Unopposed, Dismissed" in diagram
