"""Transcription that begins with the first window without speech, before a pause is suspected."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from media.conversation import Conversation
from media.conversation_settings import ConversationSettings
from media.events import DraftSettled, SpeechStopped, TranscriptCompleted
from tests import virtual_time
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedTurnEnd, quiet, speech
from tests.virtual_call import SESSION, VirtualCall, virtual_call

WINDOW_S = 0.032


def quick_engines(**stt: object) -> ScriptedEngines:
    return ScriptedEngines(stt=ScriptedStt(**({"says": ("hello",)} | stt)))  # type: ignore[arg-type]


def test_the_words_are_there_before_a_pause_is_suspected() -> None:
    async def main() -> None:
        engines = quick_engines(takes_s=0.03)
        async with virtual_call(engines) as call:
            # The pause is suspected after four windows, 0.13 s.
            await call.say(quiet(0.3), speech(0.8), quiet(0.1))
            assert engines.stt.sessions[0].flushes == 1
            assert [request.messages[-1].text for request in engines.llm.requests] == ["hello"]
            await call.say(quiet(3.0))
            assert engines.stt.sessions[0].flushes == 1, "what was transcribed need not be again"
            assert len(call.of(TranscriptCompleted)) == len(call.of(SpeechStopped)) == 1
            assert [settled.used for settled in call.of(DraftSettled)] == [True]

    virtual_time.run(main())


def test_words_that_come_early_shorten_the_pause() -> None:
    async def stopped_s(takes_s: float) -> float:
        async with virtual_call(quick_engines(takes_s=takes_s)) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(3.0))
            return call.at_s(SpeechStopped)

    # They are weighed although nobody weighed a pause when they came.
    assert abs(virtual_time.run(stopped_s(0.03)) - virtual_time.run(stopped_s(0.15))) < 0.05


def test_a_gap_within_a_word_is_forgotten() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            stt=ScriptedStt(says=("hello there",), takes_s=0.03),
            llm=ScriptedLlm(replies=("In vain.", "Hello.")),
        )
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(2 * WINDOW_S), speech(0.8))
            assert engines.llm.open_requests == 0, "its draft is dropped"
            assert not call.of(SpeechStopped)
            await call.say(quiet(3.0))
            assert call.said() == [("user", "hello there"), ("assistant", "Hello.")]
            assert [settled.used for settled in call.of(DraftSettled)] == [False, True]
            assert engines.stt.sessions[0].flushes == 2

    virtual_time.run(main())


def test_the_turn_end_is_judged_when_a_pause_is_suspected() -> None:
    async def main() -> None:
        engines = ScriptedEngines(turn_end=ScriptedTurnEnd(), stt=ScriptedStt(takes_s=0.03))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(0.1))
            assert not engines.turn_end.judged
            await call.say(quiet(0.3))
            assert len(engines.turn_end.judged) == 1

    virtual_time.run(main())


@pytest.mark.parametrize("waits_s", [0.1, 0.7, 1.5])
def test_what_is_said_before_the_conversation_begins_is_heard_whole(waits_s: float) -> None:
    async def main() -> None:
        engines = quick_engines()
        conversation = Conversation(
            engines.engines(), ConversationSettings(), replace(SESSION, greeting=""), lambda _: None
        )
        call = VirtualCall(conversation)
        async with asyncio.TaskGroup() as tasks:
            said = tasks.create_task(call.say(speech(waits_s + 0.5), quiet(2.0)))
            await asyncio.sleep(waits_s)
            running = tasks.create_task(conversation.run())
            await said
            assert engines.stt.sessions[0].pushed_s == pytest.approx(waits_s + 0.5 + 0.13, abs=0.05)
            assert [text for role, text in call.said() if role == "user"] == ["hello"]
            conversation.close()
            await running

    virtual_time.run(main())
