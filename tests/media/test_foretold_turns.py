"""Answers begun with words that were transcribed while the caller still spoke."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from media.audio import SPEECH_RATE_HZ, Audio
from media.caller_floor import TurnTakingSettings
from media.conversation_settings import ConversationSettings
from media.draft import Draft
from media.early_transcripts import same_words
from media.engines.protocols import ChatMessage, LlmRequest, SttOptions, Transcript
from media.errors import EngineError
from media.events import DraftSettled, ResponseDone, SpeechStopped, TranscriptCompleted, TurnForetold
from media.session import TurnDetection
from tests import virtual_time
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, ScriptedSttSession, quiet
from tests.virtual_call import SESSION, virtual_call

FORETELLING = ConversationSettings(turn_taking=TurnTakingSettings(foretell=True))
TAKES_S = 0.1
"""Of one transcription."""


class TakenStt(ScriptedStt):
    """Transcribes one after the other, as an engine with one thread does."""

    def open(self, options: SttOptions) -> TakenSttSession:
        session = TakenSttSession(options, self.says, self.takes_s)
        self.sessions.append(session)
        return session


class TakenSttSession(ScriptedSttSession):
    """Hears another text each time it is asked, the last one for ever."""

    def __init__(self, options: SttOptions, says: Sequence[str | EngineError], takes_s: float) -> None:
        super().__init__(options, "", takes_s)
        self.says = says
        self.asked_s: list[float] = []
        """How much had been pushed."""
        self._thread = asyncio.Lock()

    async def flush(self) -> Transcript:
        self.asked_s.append(self.pushed_s)
        said = self.says[min(len(self.asked_s), len(self.says)) - 1]
        pushed_s = self.pushed_s
        async with self._thread:
            await asyncio.sleep(self.takes_s)
        if isinstance(said, EngineError):
            raise said
        return Transcript(said, pushed_s, self.options.language)


def engines_that_hear(
    *says: str | EngineError, replies: Sequence[str] = ("To the first.", "To the second."), **stt: float
) -> ScriptedEngines:
    return ScriptedEngines(
        stt=TakenStt(says=says, **({"takes_s": TAKES_S} | stt)), llm=ScriptedLlm(replies=replies)
    )


def voice(duration_s: float) -> Audio:
    return Audio(np.full(round(duration_s * SPEECH_RATE_HZ), 0.9, dtype=np.float32), SPEECH_RATE_HZ)


def falling(duration_s: float) -> Audio:
    """Speech still, 17 dB softer."""
    return Audio(np.full(round(duration_s * SPEECH_RATE_HZ), 0.127, dtype=np.float32), SPEECH_RATE_HZ)


BROKEN_OFF = (quiet(0.3), voice(0.8), falling(0.096), voice(0.1))
"""Ends without falling: what was transcribed at the dip before lacks 0.19 s when the voice fades."""


def asked(engines: ScriptedEngines) -> list[str]:
    return [request.messages[-1].text for request in engines.llm.requests]


def test_what_lacks_next_to_nothing_is_the_turns_transcript() -> None:
    async def main() -> None:
        engines = engines_that_hear("how old", "How old.", "How old?")
        async with virtual_call(engines, FORETELLING) as call:
            await call.say(quiet(0.3), voice(0.8), falling(0.15), quiet(0.16))
            assert asked(engines) == ["how old"]
            await call.say(quiet(4.0))
            assert call.said() == [("user", "How old."), ("assistant", "To the first.")]
            assert len(engines.stt.sessions[0].asked_s) == 2, "nothing is transcribed after the fading"
            assert [settled.used for settled in call.of(DraftSettled)] == [True]
            assert [foretold.right for foretold in call.of(TurnForetold)] == [True]

    virtual_time.run(main())


def test_a_turn_that_ends_before_its_transcript_is_there_gets_it() -> None:
    async def main() -> None:
        engines = engines_that_hear("how", "how old", takes_s=0.2)
        detection = TurnDetection("server_vad", silence_s=0.13)
        async with virtual_call(engines, FORETELLING, turn_detection=detection) as call:
            await call.say(quiet(0.3), voice(0.8), falling(0.25), quiet(4.0))
            assert call.at_s(TranscriptCompleted) - call.at_s(SpeechStopped) > 0.04
            assert call.said() == [("user", "how old"), ("assistant", "To the second.")]
            assert len(engines.stt.sessions[0].asked_s) == 2

    virtual_time.run(main())


def test_the_answer_is_begun_when_the_voice_fades() -> None:
    async def main() -> None:
        engines = engines_that_hear("how old is it", "How old is it?")
        async with virtual_call(engines, FORETELLING) as call:
            await call.say(*BROKEN_OFF, quiet(0.07))
            assert asked(engines) == ["how old is it"], "all of it is still being transcribed"
            assert not call.of(SpeechStopped)
            await call.say(quiet(4.0))
            assert len(engines.llm.requests) == 1, "the words are the same"
            assert call.said() == [("user", "How old is it?"), ("assistant", "To the first.")]
            assert [settled.used for settled in call.of(DraftSettled)] == [True]
            (foretold,) = call.of(TurnForetold)
            assert foretold.right
            assert foretold.transcripts == 1
            assert foretold.engine_s == pytest.approx(TAKES_S)
            assert [said.transcript for said in call.of(TranscriptCompleted)] == ["How old is it?"]
            assert engines.llm.read_ahead[-1].messages[-2].text == "How old is it?"

    virtual_time.run(main())


def test_a_transcript_that_is_being_made_when_the_voice_fades_is_waited_for() -> None:
    async def main() -> None:
        engines = engines_that_hear("how old", "How old?", takes_s=0.2)
        async with virtual_call(engines, FORETELLING) as call:
            await call.say(*BROKEN_OFF, quiet(0.04))
            assert not engines.llm.requests
            await call.say(quiet(0.1))
            assert asked(engines) == ["how old"]
            await call.say(quiet(4.0))
            assert call.said() == [("user", "How old?"), ("assistant", "To the first.")]
            assert len(engines.llm.requests) == 1

    virtual_time.run(main())


def test_other_words_are_answered_anew() -> None:
    async def main() -> None:
        engines = engines_that_hear("how old is the brook", "How old is the Brooklyn Bridge?")
        async with virtual_call(engines, FORETELLING) as call:
            await call.say(*BROKEN_OFF, quiet(4.0))
            assert asked(engines) == ["how old is the brook", "How old is the Brooklyn Bridge?"]
            assert call.said()[-1] == ("assistant", "To the second.")
            assert [settled.used for settled in call.of(DraftSettled)] == [False, True]
            assert [foretold.right for foretold in call.of(TurnForetold)] == [False]
            assert [done.response.status for done in call.of(ResponseDone)] == ["completed"]

    virtual_time.run(main())


def test_who_goes_on_never_hears_of_it() -> None:
    async def main() -> None:
        engines = engines_that_hear("how", "How.", "how old", "How old?")
        async with virtual_call(engines, FORETELLING) as call:
            await call.say(quiet(0.3), voice(0.8), falling(0.15), quiet(0.08), voice(0.5))
            assert engines.llm.open_requests == 0, "its draft is dropped"
            await call.say(falling(0.15), quiet(4.0))
            assert call.said() == [("user", "How old?"), ("assistant", "To the second.")]
            assert [settled.used for settled in call.of(DraftSettled)] == [False, True]
            assert [foretold.right for foretold in call.of(TurnForetold)] == [True]

    virtual_time.run(main())


def test_a_voice_that_only_dips_is_read_ahead_and_not_answered() -> None:
    async def main() -> None:
        engines = engines_that_hear("how old", "How old is it?")
        async with virtual_call(engines, FORETELLING) as call:
            await call.say(quiet(0.3), voice(0.8), falling(0.15), voice(0.6))
            assert not engines.llm.requests
            read = [request.messages[-1].text for request in engines.llm.read_ahead]
            assert "how old" in read
            await call.say(quiet(0.1))
            assert not engines.llm.requests, "what is there lacks 0.6 s"
            await call.say(quiet(4.0))
            assert asked(engines) == ["How old is it?"]
            assert [foretold.right for foretold in call.of(TurnForetold)] == [False]

    virtual_time.run(main())


def test_what_lacks_too_much_gives_way_to_the_whole() -> None:
    async def main() -> None:
        engines = engines_that_hear("how", "How old is it?", takes_s=0.6)
        async with virtual_call(engines, FORETELLING) as call:
            await call.say(quiet(0.3), voice(0.8), falling(0.08), voice(0.4), quiet(0.75))
            assert asked(engines) == ["How old is it?"], "not after both, one after the other"
            await call.say(quiet(3.0))

    virtual_time.run(main())


def test_an_engine_that_is_too_slow_is_not_asked_again() -> None:
    async def main() -> None:
        engines = engines_that_hear("how old", takes_s=0.3)
        async with virtual_call(engines, FORETELLING) as call:
            for _ in range(4):
                await call.say(voice(0.5), falling(0.1))
            await call.say(quiet(3.0))
            assert [foretold.transcripts for foretold in call.of(TurnForetold)] == [1]

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("alone", "responds", "turn_taking"),
    [
        (False, True, TurnTakingSettings(foretell=True)),
        (True, False, TurnTakingSettings(foretell=True)),
        (True, True, TurnTakingSettings(foretell=True, answer_early=False)),
        (True, True, TurnTakingSettings(foretell=False)),
    ],
)
def test_it_is_done_only_where_it_helps_this_call_and_hurts_no_other(
    alone: bool, responds: bool, turn_taking: TurnTakingSettings
) -> None:
    async def main() -> None:
        engines = engines_that_hear("how old", "How old?")
        settings = ConversationSettings(turn_taking=turn_taking)
        async with virtual_call(engines, settings, alone=lambda: alone, responds=responds) as call:
            await call.say(quiet(0.3), voice(0.8), falling(0.15), quiet(4.0))
            assert engines.stt.sessions[0].asked_s == [pytest.approx(1.2, abs=0.2)]
            assert not call.of(TurnForetold)

    virtual_time.run(main())


def test_an_early_transcript_that_fails_harms_nothing() -> None:
    async def main() -> None:
        engines = engines_that_hear(EngineError("broken"), "How old?")
        async with virtual_call(engines, FORETELLING) as call:
            await call.say(quiet(0.3), voice(0.8), falling(0.15), quiet(4.0))
            assert call.said() == [("user", "How old?"), ("assistant", "To the first.")]
            assert not call.of(TurnForetold)

    virtual_time.run(main())


def test_an_answer_to_a_turn_that_cannot_be_transcribed_is_dropped() -> None:
    async def main() -> None:
        engines = engines_that_hear("how old", EngineError("broken"))
        async with virtual_call(engines, FORETELLING) as call:
            await call.say(quiet(0.3), voice(0.8), falling(0.15), quiet(4.0))
            assert [settled.used for settled in call.of(DraftSettled)] == [False]
            assert [foretold.right for foretold in call.of(TurnForetold)] == [False]
            assert call.audible_between(0, 10) == 0

    virtual_time.run(main())


def test_interrupting_works_as_ever_and_what_is_said_then_is_foretold() -> None:
    async def main() -> None:
        engines = engines_that_hear("how old", "How old?", replies=("One. " * 200, "Yes."))
        async with virtual_call(engines, FORETELLING) as call:
            await call.say(quiet(0.3), voice(0.8), falling(0.15), quiet(2.5), voice(0.8))
            assert call.of(ResponseDone)[0].response.reason == "turn_detected"
            assert engines.llm.open_requests == 0
            await call.say(falling(0.15), quiet(3.0))
            assert call.said()[-2:] == [("user", "How old?"), ("assistant", "Yes.")]
            assert [foretold.right for foretold in call.of(TurnForetold)] == [True, True]

    virtual_time.run(main())


def test_nothing_is_foretold_while_the_assistant_speaks() -> None:
    async def main() -> None:
        engines = engines_that_hear("how old", replies=("One. " * 200,))
        detection = replace(SESSION.turn_detection, interrupt_response=False)  # type: ignore[type-var]
        async with virtual_call(engines, FORETELLING, turn_detection=detection) as call:
            await call.say(quiet(0.3), voice(0.8), quiet(2.0))
            await call.say(voice(0.8), falling(0.15), quiet(1.0))
            assert not call.of(TurnForetold)

    virtual_time.run(main())


@pytest.mark.parametrize("silence_s", [0.0, 0.04, 0.1])
def test_a_turn_that_is_cleared_leaves_nothing(silence_s: float) -> None:
    async def main() -> None:
        engines = engines_that_hear("how old", "How old?")
        async with virtual_call(engines, FORETELLING) as call:
            await call.say(quiet(0.3), voice(0.8), falling(0.08), quiet(silence_s))
            call.conversation.clear_input()
            await call.say(quiet(2.0))
            assert not call.said()
            assert engines.llm.open_requests == 0
            assert all(not settled.used for settled in call.of(DraftSettled))

    virtual_time.run(main())


@pytest.mark.parametrize("silence_s", [0.0, 0.04, 0.1, 0.2])
def test_a_call_that_ends_in_the_meantime_leaves_nothing(silence_s: float) -> None:
    async def main() -> None:
        async with virtual_call(engines_that_hear("how old", "How old?"), FORETELLING) as call:
            await call.say(quiet(0.3), voice(0.8), falling(0.08), quiet(silence_s))

    virtual_time.run(main())


def test_a_persona_that_changes_in_the_meantime_is_asked_anew() -> None:
    async def main() -> None:
        engines = engines_that_hear("how old", "How old?")
        async with virtual_call(engines, FORETELLING) as call:
            await call.say(quiet(0.3), voice(0.8), falling(0.15), quiet(0.07))
            call.conversation.update(replace(call.conversation.session, instructions="Be another."))
            await call.say(quiet(4.0))
            assert [request.messages[0].text for request in engines.llm.requests] == [
                "Be brief.",
                "Be another.",
            ]
            assert call.said()[-1] == ("assistant", "To the second.")

    virtual_time.run(main())


def test_a_call_needs_the_engines_from_its_callers_first_word_to_its_answers_last() -> None:
    async def main() -> None:
        engines = engines_that_hear("how old", replies=("Hello there.",))
        async with virtual_call(engines, FORETELLING) as call:
            busy: list[bool] = []

            async def say(audio: Audio) -> None:
                await call.say(audio)
                busy.append(call.conversation.busy)

            await say(quiet(0.3))
            await say(voice(0.5))
            await say(quiet(0.1))
            await call.until(lambda: bool(call.of(ResponseDone)))
            await say(quiet(0.04))
            assert busy == [False, True, True, False]

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("How old is it?", "how old is it", True),
        ("Well, “yes” …", "well yes", True),
        ("half-past two", "half past two", False),
        ("It costs 3.50.", "It costs 350", False),
        ("At 2:30 p.m.", "at 2:30 p.m", True),
        ("Bridge", "Bridges", False),
        ("Straße", "STRASSE", True),
        ("你好。", "你好", True),
        ("", "?", True),
        ("no", "", False),
    ],
)
def test_words_are_the_same_whatever_their_capitals_and_punctuation(one: str, other: str, same: bool) -> None:
    assert same_words(one, other) is same
    assert same_words(other, one) is same


QUESTION = (ChatMessage("system", "Be brief."), ChatMessage("user", "How old is it?"))
REQUEST = LlmRequest(QUESTION, 160, 0.3, "conv")


@pytest.mark.parametrize(
    ("request_", "stands"),
    [
        (REQUEST, True),
        (replace(REQUEST, messages=(QUESTION[0], ChatMessage("user", "how old is it"))), True),
        (replace(REQUEST, messages=(QUESTION[0], ChatMessage("user", "how old it is"))), False),
        (replace(REQUEST, messages=(QUESTION[0], ChatMessage("assistant", "how old is it"))), False),
        (replace(REQUEST, messages=(ChatMessage("system", "be brief"), QUESTION[1])), False),
        (replace(REQUEST, messages=(*QUESTION, QUESTION[1])), False),
        (replace(REQUEST, messages=(QUESTION[0],)), False),
        (replace(REQUEST, max_tokens=20), False),
        (replace(REQUEST, temperature=0.0), False),
    ],
)
def test_a_draft_stands_for_what_asks_the_same(request_: LlmRequest, stands: bool) -> None:
    async def main() -> None:
        engines, streaming = ScriptedEngines().engines(), ConversationSettings().streaming
        draft = Draft(REQUEST, SESSION, "en-us", streaming, engines, lambda settled: None)
        assert draft.stands_for(request_) is stands
        assert (draft.request == request_) is stands

    virtual_time.run(main())
