"""Engines that stand in for each other: who is asked, and what is heard of it when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from media.engines.fallback import FallbackLlm, FallbackStt, FallbackTts
from media.engines.fallback_order import FallbackEvent
from media.engines.protocols import (
    CANNOT_CONTINUE,
    ChatMessage,
    LlmDelta,
    LlmRequest,
    SpeechChunk,
    SttOptions,
    ToolCallDelta,
    Transcript,
    TtsRequest,
    Voice,
)
from media.engines.wire import CameBack, FellBack
from media.errors import EngineError, VoiceUnavailable
from tests import virtual_time
from tests.scripted import ScriptedLlm, ScriptedStt, ScriptedSttSession, ScriptedTts, speech

REQUEST = LlmRequest((ChatMessage("user", "Hello."),), 160, 0.3)
DOWN = EngineError("The endpoint cannot be reached.", code="llm_unreachable")


async def text_of(llm: FallbackLlm) -> str:
    async with aclosing(llm.reply(REQUEST)) as deltas:
        return "".join([delta.text async for delta in deltas])


async def listed(items: AsyncGenerator[Any, None]) -> list[Any]:
    async with aclosing(items):
        return [item async for item in items]


@dataclass
class ProbedLlm(ScriptedLlm):
    """One that can be asked whether it is there, and may be away."""

    away: bool = False
    silent: bool = False
    probes: int = 0

    async def start(self) -> None:
        self._be_there()
        await super().start()

    async def probe(self) -> None:
        self.probes += 1
        if self.silent:
            await asyncio.Event().wait()
        self._be_there()

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        self._be_there()
        async for delta in super().reply(request):
            yield delta

    def _be_there(self) -> None:
        if self.away:
            raise DOWN


@dataclass
class Breaking(ScriptedLlm):
    """Breaks off amid its reply."""

    breaks: LlmDelta = field(default_factory=lambda: LlmDelta("Well, it"))

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        yield self.breaks
        raise DOWN


# Who is asked


def test_the_first_answers_as_long_as_it_works() -> None:
    async def main() -> None:
        told: list[FallbackEvent] = []
        first, second = ProbedLlm(replies=("first",)), ScriptedLlm(replies=("second",))
        llm = FallbackLlm((first, second), told.append)
        await llm.start()
        assert second.started
        assert [await text_of(llm), await text_of(llm)] == ["first", "first"]
        assert (second.requests, first.probes, told) == ([], 0, [])
        assert llm.name == "scripted, else scripted"
        await llm.close()
        assert not first.started
        assert not second.started

    virtual_time.run(main())


def test_the_next_answers_where_it_fails_and_the_first_again_when_it_is_back() -> None:
    async def main() -> None:
        told: list[FallbackEvent] = []
        first, second = ProbedLlm("near", replies=("first",)), ScriptedLlm(replies=("second",))
        llm = FallbackLlm((first, second), told.append)
        await llm.start()
        first.away = True
        assert await text_of(llm) == "second"
        reason = "The endpoint cannot be reached."
        failure = FellBack("llm", "near", "llm_unreachable", reason, elsewhere=True, stood_in_for=True)
        assert told == [failure]
        first.away = False
        assert await text_of(llm) == "second"  # it rests
        assert first.probes == 0
        await asyncio.sleep(2.1)
        assert await text_of(llm) == "first"
        assert first.probes == 1
        assert told[1:] == [CameBack("llm", "near")]
        assert await text_of(llm) == "first"
        assert first.probes == 1

    virtual_time.run(main())


def test_one_that_stays_away_is_asked_ever_less_often() -> None:
    async def main() -> None:
        first, second = ProbedLlm(away=False), ScriptedLlm(replies=("second",))
        llm = FallbackLlm((first, second), lambda _: None)
        await llm.start()
        first.away = True
        for _ in range(1200):
            assert await text_of(llm) == "second"
            await asyncio.sleep(1)
        assert 15 < first.probes < 30  # 2, 4, 8, 16, 32 s, then every minute

    virtual_time.run(main())


def test_one_that_hangs_costs_a_second() -> None:
    async def main() -> None:
        first, second = ProbedLlm(), ScriptedLlm(replies=("second",))
        llm = FallbackLlm((first, second), lambda _: None)
        await llm.start()
        first.away = True
        await text_of(llm)
        first.silent = True
        await asyncio.sleep(2.1)
        began_s = asyncio.get_running_loop().time()
        assert await text_of(llm) == "second"
        assert asyncio.get_running_loop().time() - began_s < 1.2

    virtual_time.run(main())


def test_one_that_did_not_start_is_started_when_it_is_there() -> None:
    async def main() -> None:
        first, second = ProbedLlm(replies=("first",), away=True), ScriptedLlm(replies=("second",))
        llm = FallbackLlm((first, second), lambda _: None)
        await llm.start()
        assert await text_of(llm) == "second"
        first.away = False
        await asyncio.sleep(2.1)
        assert await text_of(llm) == "first"
        assert first.started

    virtual_time.run(main())


def test_reading_ahead_is_for_whoever_would_be_asked_and_proves_nothing() -> None:
    ahead = replace(REQUEST, max_tokens=0)

    async def main() -> None:
        told: list[FallbackEvent] = []
        first, second = ProbedLlm(replies=(DOWN, "first")), ScriptedLlm(replies=("second",))
        llm = FallbackLlm((first, second), told.append)
        await llm.start()
        await listed(llm.reply(ahead))
        assert (len(first.read_ahead), len(second.read_ahead)) == (1, 0)
        assert await text_of(llm) == "second"
        await listed(llm.reply(ahead))
        assert (len(first.read_ahead), len(second.read_ahead)) == (1, 1)
        await asyncio.sleep(2.1)
        await listed(llm.reply(ahead))
        assert len(told) == 1  # it has not shown that it works
        first.away = True
        with pytest.raises(EngineError):
            await listed(llm.reply(ahead))
        assert await text_of(llm) == "second"
        assert first.probes == 0  # known already

    virtual_time.run(main())


def test_where_none_starts_that_is_an_error_and_where_none_works_the_last_ones() -> None:
    async def main() -> None:
        first, second = ProbedLlm(away=True), ProbedLlm(away=True)
        llm = FallbackLlm((first, second), lambda _: None)
        with pytest.raises(EngineError, match="cannot be reached"):
            await llm.start()
        second.away = False
        await llm.start()
        second.away = True
        for _ in range(3):  # those that rest are asked all the same
            with pytest.raises(EngineError, match="cannot be reached"):
                await text_of(llm)

    virtual_time.run(main())


def test_what_is_the_requests_fault_is_not_asked_of_another() -> None:
    async def main() -> None:
        first = ScriptedLlm(replies=(EngineError("Too long.", code="context_full"),))
        second = ScriptedLlm()
        llm = FallbackLlm((first, second), lambda _: None)
        await llm.start()
        with pytest.raises(EngineError, match="Too long"):
            await text_of(llm)
        assert second.requests == []

    virtual_time.run(main())


def test_a_reply_that_broke_off_is_gone_on_with() -> None:
    async def main() -> None:
        second = ScriptedLlm(replies=("Well, it is noon.",))
        llm = FallbackLlm((Breaking(), second), lambda _: None)
        await llm.start()
        assert await text_of(llm) == "Well, it is noon."
        assert second.requests == [replace(REQUEST, begun="Well, it")]
        assert await text_of(llm) == "Well, it is noon."
        assert second.requests[1] == REQUEST

    virtual_time.run(main())


def test_a_reply_that_nobody_can_go_on_with_fails_and_so_does_one_that_has_called() -> None:
    class Starting(ScriptedLlm):
        async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
            if request.begun:
                raise EngineError("It cannot go on with a reply.", code=CANNOT_CONTINUE)
            async for delta in super().reply(request):
                yield delta

    async def main() -> None:
        told: list[FallbackEvent] = []
        llm = FallbackLlm((Breaking(), Starting(replies=("second",))), told.append)
        await llm.start()
        with pytest.raises(EngineError, match="cannot be reached"):
            await text_of(llm)
        assert len(told) == 1  # it is no failure not to be able to
        assert await text_of(llm) == "second"

        called = (ToolCallDelta(0, "", "weather", "{"),)
        other = ScriptedLlm(replies=("second",))
        llm = FallbackLlm((Breaking(breaks=LlmDelta("", tool_calls=called)), other), told.append)
        await llm.start()
        with pytest.raises(EngineError, match="cannot be reached"):
            await text_of(llm)
        assert other.requests == []

    virtual_time.run(main())


# The voice


@dataclass
class BreakingTts(ScriptedTts):
    """Breaks off after so many words, each a chunk of its own; tells their times, or not."""

    breaks_after: int = 2
    tells_words: bool = True
    asked: list[TtsRequest] = field(default_factory=list)

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        self.asked.append(request)
        async for chunk in super().speak(request):
            for at, word in enumerate(chunk.words):
                if at == self.breaks_after:
                    raise DOWN
                sound = chunk.audio.slice_s(word.start_s, word.end_s)
                yield SpeechChunk(sound, (word,) if self.tells_words else ())


async def spoken(tts: FallbackTts, request: TtsRequest) -> list[SpeechChunk]:
    return await listed(tts.speak(request))


def test_a_clause_that_breaks_off_is_gone_on_with_from_its_next_word() -> None:
    async def main() -> None:
        first, second = BreakingTts(), BreakingTts(breaks_after=99)
        tts = FallbackTts((first, second), ("af_heart", "bf_emma"), lambda _: None)
        await tts.start()
        chunks = await spoken(tts, TtsRequest("It opens at nine.", "af_heart", 1.2, 3.0, "Well,", "And"))
        words = [word for chunk in chunks for word in chunk.words]
        assert [word.text for word in words] == ["It", "opens", "at", "nine."]
        assert [round(word.start_s, 3) for word in words] == [0.0, 0.3, 0.6, 0.9]
        assert round(sum(chunk.audio.duration_s for chunk in chunks), 3) == 1.2
        assert second.asked == [TtsRequest("at nine.", "af_heart", 1.2, 0.0, "Well, It opens", "And")]

    virtual_time.run(main())


def test_without_words_a_clause_that_broke_off_fails_and_one_that_had_not_begun_does_not() -> None:
    async def main() -> None:
        first, second = BreakingTts(tells_words=False), ScriptedTts()
        tts = FallbackTts((first, second), ("af_heart", "af_heart"), lambda _: None)
        await tts.start()
        with pytest.raises(EngineError, match="cannot be reached"):
            await spoken(tts, TtsRequest("It opens at nine.", "af_heart"))
        await asyncio.sleep(100)
        first.breaks_after = 0
        assert len(await spoken(tts, TtsRequest("It opens at nine.", "af_heart"))) == 1

    virtual_time.run(main())


def test_another_voice_speaks_where_there_is_not_the_one_that_is_wanted() -> None:
    async def main() -> None:
        first = BreakingTts(breaks_after=0, voices=(Voice("alloy", "en-us", "Alloy"),))
        second = BreakingTts(breaks_after=99)
        tts = FallbackTts((first, second), ("alloy", "bf_emma"), lambda _: None)
        await tts.start()
        assert [voice.name for voice in tts.voices] == ["alloy"]
        await spoken(tts, TtsRequest("Hello.", "alloy"))
        assert second.asked[0].voice == "bf_emma"

    virtual_time.run(main())


def test_a_voice_that_nobody_has_is_no_fault_of_the_engine() -> None:
    class Choosy(ScriptedTts):
        async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
            raise VoiceUnavailable("There is no such voice.")
            yield  # pragma: no cover - makes it a generator

    async def main() -> None:
        second = BreakingTts()
        tts = FallbackTts((Choosy(), second), ("af_heart", "af_heart"), lambda _: None)
        await tts.start()
        with pytest.raises(VoiceUnavailable):
            await spoken(tts, TtsRequest("Hello.", "nobody"))
        assert second.asked == []

    virtual_time.run(main())


def test_voices_of_another_rate_cannot_stand_in() -> None:
    with pytest.raises(ValueError, match="one rate"):
        FallbackTts((ScriptedTts(), replace(ScriptedTts(), rate_hz=16_000)), ("a", "b"), lambda _: None)


# The transcriber


class FailingSession(ScriptedSttSession):
    """Gives a partial or none, and no transcript."""

    async def partials(self) -> AsyncIterator[Transcript]:
        yield Transcript("what", self.pushed_s)
        raise DOWN

    async def flush(self) -> Transcript:
        raise DOWN


class FailingStt(ScriptedStt):
    def open(self, options: SttOptions) -> ScriptedSttSession:
        session = FailingSession(options, "", 0.1)
        self.sessions.append(session)
        return session


def test_a_turn_is_transcribed_by_the_next_with_all_that_was_said() -> None:
    async def main() -> None:
        told: list[FallbackEvent] = []
        first, second = FailingStt(), ScriptedStt(says=("what time is it",))
        stt = FallbackStt((first, second), told.append)
        await stt.start()
        session = stt.open(SttOptions("en"))
        await session.push(speech(1.0))
        await session.push(speech(0.5))
        transcript = await session.flush()
        assert (transcript.text, transcript.audio_s) == ("what time is it", 1.5)
        await session.push(speech(0.5))  # the turn goes on
        assert (await session.flush()).audio_s == 2.0
        assert first.sessions[0].aborted
        assert len(told) == 1
        await session.abort()
        assert second.sessions[0].aborted
        with pytest.raises(EngineError, match="aborted"):
            await session.flush()
        # The next turn does not ask it at all.
        other = stt.open(SttOptions("en"))
        await other.push(speech(1.0))
        await other.flush()
        assert len(first.sessions) == 1

    virtual_time.run(main())


def test_partials_go_on_with_the_next() -> None:
    async def main() -> None:
        first, second = FailingStt(), ScriptedStt(says=("what time is it",))
        stt = FallbackStt((first, second), lambda _: None)
        await stt.start()
        session = stt.open(SttOptions("en"))
        heard: list[str] = []

        async def follow() -> None:
            async for transcript in session.partials():
                heard.append(transcript.text)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            for _ in range(4):
                await session.push(speech(0.5))
                await asyncio.sleep(0.5)
            assert (await session.flush()).audio_s == 2.0
            await session.abort()
        assert heard[0] == "what"
        assert heard[-1] == "what time is it"

    virtual_time.run(main())


def test_a_flush_that_fails_takes_the_partials_with_it() -> None:
    class Quiet(FailingSession):
        async def partials(self) -> AsyncIterator[Transcript]:
            await self.ended.wait()
            for nothing in ():
                yield nothing

        def __init__(self, options: SttOptions) -> None:
            super().__init__(options, "", 0.1)
            self.ended = asyncio.Event()

        async def abort(self) -> None:
            await super().abort()
            self.ended.set()

    class QuietStt(ScriptedStt):
        def open(self, options: SttOptions) -> ScriptedSttSession:
            return Quiet(options)

    async def main() -> None:
        stt = FallbackStt((QuietStt(), ScriptedStt(says=("what time is it",))), lambda _: None)
        await stt.start()
        session = stt.open(SttOptions("en"))
        async with asyncio.TaskGroup() as tasks:
            partials = tasks.create_task(listed(session.partials()))
            await session.push(speech(1.0))
            await asyncio.sleep(0.1)
            assert (await session.flush()).text == "what time is it"
            await session.push(speech(1.0))
            await asyncio.sleep(0.1)
            await session.abort()
        assert [transcript.text for transcript in partials.result()][-1] == "what time is it"

    virtual_time.run(main())


def test_where_nobody_transcribes_that_is_an_error() -> None:
    async def main() -> None:
        stt = FallbackStt((FailingStt(), FailingStt()), lambda _: None)
        await stt.start()
        session = stt.open(SttOptions("en"))
        await session.push(speech(1.0))
        for _ in range(2):
            with pytest.raises(EngineError, match="cannot be reached"):
                await session.flush()
        with pytest.raises(EngineError) as raised:
            stt.open(SttOptions("xx"))
        assert raised.value.code == "language_unavailable"

    virtual_time.run(main())
