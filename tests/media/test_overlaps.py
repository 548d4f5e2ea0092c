"""Both speak at once: an interruption stops the assistant for good, anything else only for a moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from media.conversation_settings import ConversationSettings
from media.errors import CallerError
from media.events import (
    CallEvent,
    InputCommitted,
    ItemTruncated,
    OutputBufferCleared,
    OutputBufferHeld,
    OutputBufferResumed,
    OutputBufferStarted,
    OutputBufferStopped,
    ResponseCreated,
    ResponseDone,
    SpeechStarted,
    TranscriptDelta,
)
from media.overlap_verdict import InterruptionSettings
from media.session import TurnDetection
from tests import virtual_time
from tests.media.overlap_scripts import (
    LONG_REPLY,
    NOTICED_S,
    REPLY_S,
    LevelJudge,
    murmur,
    now_s,
    storyteller,
    told_a_story,
)
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedTts, quiet, speech
from tests.virtual_call import virtual_call


def test_an_interruption_silences_at_once_and_for_good() -> None:
    async def main() -> None:
        engines = storyteller()
        async with virtual_call(engines, judge=LevelJudge()) as call:
            await told_a_story(call, 2.0)
            onset_s = now_s()
            await call.say(speech(0.8), quiet(2.0))
            assert call.audible_between(onset_s - 1.0, onset_s) == pytest.approx(1.0, abs=0.03)
            assert call.audible_between(onset_s + NOTICED_S, onset_s + 1.2) == 0
            assert call.at_s(OutputBufferCleared) - onset_s < 0.4
            cut = call.of(ItemTruncated)[0]
            assert LONG_REPLY.startswith(cut.heard_text)
            assert call.said() == [
                ("user", "tell me a story"),
                ("assistant", cut.heard_text),
                ("user", "stop it"),
                ("assistant", "All right."),
            ]
            assert call.of(ResponseDone)[0].response.reason == "turn_detected"

    virtual_time.run(main())


def test_the_history_holds_what_was_heard_before_the_voice_was_held() -> None:
    async def main() -> None:
        async with virtual_call(storyteller(), judge=LevelJudge()) as call:
            await told_a_story(call, 2.0)
            onset_s = now_s()
            await call.say(speech(0.8), quiet(0.2))
            # All that was sent has been heard by the time that it is decided: the silence is not.
            sent_s = call.audible_between(call.at_s(OutputBufferStarted) - 0.01, onset_s + 0.5)
            cut = call.of(ItemTruncated)[0]
            assert cut.audio_end_ms / 1000 == pytest.approx(sent_s, abs=0.03)
            assert len(cut.heard_text.split()) == round(sent_s / 0.3)

    virtual_time.run(main())


def test_an_interruption_is_told_when_it_is_decided_and_dated_back() -> None:
    async def main() -> None:
        async with virtual_call(storyteller(), judge=LevelJudge()) as call:
            await told_a_story(call, 2.0)
            onset_s = now_s()
            before = len(call.events)
            await call.say(speech(0.8), quiet(0.1))
            told_s = call.at_s(SpeechStarted, 1)
            assert 0.1 < told_s - onset_s < 0.4
            assert call.of(SpeechStarted)[1].audio_start_ms == pytest.approx(onset_s * 1000, abs=40)
            order = [name for name in call.names()[before:] if name != TranscriptDelta.__name__]
            kinds: list[type[CallEvent]] = [
                OutputBufferHeld,
                SpeechStarted,
                ResponseDone,
                OutputBufferCleared,
                ItemTruncated,
            ]
            at = [order.index(kind.__name__) for kind in kinds]
            assert at[0] == 0
            assert at == sorted(at)

    virtual_time.run(main())


def test_all_of_an_interruption_is_transcribed() -> None:
    async def main() -> None:
        engines = storyteller()
        async with virtual_call(engines, judge=LevelJudge()) as call:
            await told_a_story(call, 2.0)
            await call.say(speech(0.8), quiet(2.0))
            assert engines.stt.sessions[1].pushed_s == pytest.approx(
                0.3 + 0.8 + 0.13, abs=0.07
            )  # with the pause that ends it

    virtual_time.run(main())


@pytest.mark.parametrize("length_s", [0.04, 0.12, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("heard_s", [0.1, 1.0, 2.13, REPLY_S - 0.15])
def test_a_harmless_sound_changes_nothing_but_a_moment(length_s: float, heard_s: float) -> None:
    async def main() -> None:
        engines = storyteller()
        async with virtual_call(engines, judge=LevelJudge()) as call:
            await told_a_story(call, heard_s)
            told = len(call.events)
            await call.say(murmur(length_s), quiet(8.0))
            assert call.said() == [("user", "tell me a story"), ("assistant", LONG_REPLY)]
            unheard_of = (SpeechStarted, TranscriptDelta, OutputBufferCleared, ItemTruncated)
            assert not [event for _, event in call.events[told:] if isinstance(event, unheard_of)]
            assert call.of(ResponseDone)[0].response.status == "completed"
            assert len(engines.llm.requests) == len(engines.stt.sessions) == 1
            started_s, stopped_s = call.at_s(OutputBufferStarted), call.at_s(OutputBufferStopped)
            # At most a word is said twice.
            assert REPLY_S - 0.05 <= call.audible_between(started_s - 0.01, stopped_s) <= REPLY_S + 0.35
            assert stopped_s - started_s < REPLY_S + 0.8

    virtual_time.run(main())


def test_a_backchannel_silences_for_less_than_half_a_second() -> None:
    async def main() -> None:
        async with virtual_call(storyteller(), judge=LevelJudge()) as call:
            await told_a_story(call, 1.0)
            onset_s = now_s()
            await call.say(murmur(0.6), quiet(1.0))
            silent = [at_s for at_s, level in call.levels if at_s > onset_s and level < -45]
            assert silent[0] - onset_s < NOTICED_S
            assert 0.1 < silent[-1] - silent[0] < 0.36

    virtual_time.run(main())


def test_the_word_that_was_broken_off_is_said_again() -> None:
    async def main() -> None:
        async with virtual_call(storyteller(), judge=LevelJudge()) as call:
            await told_a_story(call, 1.0)
            started_s = call.at_s(OutputBufferStarted)
            onset_s = now_s()
            await call.say(murmur(0.25), quiet(6.0))
            before_s = call.audible_between(started_s - 0.01, onset_s + 0.15)
            broken_s = before_s % 0.3
            assert broken_s > 0.05, "it was held in mid-word"
            assert len(call.of(OutputBufferHeld)) == 1
            (resumed,) = call.of(OutputBufferResumed)
            assert resumed.at_ms == pytest.approx(1000 * (before_s - broken_s), abs=30)
            total_s = call.audible_between(started_s - 0.01, now_s())
            assert total_s == pytest.approx(REPLY_S + broken_s, abs=0.03)

    virtual_time.run(main())


@pytest.mark.parametrize(("noisy", "lasting_s"), [(False, 1.0), (True, 1.6)])
def test_a_murmur_that_lasts_interrupts_after_all(noisy: bool, lasting_s: float) -> None:
    async def main() -> None:
        async with virtual_call(storyteller(), judge=LevelJudge(noisy=noisy)) as call:
            await told_a_story(call, 1.0)
            onset_s = now_s()
            await call.say(murmur(lasting_s + 0.6), quiet(3.0))
            assert call.at_s(OutputBufferCleared) - onset_s == pytest.approx(lasting_s + 0.05, abs=0.1)
            assert call.of(SpeechStarted)[1].audio_start_ms == pytest.approx(onset_s * 1000, abs=40)
            assert call.said()[-1] == ("assistant", "All right.")

    virtual_time.run(main())


def test_a_short_word_that_is_over_before_it_is_judged_is_answered() -> None:
    async def main() -> None:
        async with virtual_call(storyteller(), judge=LevelJudge()) as call:
            await told_a_story(call, 1.0)
            await call.say(speech(0.16), quiet(3.0))
            assert call.said()[-2:] == [("user", "stop it"), ("assistant", "All right.")]

    virtual_time.run(main())


def test_two_backchannels_and_then_an_interruption() -> None:
    async def main() -> None:
        engines = storyteller()
        async with virtual_call(engines, judge=LevelJudge()) as call:
            await told_a_story(call, 1.0)
            await call.say(murmur(0.3), quiet(0.4), murmur(0.2), quiet(0.3))
            assert len(call.of(SpeechStarted)) == 1
            assert not call.of(OutputBufferCleared)
            onset_s = now_s()
            await call.say(speech(0.6), quiet(3.0))
            assert call.at_s(OutputBufferCleared) - onset_s < 0.4
            assert [role for role, _ in call.said()] == ["user", "assistant", "user", "assistant"]
            assert len(engines.stt.sessions) == 2

    virtual_time.run(main())


def test_the_greeting_can_be_interrupted_and_murmured_at() -> None:
    async def main() -> None:
        engines = ScriptedEngines(llm=ScriptedLlm(replies=("Yes?",)))
        async with virtual_call(engines, judge=LevelJudge(), greeting=LONG_REPLY) as call:
            await call.event(OutputBufferStarted)
            await call.say(quiet(0.5), murmur(0.3), quiet(0.5))
            assert not call.of(SpeechStarted)
            await call.say(speech(0.6), quiet(2.0))
            assert call.said()[-1] == ("assistant", "Yes?")
            assert LONG_REPLY.startswith(call.said()[0][1])

    virtual_time.run(main())


def test_a_sound_in_the_assistants_pause_for_breath_is_judged_too() -> None:
    """Its second clause is late: nothing is heard, but the response is not over."""

    async def main() -> None:
        engines = storyteller()
        engines.tts = ScriptedTts(takes_s=2.6)
        async with virtual_call(engines, judge=LevelJudge()) as call:
            await told_a_story(call, 2.3)
            assert call.audible_between(now_s() - 0.1, now_s()) == 0
            await call.say(murmur(0.3), quiet(9.0))
            assert call.said()[-1] == ("assistant", LONG_REPLY)
            assert len(call.of(SpeechStarted)) == 1

    virtual_time.run(main())


def test_a_sound_while_the_answer_is_thought_of_is_a_turn_as_ever() -> None:
    async def main() -> None:
        engines = ScriptedEngines(
            stt=ScriptedStt(says=("what time is it", "")), llm=ScriptedLlm(replies=("Noon.",), first_s=0.8)
        )
        judge = LevelJudge()
        async with virtual_call(engines, judge=judge) as call:
            await call.say(quiet(0.3), speech(0.8), quiet(0.5), murmur(0.3), quiet(3.0))
            assert len(call.of(SpeechStarted)) == 2
            assert call.said()[-1] == ("assistant", "Noon.")
            assert judge.windows == 0

    virtual_time.run(main())


def test_a_caller_who_may_not_interrupt_is_heard_after_the_answer() -> None:
    async def main() -> None:
        engines = storyteller()
        detection = TurnDetection(interrupt_response=False)
        async with virtual_call(engines, judge=LevelJudge(), turn_detection=detection) as call:
            await told_a_story(call, 1.0)
            started_s = call.at_s(OutputBufferStarted)
            await call.say(murmur(0.3), quiet(0.5), speech(0.8), quiet(7.0))
            stopped_s = call.at_s(OutputBufferStopped)
            assert call.audible_between(started_s - 0.01, stopped_s) == pytest.approx(REPLY_S, abs=0.03)
            assert stopped_s - started_s < REPLY_S + 0.2, "its second words may be late, but it is not held"
            assert call.said() == [
                ("user", "tell me a story"),
                ("assistant", LONG_REPLY),
                ("user", "stop it"),
                ("assistant", "All right."),
            ]

    virtual_time.run(main())


def test_manual_turns_are_not_judged() -> None:
    async def main() -> None:
        judge = LevelJudge()
        async with virtual_call(storyteller(), judge=judge, turn_detection=None) as call:
            call.conversation.create_response()
            await call.event(OutputBufferStarted)
            await call.say(speech(1.0), quiet(6.0))
            assert call.said() == [("assistant", LONG_REPLY)]
            assert judge.windows == 0
            assert call.audible_between(0, now_s()) == pytest.approx(REPLY_S, abs=0.03)

    virtual_time.run(main())


def test_a_turn_that_began_before_the_answer_was_audible_is_not_judged() -> None:
    async def main() -> None:
        engines = storyteller()
        judge = LevelJudge()
        async with virtual_call(engines, judge=judge) as call:
            call.conversation.create_response()
            # 0.05 s LLM, 0.07 s of words, 0.1 s TTS: the sound begins while the caller speaks.
            await call.say(quiet(0.12), speech(0.8), quiet(3.0))
            assert judge.windows == 0
            assert call.said()[-1][0] == "assistant"
            assert call.of(ResponseDone)[0].response.reason == "turn_detected"

    virtual_time.run(main())


def test_muting_in_the_middle_of_a_sound_lets_the_assistant_go_on() -> None:
    async def main() -> None:
        async with virtual_call(storyteller(), judge=LevelJudge()) as call:
            await told_a_story(call, 1.0)
            await call.say(murmur(0.1))
            await call.event(OutputBufferStopped)
            assert call.said()[-1] == ("assistant", LONG_REPLY)

    virtual_time.run(main())


def test_muting_in_the_middle_of_a_word_makes_it_a_turn() -> None:
    async def main() -> None:
        async with virtual_call(storyteller(), judge=LevelJudge()) as call:
            await told_a_story(call, 1.0)
            await call.say(speech(0.14))
            await call.event(OutputBufferStopped)
            assert call.said()[-2:] == [("user", "stop it"), ("assistant", "All right.")]

    virtual_time.run(main())


def test_clearing_the_output_makes_a_turn_of_what_is_in_question() -> None:
    async def main() -> None:
        async with virtual_call(storyteller(), judge=LevelJudge()) as call:
            await told_a_story(call, 1.0)
            await call.say(murmur(0.08))
            call.conversation.clear_output()
            await call.say(murmur(0.5), quiet(3.0))
            assert call.said()[-2:] == [("user", "stop it"), ("assistant", "All right.")]

    virtual_time.run(main())


def test_clearing_the_input_drops_what_is_in_question() -> None:
    async def main() -> None:
        async with virtual_call(storyteller(), judge=LevelJudge()) as call:
            await told_a_story(call, 1.0)
            await call.say(speech(0.1))
            call.conversation.clear_input()
            await call.say(quiet(7.0))
            assert call.said()[-1] == ("assistant", LONG_REPLY)
            assert len(call.of(InputCommitted)) == 1

    virtual_time.run(main())


def test_committing_makes_a_turn_of_what_is_in_question() -> None:
    async def main() -> None:
        async with virtual_call(storyteller(), judge=LevelJudge()) as call:
            await told_a_story(call, 1.0)
            await call.say(murmur(0.14))
            call.conversation.commit_input()
            await call.say(quiet(9.0))
            assert len(call.of(SpeechStarted)) == len(call.of(InputCommitted)) == 2
            assert call.said()[-1] == ("assistant", "All right.")
            with pytest.raises(CallerError, match="nothing was said"):
                call.conversation.commit_input()

    virtual_time.run(main())


def test_switching_to_manual_turns_in_the_middle_of_a_sound() -> None:
    async def main() -> None:
        async with virtual_call(storyteller(), judge=LevelJudge()) as call:
            await told_a_story(call, 1.0)
            await call.say(speech(0.1))
            call.conversation.update(replace(call.conversation.session, turn_detection=None))
            await call.say(speech(0.3), quiet(7.0))
            assert call.of(OutputBufferStopped)
            assert call.said()[-1] == ("assistant", LONG_REPLY)

    virtual_time.run(main())


def test_a_new_conversation_in_the_middle_of_a_sound() -> None:
    async def main() -> None:
        async with virtual_call(storyteller(), judge=LevelJudge()) as call:
            await told_a_story(call, 1.0)
            await call.say(speech(0.1))
            call.conversation.reset()
            await call.say(quiet(1.0))
            assert call.said() == []
            await call.say(speech(0.8), quiet(2.0))
            assert call.said()[-1] == ("assistant", "All right.")

    virtual_time.run(main())


def test_without_a_classifier_any_speech_interrupts() -> None:
    async def main() -> None:
        settings = ConversationSettings(interruption=InterruptionSettings(classify=False))
        judge = LevelJudge()
        async with virtual_call(storyteller(), settings, judge) as call:
            await told_a_story(call, 1.0)
            await call.say(murmur(0.1), quiet(0.5))
            assert not call.of(OutputBufferCleared), "it was too short"
            onset_s = now_s()
            await call.say(murmur(0.6), quiet(2.0))
            assert call.at_s(OutputBufferCleared) - onset_s == pytest.approx(0.24, abs=0.05)
            assert judge.windows == 0

    virtual_time.run(main())


def test_with_nobody_overlapping_nothing_is_judged() -> None:
    async def main() -> None:
        judge = LevelJudge()
        async with virtual_call(storyteller(), judge=judge) as call:
            await told_a_story(call, 8.0)
            await call.say(speech(1.0), quiet(3.0))
            assert len(call.of(ResponseCreated)) == 2
            assert judge.windows == 0

    virtual_time.run(main())
