"""Answers that are begun while a pause is weighed."""

from __future__ import annotations

import pytest

from media.caller_floor import TurnTakingSettings
from media.conversation_settings import ConversationSettings
from media.errors import EngineError
from media.events import DraftSettled, OutputBufferStarted, ResponseCreated, ResponseDone, SpeechStopped
from tests import virtual_time
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedTurnEnd, quiet, speech
from tests.virtual_call import virtual_call

UNSURE = (0.0,)
"""The turn-end engine finds no turn complete: pauses last 1.6 s."""
SLOW = {"first_s": 0.4}


def unsure_engines(**llm: object) -> ScriptedEngines:
    return ScriptedEngines(
        turn_end=ScriptedTurnEnd(verdicts=UNSURE),
        stt=ScriptedStt(says=("hello",)),
        llm=ScriptedLlm(**(SLOW | llm)),  # type: ignore[arg-type]
    )


def test_the_answer_is_there_when_the_turn_is_over() -> None:
    async def main() -> None:
        engines = unsure_engines()
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(1.55))
            assert len(engines.llm.requests) == 1, "it is written already"
            assert not call.of(ResponseCreated), "and nobody knows"
            assert call.audible_between(0, 10) == 0
            await call.say(quiet(4.0))
            assert call.at_s(OutputBufferStarted) - call.at_s(SpeechStopped) < 0.05
            assert call.said() == [("user", "hello"), ("assistant", "Hello there. How are you?")]
            assert len(engines.llm.requests) == 1
            assert engines.tts.spoken == ["Hello there.", "How are you?"]
            (settled,) = call.of(DraftSettled)
            assert settled.used
            assert 0.4 < settled.engine_s < 1.5

    virtual_time.run(main())


@pytest.mark.parametrize("first_s", [0.4, 1.3, 1.45, 1.6])
def test_an_opening_is_spoken_before_its_clause_is_written_and_once(first_s: float) -> None:
    reply = "The Brooklyn Bridge is over a hundred years old. It is long."
    pieces = ["The Brooklyn", "Bridge is over a hundred years old.", "It is long."]

    async def main() -> None:
        engines = unsure_engines(replies=(reply,), word_s=0.05, first_s=first_s)
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(8.0))
            assert engines.tts.spoken == pieces
            assert call.said()[-1] == ("assistant", reply)

    virtual_time.run(main())


def test_without_it_the_answer_begins_when_the_turn_is_over() -> None:
    async def main() -> None:
        engines = unsure_engines()
        settings = ConversationSettings(turn_taking=TurnTakingSettings(answer_early=False))
        async with virtual_call(engines, settings) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(4.0))
            assert call.at_s(OutputBufferStarted) - call.at_s(SpeechStopped) > 0.5

    virtual_time.run(main())


def test_who_goes_on_speaking_never_hears_of_it() -> None:
    async def main() -> None:
        engines = unsure_engines(replies=("To the half.", "To the whole."))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(1.2), speech(0.8), quiet(5.0))
            assert [event.response.status for event in call.of(ResponseDone)] == ["completed"]
            assert call.said()[-1] == ("assistant", "To the whole.")
            assert len(engines.llm.requests) == 2
            in_vain, gained = call.of(DraftSettled)
            assert not in_vain.used
            assert in_vain.engine_s > 0.4
            assert gained.used

    virtual_time.run(main())


@pytest.mark.parametrize("pause_s", [0.35, 0.6, 1.0])
def test_a_call_that_ends_in_the_meantime_leaves_nothing(pause_s: float) -> None:
    async def main() -> None:
        async with virtual_call(unsure_engines()) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(pause_s))

    virtual_time.run(main())


def test_a_changed_persona_is_asked_anew() -> None:
    async def main() -> None:
        engines = unsure_engines(replies=("As the old one.", "As the new one."))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(1.0))
            session = call.conversation.session
            call.conversation.update(
                type(session)(instructions="Be another.", greeting="", voice=session.voice)
            )
            await call.say(quiet(4.0))
            assert call.said()[-1] == ("assistant", "As the new one.")
            assert engines.llm.requests[-1].messages[0].text == "Be another."

    virtual_time.run(main())


def test_a_draft_that_failed_is_tried_again() -> None:
    async def main() -> None:
        engines = unsure_engines(replies=(EngineError("busy", retryable=True), "Here I am."))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(4.0))
            assert call.said()[-1] == ("assistant", "Here I am.")

    virtual_time.run(main())


def test_interrupting_a_drafted_answer_stops_all_of_it() -> None:
    async def main() -> None:
        engines = unsure_engines(replies=("One. " * 200, "Yes."))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(2.5), speech(0.6))
            assert call.of(ResponseDone)[0].response.reason == "turn_detected"
            assert engines.llm.open_requests == 0

    virtual_time.run(main())
