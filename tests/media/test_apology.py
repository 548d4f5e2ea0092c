"""An engine fails: the caller hears that, and the call goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from media.conversation_settings import ConversationSettings
from media.engines.protocols import LlmDelta, LlmRequest
from media.errors import EngineError
from media.events import OutputBufferStopped, ResponseDone, TranscriptFailed
from media.items import ResponseOptions
from media.session import TurnDetection
from tests import virtual_time
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedTts, quiet, speech
from tests.virtual_call import virtual_call

SORRY = "Sorry, please say that again."
SETTINGS = ConversationSettings(apology=SORRY)
GONE = EngineError("It is gone.")
BRIEF = TurnDetection("server_vad", silence_s=0.3)
"""Turns end before they are transcribed."""
OUT_OF_BAND = ResponseOptions(conversation="none", modality="text")


def test_an_answer_that_fails_is_apologised_for() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(GONE, "Better now.")))
        async with virtual_call(engines, SETTINGS) as call:
            await call.say(speech(0.8), quiet(1.0))
            await call.event(OutputBufferStopped)
            assert [done.response.status for done in call.of(ResponseDone)] == ["failed", "completed"]
            assert call.said()[-1] == ("assistant", SORRY)
            await call.say(speech(0.8), quiet(1.0))
            await call.event(OutputBufferStopped, 2)
            assert call.said()[-1] == ("assistant", "Better now.")
            await call.say(quiet(3.0))
            assert len(call.of(ResponseDone)) == 3

    virtual_time.run(main())


def test_one_that_breaks_off_is_said_as_far_as_it_came_and_apologised_for() -> None:
    class Breaking(ScriptedLlm):
        async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
            async for delta in super().reply(request):
                if delta.finish is not None:
                    await asyncio.sleep(2.0)  # it is being said
                    raise GONE
                yield delta

    async def main() -> None:
        llm = Breaking(replies=("It opens at nine in the morning. And it closes at twelve",))
        async with virtual_call(ScriptedEngines(llm=llm), SETTINGS) as call:
            await call.say(speech(0.8), quiet(8.0))
            assert [done.response.status for done in call.of(ResponseDone)] == ["failed", "completed"]
            assert len(call.of(OutputBufferStopped)) == 2
            assert call.at_s(OutputBufferStopped) > call.at_s(ResponseDone)  # said to its end
            assert call.said()[-1] == ("assistant", SORRY)

    virtual_time.run(main())


def test_a_cough_after_it_does_not_silence_it() -> None:
    async def main() -> None:
        engines = ScriptedEngines(stt=ScriptedStt(says=(GONE, ""), takes_s=0.8))
        async with virtual_call(engines, SETTINGS, turn_detection=BRIEF) as call:
            await call.say(speech(0.8), quiet(0.45), speech(0.3), quiet(3.0))
            assert len(engines.stt.sessions) == 2
            assert call.said()[-1] == ("assistant", SORRY)

    virtual_time.run(main())


def test_a_turn_that_is_not_understood_is_apologised_for() -> None:
    async def main() -> None:
        engines = ScriptedEngines(stt=ScriptedStt(says=(GONE, "hello")))
        async with virtual_call(engines, SETTINGS) as call:
            await call.say(speech(0.8), quiet(1.0))
            await call.event(TranscriptFailed)
            await call.event(OutputBufferStopped)
            assert call.said()[-1] == ("assistant", SORRY)
            await call.say(speech(0.8), quiet(1.0))
            await call.event(OutputBufferStopped, 2)
            assert len(call.of(ResponseDone)) == 2

    virtual_time.run(main())


def test_nothing_is_said_over_a_caller_who_goes_on_and_is_answered() -> None:
    async def main() -> None:
        engines = ScriptedEngines(stt=ScriptedStt(says=(GONE, "hello"), takes_s=0.8))
        async with virtual_call(engines, SETTINGS, turn_detection=BRIEF) as call:
            await call.say(speech(0.8), quiet(0.45), speech(0.8), quiet(1.5))
            await call.event(OutputBufferStopped)
            assert call.of(TranscriptFailed)
            assert len(call.of(ResponseDone)) == 1
            assert call.said()[-1][0] == "assistant"

    virtual_time.run(main())


def test_who_speaks_over_an_answer_and_is_not_understood_hears_of_it() -> None:
    async def main() -> None:
        story = "One two three four five six seven. Eight nine ten eleven twelve thirteen."
        engines = ScriptedEngines(
            stt=ScriptedStt(says=("hello", GONE)), llm=ScriptedLlm(replies=(story,), word_s=0.3)
        )
        detection = TurnDetection(interrupt_response=False)
        async with virtual_call(engines, SETTINGS, turn_detection=detection) as call:
            await call.say(speech(0.8), quiet(1.5), speech(0.8), quiet(9.0))
            assert call.at_s(TranscriptFailed) < call.at_s(ResponseDone), "the answer is still being made"
            assert [text for role, text in call.said() if role == "assistant"] == [story, SORRY]

    virtual_time.run(main())


def test_what_is_written_out_of_band_and_fails_is_not_apologised_for() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            stt=ScriptedStt(says=("hello", "")), llm=ScriptedLlm(replies=("Hello.", GONE))
        )
        async with virtual_call(engines, SETTINGS) as call:
            await call.say(speech(0.8), quiet(3.0))
            call.conversation.create_response(OUT_OF_BAND)
            await call.say(quiet(0.5), speech(0.3), quiet(3.0))
            assert [done.response.status for done in call.of(ResponseDone)] == ["completed", "failed"]

    virtual_time.run(main())


def test_what_is_written_out_of_band_is_no_answer() -> None:
    async def main() -> None:
        engines = ScriptedEngines(stt=ScriptedStt(says=(GONE, ""), takes_s=0.8))
        async with virtual_call(engines, SETTINGS, turn_detection=BRIEF) as call:
            await call.say(speech(0.8), quiet(0.45), speech(0.5))
            assert call.of(TranscriptFailed)
            call.conversation.create_response(OUT_OF_BAND)
            await call.say(speech(0.5))
            assert [done.response.status for done in call.of(ResponseDone)] == ["completed"]
            await call.say(quiet(3.0))
            assert call.said()[-1] == ("assistant", SORRY)

    virtual_time.run(main())


def test_without_a_voice_nothing_is_tried_again_and_again() -> None:
    async def main() -> None:
        engines = ScriptedEngines(tts=ScriptedTts(fails=GONE))
        async with virtual_call(engines, SETTINGS) as call:
            await call.say(speech(0.8), quiet(5.0))
            assert [done.response.status for done in call.of(ResponseDone)] == ["failed", "failed"]

    virtual_time.run(main())


def test_where_clients_ask_for_responses_they_are_told_and_nothing_is_said() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(GONE,)))
        async with virtual_call(engines, SETTINGS, turn_detection=None) as call:
            call.conversation.create_response()
            await call.say(quiet(2.0))
            assert [done.response.status for done in call.of(ResponseDone)] == ["failed"]
        async with virtual_call(ScriptedEngines(llm=ScriptedLlm(replies=(GONE,)))) as call:  # none configured
            await call.say(speech(0.8), quiet(2.0))
            assert [done.response.status for done in call.of(ResponseDone)] == ["failed"]

    virtual_time.run(main())
