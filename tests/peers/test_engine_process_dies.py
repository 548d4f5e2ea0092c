"""The engine process is killed in the middle of a real call, and the call goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.server_process import RunningServer, server
from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence
from signaling.caller import Caller
from tests.peers.voices import spoken

pytestmark = [pytest.mark.models, pytest.mark.timeout(300)]


ANSWER_LIMIT_S = 90.0
"""The engines load within it, on a busy machine."""

TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


@pytest.fixture(scope="module")
def running_server() -> Iterator[RunningServer]:
    with server({"VOXTRAL_KOKORO__PERFORMANCE__ENGINE_WAIT_S": "90"}) as running:
        yield running


@pytest.fixture(scope="module")
def question(models_dir: Path) -> Audio:
    said = spoken(models_dir, "What is the capital of France?", "bf_emma")
    return concatenate([said, silence(0.3, SPEECH_RATE_HZ)], SPEECH_RATE_HZ)


def kill_engines(running: RunningServer) -> None:
    os.kill(running.status()["engine_process"]["pid"], signal.SIGKILL)


async def asked_and_answered(caller: Caller, question: Audio) -> str:
    """Says the question; gives what was understood of it, once the answer has been heard."""
    async with asyncio.timeout(ANSWER_LIMIT_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(caller.say(question))
        heard = await caller.next_event(TRANSCRIBED)
        started = await caller.next_event("output_audio_buffer.started")
        await caller.next_audible(started.at_s)
        await caller.next_event("output_audio_buffer.stopped")
    return str(heard.event["transcript"]).lower()


@pytest.mark.parametrize(
    "moment", ["input_audio_buffer.speech_started", "input_audio_buffer.committed", "response.created"]
)
def test_a_turn_survives_the_death_of_the_engines(
    running_server: RunningServer, question: Audio, moment: str
) -> None:
    """Killed while the caller speaks, while they are transcribed, while the answer is made."""

    async def main() -> None:
        async with Caller(running_server.url) as caller:
            async with asyncio.timeout(ANSWER_LIMIT_S), asyncio.TaskGroup() as tasks:
                tasks.create_task(caller.say(question))
                await caller.next_event(moment)
                await asyncio.to_thread(kill_engines, running_server)
            print([e.type for e in caller.events])
            async with asyncio.timeout(ANSWER_LIMIT_S):
                done = await caller.next_event("response.done")
            print(done.event)
            assert "capital of france" in await asked_and_answered(caller, question)

    asyncio.run(main())
