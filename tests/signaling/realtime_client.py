"""`openai`'s own client at a server with the real conversation, for the tests of the Realtime API."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent
from scripted import ScriptedEngines
from scripted_call import Serving, serving

from media.audio import Audio, concatenate, silence
from media.clock import loop_time_s
from media.conversation import Conversation
from media.conversation_settings import ConversationSettings
from media.events import CallEvent
from media.session import SessionConfig

RATE_HZ = 24_000


def question(duration_s: float = 1.0, silence_s: float = 1.0) -> Audio:
    """Loud enough for the scripted ear, and then nothing."""
    t = np.arange(round(duration_s * RATE_HZ), dtype=np.float32) / RATE_HZ
    tone = Audio((0.4 * np.sin(2 * np.pi * 300 * t)).astype(np.float32), RATE_HZ)
    return concatenate([tone, silence(silence_s, RATE_HZ)], RATE_HZ)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Client:
    """A connection of the SDK, and every event that came over it."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[RealtimeServerEvent] = []

    async def event(self, event_type: str) -> Any:
        """The next event of a type; those before it are kept, too."""
        while True:
            event = await self.connection.recv()
            self.events.append(event)
            if event.type == event_type:
                return event

    async def say(self, audio: Audio, piece_s: float = 0.02) -> None:
        """In real time, piece by piece."""
        step = round(piece_s * audio.rate_hz)
        began_s = loop_time_s()
        for index, start in enumerate(range(0, len(audio), step)):
            data = audio.as_int16()[start : start + step].tobytes()
            await self.connection.input_audio_buffer.append(audio=base64_of(data))
            await asyncio.sleep(max(0, began_s + (index + 1) * piece_s - loop_time_s()))

    @property
    def call_id(self) -> str:
        """As the answer to the handshake named it."""
        answer = self.connection._connection.response
        assert answer is not None
        return str(answer.headers["Location"]).removeprefix("/v1/realtime/calls/")

    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def sound(self, response_id: str | None = None) -> bytes:
        return b"".join(
            base64.b64decode(event.delta)
            for event in self.events
            if event.type == "response.output_audio.delta" and response_id in (None, event.response_id)
        )


@asynccontextmanager
async def connected(server: Serving, key: str = "none", **query: str) -> AsyncIterator[Client]:
    api = AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
    extra = {"model": "gpt-realtime", **query}
    async with api, api.realtime.connect(**extra) as connection:  # type: ignore[arg-type]
        yield Client(connection)


def serve(
    test: Callable[[Serving], Awaitable[None]], engines: ScriptedEngines | None = None, **options: Any
) -> None:
    """Runs a test against a server with a real conversation; every call of it must have ended well."""
    scripted = engines or ScriptedEngines()

    def converse(config: SessionConfig, notify: Callable[[CallEvent], None]) -> Conversation:
        return Conversation(scripted.engines(), ConversationSettings(), config, notify)

    async def main() -> None:
        async with asyncio.timeout(30), serving(converse=converse, **options) as server:
            await test(server)
            await server.host.all_free()
            assert not server.host.failures

    asyncio.run(main())
