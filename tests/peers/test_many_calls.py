"""Many real calls to one real server: what they took is given back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from bench.server_process import RunningServer, server
from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence
from media.clock import loop_time_s
from signaling.caller import Caller, CallRefused
from tests.peers.voices import spoken

pytestmark = [pytest.mark.models, pytest.mark.timeout(300)]

ANSWER_LIMIT_S = 30.0


@pytest.fixture(scope="module")
def running_server() -> Iterator[RunningServer]:
    # Greedy: the answers, and so the memory that they take, are the same each time.
    settings = {"VOXTRAL_KOKORO__SERVER__MAX_CALLS": "4", "VOXTRAL_KOKORO__LLM__TEMPERATURE": "0"}
    with server(settings) as running:
        yield running


@pytest.fixture(scope="module")
def question(models_dir: Path) -> Audio:
    said = spoken(models_dir, "What is the capital of France?", "bf_emma")
    return concatenate([said, silence(0.3, SPEECH_RATE_HZ)], SPEECH_RATE_HZ)


async def until_nobody_calls(running: RunningServer, limit_s: float) -> None:
    await asyncio.to_thread(running.until_calls, 0, limit_s)


async def typed_call(running: RunningServer, text: str) -> None:
    async with Caller(running.url) as caller:
        begun_s = loop_time_s()
        caller.type_text(text)
        async with asyncio.timeout(ANSWER_LIMIT_S):
            await caller.next_event("output_audio_buffer.started")
            await caller.next_audible(begun_s)


async def spoken_call(running: RunningServer, question: Audio) -> str:
    async with Caller(running.url) as caller:
        await caller.say(question)
        async with asyncio.timeout(ANSWER_LIMIT_S):
            heard = await caller.next_event("conversation.item.input_audio_transcription.completed")
            await caller.next_event("output_audio_buffer.started")
        return str(heard.event["transcript"])


def test_fifty_calls_one_after_the_other_leave_nothing_behind(running_server: RunningServer) -> None:
    async def main() -> None:
        # The pools of the allocators fill during the first calls: +30 MB over 110 of them, then flat to 160.
        for _ in range(60):
            await typed_call(running_server, "Hi.")
        await until_nobody_calls(running_server, 5)
        before_mb = running_server.resident_mb()
        threads = running_server.process.num_threads()
        files = running_server.process.num_fds()
        for _ in range(50):
            await typed_call(running_server, "Hi.")
        await until_nobody_calls(running_server, 5)
        assert running_server.resident_mb() - before_mb < 25
        # The loop's own executor has up to 6 threads on two cores, and starts them when it needs them.
        assert running_server.process.num_threads() <= threads + 6
        assert running_server.process.num_fds() <= files + 3

    asyncio.run(main())


def test_four_calls_at_once_are_all_answered(running_server: RunningServer, question: Audio) -> None:
    async def four_calls() -> list[str]:
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(spoken_call(running_server, question)) for _ in range(4)]
        await until_nobody_calls(running_server, 5)
        return [call.result().lower() for call in calls]

    async def main() -> None:
        await four_calls()
        before_mb = running_server.resident_mb()
        heard = await four_calls()
        assert ["capital of france" in words for words in heard] == [True] * 4
        assert running_server.resident_mb() - before_mb < 25

    asyncio.run(main())


def test_polls_ten_times_a_second_do_not_disturb_a_call(running_server: RunningServer) -> None:
    async def poll(until_s: float) -> int:
        polls = 0
        async with aiohttp.ClientSession() as http:
            while loop_time_s() < until_s:
                for path in ("health", "ready", "status", "speech-to-speech/metrics", "metrics"):
                    async with http.get(f"{running_server.health_url}/{path}") as response:
                        assert response.status == 200
                polls += 1
                await asyncio.sleep(0.1)
        return polls

    async def main() -> None:
        async with Caller(running_server.url) as caller:
            caller.type_text("Tell me about the sea, the wind and the ships, in many words.")
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await caller.next_event("output_audio_buffer.started")
            begun_s = loop_time_s()
            assert await poll(begun_s + 3.0) > 15
            arrivals = [frame.at_s for frame in caller.heard if frame.at_s >= begun_s]
        gaps_s = sorted(later - earlier for earlier, later in itertools.pairwise(arrivals))
        # A packet each 20 ms; the caller, the engines and the polls share the processor with the server.
        # Of 150: between two clauses there may be silence, in which none is sent.
        assert len(arrivals) > 100
        assert gaps_s[int(len(gaps_s) * 0.95)] < 0.06

    asyncio.run(main())


def test_a_fifth_call_is_told_to_come_back(running_server: RunningServer) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            callers = [Caller(running_server.url) for _ in range(4)]
            for entering in [tasks.create_task(caller.__aenter__()) for caller in callers]:
                await entering
            with pytest.raises(CallRefused) as refused:
                await Caller(running_server.url).__aenter__()
            assert refused.value.status == 503
            for caller in callers:
                tasks.create_task(caller.__aexit__(None, None, None))
        await until_nobody_calls(running_server, 5)

    asyncio.run(main())


def test_a_caller_that_vanishes_in_mid_word_frees_the_line(
    running_server: RunningServer, question: Audio
) -> None:
    async def main() -> None:
        async with Caller(running_server.url) as caller:
            async with asyncio.TaskGroup() as tasks:
                saying = tasks.create_task(caller.say(question))
                await caller.next_event("input_audio_buffer.speech_started")
                await caller.vanish()
                saying.cancel()
            caller.call_id = ""  # and says no goodbye by HTTP either
        # Consent expires after about 30 s (RFC 7675, section 5.1).
        await until_nobody_calls(running_server, 60)

    asyncio.run(main())
