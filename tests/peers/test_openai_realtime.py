"""`openai`'s own Realtime client, unmodified, talks to the real server with the real models."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent

from bench.server_process import RunningServer, server
from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence
from media.clock import loop_time_s
from media.g711 import G711_RATE_HZ, decoded, encoded
from media.resampler import resample
from tests.peers.voices import spoken, transcribed, words

pytestmark = [pytest.mark.models, pytest.mark.timeout(300)]

RATE_HZ = 24_000
KEY = "sk-peer-0123456789abcdef"
ANSWER_LIMIT_S = 40.0
PIECE_S = 0.02


@pytest.fixture(scope="module")
def running_server() -> Iterator[RunningServer]:
    settings = {"VOXTRAL_KOKORO__SERVER__API_KEYS": f'["{KEY}"]', "VOXTRAL_KOKORO__LLM__TEMPERATURE": "0"}
    with server(settings) as running:
        yield running


@pytest.fixture(scope="module")
def question(models_dir: Path) -> Audio:
    return spoken(models_dir, "What is the capital of France?", "bf_emma")


class Peer:
    """A connection, and what came over it."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[RealtimeServerEvent] = []

    async def event(self, event_type: str) -> Any:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            while True:
                event = await self.connection.recv()
                self.events.append(event)
                assert event.type != "error", event
                if event.type == event_type:
                    return event

    async def append(self, data: bytes) -> None:
        await self.connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())

    async def say(self, data: bytes, piece_bytes: int) -> None:
        """In real time, in pieces of 20 ms."""
        began_s = loop_time_s()
        for index, start in enumerate(range(0, len(data), piece_bytes)):
            await self.append(data[start : start + piece_bytes])
            await asyncio.sleep(max(0.0, began_s + (index + 1) * PIECE_S - loop_time_s()))

    def sound(self) -> bytes:
        deltas = [event.delta for event in self.events if event.type == "response.output_audio.delta"]
        return b"".join(base64.b64decode(delta) for delta in deltas)


def pcm(audio: Audio, silence_s: float) -> bytes:
    at_24_khz = resample(audio, RATE_HZ)
    return concatenate([at_24_khz, silence(silence_s, RATE_HZ)], RATE_HZ).as_int16().tobytes()


def test_a_spoken_question_is_answered_in_speech(
    running_server: RunningServer, question: Audio, models_dir: Path
) -> None:
    """What the reply's audio says is what its transcript says, to ears that are not the server's own."""

    async def main() -> tuple[str, str, bytes]:
        async with (
            AsyncOpenAI(base_url=f"{running_server.url}/v1", api_key=KEY) as api,
            api.realtime.connect(model="gpt-realtime") as connection,
        ):
            peer = Peer(connection)
            await peer.event("session.created")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(peer.say(pcm(question, 1.5), round(PIECE_S * RATE_HZ) * 2))
                heard = await peer.event("conversation.item.input_audio_transcription.completed")
                done = await peer.event("response.done")
            assert done.response.status == "completed"
            return heard.transcript, done.response.output[0].content[0].transcript, peer.sound()

    heard, answer, sound = asyncio.run(main())
    assert {"capital", "france"} <= set(words(heard))
    assert "paris" in words(answer)
    voice = Audio(np.frombuffer(sound, np.int16), RATE_HZ)
    said = transcribed(models_dir, resample(voice, SPEECH_RATE_HZ))
    assert "paris" in words(said)


def test_a_telephone_sends_a_whole_recording_and_ends_its_turn(
    running_server: RunningServer, question: Audio, models_dir: Path
) -> None:
    """G.711, in one event, without turn detection."""

    async def main() -> bytes:
        async with (
            AsyncOpenAI(base_url=f"{running_server.url}/v1", api_key=KEY) as api,
            api.realtime.connect(model="gpt-realtime") as connection,
        ):
            peer = Peer(connection)
            await connection.session.update(
                session={
                    "type": "realtime",
                    "audio": {
                        "input": {"format": {"type": "audio/pcmu"}, "turn_detection": None},
                        "output": {"format": {"type": "audio/pcmu"}},
                    },
                }
            )
            await peer.event("session.updated")
            await peer.append(encoded(resample(question, G711_RATE_HZ).as_int16(), "mu"))
            await connection.input_audio_buffer.commit()
            await connection.response.create()
            heard = await peer.event("conversation.item.input_audio_transcription.completed")
            assert {"capital", "france"} <= set(words(heard.transcript))
            await peer.event("response.done")
            return peer.sound()

    voice = Audio(decoded(asyncio.run(main()), "mu"), G711_RATE_HZ)
    assert "paris" in words(transcribed(models_dir, resample(voice, SPEECH_RATE_HZ)))


def test_a_written_conversation_with_a_client_secret(running_server: RunningServer) -> None:
    async def main() -> None:
        async with AsyncOpenAI(base_url=f"{running_server.url}/v1", api_key=KEY) as api:
            secret = await api.realtime.client_secrets.create(
                session={"type": "realtime", "output_modalities": ["text"]}
            )
        async with (
            AsyncOpenAI(base_url=f"{running_server.url}/v1", api_key=secret.value) as api,
            api.realtime.connect(model="gpt-realtime") as connection,
        ):
            peer = Peer(connection)
            await connection.conversation.item.create(
                item={
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "What is the capital of France?"}],
                }
            )
            await connection.response.create()
            done = await peer.event("response.done")
            assert "paris" in words(done.response.output[0].content[0].text)

    asyncio.run(main())
