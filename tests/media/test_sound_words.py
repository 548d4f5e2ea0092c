"""Both speak at once: what is no noise, and is over before it is judged, is asked for its words."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from media.audio import Audio
from media.errors import EngineError
from media.events import (
    OutputBufferCleared,
    OutputBufferHeld,
    OutputBufferResumed,
    OutputBufferStopped,
    SpeechStarted,
)
from tests import virtual_time
from tests.media.overlap_scripts import (
    LONG_REPLY,
    NOTICED_S,
    REPLY_S,
    LevelJudge,
    Scores,
    murmur,
    now_s,
    storyteller,
    told_a_story,
)
from tests.scripted import ScriptedEngines, quiet
from tests.virtual_call import virtual_call


def murmured(*says: str | EngineError, takes_s: float = 0.1) -> ScriptedEngines:
    """A story, over which the caller murmurs these."""
    engines = storyteller(takes_s=takes_s)
    engines.stt.says = ("tell me a story", *says)
    return engines


def test_a_backchannel_silences_until_it_is_over_and_its_words_are_known() -> None:
    async def main() -> None:
        engines = murmured("Mm-hm.")
        async with virtual_call(engines, judge=LevelJudge(noisy=False)) as call:
            await told_a_story(call, 1.0)
            onset_s = now_s()
            await call.say(murmur(0.5), quiet(8.0))
            resumed_s = call.at_s(OutputBufferResumed) - onset_s
            assert resumed_s == pytest.approx(0.5 + 0.1 + 0.1, abs=0.05)
            assert call.audible_between(onset_s + NOTICED_S, onset_s + resumed_s) == 0
            assert call.said() == [("user", "tell me a story"), ("assistant", LONG_REPLY)]
            assert len(call.of(SpeechStarted)) == 1
            assert engines.stt.sessions[1].pushed_s == pytest.approx(0.3 + 0.5 + 0.1, abs=0.07)

    virtual_time.run(main())


def test_a_command_that_sounds_like_a_backchannel_is_not_spoken_over_and_answered() -> None:
    async def main() -> None:
        async with virtual_call(murmured("Stop.", "Stop."), judge=LevelJudge(noisy=False)) as call:
            await told_a_story(call, 1.0)
            onset_s = now_s()
            await call.say(murmur(0.4), quiet(3.0))
            assert call.audible_between(onset_s + NOTICED_S, onset_s + 0.8) == 0
            assert call.at_s(OutputBufferCleared) - onset_s == pytest.approx(0.6, abs=0.05)
            assert call.of(SpeechStarted)[1].audio_start_ms == pytest.approx(onset_s * 1000, abs=40)
            assert call.said()[-2:] == [("user", "Stop."), ("assistant", "All right.")]
            assert not call.of(OutputBufferResumed)

    virtual_time.run(main())


class BreathJudge:
    """Takes a word's first 0.3 s for a noise."""

    def judge(self, sound: Audio, speech: Sequence[float], /) -> Scores:
        return Scores(0.01, 0.99) if len(speech) < 15 else Scores(0.3, 0.1)


def test_a_word_that_began_like_a_noise_is_held_for_again() -> None:
    async def main() -> None:
        async with virtual_call(murmured("Stop.", "Stop."), judge=BreathJudge()) as call:
            await told_a_story(call, 1.0)
            onset_s = now_s()
            await call.say(murmur(0.6), quiet(3.0))
            assert len(call.of(OutputBufferHeld)) == 2
            assert len(call.of(OutputBufferResumed)) == 1
            assert call.audible_between(onset_s + 0.45, onset_s + 0.9) == 0
            assert call.said()[-2:] == [("user", "Stop."), ("assistant", "All right.")]

    virtual_time.run(main())


def test_words_are_asked_anew_when_the_sound_goes_on() -> None:
    async def main() -> None:
        engines = murmured("Yeah.", "Yeah, right.", takes_s=0.3)
        async with virtual_call(engines, judge=LevelJudge(noisy=False)) as call:
            await told_a_story(call, 1.0)
            await call.say(murmur(0.2), quiet(0.16), murmur(0.2), quiet(8.0))
            assert [session.pushed_s for session in engines.stt.sessions[1:]] == [
                pytest.approx(0.6, abs=0.07),
                pytest.approx(0.96, abs=0.07),
            ]
            assert len(call.of(OutputBufferResumed)) == 1
            assert call.said()[-1] == ("assistant", LONG_REPLY)

    virtual_time.run(main())


def test_who_goes_on_to_say_yeah_yeah_is_spoken_over() -> None:
    """A row of backchannels lasts, too; its words so far tell."""

    async def main() -> None:
        engines = murmured("Yeah, yeah.")
        async with virtual_call(engines, judge=LevelJudge(noisy=False)) as call:
            await told_a_story(call, 1.0)
            onset_s = now_s()
            await call.say(murmur(1.4), quiet(8.0))
            assert call.at_s(OutputBufferResumed) - onset_s == pytest.approx(1.0 + 0.1, abs=0.07)
            assert engines.stt.sessions[1].pushed_s == pytest.approx(0.3 + 1.0, abs=0.07)
            assert call.said() == [("user", "tell me a story"), ("assistant", LONG_REPLY)]

    virtual_time.run(main())


def test_not_even_yeah_yeah_is_spoken_over_for_ever() -> None:
    async def main() -> None:
        async with virtual_call(murmured("Yeah, yeah.", "Yeah."), judge=LevelJudge(noisy=False)) as call:
            await told_a_story(call, 1.0)
            onset_s = now_s()
            await call.say(murmur(2.2), quiet(3.0))
            assert call.at_s(OutputBufferCleared) - onset_s == pytest.approx(1.6, abs=0.1)

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("says", "takes_s", "stops_s"),
    [("Yeah, wait", 0.1, 0.1), ("", 0.1, 0.1), (EngineError("out of order"), 0.1, 0.1), ("Yeah.", 5.0, 0.8)],
)
def test_who_goes_on_with_anything_else_interrupts(
    says: str | EngineError, takes_s: float, stops_s: float
) -> None:
    async def main() -> None:
        engines = murmured(says, "Yeah, wait a moment.")
        async with virtual_call(engines, judge=LevelJudge(noisy=False)) as call:
            await told_a_story(call, 1.0)
            engines.stt.takes_s = takes_s
            onset_s = now_s()
            await call.say(murmur(2.2), quiet(1.0))
            assert call.at_s(OutputBufferCleared) - onset_s == pytest.approx(1.0 + stops_s, abs=0.07)
            assert not call.of(OutputBufferResumed)
            assert call.of(SpeechStarted)[1].audio_start_ms == pytest.approx(onset_s * 1000, abs=40)

    virtual_time.run(main())


def test_muting_while_the_words_of_what_lasts_are_asked_makes_it_a_turn() -> None:
    async def main() -> None:
        engines = murmured("Yeah.", "Yeah.")
        async with virtual_call(engines, judge=LevelJudge(noisy=False)) as call:
            await told_a_story(call, 1.0)
            engines.stt.takes_s = 5.0
            await call.say(murmur(1.1))
            call.conversation.audio_stalled()
            assert len(call.of(SpeechStarted)) == 2

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("says", "takes_s", "resumes_s"),
    [("Stop.", 5.0, 0.8), (EngineError("out of order"), 0.1, 0.2), ("", 0.1, 0.2)],
)
def test_without_words_the_sound_alone_tells(
    says: str | EngineError, takes_s: float, resumes_s: float
) -> None:
    async def main() -> None:
        engines = murmured(says, "All right.")
        async with virtual_call(engines, judge=LevelJudge(noisy=False)) as call:
            await told_a_story(call, 1.0)
            engines.stt.takes_s = takes_s
            onset_s = now_s()
            await call.say(murmur(0.4), quiet(8.0))
            assert call.at_s(OutputBufferResumed) - onset_s == pytest.approx(0.4 + resumes_s, abs=0.07)
            assert call.said()[-1] == ("assistant", LONG_REPLY)

    virtual_time.run(main())


def test_a_yes_over_the_assistants_last_word_is_an_answer() -> None:
    async def main() -> None:
        async with virtual_call(murmured("Yes.", "Yes."), judge=LevelJudge(noisy=False)) as call:
            await told_a_story(call, REPLY_S - 0.4)
            await call.say(murmur(0.3), quiet(3.0))
            assert call.said()[1:] == [
                ("assistant", LONG_REPLY),
                ("user", "Yes."),
                ("assistant", "All right."),
            ]
            assert not call.of(OutputBufferCleared), "the last word was still said"

    virtual_time.run(main())


def test_muting_after_a_command_does_not_lose_it() -> None:
    async def main() -> None:
        async with virtual_call(murmured("Stop.", "Stop."), judge=LevelJudge(noisy=False)) as call:
            await told_a_story(call, 1.0)
            await call.say(murmur(0.4))
            await call.event(OutputBufferStopped)
            assert call.said()[-2:] == [("user", "Stop."), ("assistant", "All right.")]

    virtual_time.run(main())


@pytest.mark.parametrize("what", ["reset", "clear_input", "commit_input", "close"])
def test_nobody_waits_for_words_that_the_client_decides_about(what: str) -> None:
    async def main() -> None:
        engines = murmured("Stop.", "Stop.", takes_s=0.5)
        async with virtual_call(engines, judge=LevelJudge(noisy=False)) as call:
            await told_a_story(call, 1.0)
            await call.say(murmur(0.4), quiet(0.2))
            assert len(engines.stt.sessions) == 2, "its words are asked"
            getattr(call.conversation, what)()
            if what == "close":
                return
            await call.say(quiet(9.0))
            assert engines.stt.sessions[1].aborted
            user = [text for role, text in call.said() if role == "user"]
            story = [] if what == "reset" else ["tell me a story"]
            assert user == ([*story, "Stop."] if what == "commit_input" else story)

    virtual_time.run(main())
