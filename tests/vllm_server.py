"""vLLM's `/v1/realtime` on loopback, with a toy for a model: what it hears is in the loudness of the sound.

Written from the protocol (`vllm/entrypoints/openai/realtime`): `session.created`; `session.update` with the
model, `input_audio_buffer.commit` to begin, `input_audio_buffer.append`; a `transcription.delta` for each
80 ms, 480 ms behind; `commit` with `final`, then the rest of the deltas and `transcription.done`.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from aiohttp import WSMsgType, web

from media.audio import Audio

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORD_S = 0.24

_LOUDNESS = 1000
_HEARD_SAMPLES = 3200
"""So much of a word must be heard: one that was cut in two is none."""
_TOKEN_SAMPLES = 1280
_DELAY_SAMPLES = 6 * _TOKEN_SAMPLES

Fault = Literal["", "mute", "fails", "silent", "cut", "gibberish"]
"""What a connection does instead: never greets; says `error` at the first sound; never says `done`; breaks
off after half a second of sound; sends what is no JSON."""


def saying(*words: str) -> Audio:
    """Words, one right after the other; "" is half a second without one."""
    parts = []
    for word in words:
        if word:
            loudness = _LOUDNESS * (1 + WORDS.index(word))
            parts.append(np.tile(np.array([loudness, -loudness], np.int16), round(WORD_S * 8000)))
        else:
            parts.append(np.zeros(8000, np.int16))
    return Audio(np.concatenate(parts), 16_000)


def heard_in(samples: npt.NDArray[np.int16]) -> str:
    """What the toy model hears."""
    loudness = np.abs(samples.astype(np.int32)) // _LOUDNESS
    changes = np.flatnonzero(np.diff(loudness, prepend=0, append=0))
    runs = [(int(loudness[start]), end - start) for start, end in itertools.pairwise(changes)]
    return " ".join(WORDS[level - 1] for level, length in runs if level and length >= _HEARD_SAMPLES)


@dataclass
class Stream:
    """One connection's transcription."""

    model: str | None = None
    begun: bool = False
    final: bool = False
    sound: bytearray = field(default_factory=bytearray)
    told_samples: int = 0
    told: str = ""
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def samples(self) -> npt.NDArray[np.int16]:
        return np.frombuffer(bytes(self.sound), "<i2")

    def deltas(self) -> list[str]:
        """One for each 80 ms that were heard meanwhile."""
        deltas = []
        samples = self.samples
        while self.told_samples + _TOKEN_SAMPLES <= len(samples):
            self.told_samples += _TOKEN_SAMPLES
            text = heard_in(samples[: max(0, self.told_samples - _DELAY_SAMPLES)])
            deltas.append(text[len(self.told) :])
            self.told = text
        return deltas


@dataclass
class VllmServer:
    """The server.

    Attributes:
        faults: of the first connection, the second …; later ones have none.
        key: that it asks for.
        streams: one a connection.
        connected: there is one.
    """

    faults: Sequence[Fault] = ()
    key: str = ""
    streams: list[Stream] = field(default_factory=list)
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    base_url: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[VllmServer]:
        app = web.Application()
        app.add_routes([web.get("/v1/models", self._models), web.get("/v1/realtime", self._realtime)])
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            yield self
        finally:
            await runner.cleanup()

    def _refuses(self, request: web.Request) -> bool:
        return bool(self.key) and request.headers.get("Authorization") != f"Bearer {self.key}"

    async def _models(self, request: web.Request) -> web.Response:
        if self._refuses(request):
            return web.json_response({"error": {"message": "no such key"}}, status=401)
        return web.json_response({"data": [{"id": "voxtral", "owned_by": "vllm"}]})

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        if self._refuses(request):
            return web.Response(status=403)
        fault = self.faults[len(self.streams)] if len(self.streams) < len(self.faults) else ""
        stream = Stream()
        self.streams.append(stream)
        self.connected.set()
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            if fault == "gibberish":
                await socket.send_str("hello?")
            elif fault != "mute":
                await socket.send_json({"type": "session.created", "id": "sess-1", "created": 1})
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._hear(socket, request, stream, json.loads(message.data), fault)
        finally:
            stream.closed.set()
        return socket

    async def _hear(
        self,
        socket: web.WebSocketResponse,
        request: web.Request,
        stream: Stream,
        event: dict[str, Any],
        fault: Fault,
    ) -> None:
        match event:
            case {"type": "session.update", "model": "voxtral"}:
                stream.model = "voxtral"
            case {"type": "session.update"}:
                await _fail(socket, f"The model `{event['model']}` does not exist.", "model_not_found")
            case {"type": "input_audio_buffer.append", "audio": audio}:
                stream.sound += base64.b64decode(audio)
                if fault == "fails":
                    await _fail(socket, "the engine is dead", "processing_error")
                if fault == "cut" and len(stream.sound) > 16_000:
                    assert request.transport is not None
                    request.transport.abort()
            case {"type": "input_audio_buffer.commit", "final": True}:
                stream.final = True
            case {"type": "input_audio_buffer.commit"}:
                stream.begun = stream.model is not None
            case _:
                await _fail(socket, f"Unknown event type: {event.get('type')}", "unknown_event")
        if stream.begun and fault not in ("fails", "silent"):
            for delta in stream.deltas():
                await socket.send_json({"type": "transcription.delta", "delta": delta})
            if stream.final:
                text = heard_in(stream.samples)
                await socket.send_json({"type": "transcription.delta", "delta": text[len(stream.told) :]})
                await socket.send_json({"type": "transcription.done", "text": text, "usage": None})


async def _fail(socket: web.WebSocketResponse, message: str, code: str) -> None:
    await socket.send_json({"type": "error", "error": message, "code": code})
