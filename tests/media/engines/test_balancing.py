"""Engines in several places that share the work: who is asked, who is asked next, who is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest

from media.engines.fallback import FallbackLlm, FallbackStt, FallbackTts
from media.engines.fallback_order import FULL, Beside, FallbackEvent
from media.engines.protocols import ChatMessage, LlmDelta, LlmRequest, SpeechChunk, SttOptions, TtsRequest
from media.errors import EngineError
from tests import virtual_time
from tests.scripted import ScriptedLlm, ScriptedStt, WordByWord, speech

REQUEST = LlmRequest((ChatMessage("user", "Hello."),), 160, 0.3)
DOWN = EngineError("The endpoint cannot be reached.", code="llm_unreachable")
NO_ROOM = EngineError("All 1 slots of llm are taken.", code=FULL)
VOICES = ("af_heart",)


@dataclass
class Host(ScriptedLlm):
    """Answers with its name, or not; has room for so many."""

    room: int = 99
    away: bool = False
    probes: int = 0
    most: int = 0

    async def start(self) -> None:
        self._be_there()
        await super().start()

    async def probe(self) -> None:
        self.probes += 1
        self._be_there()

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        self._be_there()
        if self.open_requests >= self.room:
            raise NO_ROOM
        async for delta in super().reply(request):
            self.most = max(self.most, self.open_requests)
            yield delta

    def _be_there(self) -> None:
        if self.away:
            raise DOWN


def hosts(*names: str, **more: int) -> tuple[Host, ...]:
    return tuple(Host(name, replies=(name,), **more) for name in names)


async def said(llm: FallbackLlm, conversation: str = "") -> str:
    async with aclosing(llm.reply(replace(REQUEST, conversation=conversation))) as deltas:
        return "".join([delta.text async for delta in deltas])


async def said_at_once(llm: FallbackLlm, count: int, conversation: str = "") -> list[str]:
    async with asyncio.TaskGroup() as tasks:
        replies = [tasks.create_task(said(llm, conversation)) for _ in range(count)]
    return sorted(reply.result() for reply in replies)


def test_who_has_least_to_do_is_asked_and_else_each_in_turn() -> None:
    async def main() -> None:
        told: list[FallbackEvent] = []
        llm = FallbackLlm([Beside(hosts("a", "b", "c"))], told.append)
        await llm.start()
        assert await said_at_once(llm, 6) == ["a", "a", "b", "b", "c", "c"]
        assert sorted([await said(llm) for _ in range(3)]) == ["a", "b", "c"]
        assert told == []
        assert llm.name == "a, b, c"

    virtual_time.run(main())


def test_a_conversation_stays_where_it_has_been_read() -> None:
    async def main() -> None:
        a, b = hosts("a", "b")
        llm = FallbackLlm([Beside((a, b))], lambda _: None)
        await llm.start()
        first = [await said(llm, "one"), await said(llm, "two")]
        assert sorted(first) == ["a", "b"]
        assert [await said(llm, name) for name in ("one", "two", "two", "one")] == [*first, *first[::-1]]
        async with aclosing(llm.reply(replace(REQUEST, conversation="two", max_tokens=0))) as nothing:
            assert [delta.finish async for delta in nothing] == ["length"]
        at_home = {host.name: host for host in (a, b)}[first[1]]
        assert len(at_home.read_ahead) == 1
        at_home.away = True
        assert await said(llm, "two") == first[0]
        at_home.away = False
        await asyncio.sleep(2.1)
        assert await said(llm, "two") == first[0]  # it has been read there by now

    virtual_time.run(main())


def test_one_that_is_away_is_left_alone_and_asked_whether_it_is_back() -> None:
    async def main() -> None:
        told: list[FallbackEvent] = []
        a, b = hosts("a", "b")
        llm = FallbackLlm([Beside((a, b)), ScriptedLlm(replies=("near",))], told.append)
        await llm.start()
        a.away = True
        assert await said_at_once(llm, 2) == ["b", "b"]
        assert await said_at_once(llm, 2) == ["b", "b"]
        assert [type(event).__name__ for event in told] == ["FellBack"]
        b.away = True
        assert await said(llm) == "near"
        a.away = False
        await asyncio.sleep(2.1)
        assert "a" in await said_at_once(llm, 2)
        assert a.probes >= 1

    virtual_time.run(main())


def test_one_that_is_full_is_passed_over_at_once_and_nobody_is_alarmed() -> None:
    async def main() -> None:
        told: list[FallbackEvent] = []
        a, b = hosts("a", "b")
        a.room = 0
        llm = FallbackLlm([Beside((a, b))], told.append)
        await llm.start()
        began_s = asyncio.get_running_loop().time()
        assert await said(llm) == "b"
        assert asyncio.get_running_loop().time() - began_s < 0.1
        a.room = 9
        await asyncio.sleep(0.6)
        assert sorted([await said(llm), await said(llm)]) == ["a", "b"]
        assert (told, a.probes) == ([], 0)

    virtual_time.run(main())


def test_where_all_are_full_the_callers_wait_their_moment() -> None:
    async def main() -> None:
        both = hosts("a", "b", room=1)
        llm = FallbackLlm([Beside(both)], lambda _: None)
        await llm.start()
        assert await said_at_once(llm, 6) == ["a", "a", "a", "b", "b", "b"]
        assert {host.most for host in both} == {1}
        for host in both:
            host.room = 0
        with pytest.raises(EngineError, match="slots"):
            await said(llm)

    virtual_time.run(main())


# The voice and the transcriber


@dataclass
class Breaking(WordByWord):
    """Breaks off after so many words in all."""

    words: int = 2
    asked: list[TtsRequest] = field(default_factory=list)

    async def probe(self) -> None:
        pass

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        async with aclosing(super().speak(request)) as chunks:
            async for chunk in chunks:
                if self.words == 0:
                    self.words = 99
                    raise DOWN
                self.words -= 1
                yield chunk


async def words_of(tts: FallbackTts, text: str) -> list[str]:
    async with aclosing(tts.speak(TtsRequest(text, "af_heart"))) as chunks:
        return [word.text async for chunk in chunks for word in chunk.words]


def test_a_clause_that_breaks_off_is_gone_on_with_elsewhere() -> None:
    async def main() -> None:
        a, b = Breaking("a"), WordByWord("b")
        tts = FallbackTts([Beside((a, b))], VOICES, lambda _: None)
        await tts.start()
        assert await words_of(tts, "It opens at nine.") == ["It", "opens", "at", "nine."]
        assert [request.text for request in b.asked] == ["at nine."]

    virtual_time.run(main())


def test_behind_one_address_there_may_be_another_that_goes_on() -> None:
    async def main() -> None:
        balancer = Breaking()
        tts = FallbackTts([balancer], VOICES, lambda _: None)
        await tts.start()
        assert await words_of(tts, "It opens at nine.") == ["It", "opens", "at", "nine."]
        assert [request.text for request in balancer.asked] == ["It opens at nine.", "at nine."]

    virtual_time.run(main())


def test_turns_are_spread_and_one_that_nobody_transcribes_goes_elsewhere() -> None:
    async def main() -> None:
        a, b = ScriptedStt("a", says=("from a",)), ScriptedStt("b", says=("from b",))
        stt = FallbackStt([Beside((a, b))], lambda _: None)
        await stt.start()
        sessions = [stt.open(SttOptions("en")) for _ in range(4)]
        for session in sessions:
            await session.push(speech(1.0))
        heard = [(await session.flush()).text for session in sessions]
        assert sorted(heard) == ["from a", "from a", "from b", "from b"]
        for session in sessions:
            await session.abort()

        a.says = (NO_ROOM,)
        other = [stt.open(SttOptions("en")) for _ in range(2)]
        for session in other:
            await session.push(speech(1.0))
            assert (await session.flush()).text == "from b"
            await session.abort()

    virtual_time.run(main())
