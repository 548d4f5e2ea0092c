"""When a caller's turn is over, in whole conversations in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from media.caller_floor import TurnTakingSettings
from media.conversation import Conversation
from media.endpointing import LONGEST
from media.errors import CallerError
from media.events import (
    InputCommitted,
    OutputBufferStopped,
    ResponseCreated,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
)
from media.items import Message, Part
from media.session import TurnDetection
from tests import virtual_time
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedTurnEnd, quiet, speech
from tests.virtual_call import virtual_call

LONG_REPLY = "One. " * 40
"""Is still heard when the caller goes on."""
PATIENCE_S = TurnTakingSettings().patience_s


def test_a_pause_that_sounds_unfinished_does_not_end_the_turn() -> None:
    async def main() -> None:
        engines = ScriptedEngines(turn_end=ScriptedTurnEnd(verdicts=(0.01, 0.01, 0.01, 0.01, 0.01, 0.98)))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(1.0), speech(0.8), quiet(2.5))
            assert len(call.of(InputCommitted)) == 1
            assert len(engines.stt.sessions) == 1
            session = engines.stt.sessions[0]
            assert session.flushes == 2
            # Both halves, the pause between them and the padding before were transcribed.
            assert session.pushed_s == pytest.approx(0.3 + 0.8 + 1.0 + 0.8 + 0.2, abs=0.15)

    virtual_time.run(main())


def test_who_goes_on_just_before_the_pause_is_over_is_not_cut_short() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        async with virtual_call(engines) as call:
            # Speech counts after 0.1 s of it.
            await call.say(quiet(0.3), speech(0.8), quiet(PATIENCE_S - 0.04), speech(0.8), quiet(2.0))
            assert len(call.of(SpeechStopped)) == 1
            assert len(engines.stt.sessions) == 1

    virtual_time.run(main())


def test_a_click_does_not_hold_a_turn_open() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(PATIENCE_S - 0.04), speech(0.04), quiet(2.0))
            assert len(call.of(SpeechStopped)) == 1
            assert call.at_s(SpeechStopped) == pytest.approx(0.3 + 0.8 + PATIENCE_S + 0.03, abs=0.07)

    virtual_time.run(main())


def test_who_was_cut_short_is_given_longer_and_who_answers_a_reply_is_not() -> None:
    async def main(reply: str) -> float:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=(reply,)))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(1.5), speech(0.8))
            speech_end_s = asyncio.get_running_loop().time()
            await call.say(quiet(2.5))
            assert len(call.of(SpeechStopped)) == 2
            return call.at_s(SpeechStopped, 1) - speech_end_s

    assert virtual_time.run(main("Yes.")) == pytest.approx(PATIENCE_S, abs=0.05), "the reply was over by then"
    assert virtual_time.run(main(LONG_REPLY)) == pytest.approx(3 * PATIENCE_S, abs=0.05)


def silence_it(conversation: Conversation) -> None:
    conversation.clear_output()


def type_something(conversation: Conversation) -> None:
    conversation.add_item(Message("typed", "user", (Part("input_text", "And tomorrow?"),)))


@pytest.mark.parametrize("act", [silence_it, type_something])
def test_who_silences_a_reply_or_types_was_not_cut_short(act: Callable[[Conversation], None]) -> None:
    async def main() -> None:
        async with virtual_call(ScriptedEngines(llm=ScriptedLlm(replies=(LONG_REPLY,)))) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(1.0))
            act(call.conversation)
            await call.say(quiet(0.5), speech(0.8))
            speech_end_s = asyncio.get_running_loop().time()
            await call.say(quiet(2.5))
            assert call.at_s(SpeechStopped, 1) - speech_end_s == pytest.approx(PATIENCE_S, abs=0.05)

    virtual_time.run(main())


def test_an_unfinished_turn_is_given_up_on_in_the_end() -> None:
    async def main() -> None:
        engines = ScriptedEngines(turn_end=ScriptedTurnEnd(verdicts=(0.0,)))
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(3.0))
            assert call.at_s(SpeechStopped) == pytest.approx(0.3 + 0.8 + LONGEST * PATIENCE_S, abs=0.06)

    virtual_time.run(main())


def test_manual_turns() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        async with virtual_call(engines, turn_detection=None) as call:
            with pytest.raises(CallerError) as refused:
                call.conversation.commit_input()
            assert refused.value.code == "input_audio_buffer_commit_empty"
            await call.say(quiet(0.2), speech(1.0), quiet(1.0), speech(0.5))
            assert call.events == [] or set(call.names()) <= {"TranscriptDelta"}
            call.conversation.commit_input()
            await call.event(TranscriptCompleted)
            assert not call.of(SpeechStarted)
            assert not call.of(ResponseCreated)
            assert engines.stt.sessions[0].pushed_s == pytest.approx(2.7, abs=0.05)
            call.conversation.create_response()
            await call.event(OutputBufferStopped)

    virtual_time.run(main())


def test_clearing_the_input_drops_the_turn() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(0.8))
            call.conversation.clear_input()
            await call.say(quiet(2.0))
            assert not call.of(InputCommitted)
            assert call.said() == []

    virtual_time.run(main())


def test_audio_that_stops_coming_ends_the_turn() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        async with virtual_call(engines) as call:
            await call.say(quiet(0.3), speech(1.0))
            await call.event(OutputBufferStopped)
            assert call.said()[0] == ("user", "hello")

    virtual_time.run(main())


def test_settings_change_from_the_next_turn_on() -> None:
    async def main() -> None:
        engines = ScriptedEngines()
        async with virtual_call(engines) as call:
            before = call.conversation.session
            with pytest.raises(CallerError, match="no voice 'nobody'"):
                call.conversation.update(replace(before, voice="nobody"))
            with pytest.raises(CallerError, match="Japanese needs an extra"):
                call.conversation.update(replace(before, voice="jf_alpha"))
            with pytest.raises(CallerError, match="'xx'"):
                call.conversation.update(replace(before, language="xx"))
            assert call.conversation.session == before
            call.conversation.update(
                replace(before, turn_detection=TurnDetection("server_vad", silence_s=1.2))
            )
            await call.say(quiet(0.3), speech(0.8), quiet(1.6))
            assert call.at_s(SpeechStopped) == pytest.approx(0.3 + 0.8 + 1.2, abs=0.06)
            assert engines.turn_end.judged == []

    virtual_time.run(main())
