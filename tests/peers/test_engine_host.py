"""A media server whose three engines are a host's on loopback, and a call when that host dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from bench.server_process import RunningServer, engine_host, free_port, server
from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence
from media.clock import loop_time_s
from signaling.caller import Caller, CallerOptions
from signaling.heard import HeardFrame
from tests.peers.voices import spoken

pytestmark = [pytest.mark.models, pytest.mark.timeout(400)]

WITHOUT_GREETING = CallerOptions(session={"greeting": ""})
KEY = "a-key-of-sixteen-characters"
PREFIX = "VOXTRAL_KOKORO__"

ANSWER_LIMIT_S = 60.0
GAP_LIMIT_S = 15.0
"""The longest that the voice may be away, on a busy machine, when the host dies amid its sentence."""

TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
STARTED, STOPPED = "output_audio_buffer.started", "output_audio_buffer.stopped"

SMALL = {f"{PREFIX}MODEL__MULTILINGUAL": "none", f"{PREFIX}LOGGING__FILE": "null"}
HOST = {**SMALL, f"{PREFIX}SERVER__API_KEYS": json.dumps([KEY])}


def using(host_url: str, *, fallbacks: bool) -> dict[str, str]:
    """The settings of a media server that has its engines there, and perhaps its own to stand in."""
    settings = dict(SMALL)
    names = {"MODEL": "tiny.en", "LLM": "smollm2-135m-instruct", "TTS": "kokoro-82m-int8"}
    for section, name in names.items():
        settings |= {
            f"{PREFIX}{section}__ENGINE": "openai",
            f"{PREFIX}{section}__NAME": name,
            f"{PREFIX}{section}__BASE_URL": f"{host_url}/v1",
            f"{PREFIX}{section}__API_KEY": KEY,
        }
    settings[f"{PREFIX}LLM__TEMPERATURE"] = "0"
    if fallbacks:
        settings |= {
            f"{PREFIX}MODEL__FALLBACKS": '[{"engine": "whisper", "multilingual": "none"}]',
            f"{PREFIX}LLM__FALLBACKS": '[{"engine": "llama.cpp"}]',
            f"{PREFIX}TTS__FALLBACKS": '[{"engine": "kokoro"}]',
        }
    return settings


def kill(running: RunningServer) -> None:
    """The host's first process; its engine process dies with it."""
    members = [running.process, *running.process.children(recursive=True)]
    os.kill(running.process.pid, signal.SIGKILL)
    psutil.wait_procs(members[1:], timeout=10)


@pytest.fixture(scope="module")
def question(models_dir: Path) -> Audio:
    said = spoken(models_dir, "What is the capital of France?", "bf_emma")
    return concatenate([said, silence(0.3, SPEECH_RATE_HZ)], SPEECH_RATE_HZ)


@pytest.fixture(scope="module")
def wish(models_dir: Path) -> Audio:
    said = spoken(models_dir, "Tell me a long story about a fox and a bear.", "bf_emma")
    return concatenate([said, silence(0.3, SPEECH_RATE_HZ)], SPEECH_RATE_HZ)


async def asked_and_answered(caller: Caller, question: Audio) -> str:
    """Says the question; gives what was understood of it, once the answer has been heard."""
    async with asyncio.timeout(ANSWER_LIMIT_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(caller.say(question))
        heard = await caller.next_event(TRANSCRIBED)
        started = await caller.next_event(STARTED)
        await caller.next_audible(started.at_s)
        await caller.next_event(STOPPED)
    return str(heard.event["transcript"]).lower()


def longest_gap_s(heard: Sequence[HeardFrame], since_s: float) -> float:
    """The longest time without an audible frame, up to the last one."""
    times = [frame.at_s for frame in heard if frame.at_s >= since_s and frame.is_active]
    return max((after - before for before, after in pairwise([since_s, *times])), default=0.0)


@pytest.fixture
def host() -> Iterator[RunningServer]:
    with engine_host(HOST) as running:
        yield running


def test_a_spoken_question_is_answered_by_engines_elsewhere_and_their_death_is_survived(
    host: RunningServer, question: Audio, wish: Audio
) -> None:
    """Killed in the middle of a sentence: the server's own engines go on with it."""

    async def main(running: RunningServer) -> None:
        async with Caller(running.url, WITHOUT_GREETING) as caller:
            assert "capital of france" in await asked_and_answered(caller, question)
            assert (await asyncio.to_thread(running.status))["engine_failures"] == {}

            async with asyncio.timeout(ANSWER_LIMIT_S), asyncio.TaskGroup() as tasks:
                tasks.create_task(caller.say(wish))
                started = await caller.next_event(STARTED)
                await caller.next_audible(started.at_s)
                await asyncio.to_thread(kill, host)
                killed_s = loop_time_s()
                done = await caller.next_event("response.done")
                if done.event["response"]["status"] == "failed":
                    # What was written of the reply is said; then comes the apology, in the other voice.
                    sorry = await caller.next_event("response.done")
                    assert sorry.event["response"]["status"] == "completed"
                await caller.next_event(STOPPED)
            gap_s = longest_gap_s(caller.heard, killed_s)
            print(
                f"killed amid a sentence: until the voice was at its end it was away for {gap_s:.2f} s; "
                f"the response {done.event['response']['status']}"
            )
            assert gap_s < GAP_LIMIT_S

            began_s = loop_time_s()
            assert "capital of france" in await asked_and_answered(caller, question)
            print(f"the next question was answered, to its end, within {loop_time_s() - began_s:.2f} s")
            failing = (await asyncio.to_thread(running.status))["engine_failures"]
            print(json.dumps(failing))
            assert {"stt", "llm"} <= failing.keys()
            assert all(not engine["works"] for engines in failing.values() for engine in engines)
            metrics = await asyncio.to_thread(running.metrics)
            assert metrics["engine_failures"]["llm"] >= 1

    with server(using(host.url, fallbacks=True)) as running:
        asyncio.run(main(running))


def test_without_others_the_call_outlives_the_host_and_is_answered_when_it_is_back(
    question: Audio, wish: Audio
) -> None:
    port = {f"{PREFIX}ENGINE_HOST__PORT": str(free_port())}

    async def main(running: RunningServer, host: RunningServer) -> None:
        async with Caller(running.url, WITHOUT_GREETING) as caller:
            async with asyncio.timeout(ANSWER_LIMIT_S), asyncio.TaskGroup() as tasks:
                tasks.create_task(caller.say(wish))
                started = await caller.next_event(STARTED)
                await caller.next_audible(started.at_s)
                await asyncio.to_thread(kill, host)
                done = await caller.next_event("response.done")
            print(f"the response was {done.event['response']['status']}")
            with engine_host({**HOST, **port}):
                assert "capital of france" in await asked_and_answered(caller, question)

    with engine_host({**HOST, **port}) as host:
        with server(using(host.url, fallbacks=False)) as running:
            asyncio.run(main(running, host))
