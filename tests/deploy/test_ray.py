"""Engine hosts on Ray Serve, started for real on loopback: asked by our own adapters; a replica is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import aiohttp
import pytest

from media.clock import loop_time_s
from media.engines.fallback import FallbackLlm, FallbackTts
from media.engines.openai_chat import OpenAiChat
from media.engines.openai_endpoint import Patience
from media.engines.openai_speech import OpenAiSpeech
from media.engines.openai_transcription import OpenAiTranscription
from media.engines.protocols import ChatMessage, LlmEngine, LlmRequest, SttOptions, TtsRequest
from media.engines.vllm_realtime import VllmRealtime
from media.engines.wire import CameBack, EngineEvent, FellBack
from server.config import Config
from tests.scripted import speech
from tests.scripted_http_host import STORY, WHO

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENT = Patience(first_s=30.0, idle_s=30.0)
REPLICAS_SLOTS = Config().engine_host.max_transcriptions
LLM, STT, TTS = Config().llm.name, Config().model.name, Config().tts.name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.deploy.ray_scripted", str(folder)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }
    with (folder / "log").open("wb") as log:
        driver = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    assert driver.stdin
    assert driver.stdout
    try:
        for line in driver.stdout:
            if line.startswith(b"{"):
                yield f"{json.loads(line)['url']}/v1"
                break
        else:
            pytest.fail((folder / "log").read_text())
    finally:
        driver.stdin.close()
        try:
            driver.wait(60)
        finally:
            driver.kill()
            driver.wait()
            driver.stdout.close()


def test_the_three_engines_are_asked_through_serve(url: str) -> None:
    async def main() -> None:
        stt = OpenAiTranscription(url, STT, languages=("en",), patience=PATIENT)
        llm = OpenAiChat(url, LLM, patience=PATIENT)
        tts = OpenAiSpeech(url, TTS, voice="af_heart", patience=PATIENT)
        for engine in (stt, llm, tts):
            await engine.start()
        try:
            session = stt.open(SttOptions("en", partials=False))
            await session.push(speech(2.5))
            assert (await session.flush()).text == "and when does it open"
            await session.abort()
            assert [voice.name for voice in tts.voices] == ["af_heart", "bf_emma", "jf_alpha"]

            deltas: list[float] = []
            text = ""
            async with aclosing(llm.reply(LlmRequest((ChatMessage("user", "Tell me."),), 99, 0.0))) as reply:
                async for delta in reply:
                    text += delta.text
                    deltas.append(loop_time_s())
            assert text == STORY
            assert deltas[-1] - deltas[0] > 0.05  # word by word, and not all at the end

            await until_both_work(llm)
        finally:
            for engine in (stt, llm, tts):
                await engine.close()

    asyncio.run(main())


async def until_both_work(llm: LlmEngine) -> None:
    ask = LlmRequest((ChatMessage("user", WHO),), 9, 0.0)
    answers: set[str] = set()
    async with asyncio.timeout(60):
        while len(answers) < 2:
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(text_of(llm, ask)) for _ in range(8)]
            answers = {answer.result() for answer in asked}


async def text_of(llm: LlmEngine, request: LlmRequest) -> str:
    async with aclosing(llm.reply(request)) as deltas:
        return "".join([delta.text async for delta in deltas])


def kill_who(does: str, folder: Path) -> None:
    os.kill(int((folder / does).read_text()), signal.SIGKILL)


def test_a_replica_that_is_killed_amid_a_clause_or_a_reply_is_gone_on_from_by_another(
    url: str, folder: Path
) -> None:
    async def main() -> None:
        told: list[EngineEvent] = []
        tts = FallbackTts(
            [OpenAiSpeech(url, TTS, voice="af_heart", patience=PATIENT)], ("af_heart",), told.append
        )
        llm = FallbackLlm([OpenAiChat(url, LLM, patience=PATIENT)], told.append)
        await tts.start()
        await llm.start()
        try:
            words: list[str] = []
            killed_s = again_s = 0.0
            async with aclosing(tts.speak(TtsRequest(STORY, "af_heart"))) as chunks:
                async for chunk in chunks:
                    words += [word.text for word in chunk.words]
                    if killed_s and not again_s and told:
                        again_s = loop_time_s()
                    if len(words) == 3:
                        kill_who("speaks", folder)
                        killed_s = loop_time_s()
            assert words == STORY.split()
            assert [type(event) for event in told] == [FellBack, CameBack]
            print(f"\na replica killed amid a clause: the next word came {again_s - killed_s:.2f} s later")

            began_s = loop_time_s()
            await until_both_work(llm)  # Serve has replaced it
            print(f"it was replaced within {loop_time_s() - began_s:.1f} s")

            text = ""
            async with aclosing(llm.reply(LlmRequest((ChatMessage("user", "Well?"),), 99, 0.0))) as deltas:
                async for delta in deltas:
                    text += delta.text
                    if text.endswith("town"):
                        kill_who("speaks", folder)
            assert text == STORY
            assert [type(event) for event in told[2:]] == [FellBack, CameBack]
        finally:
            await tts.close()
            await llm.close()

    asyncio.run(main())


def test_a_turn_is_streamed_through_serve_and_goes_on_where_its_replica_is_killed(
    url: str, folder: Path
) -> None:
    async def main() -> None:
        stt = VllmRealtime(url, STT, languages=("en",), patience=PATIENT)
        llm = OpenAiChat(url, LLM, patience=PATIENT)
        await stt.start()
        await llm.start()
        session = stt.open(SttOptions("en"))
        try:
            await until_both_work(llm)
            async with asyncio.timeout(60), aclosing(session.partials()) as partials:
                await session.push(speech(1.0))
                while (await anext(partials)).text != "and when":
                    pass
                kill_who("listens", folder)
                killed_s = loop_time_s()
                await session.push(speech(1.5))
                assert (await session.flush()).text == "and when does it open"
                took_s = loop_time_s() - killed_s
                print(f"\na replica killed amid a turn: all of it was written {took_s:.2f} s later")
                await session.push(speech(1.0))
                assert (await session.flush()).text.startswith("and when does it open")
        finally:
            await session.abort()
            await stt.close()
            await llm.close()

    asyncio.run(main())


def test_where_all_replicas_are_full_a_connection_is_refused_as_a_request_is(url: str) -> None:
    async def main() -> None:
        llm = OpenAiChat(url, LLM, patience=PATIENT)
        await llm.start()
        async with aiohttp.ClientSession() as client, AsyncExitStack() as sockets:
            sockets.push_async_callback(llm.close)
            await until_both_work(llm)  # whoever was killed before is replaced
            statuses = []
            for _ in range(2 * REPLICAS_SLOTS + 1):
                try:
                    socket = await sockets.enter_async_context(client.ws_connect(f"{url}/realtime"))
                except aiohttp.WSServerHandshakeError as refusal:
                    statuses.append(refusal.status)
                else:
                    assert (await socket.receive_json())["type"] == "session.created"
            assert statuses
            assert set(statuses) == {503}

    asyncio.run(main())
