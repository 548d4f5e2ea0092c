"""Both turn machines: every cell of both tables, legal or not."""

from __future__ import annotations

import itertools
from enum import Enum
from typing import get_args

import pytest

from media import agent_floor, caller_floor
from media.agent_floor import (
    AbandonResponse,
    AgentCommand,
    AgentEvent,
    AgentFloor,
    AgentState,
    Asked,
    FlushPlayout,
    MadeAudible,
    MadeSilent,
    SoundBegan,
    SoundEnded,
    StartResponse,
    Stopped,
)
from media.caller_floor import (
    ArmTimer,
    CallerCommand,
    CallerEvent,
    CallerFloor,
    CallerState,
    Cleared,
    Committed,
    DisarmTimer,
    DropTurn,
    EndTurn,
    OpenTurn,
    PauseElapsed,
    PauseWeighed,
    ResumeTurn,
    VoicePaused,
    VoiceStarted,
    WeighPause,
)
from media.floor_table import IllegalEvent, mermaid
from media.items import ResponseOptions

VOICE_STARTED = VoiceStarted(10.0)
VOICE_PAUSED = VoicePaused(10.0, speech_end_s=9.8, wait_s=2.0)
PAUSE_WEIGHED = PauseWeighed(10.1, wait_s=0.3)
PAUSE_ELAPSED = PauseElapsed(10.1)
COMMITTED = Committed(10.1)
CLEARED = Cleared(10.1)
CALLER_EVENTS: tuple[CallerEvent, ...] = (
    VOICE_STARTED,
    VOICE_PAUSED,
    PAUSE_WEIGHED,
    PAUSE_ELAPSED,
    COMMITTED,
    CLEARED,
)

CALLER_PATHS: dict[CallerState, tuple[CallerEvent, ...]] = {
    CallerState.LISTENING: (),
    CallerState.SPEAKING: (VOICE_STARTED,),
    CallerState.PAUSING: (VOICE_STARTED, VOICE_PAUSED),
}

CALLER_CELLS: dict[tuple[CallerState, CallerEvent], tuple[CallerState, tuple[CallerCommand, ...]]] = {
    (CallerState.LISTENING, VOICE_STARTED): (CallerState.SPEAKING, (OpenTurn(),)),
    (CallerState.LISTENING, CLEARED): (CallerState.LISTENING, ()),
    (CallerState.SPEAKING, VOICE_PAUSED): (CallerState.PAUSING, (WeighPause(), ArmTimer(9.8 + 2.0))),
    (CallerState.SPEAKING, COMMITTED): (CallerState.LISTENING, (EndTurn(),)),
    (CallerState.SPEAKING, CLEARED): (CallerState.LISTENING, (DropTurn(),)),
    (CallerState.PAUSING, VOICE_STARTED): (CallerState.SPEAKING, (DisarmTimer(), ResumeTurn())),
    (CallerState.PAUSING, PAUSE_WEIGHED): (CallerState.PAUSING, (ArmTimer(9.8 + 0.3),)),
    (CallerState.PAUSING, PAUSE_ELAPSED): (CallerState.LISTENING, (EndTurn(),)),
    (CallerState.PAUSING, COMMITTED): (CallerState.LISTENING, (DisarmTimer(), EndTurn())),
    (CallerState.PAUSING, CLEARED): (CallerState.LISTENING, (DisarmTimer(), DropTurn())),
}

OPTIONS = ResponseOptions()
ASKED = Asked(10.0, OPTIONS)
SOUND_BEGAN = SoundBegan(10.0)
SOUND_ENDED = SoundEnded(10.0)
MADE_SILENT = MadeSilent(10.0)
MADE_AUDIBLE = MadeAudible(10.0)
STOPPED = Stopped(10.0, "turn_detected")
AGENT_EVENTS: tuple[AgentEvent, ...] = (
    ASKED,
    SOUND_BEGAN,
    SOUND_ENDED,
    MADE_SILENT,
    MADE_AUDIBLE,
    STOPPED,
)

AGENT_PATHS: dict[AgentState, tuple[AgentEvent, ...]] = {
    AgentState.IDLE: (),
    AgentState.THINKING: (ASKED,),
    AgentState.SPEAKING: (ASKED, SOUND_BEGAN),
    AgentState.FINISHING: (ASKED, SOUND_BEGAN, MADE_AUDIBLE),
}

ABANDONED = (AbandonResponse("turn_detected"), FlushPlayout())
AGENT_CELLS: dict[tuple[AgentState, AgentEvent], tuple[AgentState, tuple[AgentCommand, ...]]] = {
    (AgentState.IDLE, ASKED): (AgentState.THINKING, (StartResponse(OPTIONS),)),
    (AgentState.THINKING, SOUND_BEGAN): (AgentState.SPEAKING, ()),
    (AgentState.THINKING, MADE_SILENT): (AgentState.IDLE, ()),
    (AgentState.THINKING, MADE_AUDIBLE): (AgentState.FINISHING, ()),
    (AgentState.THINKING, STOPPED): (AgentState.IDLE, ABANDONED),
    (AgentState.SPEAKING, SOUND_BEGAN): (AgentState.SPEAKING, ()),
    (AgentState.SPEAKING, SOUND_ENDED): (AgentState.THINKING, ()),
    (AgentState.SPEAKING, MADE_AUDIBLE): (AgentState.FINISHING, ()),
    (AgentState.SPEAKING, STOPPED): (AgentState.IDLE, ABANDONED),
    (AgentState.FINISHING, ASKED): (AgentState.SPEAKING, (StartResponse(OPTIONS),)),
    (AgentState.FINISHING, SOUND_BEGAN): (AgentState.FINISHING, ()),
    (AgentState.FINISHING, SOUND_ENDED): (AgentState.IDLE, ()),
    (AgentState.FINISHING, STOPPED): (AgentState.IDLE, (FlushPlayout(),)),
}


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(CallerState, CALLER_EVENTS)), ids=lambda value: str(value)
)
def test_caller_cell(state: CallerState, event: CallerEvent) -> None:
    floor = CallerFloor()
    for step in CALLER_PATHS[state]:
        floor.feed(step)
    assert floor.state is state
    if (state, event) not in CALLER_CELLS:
        with pytest.raises(IllegalEvent, match=f"{type(event).__name__} is illegal in {state.name}"):
            floor.feed(event)
        assert floor.state is state
        return
    target, commands = CALLER_CELLS[state, event]
    assert floor.feed(event) == commands
    assert floor.state is target


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(AgentState, AGENT_EVENTS)), ids=lambda value: str(value)
)
def test_agent_cell(state: AgentState, event: AgentEvent) -> None:
    floor = AgentFloor()
    for step in AGENT_PATHS[state]:
        floor.feed(step)
    assert floor.state is state
    if (state, event) not in AGENT_CELLS:
        with pytest.raises(IllegalEvent, match=f"{type(event).__name__} is illegal in {state.name}"):
            floor.feed(event)
        assert floor.state is state
        return
    target, commands = AGENT_CELLS[state, event]
    assert floor.feed(event) == commands
    assert floor.state is target


def test_the_cells_tested_are_the_tables() -> None:
    assert {(state, type(event)) for state, event in CALLER_CELLS} == set(caller_floor.TABLE)
    assert {(state, type(event)) for state, event in AGENT_CELLS} == set(agent_floor.TABLE)
    assert {type(event) for event in CALLER_EVENTS} == set(get_args(CallerEvent))
    assert {type(event) for event in AGENT_EVENTS} == set(get_args(AgentEvent))


@pytest.mark.parametrize(
    ("table", "initial"),
    [(caller_floor.TABLE, CallerState.LISTENING), (agent_floor.TABLE, AgentState.IDLE)],
)
def test_the_diagram_has_every_cell(table: dict[tuple[Enum, type], Enum], initial: Enum) -> None:
    diagram = mermaid(table, initial)
    assert diagram.splitlines()[1].strip() == f"[*] --> {initial.name}"
    drawn = {
        (line.split(" --> ")[0].strip(), line.split(" --> ")[1].split(":")[0], name)
        for line in diagram.splitlines()[2:]
        for name in line.split(": ")[1].split(", ")
    }
    assert drawn == {(state.name, target.name, event.__name__) for (state, event), target in table.items()}
