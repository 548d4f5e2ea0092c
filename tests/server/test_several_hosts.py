"""Two engine hosts, each a process, that share the work of one media server; one is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import TypeVar

import aiohttp
import pytest

from media.audio import Audio
from media.engines.fallback import FallbackLlm, FallbackStt, FallbackTts
from media.engines.fallback_order import Beside, FallbackEvent
from media.engines.openai_chat import OpenAiChat
from media.engines.openai_endpoint import Patience
from media.engines.openai_speech import OpenAiSpeech
from media.engines.openai_transcription import OpenAiTranscription
from media.engines.protocols import ChatMessage, Engine, Engines, LlmRequest, SttOptions, TtsRequest
from media.engines.vllm_realtime import VllmRealtime
from media.engines.wire import CameBack, FellBack
from server.config import Config
from server.engine_failures import EngineFailures
from server.serve import running_server
from signaling.caller import Caller, CallerOptions
from tests.scripted import ScriptedEngines, speech
from tests.scripted_http_host import STORY, WHO, HostProcess, host_processes
from tests.server.test_tools_in_calls import question

E = TypeVar("E", bound=Engine)

LIMIT_S = 60.0
IMPATIENT = Patience(1.0, 5.0, 5.0, retries_s=(0.02,), longest_retry_after_s=0.1)
SORRY = "Sorry, once more please."
WITHOUT_GREETING = CallerOptions(session={"greeting": ""})
TRANSCRIPT = "response.output_audio_transcript.done"


@pytest.fixture
def both() -> Iterator[tuple[HostProcess, ...]]:
    with host_processes(2) as hosts:
        yield hosts


@dataclass
class Shared:
    """The engines of both."""

    stt: FallbackStt
    llm: FallbackLlm
    tts: FallbackTts


@asynccontextmanager
async def shared(hosts: tuple[HostProcess, ...], told: list[FallbackEvent]) -> AsyncIterator[Shared]:
    engines = adapters(hosts, EngineFailures(), told)
    for engine in (engines.stt, engines.llm, engines.tts):
        await engine.start()
    try:
        yield engines
    finally:
        for engine in (engines.stt, engines.llm, engines.tts):
            await engine.close()


def adapters(hosts: tuple[HostProcess, ...], failures: EngineFailures, told: list[FallbackEvent]) -> Shared:
    config = Config()

    def tell(event: FellBack | CameBack) -> None:
        failures.take(event)
        told.append(event)

    def beside(make: Callable[[str, str], E]) -> list[Beside[E]]:
        return [Beside(tuple(make(f"{host.url}/v1", host.url.partition("//")[2]) for host in hosts))]

    return Shared(
        FallbackStt(
            beside(
                lambda url, place: OpenAiTranscription(
                    url, config.model.name, languages=("en",), patience=IMPATIENT, place=place
                )
            ),
            tell,
        ),
        FallbackLlm(
            beside(lambda url, place: OpenAiChat(url, config.llm.name, patience=IMPATIENT, place=place)), tell
        ),
        FallbackTts(
            beside(
                lambda url, place: OpenAiSpeech(
                    url, config.tts.name, voice="af_heart", patience=IMPATIENT, place=place
                )
            ),
            ("af_heart",),
            tell,
        ),
    )


def asked(text: str, conversation: str = "") -> LlmRequest:
    return LlmRequest((ChatMessage("user", text),), 100, 0.0, conversation)


async def reply_of(llm: FallbackLlm, request: LlmRequest) -> str:
    async with aclosing(llm.reply(request)) as deltas:
        return "".join([delta.text async for delta in deltas])


async def who_has(role: str, hosts: tuple[HostProcess, ...]) -> HostProcess:
    """The one that has a clause (`tts`) or a turn (`stt`) under way, at once or in a moment."""
    async with aiohttp.ClientSession() as client:
        for host in cycle(hosts):
            async with client.get(f"{host.url}/status") as answer:
                if (await answer.json())["requests"][role]["active"]:
                    return host
    raise AssertionError("a cycle has no end")


def longest_silence_s(heard: Audio) -> float:
    """Between two sounds."""
    frame = round(0.02 * heard.rate_hz)
    loud = [
        at
        for at in range(0, len(heard) - frame, frame)
        if Audio(heard.samples[at : at + frame], heard.rate_hz).level_dbfs() > -45
    ]
    return max((later - sooner for sooner, later in pairwise(loud)), default=0) / heard.rate_hz - 0.02


def test_the_work_is_shared_and_each_conversation_stays(both: tuple[HostProcess, ...]) -> None:
    async def main() -> None:
        told: list[FallbackEvent] = []
        async with asyncio.timeout(LIMIT_S), shared(both, told) as engines:
            names = [f"call {at}" for at in range(4)]
            first = [await reply_of(engines.llm, asked(WHO, name)) for name in names]
            pids = {f"process {host.process.pid}" for host in both}
            assert set(first) == pids
            assert [first.count(pid) for pid in pids] == [2, 2]
            assert [await reply_of(engines.llm, asked(WHO, name)) for name in names] == first
            assert told == []

    asyncio.run(main())


def test_a_host_that_is_killed_amid_a_clause_is_gone_on_from_elsewhere(
    both: tuple[HostProcess, ...],
) -> None:
    async def main() -> None:
        told: list[FallbackEvent] = []
        async with asyncio.timeout(LIMIT_S), shared(both, told) as engines:
            words: list[str] = []
            sound_s = 0.0
            async with aclosing(engines.tts.speak(TtsRequest(STORY, "af_heart"))) as chunks:
                async for chunk in chunks:
                    words += [word.text for word in chunk.words]
                    sound_s += chunk.audio.duration_s
                    if len(words) == 3:
                        (await who_has("tts", both)).kill()
            assert words == STORY.split()
            assert abs(sound_s - 0.3 * len(words)) < 0.01
            assert [type(event) for event in told] == [FellBack]

            # Who is left has all of the work, whoever is asked first.
            session = engines.stt.open(SttOptions("en", partials=False))
            await session.push(speech(1.0))
            assert (await session.flush()).text == "and when does it open"
            await session.abort()
            for name in ("one", "two"):
                assert await reply_of(engines.llm, asked("Tell me.", name)) == STORY

    asyncio.run(main())


def test_a_host_that_is_killed_amid_a_reply_is_gone_on_from_elsewhere(
    both: tuple[HostProcess, ...],
) -> None:
    async def main() -> None:
        told: list[FallbackEvent] = []
        async with asyncio.timeout(LIMIT_S), shared(both, told) as engines:
            who = await reply_of(engines.llm, asked(WHO, "call"))
            text = ""
            async with aclosing(engines.llm.reply(asked("Tell me.", "call"))) as deltas:
                async for delta in deltas:
                    text += delta.text
                    if text.endswith(" in"):
                        for host in both:
                            if who == f"process {host.process.pid}":
                                host.kill()
            assert text == STORY
            assert [type(event) for event in told] == [FellBack]

    asyncio.run(main())


def test_a_turn_that_is_streamed_outlives_the_host_that_hears_it(both: tuple[HostProcess, ...]) -> None:
    async def main() -> None:
        told: list[FallbackEvent] = []
        model = Config().model.name
        hosts = [
            VllmRealtime(f"{host.url}/v1", model, languages=("en",), patience=IMPATIENT, place=host.url)
            for host in both
        ]
        stt = FallbackStt([Beside(tuple(hosts))], told.append)
        await stt.start()
        session = stt.open(SttOptions("en"))
        try:
            async with asyncio.timeout(LIMIT_S), aclosing(session.partials()) as partials:
                await session.push(speech(1.0))
                while (await anext(partials)).text != "and when":
                    pass
                (await who_has("stt", both)).kill()
                await session.push(speech(1.0))
                transcript = await session.flush()
            assert (transcript.text, transcript.audio_s) == ("and when does it open", 2.0)
            assert [type(event) for event in told] == [FellBack]
        finally:
            await session.abort()
            await stt.close()

    asyncio.run(main())


def test_a_call_outlives_one_of_its_hosts(both: tuple[HostProcess, ...]) -> None:
    """Over real WebRTC: the host that speaks is killed in the middle of its sentence."""

    async def main() -> None:
        near, failures = ScriptedEngines(), EngineFailures()
        config = Config.model_validate(
            {"server": {"port": 0, "health_port": 0}, "speech_to_speech": {"apology": SORRY}}
        )
        far = adapters(both, failures, [])
        engines = Engines(near.vad, near.turn_end, far.stt, far.llm, far.tts)
        async with (
            asyncio.timeout(LIMIT_S),
            running_server(config, engines, engine_failures=failures) as server,
        ):
            await server.engine_set.until_ready()
            async with Caller(server.url, WITHOUT_GREETING) as caller:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(caller.say(question()))
                    started = await caller.next_event("output_audio_buffer.started")
                    await caller.next_audible(started.at_s)
                    (await who_has("tts", both)).kill()
                    said = await caller.next_event(TRANSCRIPT)
                    assert said.event["transcript"] == STORY
                    done = await caller.next_event("response.done")
                    assert done.event["response"]["status"] == "completed"
                await caller.next_event("output_audio_buffer.stopped")
                silence_s = longest_silence_s(caller.recording())
                print(f"\na host is killed amid a sentence: silence of {silence_s:.2f} s")
                await caller.say(question())
                assert (await caller.next_event(TRANSCRIPT)).event["transcript"] == STORY
            assert failures.report

    asyncio.run(main())
