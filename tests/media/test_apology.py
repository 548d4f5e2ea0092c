"""An engine fails: the caller hears that, and the call goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from media.conversation_settings import ConversationSettings
from media.engines.protocols import LlmDelta, LlmRequest
from media.errors import EngineError
from media.events import OutputBufferStarted, OutputBufferStopped, ResponseDone, TranscriptFailed
from media.items import ResponseOptions
from media.session import TurnDetection
from media.tool_runs import ToolSettings
from tests import virtual_time
from tests.scripted import (
    Calls,
    ScriptedEngines,
    ScriptedLlm,
    ScriptedStt,
    ScriptedToolbox,
    ScriptedTts,
    calls,
    quiet,
    speech,
)
from tests.virtual_call import VirtualCall, virtual_call

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


# While a tool is at work


def weather(*replies: str | Calls) -> ScriptedEngines:
    """The second turn is not understood."""
    return ScriptedEngines(
        stt=ScriptedStt(says=("how is the weather", GONE)),
        llm=ScriptedLlm(replies=(calls("get_weather", "{}"), *replies)),
    )


def assistant_said(call: VirtualCall) -> list[str]:
    return [text for role, text in call.said() if role == "assistant"]


def test_who_is_not_understood_while_a_tool_is_at_work_hears_so_at_once() -> None:
    async def main() -> None:
        slow = ScriptedToolbox(takes_s=9.0)
        async with virtual_call(weather("It is sunny."), SETTINGS, toolbox=slow) as call:
            await call.say(speech(0.8), quiet(1.0), speech(0.8), quiet(3.0))
            assert SORRY in assistant_said(call)
            await call.say(quiet(9.0))
            assert assistant_said(call)[-1] == "It is sunny."
            assert assistant_said(call).count(SORRY) == 1

    virtual_time.run(main())


def test_what_is_said_to_fill_the_wait_is_no_answer() -> None:
    """It comes before the apology: the caller is not understood while it is being said."""

    async def main() -> None:
        fillers = ToolSettings(fillers=("One moment.", "Still looking for it."), filler_again_s=1.0)
        detection = TurnDetection(interrupt_response=False)
        settings = SETTINGS.model_copy(update={"tools": fillers})
        slow = ScriptedToolbox(takes_s=6.0)
        async with virtual_call(
            weather("It is sunny."), settings, toolbox=slow, turn_detection=detection
        ) as call:
            await call.say(speech(0.8), quiet(1.5))
            await call.event(OutputBufferStarted)
            await call.say(speech(0.6))
            failed = call.event(TranscriptFailed)
            await call.say(quiet(2.0))
            await failed
            await call.say(quiet(8.0))
            said = assistant_said(call)
            assert said.count(SORRY) == 1
            assert said[0] == "One moment."
            assert said[-1] == "It is sunny."

    virtual_time.run(main())


def test_what_a_tool_brings_for_an_earlier_turn_is_no_answer_to_the_one_that_was_not_understood() -> None:
    async def main() -> None:
        engines = weather("It is sunny.")
        engines.stt.takes_s = 0.8
        tool = ScriptedToolbox(takes_s=1.9)
        async with virtual_call(engines, SETTINGS, toolbox=tool, turn_detection=BRIEF) as call:
            await call.say(speech(0.8), quiet(1.2), speech(0.8), quiet(9.0))
            assert call.of(TranscriptFailed)
            assert assistant_said(call).count(SORRY) == 1
            assert "It is sunny." in assistant_said(call)

    virtual_time.run(main())
