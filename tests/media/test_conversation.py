"""Whole conversations with scripted engines, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from media.caller_floor import TurnTakingSettings
from media.conversation_settings import ConversationSettings
from media.errors import CallerError, EngineError
from media.events import (
    CallFault,
    ConversationReset,
    InputCommitted,
    ItemAdded,
    ItemDeleted,
    ItemDone,
    ItemTruncated,
    OutputAudioDelta,
    OutputBufferCleared,
    OutputBufferStarted,
    OutputBufferStopped,
    OutputItemAdded,
    OutputItemDone,
    OutputPartAdded,
    OutputTextDelta,
    ResponseCreated,
    ResponseDone,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TranscriptDelta,
    TranscriptFailed,
    TurnMeasured,
)
from media.items import Message, Part, ResponseOptions
from media.session import Retention
from tests import virtual_time
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedTts, quiet, speech
from tests.virtual_call import virtual_call

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
LONG_REPLY = " ".join(f"Sentence number {number} is here." for number in NUMBERS)
PATIENCE_S = TurnTakingSettings().patience_s
UNORDERED = ("TranscriptDelta", "TurnMeasured", "DraftSettled")
"""What may be told at any point of a turn."""


def typed(text: str, item_id: str = "item_typed") -> Message:
    return Message(item_id, "user", (Part("input_text", text),))


def test_a_turn_is_answered_in_the_documented_order() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        async with virtual_call(engines) as call:
            await call.say(quiet(0.5), speech(1.0), quiet(0.5))
            await call.event(OutputBufferStopped)
            order = [name for name in call.names() if name not in UNORDERED]
            collapsed = [name for at, name in enumerate(order) if at == 0 or order[at - 1] != name]
            assert collapsed[:10] == [
                kind.__name__
                for kind in (
                    SpeechStarted,
                    SpeechStopped,
                    InputCommitted,
                    ItemAdded,
                    TranscriptCompleted,
                    ItemDone,
                    ResponseCreated,
                    OutputItemAdded,
                    ItemAdded,
                    OutputPartAdded,
                )
            ]
            done = [ItemDone, OutputItemDone, ResponseDone]
            ends = [order.index(kind.__name__, 8) for kind in done]
            assert ends == sorted(ends)
            assert order[-1] == OutputBufferStopped.__name__
            started = order.index(OutputBufferStarted.__name__)
            assert order.index(OutputTextDelta.__name__) < started
            assert order.index(OutputAudioDelta.__name__) < started
            assert call.said() == [("user", "hello"), ("assistant", "Hello there. How are you?")]
            assert call.of(ResponseDone)[0].response.status == "completed"

    virtual_time.run(main())


def test_the_answer_comes_quickly_and_its_time_is_accounted_for() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        settings = ConversationSettings(turn_taking=TurnTakingSettings(answer_early=False))
        async with virtual_call(engines, settings) as call:
            await call.say(quiet(0.5), speech(1.0))
            speech_end_s = asyncio.get_running_loop().time()
            await call.say(quiet(2.0))
            latency = call.of(TurnMeasured)[0].latency
            heard_after_s = call.at_s(OutputBufferStarted) - speech_end_s
            # The patience, then 0.05 s LLM + 0.01 s a word + 0.1 s TTS; windows and frames round it up.
            assert heard_after_s == pytest.approx(0.48, abs=0.08)
            assert latency.total_ms == pytest.approx(heard_after_s * 1000, abs=60)
            stages = {stage.name: stage for stage in latency.stages}
            assert set(stages) == {"endpoint", "stt", "llm", "tts", "playout"}
            assert stages["endpoint"].duration_ms == pytest.approx(PATIENCE_S * 1000, abs=35)
            assert stages["stt"].duration_ms == pytest.approx(100, abs=5)
            assert stages["tts"].duration_ms == pytest.approx(100, abs=5)
            assert stages["stt"].start_ms < stages["endpoint"].duration_ms, "STT waits for no turn's end"
            last = latency.stages[-1]
            assert last.start_ms + last.duration_ms == pytest.approx(latency.total_ms, abs=0.3)

    virtual_time.run(main())


def test_the_caller_interrupts_and_the_history_holds_what_was_heard() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            stt=ScriptedStt(says=("tell me a story", "stop")),
            llm=ScriptedLlm(replies=(LONG_REPLY, "All right.")),
        )
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(1.0), quiet(4.0))
            onset_s = asyncio.get_running_loop().time()
            await call.say(speech(0.6), quiet(1.2))
            await call.event(OutputBufferStopped)

            cut = call.of(ItemTruncated)[0]
            assert call.of(OutputBufferCleared)
            assert call.of(ResponseDone)[0].response.reason == "turn_detected"
            silent_s = call.at_s(OutputBufferCleared) - onset_s
            assert silent_s < 0.3
            assert call.audible_between(onset_s + 0.32, onset_s + 0.6) == 0

            heard_words = cut.heard_text.split()
            # 0.3 s a word: 4 s of pause less the latency, and what the caller's buffers still held.
            sounded_s = call.at_s(OutputBufferCleared) - call.at_s(OutputBufferStarted)
            assert len(heard_words) == pytest.approx((sounded_s - 0.08) / 0.3, abs=1)
            assert LONG_REPLY.startswith(cut.heard_text)
            assert call.said() == [
                ("user", "tell me a story"),
                ("assistant", cut.heard_text),
                ("user", "stop"),
                ("assistant", "All right."),
            ]
            # What was not heard is not in the prompt of the next reply either.
            assert engines.llm.requests[1].messages[2].text == cut.heard_text
            assert len(engines.tts.spoken) < 13

    virtual_time.run(main())


def test_a_click_does_not_interrupt() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(LONG_REPLY,)))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(1.0), quiet(2.0), speech(0.06), quiet(1.0))
            assert not call.of(OutputBufferCleared)
            assert len(call.of(SpeechStarted)) == 1

    virtual_time.run(main())


def test_who_goes_on_speaking_while_the_answer_is_thought_of_is_answered_once() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            stt=ScriptedStt(says=("I would like", "a table for two")),
            llm=ScriptedLlm(replies=("Never heard.", "Certainly."), first_s=1.0),
        )
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(0.5), speech(0.8), quiet(3.0))
            assert [event.response.status for event in call.of(ResponseDone)] == ["cancelled", "completed"]
            assert engines.llm.requests[1].messages[1].text == "I would like a table for two"
            assert engines.tts.spoken == ["Certainly."]

    virtual_time.run(main())


def test_a_cough_while_the_answer_is_thought_of_leaves_no_silence() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            stt=ScriptedStt(says=("what time is it", "")), llm=ScriptedLlm(replies=("Noon.",), first_s=0.8)
        )
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(0.5), speech(0.3), quiet(3.0))
            assert call.said()[-1] == ("assistant", "Noon.")
            assert engines.tts.spoken == ["Noon."]

    virtual_time.run(main())


def test_a_turn_without_words_is_not_answered() -> None:
    async def main() -> None:
        engines = ScriptedEngines(stt=ScriptedStt(says=("",)))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.5), quiet(2.0))
            assert call.of(TranscriptCompleted)[0].transcript == ""
            assert not call.of(ResponseCreated)

    virtual_time.run(main())


def test_interim_words_are_those_that_settled() -> None:
    async def main() -> None:
        engines = ScriptedEngines(stt=ScriptedStt(says=("tell me all about the moon",)))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(2.5), quiet(1.0))
            text = "".join(event.delta for event in call.of(TranscriptDelta))
            assert "tell me all about the moon".startswith(text)
            assert len(text.split()) >= 3
            assert call.at_s(TranscriptDelta) < call.at_s(SpeechStopped)

    virtual_time.run(main())


def test_typed_text_takes_part() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(0.5))
            await call.event(OutputBufferStopped)
            call.conversation.add_item(typed("And you?"))
            call.conversation.create_response()
            await call.event(OutputBufferStopped, 2)
            assert [message.text for message in engines.llm.requests[1].messages] == [
                "Be brief.",
                "hello",
                "Hello there. How are you?",
                "And you?",
            ]

    virtual_time.run(main())


def test_a_text_only_session_makes_no_sound() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        async with virtual_call(engines, modality="text", greeting="Welcome.") as call:
            await call.event(ResponseDone)
            call.conversation.add_item(typed("Hi"))
            call.conversation.create_response()
            done = await call.event(ResponseDone, 2)
            assert done.response.output[0].parts == (Part("output_text", "Hello there. How are you?"),)
            assert engines.tts.spoken == []
            assert call.audible_between(0, 100) == 0
            assert not call.of(OutputBufferStarted)

    virtual_time.run(main())


def test_the_greeting_is_said_in_the_very_words() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        async with virtual_call(engines, greeting="Good day to you.") as call:
            await call.event(OutputBufferStopped)
            assert engines.llm.requests == []
            assert call.said() == [("assistant", "Good day to you.")]
            assert not call.of(TurnMeasured)

    virtual_time.run(main())


def test_a_response_asked_for_while_another_is_heard_follows_it() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=("First one.", "Second one.")))
        async with virtual_call(engines) as call:
            call.conversation.create_response()
            await call.event(ResponseDone)
            call.conversation.create_response()
            await call.event(OutputBufferStopped, 2)
            assert call.names().index("OutputBufferStopped") < len(call.names()) - 1
            begun = [call.at_s(OutputBufferStarted, 0), call.at_s(OutputBufferStarted, 1)]
            assert begun[1] >= call.at_s(OutputBufferStopped, 0)
            assert call.audible_between(0, 60) == pytest.approx(4 * 0.3, abs=0.05)

    virtual_time.run(main())


def test_a_second_response_while_one_is_made_is_refused() -> None:
    async def main() -> None:
        async with virtual_call(ScriptedEngines()) as call:
            call.conversation.create_response()
            with pytest.raises(CallerError) as refused:
                call.conversation.create_response()
            assert refused.value.code == "conversation_already_has_active_response"

    virtual_time.run(main())


def test_cancelling_lets_what_was_made_be_heard() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(LONG_REPLY,)))
        async with virtual_call(engines) as call:
            call.conversation.create_response()
            await call.event(OutputBufferStarted)
            call.conversation.cancel_response()
            done = await call.event(ResponseDone)
            assert (done.response.status, done.response.reason) == ("cancelled", "client_cancelled")
            await call.event(OutputBufferStopped)
            assert not call.of(OutputBufferCleared)
            # The history holds the clauses that have sound, no more.
            assert call.said() == [("assistant", " ".join(engines.tts.spoken))]
            with pytest.raises(CallerError, match=r"^Cancellation failed"):
                call.conversation.cancel_response()

    virtual_time.run(main())


def test_clearing_the_output_silences_at_once() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(LONG_REPLY,)))
        async with virtual_call(engines) as call:
            call.conversation.create_response()
            await call.event(OutputBufferStarted)
            await call.say(quiet(1.0))
            cleared_s = asyncio.get_running_loop().time()
            call.conversation.clear_output()
            await call.say(quiet(0.5))
            assert call.audible_between(cleared_s + 0.03, cleared_s + 0.5) == 0
            assert call.of(ResponseDone)[0].response.reason == "client_cancelled"

    virtual_time.run(main())


def test_a_new_conversation_forgets() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(LONG_REPLY, "Hi.")))
        async with virtual_call(engines) as call:
            call.conversation.add_item(typed("Remember me"))
            call.conversation.create_response()
            await call.event(OutputBufferStarted)
            call.conversation.reset()
            assert call.said() == []
            assert len(call.of(ItemDeleted)) == 2
            assert call.names()[-1] == ConversationReset.__name__
            call.conversation.add_item(typed("Who am I?", "item_2"))
            call.conversation.create_response()
            await call.event(OutputBufferStopped)
            assert [message.text for message in engines.llm.requests[1].messages] == [
                "Be brief.",
                "Who am I?",
            ]

    virtual_time.run(main())


def test_a_failed_transcription_is_told_and_the_call_goes_on() -> None:
    async def main() -> None:
        engines = ScriptedEngines(stt=ScriptedStt(says=(EngineError("no ears", code="stt_down"), "again")))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(1.0))
            assert call.of(TranscriptFailed)[0].code == "stt_down"
            await call.say(speech(0.8), quiet(1.0))
            await call.event(OutputBufferStopped)
            assert call.said()[-1][0] == "assistant"

    virtual_time.run(main())


def test_a_failed_reply_is_told_and_the_call_goes_on() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(EngineError("no mind"), "Better now.")))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(1.0))
            done = call.of(ResponseDone)[0].response
            assert (done.status, done.error) == ("failed", "no mind")
            assert call.of(CallFault)[0].message == "no mind"
            await call.say(speech(0.8), quiet(1.0))
            await call.event(OutputBufferStopped)
            assert call.said()[-1] == ("assistant", "Better now.")

    virtual_time.run(main())


def test_a_reply_that_may_recover_is_asked_for_once_more() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            llm=ScriptedLlm(replies=(EngineError("busy", retryable=True), "Here I am."))
        )
        async with virtual_call(engines) as call:
            call.conversation.create_response()
            done = await call.event(ResponseDone)
            assert done.response.status == "completed"
            assert len(engines.llm.requests) == 2

    virtual_time.run(main())


def test_a_conversation_that_is_too_long_for_the_llm_is_told_shorter() -> None:
    async def main() -> None:
        full = EngineError("too long", code="context_full")
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(full, full, "Here I am.")))
        async with virtual_call(engines) as call:
            for number in range(4):
                call.conversation.add_item(typed(f"question {number}", f"item_{number}"))
                answer = Message(f"answer_{number}", "assistant", (Part("output_text", f"answer {number}"),))
                call.conversation.add_item(answer)
            call.conversation.add_item(typed("Are you there?", "item_last"))
            call.conversation.create_response()
            done = await call.event(ResponseDone)
            assert done.response.status == "completed"
            lengths = [len(request.messages) for request in engines.llm.requests]
            assert lengths == [10, 5, 3]
            assert {request.messages[0].text for request in engines.llm.requests} == {"Be brief."}
            assert engines.llm.requests[-1].messages[-1].text == "Are you there?"

    virtual_time.run(main())


def test_a_conversation_of_which_nothing_may_be_left_out_may_be_too_long() -> None:
    async def main() -> None:
        full = EngineError("too long", code="context_full")
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(full,)))
        async with virtual_call(engines, retention=Retention(share=None)) as call:
            for number in range(20):
                call.conversation.add_item(typed("x" * 1000, f"item_{number}"))
            call.conversation.create_response()
            done = await call.event(ResponseDone)
            assert (done.response.status, done.response.error_code) == ("failed", "context_full")
            (request,) = engines.llm.requests
            assert sum(len(message.text) for message in request.messages) > 20_000

    virtual_time.run(main())


def test_a_voice_that_fails_is_told() -> None:
    async def main() -> None:
        engines = ScriptedEngines(tts=ScriptedTts(fails=EngineError("no voice")))
        async with virtual_call(engines) as call:
            call.conversation.create_response()
            done = await call.event(ResponseDone)
            assert done.response.status == "failed"
            await call.say(quiet(0.2))
            assert call.conversation.playout.sounding == ()

    virtual_time.run(main())


def test_a_reply_cut_off_by_its_limit_ends_with_a_whole_clause() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(LONG_REPLY,)))
        async with virtual_call(engines) as call:
            call.conversation.create_response(ResponseOptions(max_output_tokens=12))
            done = await call.event(ResponseDone)
            assert (done.response.status, done.response.reason) == ("incomplete", "max_output_tokens")
            assert call.said() == [("assistant", "Sentence number one is here. Sentence number two is here.")]

    virtual_time.run(main())


@pytest.mark.parametrize("pause_s", [0.0, 0.25, 0.33, 0.5, 1.5])
def test_closing_in_the_middle_of_everything_ends_everything(pause_s: float) -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            stt=ScriptedStt(takes_s=0.3), llm=ScriptedLlm(replies=(LONG_REPLY,), first_s=0.2)
        )
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(pause_s), speech(0.15))
            closed_s = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - closed_s < 0.1

    virtual_time.run(main())
