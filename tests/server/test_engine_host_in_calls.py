"""Calls over real WebRTC whose engines are a host's, scripted ones, and the way there is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from media.engines.fallback import FallbackLlm, FallbackStt, FallbackTts
from media.engines.openai_chat import OpenAiChat
from media.engines.openai_endpoint import Patience
from media.engines.openai_speech import OpenAiSpeech
from media.engines.openai_transcription import OpenAiTranscription
from media.engines.protocols import Engines
from server.config import Config
from server.engine_failures import EngineFailures
from server.serve import Server, running_server
from server.serve_engines import running_host
from signaling.caller import Caller, CallerOptions
from tests.scripted import ScriptedEngines, ScriptedLlm, ScriptedStt, WordByWord
from tests.server.test_tools_in_calls import question
from tests.tcp_relay import TcpRelay

LIMIT_S = 60.0
IMPATIENT = Patience(1.0, 5.0, 5.0, retries_s=(0.02,), longest_retry_after_s=0.1)
WITHOUT_GREETING = CallerOptions(session={"greeting": ""})
SORRY = "Sorry, once more please."
TRANSCRIPT = "response.output_audio_transcript.done"
LONG = "The library in the old town opens at nine in the morning and it closes at noon."


@dataclass
class Scene:
    """A media server, what stands in, and the way to the host."""

    server: Server
    near: ScriptedEngines
    far: ScriptedEngines
    way: TcpRelay

    async def status(self) -> dict[str, Any]:
        async with aiohttp.ClientSession(self.server.health_url) as client:
            async with client.get("/status") as response:
                document: dict[str, Any] = await response.json()
        return document


@asynccontextmanager
async def scene(
    far: ScriptedEngines, near: ScriptedEngines, *, llm_is_near: bool = False
) -> AsyncIterator[Scene]:
    config = Config.model_validate(
        {
            "server": {"port": 0, "health_port": 0},
            "engine_host": {"port": 0},
            "speech_to_speech": {"apology": SORRY},
        }
    )
    failures = EngineFailures()
    async with (
        running_host(config, far.engines()) as host,
        TcpRelay(int(host.url.rpartition(":")[2])).running() as way,
    ):
        await host.engine_set.until_ready()
        url = f"http://127.0.0.1:{way.port}/v1"
        stt = OpenAiTranscription(url, config.model.name, languages=("en",), patience=IMPATIENT)
        llm = OpenAiChat(url, config.llm.name, patience=IMPATIENT)
        tts = OpenAiSpeech(url, config.tts.name, voice="af_heart", patience=IMPATIENT)
        engines = Engines(
            near.vad,
            near.turn_end,
            FallbackStt((stt, near.stt), failures.take),
            near.llm if llm_is_near else FallbackLlm((llm, near.llm), failures.take),
            FallbackTts((tts, near.tts), ("af_heart", "af_heart"), failures.take),
        )
        async with running_server(config, engines, engine_failures=failures) as server:
            await server.engine_set.until_ready()
            yield Scene(server, near, far, way)


async def next_done(caller: Caller) -> str:
    done = await caller.next_event("response.done")
    return str(done.event["response"]["status"])


def test_all_three_engines_are_a_hosts() -> None:
    async def main() -> None:
        far = ScriptedEngines(stt=ScriptedStt(says=("when does it open",)), llm=ScriptedLlm(replies=(LONG,)))
        async with asyncio.timeout(LIMIT_S), scene(far, ScriptedEngines()) as now:
            async with Caller(now.server.url, WITHOUT_GREETING) as caller:
                spoken_at_s = await caller.say(question())
                said = await caller.next_event(TRANSCRIPT)
                assert said.event["transcript"] == LONG
                assert caller.first_audible(spoken_at_s) is not None
            assert far.llm.requests[-1].messages[-1].text == "when does it open"
            assert far.llm.requests[-1].conversation
            assert now.near.stt.sessions == []
            assert (await now.status())["engine_failures"] == {}

    asyncio.run(main())


def test_a_host_that_dies_amid_a_sentence_costs_no_word_of_it() -> None:
    async def main() -> None:
        far = ScriptedEngines(llm=ScriptedLlm(replies=("ready", LONG), word_s=0.2), tts=WordByWord())
        near = ScriptedEngines(
            stt=ScriptedStt(says=("and when does it close",)),
            llm=ScriptedLlm(replies=(LONG, "At noon.")),
        )
        async with asyncio.timeout(LIMIT_S), scene(far, near) as now:
            async with Caller(now.server.url, WITHOUT_GREETING) as caller:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(caller.say(question()))
                    started = await caller.next_event("output_audio_buffer.started")
                    await caller.next_audible(started.at_s)
                    now.way.cut()
                    said = await caller.next_event(TRANSCRIPT)
                    assert said.event["transcript"] == LONG
                    assert await next_done(caller) == "completed"
                gone_on_with = near.llm.requests[-1].begun
                assert gone_on_with
                assert LONG.startswith(gone_on_with)
                await caller.next_event("output_audio_buffer.stopped")

                await caller.say(question())
                said = await caller.next_event(TRANSCRIPT)
                assert said.event["transcript"] == "At noon."
                assert near.llm.requests[-1].messages[-1].text == "and when does it close"
            failing = (await now.status())["engine_failures"]
            assert failing.keys() == {"stt", "llm", "tts"}
            assert {engine["works"] for engines in failing.values() for engine in engines} == {False}

    asyncio.run(main())


def test_a_voice_that_dies_amid_a_clause_is_gone_on_with() -> None:
    async def main() -> None:
        far, stand_in = ScriptedEngines(tts=WordByWord()), WordByWord()
        near = ScriptedEngines(llm=ScriptedLlm(replies=("ready", LONG)), tts=stand_in)
        async with asyncio.timeout(LIMIT_S), scene(far, near, llm_is_near=True) as now:
            async with Caller(now.server.url, WITHOUT_GREETING) as caller:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(caller.say(question()))
                    started = await caller.next_event("output_audio_buffer.started")
                    await caller.next_audible(started.at_s)
                    now.way.cut()
                    assert await next_done(caller) == "completed"
                gone_on_with = stand_in.asked[0]
                assert gone_on_with.before
                assert f"{gone_on_with.before} {gone_on_with.text}" in LONG
                assert LONG.endswith(stand_in.asked[-1].text)

    asyncio.run(main())
