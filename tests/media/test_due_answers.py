"""What is said is answered, once, whatever comes in between."""

from __future__ import annotations

from media.errors import EngineError
from media.events import (
    ItemTruncated,
    OutputBufferStarted,
    OutputBufferStopped,
    ResponseCreated,
    ResponseDone,
    TranscriptCompleted,
)
from media.items import Message, Part
from media.session import TurnDetection
from tests import virtual_time
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedTts, quiet, speech
from tests.virtual_call import virtual_call

NEVER_INTERRUPTED = TurnDetection(interrupt_response=False)
LONG_REPLY = "This is a rather long answer to it. And it goes on and on and on. Then it ends."


def typed(text: str, item_id: str) -> Message:
    return Message(item_id, "user", (Part("input_text", text),))


def test_an_empty_reply_is_not_asked_for_again() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=("",)))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(5.0))
            assert len(engines.llm.requests) == 1

    virtual_time.run(main())


def test_a_turn_that_ends_before_the_one_before_is_transcribed_is_answered_with_it() -> None:
    async def main() -> None:
        engines = ScriptedEngines(stt=ScriptedStt(says=("first", "second"), takes_s=3.0))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.6), quiet(2.6), speech(0.6), quiet(8.0))
            assert call.said()[:2] == [("user", "first"), ("user", "second")]
            assert [request.messages[-1].text for request in engines.llm.requests] == ["first second"]

    virtual_time.run(main())


def test_a_failed_transcription_does_not_bury_the_turn_that_it_interrupted() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            stt=ScriptedStt(says=("first", EngineError("no ears"))), llm=ScriptedLlm(first_s=0.8)
        )
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(0.5), speech(0.4), quiet(4.0))
            assert call.of(ResponseDone)[-1].response.status == "completed"
            assert engines.llm.requests[-1].messages[-1].text == "first"

    virtual_time.run(main())


def test_clearing_the_input_does_not_bury_it_either() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(first_s=0.8))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(0.5), speech(0.4))
            call.conversation.clear_input()
            await call.say(quiet(4.0))
            assert call.of(ResponseDone)[-1].response.status == "completed"

    virtual_time.run(main())


def test_a_turn_that_ends_while_a_reply_is_made_is_answered_after_it() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            stt=ScriptedStt(says=("first", "second")), llm=ScriptedLlm(replies=("One.", "Two."), first_s=3.0)
        )
        async with virtual_call(engines, turn_detection=NEVER_INTERRUPTED) as call:
            await call.say(quiet(0.3), speech(0.6), quiet(0.6), speech(0.6), quiet(8.0))
            assert [text for role, text in call.said() if role == "assistant"] == ["One.", "Two."]

    virtual_time.run(main())


def test_so_it_is_where_that_reply_fails() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            stt=ScriptedStt(says=("first", "second")),
            llm=ScriptedLlm(replies=(EngineError("no mind"), "Two."), first_s=3.0),
        )
        async with virtual_call(engines, turn_detection=NEVER_INTERRUPTED) as call:
            await call.say(quiet(0.3), speech(0.6), quiet(0.6), speech(0.6), quiet(8.0))
            assert call.said()[-1] == ("assistant", "Two.")
            assert len(engines.llm.requests) == 2

    virtual_time.run(main())


def test_so_it_is_where_that_reply_is_cancelled() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            stt=ScriptedStt(says=("first", "second")), llm=ScriptedLlm(replies=("One.", "Two."), first_s=3.0)
        )
        async with virtual_call(engines, turn_detection=NEVER_INTERRUPTED) as call:
            await call.say(quiet(0.3), speech(0.6), quiet(0.6), speech(0.6), quiet(1.5))
            assert len(call.of(TranscriptCompleted)) == 2
            call.conversation.cancel_response()
            await call.event(OutputBufferStopped)
            assert call.said()[-1] == ("assistant", "Two.")

    virtual_time.run(main())


def test_what_was_typed_is_answered_when_the_client_asks() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(0.5))
            await call.event(OutputBufferStarted)
            call.conversation.add_item(typed("And this?", "item_typed"))
            await call.event(OutputBufferStopped)
            await call.say(quiet(2.0))
            assert len(call.of(ResponseCreated)) == 1

    virtual_time.run(main())


def test_words_whose_sound_failed_are_not_in_the_history() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(LONG_REPLY,)))
        async with virtual_call(engines) as call:
            call.conversation.create_response()
            await call.event(OutputBufferStarted)
            engines.tts.fails = EngineError("no voice")
            done = await call.event(ResponseDone)
            assert done.response.status == "failed"
            assert call.said() == [("assistant", " ".join(engines.tts.spoken))]
            assert len(engines.tts.spoken) < 3

    virtual_time.run(main())


def test_a_reply_that_is_truncated_while_it_is_made_stays_incomplete() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(LONG_REPLY,)), tts=ScriptedTts(takes_s=0.5))
        async with virtual_call(engines) as call:
            call.conversation.create_response()
            await call.event(OutputBufferStarted)
            item_id = call.conversation.items[0].id
            call.conversation.truncate_item(item_id, 600)
            await call.event(ResponseDone)
            item = call.conversation.item(item_id)
            assert (item.status, item.text) == ("incomplete", call.of(ItemTruncated)[0].heard_text)
            assert item.text != LONG_REPLY

    virtual_time.run(main())
