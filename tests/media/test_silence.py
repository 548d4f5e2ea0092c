"""Nobody says anything: the table cell by cell, then whole calls in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest

from media.conversation_settings import ConversationSettings
from media.events import OutputBufferStarted, OutputBufferStopped, ResponseDone, TranscriptCompleted
from media.floor_table import IllegalEvent
from media.items import Message, Part
from media.session import TurnDetection
from media.silence import (
    TABLE,
    ArmTimer,
    Ask,
    CallerSaid,
    DisarmTimer,
    HangUp,
    Quieted,
    Silence,
    SilenceElapsed,
    SilenceEvent,
    SilenceSettings,
    SilenceState,
    Stirred,
)
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, speech
from tests.virtual_call import VirtualCall, virtual_call
from tests.virtual_time import run

TWICE = SilenceSettings(ask_after_s=8.0, questions=("Are you there?", "Hello?"), hang_up=True)
EVENTS: tuple[SilenceEvent, ...] = (Quieted(1.0), Stirred(), CallerSaid(), SilenceElapsed())


@pytest.mark.parametrize(("state", "event"), list(itertools.product(SilenceState, EVENTS)))
def test_every_cell_of_the_table(state: SilenceState, event: SilenceEvent) -> None:
    machine = Silence(TWICE)
    machine.state = state
    target = TABLE.get((state, type(event)))
    if target is None:
        with pytest.raises(IllegalEvent):
            machine.feed(event)
        assert machine.state is state
    else:
        machine.feed(event)
        assert machine.state is target


def test_asks_in_turn_then_hangs_up() -> None:
    machine = Silence(TWICE)
    for question in ("Are you there?", "Hello?"):
        assert machine.feed(Quieted(10.0)) == (ArmTimer(18.0),)
        assert machine.feed(SilenceElapsed()) == (Ask(question),)
        assert machine.feed(Stirred()) == ()
    assert machine.feed(Quieted(30.0)) == (ArmTimer(38.0),)
    assert machine.feed(SilenceElapsed()) == (HangUp(),)


def test_the_callers_words_begin_it_anew_and_other_sounds_do_not() -> None:
    machine = Silence(TWICE)
    machine.feed(Quieted(0.0))
    assert machine.feed(SilenceElapsed()) == (Ask("Are you there?"),)
    machine.feed(Stirred())
    machine.feed(Quieted(20.0))
    assert machine.feed(Stirred()) == (DisarmTimer(),)
    machine.feed(Quieted(21.0))
    assert machine.feed(SilenceElapsed()) == (Ask("Hello?"),)
    machine.feed(Stirred())
    machine.feed(CallerSaid())
    machine.feed(Quieted(40.0))
    assert machine.feed(SilenceElapsed()) == (Ask("Are you there?"),)


def test_without_a_time_or_with_nothing_left_no_timer_runs() -> None:
    assert Silence(SilenceSettings()).feed(Quieted(0.0)) == ()
    assert Silence(SilenceSettings(ask_after_s=5, questions=())).feed(Quieted(0.0)) == ()
    only_hang_up = Silence(SilenceSettings(ask_after_s=5, questions=(), hang_up=True))
    assert only_hang_up.feed(Quieted(0.0)) == (ArmTimer(5.0),)


def spoken(call: VirtualCall) -> list[str]:
    return call.done_texts("assistant")


def test_a_silent_caller_is_asked_and_hung_up_on() -> None:
    async def main() -> None:
        settings = ConversationSettings(silence=TWICE)
        async with virtual_call(ScriptedEngines(), settings, greeting="Good morning.") as call:
            assert call.running is not None
            await asyncio.wait_for(asyncio.shield(call.running), 60)
        assert spoken(call) == ["Good morning.", "Are you there?", "Hello?"]
        for index in (0, 1):
            pause_s = call.at_s(OutputBufferStarted, index + 1) - call.at_s(OutputBufferStopped, index)
            assert 8.0 <= pause_s < 8.3

    run(main())


def test_a_caller_who_speaks_is_not_asked_and_counts_from_the_answers_end() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            stt=ScriptedStt(says=("what is the time",)), llm=ScriptedLlm(replies=("It is noon, I think.",))
        )
        settings = ConversationSettings(silence=SilenceSettings(ask_after_s=3.0))
        async with virtual_call(engines, settings) as call:
            await asyncio.sleep(2.5)
            await call.say(speech(4.0))
            await call.listen()
            await call.event(OutputBufferStopped, 2)
        assert spoken(call) == ["It is noon, I think.", "Are you still there?"]
        pause_s = call.at_s(OutputBufferStarted, 1) - call.at_s(OutputBufferStopped, 0)
        assert 3.0 <= pause_s < 3.3

    run(main())


def test_a_cough_is_no_answer() -> None:
    async def main() -> None:
        engines = ScriptedEngines(stt=ScriptedStt(says=("",)))
        settings = ConversationSettings(silence=TWICE)
        async with virtual_call(engines, settings) as call:
            await call.event(OutputBufferStopped)
            await call.say(speech(0.3))
            await call.listen()
            await call.event(TranscriptCompleted)
            await call.event(OutputBufferStopped, 2)
        assert spoken(call) == ["Are you there?", "Hello?"]

    run(main())


def test_what_is_typed_is_an_answer() -> None:
    async def main() -> None:
        settings = ConversationSettings(silence=TWICE)
        async with virtual_call(ScriptedEngines(), settings, modality="text") as call:
            await call.event(ResponseDone)
            call.conversation.add_item(Message("item_1", "user", (Part("input_text", "Yes."),)))
            await call.event(ResponseDone, 2)
        assert spoken(call) == ["Are you there?", "Are you there?"]

    run(main())


def test_a_client_that_takes_the_turns_itself_is_left_alone() -> None:
    async def main() -> None:
        settings = ConversationSettings(silence=TWICE)
        async with virtual_call(ScriptedEngines(), settings, turn_detection=None) as call:
            await asyncio.sleep(100)
            assert not spoken(call)
            call.conversation.update(replace(call.conversation.session, turn_detection=TurnDetection()))
            await call.event(OutputBufferStopped)
        assert spoken(call)[0] == "Are you there?"

    run(main())
