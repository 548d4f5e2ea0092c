"""The overlap floor, cell by cell, and what a sound is taken for."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from media import overlap_floor
from media.floor_table import IllegalEvent, mermaid
from media.overlap_floor import (
    AdmitSound,
    Dismissed,
    ForgetSound,
    FoundHarmless,
    FoundInterruption,
    HoldVoice,
    OverlapCommand,
    OverlapEvent,
    OverlapFloor,
    OverlapState,
    ReleaseVoice,
    SoundFaded,
    SoundHinted,
    StopVoice,
    Unopposed,
)
from media.overlap_verdict import InterruptionSettings, OverlapSound, Verdict, verdict

HINTED = SoundHinted(10.0)
INTERRUPTION = FoundInterruption(10.1)
HARMLESS = FoundHarmless(10.1)
FADED = SoundFaded(10.1)
UNOPPOSED = Unopposed(10.1)
DISMISSED = Dismissed(10.1)
EVENTS: tuple[OverlapEvent, ...] = (HINTED, INTERRUPTION, HARMLESS, FADED, UNOPPOSED, DISMISSED)

PATHS: dict[OverlapState, tuple[OverlapEvent, ...]] = {
    OverlapState.CLEAR: (),
    OverlapState.SUSPECTED: (HINTED,),
    OverlapState.TOLERATED: (HINTED, HARMLESS),
}
CELLS: dict[tuple[OverlapState, OverlapEvent], tuple[OverlapState, tuple[OverlapCommand, ...]]] = {
    (OverlapState.CLEAR, HINTED): (OverlapState.SUSPECTED, (HoldVoice(),)),
    (OverlapState.SUSPECTED, INTERRUPTION): (OverlapState.CLEAR, (AdmitSound(), StopVoice())),
    (OverlapState.SUSPECTED, HARMLESS): (OverlapState.TOLERATED, (ReleaseVoice(),)),
    (OverlapState.SUSPECTED, UNOPPOSED): (OverlapState.CLEAR, (AdmitSound(), ReleaseVoice())),
    (OverlapState.SUSPECTED, DISMISSED): (OverlapState.CLEAR, (ForgetSound(), ReleaseVoice())),
    (OverlapState.TOLERATED, INTERRUPTION): (OverlapState.CLEAR, (AdmitSound(), StopVoice())),
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
    """No way out of SUSPECTED leaves the assistant silent and unstopped."""
    for (state, _), (target, commands) in CELLS.items():
        if state is OverlapState.SUSPECTED and target is not OverlapState.SUSPECTED:
            assert ReleaseVoice() in commands or StopVoice() in commands


def test_the_diagram_begins_clear() -> None:
    diagram = mermaid(overlap_floor.TABLE, OverlapState.CLEAR)
    assert "[*] --> CLEAR" in diagram
    assert "SUSPECTED --> CLEAR: FoundInterruption, Unopposed, Dismissed" in diagram


SETTINGS = InterruptionSettings()
WINDOW_S = 0.032


def sound(speech_windows: int, quiet_windows: int = 0) -> OverlapSound:
    made = OverlapSound(counts=speech_windows >= 3)
    for _ in range(speech_windows):
        made.add(WINDOW_S, speech=True, hint=True)
    for _ in range(quiet_windows):
        made.add(WINDOW_S, speech=False, hint=False)
    return made


@pytest.mark.parametrize(
    ("heard", "interruption", "expected"),
    [
        (sound(3), 0.9, Verdict.INTERRUPTION),
        (sound(3), 0.1, Verdict.HARMLESS),
        (sound(3), 0.7, Verdict.UNDECIDED),
        (sound(3), 0.3, Verdict.UNDECIDED),
        (sound(10), 0.7, Verdict.UNDECIDED),
        (sound(11), 0.7, Verdict.INTERRUPTION),
        (sound(11), 0.3, Verdict.HARMLESS),
        (sound(4, 2), 0.7, Verdict.UNDECIDED),
        (sound(4, 3), 0.7, Verdict.INTERRUPTION),
        (sound(4, 3), 0.3, Verdict.HARMLESS),
        (sound(2), 0.9, Verdict.UNDECIDED),
        (sound(2), 0.1, Verdict.UNDECIDED),
        (sound(1, 1), 0.9, Verdict.UNDECIDED),
        (sound(1, 2), 0.9, Verdict.HARMLESS),
    ],
)
def test_a_sound_is_decided_when_it_is_sure_or_over_or_time(
    heard: OverlapSound, interruption: float, expected: Verdict
) -> None:
    assert verdict(heard, interruption, SETTINGS, tolerated=False) is expected


def test_sensitivity_moves_the_threshold() -> None:
    assert (
        verdict(sound(11), 0.3, InterruptionSettings(sensitivity=0.8), tolerated=False)
        is Verdict.INTERRUPTION
    )
    assert verdict(sound(11), 0.7, InterruptionSettings(sensitivity=0.2), tolerated=False) is Verdict.HARMLESS


def test_what_is_tolerated_interrupts_when_it_lasts() -> None:
    assert verdict(sound(28), 0.3, SETTINGS, tolerated=True) is Verdict.HARMLESS
    assert verdict(sound(29), 0.3, SETTINGS, tolerated=True) is Verdict.INTERRUPTION


def test_unclassified_speech_interrupts_by_its_length() -> None:
    assert verdict(sound(6), None, SETTINGS, tolerated=False) is Verdict.UNDECIDED
    assert verdict(sound(7), None, SETTINGS, tolerated=False) is Verdict.INTERRUPTION
    assert verdict(sound(6, 3), None, SETTINGS, tolerated=False) is Verdict.HARMLESS


def test_a_harmless_sound_fades() -> None:
    assert not sound(5, 4).faded
    assert sound(5, 5).faded
