"""The engines over HTTP and WebSockets, as OpenAI's API has it: what media servers, and others, may ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import asdict
from itertools import chain
from typing import Any

import numpy as np
from aiohttp import web

from media.audio import SPEECH_RATE_HZ, Audio
from media.clock import loop_time_s, wall_time_s
from media.engines.host import ENGINE_HOST
from media.engines.protocols import (
    LlmDelta,
    SpeechChunk,
    SttOptions,
    Transcript,
)
from media.errors import CallerError, EngineError
from media.wav import endless_wav_header
from server.audio_wire import SpeechRequest, TranscriptionForm, decoded, read_form, speech_event
from server.chat_wire import ChatRequest, Completion
from server.config import Config
from server.engine_failures import EngineFailures
from server.engine_process import EngineProcess
from server.engine_set import EngineSet
from server.event_stream import DONE, event, json_response, send_streamed
from server.gpu_watch import GpuWatch
from server.health import VERSION
from server.host_slots import HostRole, HostSlots
from server.transcription_socket import TranscriptionSocket
from signaling.request_body import checked_body, read_body
from signaling.web_socket import accepted

OPEN_PATHS = frozenset({"/health", "/ready"})
"""What needs no key."""

_PIECE_SAMPLES = SPEECH_RATE_HZ
_JSON = "application/json"


class EngineRoutes:
    """Answers the requests.

    Args:
        config: names the models, and limits.
        engine_set: the engines and how far they are.
        slots: how many requests each of them takes.
        decoding: reads compressed recordings; a thread of its own.
        process: the engines'; None where they are in this one.
        failures: the engines that failed.
        gpus: how full they are.
    """

    def __init__(
        self,
        config: Config,
        engine_set: EngineSet,
        slots: HostSlots,
        decoding: ThreadPoolExecutor,
        process: EngineProcess | None = None,
        failures: EngineFailures | None = None,
        gpus: GpuWatch | None = None,
    ) -> None:
        self._config = config
        self._engine_set = engine_set
        self._slots = slots
        self._decoding = decoding
        self._process = process
        self._failures = failures or EngineFailures()
        self._gpus = gpus
        self._began_s = loop_time_s()
        self._created = int(wall_time_s())

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/health", self._health),
            web.get("/ready", self._ready),
            web.get("/status", self._status),
            web.get("/v1/models", self._models),
            web.get("/v1/audio/voices", self._voices),
            web.post("/v1/audio/transcriptions", self._transcribe),
            web.get("/v1/realtime", self._listen),
            web.post("/v1/audio/speech", self._speak),
            web.post("/v1/chat/completions", self._complete),
        ]

    async def _health(self, _request: web.Request) -> web.Response:
        """The process lives and its loop turns."""
        return json_response({"status": "alive"})

    async def _ready(self, _request: web.Request) -> web.Response:
        """Whether a request that came now might be taken; if not, 503 and why."""
        refusal = self._slots.refusal()
        if refusal is not None:
            raise refusal
        return json_response({"ready": True})

    async def _status(self, _request: web.Request) -> web.Response:
        slots = self._slots
        return json_response(
            {
                "version": VERSION,
                "uptime_s": round(loop_time_s() - self._began_s, 1),
                "ready": slots.refusal() is None,
                "draining": slots.draining,
                "requests": {
                    role: {
                        "active": slots.active[role],
                        "limit": slots.limits[role],
                        "refused": slots.refused[role],
                    }
                    for role in slots.limits
                },
                "profile": self._config.profile,
                "engines": {report.role: asdict(report) for report in self._engine_set.reports},
                "fallbacks_on_need": self._failures.loads,
                "engine_failures": self._failures.report,
                "faults": self._failures.faults.report,
                "gpu_memory": None if self._gpus is None else self._gpus.report,
                "engine_process": None if self._process is None else asdict(self._process.report),
            }
        )

    async def _models(self, _request: web.Request) -> web.Response:
        names = dict.fromkeys((self._config.model.name, self._config.llm.name, self._config.tts.name))
        models = [
            {"id": name, "object": "model", "created": self._created, "owned_by": ENGINE_HOST}
            for name in names
        ]
        return json_response({"object": "list", "data": models})

    async def _voices(self, _request: web.Request) -> web.Response:
        voices = [
            {
                "id": voice.name,
                "name": voice.label,
                "language": voice.language,
                "unavailable": voice.unavailable,
            }
            for voice in self._engine_set.engines.tts.voices
        ]
        return json_response({"voices": voices})

    async def _transcribe(self, request: web.Request) -> web.StreamResponse:
        with self._slots.taken("stt"):
            form = await read_form(request, self._config.engine_host.max_body_bytes)
            self._require_model("stt", form.model)
            loop = asyncio.get_running_loop()
            audio = await loop.run_in_executor(self._decoding, decoded, form.recording)
            transcript = await self._words_of(audio, form)
        text = transcript.text
        if form.stream:
            delta = {"type": "transcript.text.delta", "delta": text}
            done = {"type": "transcript.text.done", "text": text, "language": transcript.language}

            async def items() -> AsyncGenerator[bytes, None]:
                yield event(delta)
                yield event(done)

            return await send_streamed(request, items(), lambda item: (item,))
        if form.response_format == "text":
            return web.Response(text=f"{text}\n")
        body: dict[str, Any] = {"text": text, "language": transcript.language}
        if form.response_format == "verbose_json":
            body = {"task": "transcribe", "duration": round(transcript.audio_s, 3), **body, "segments": []}
        return json_response(body)

    async def _words_of(self, audio: Audio, form: TranscriptionForm) -> Transcript:
        """Raises: EngineError; CallerError: the language is not spoken here."""
        stt = self._engine_set.engines.stt
        try:
            session = stt.open(SttOptions(form.language, form.prompt, partials=False))
        except EngineError as error:
            if error.code != "language_unavailable":
                raise
            raise CallerError(str(error), code=error.code, param="language") from error
        try:
            for start in range(0, len(audio), _PIECE_SAMPLES):
                await session.push(Audio(audio.samples[start : start + _PIECE_SAMPLES], audio.rate_hz))
            return await session.flush()
        finally:
            await session.abort()

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        """Holds its slot as long as it is connected."""
        with self._slots.taken("stt"):
            response, socket = await accepted(request)
            await TranscriptionSocket(
                socket,
                self._engine_set.engines.stt,
                lambda name: self._require_model("stt", name),
                self._slots.drain_begun,
                # As long as a recording may be.
                self._config.engine_host.max_body_bytes // (2 * SPEECH_RATE_HZ),
            ).run()
            return response

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        with self._slots.taken("tts"):
            wanted = checked_body(SpeechRequest, await self._body(request))
            self._require_model("tts", wanted.model)
            tts = self._engine_set.engines.tts
            async with aclosing(tts.speak(wanted.request())) as chunks:
                if wanted.stream_format == "sse":
                    return await send_streamed(
                        request,
                        chunks,
                        lambda chunk: (event(speech_event(chunk)),),
                        end=lambda: event({"type": "speech.audio.done"}),
                    )
                headers = [endless_wav_header(tts.rate_hz)] if wanted.response_format == "wav" else []

                def as_bytes(chunk: SpeechChunk) -> Iterable[bytes]:
                    samples = np.ascontiguousarray(chunk.audio.as_int16(), "<i2")
                    pieces = chain(tuple(headers), (samples.tobytes(),))
                    headers.clear()
                    return pieces

                kind = "audio/wav" if headers else f"audio/pcm; rate={tts.rate_hz}; channels=1"
                return await send_streamed(request, chunks, as_bytes, content_type=kind)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        with self._slots.taken("llm"):
            wanted = checked_body(ChatRequest, await self._body(request))
            self._require_model("llm", wanted.model)
            asked = wanted.request(self._config.llm.temperature)
            completion = Completion(wanted.model)
            try:
                async with aclosing(self._engine_set.engines.llm.reply(asked)) as deltas:
                    if wanted.stream:
                        return await self._stream(request, deltas, completion, with_usage=wanted.with_usage)
                    return json_response(completion.whole([delta async for delta in deltas]))
            except EngineError as error:
                if error.code != "context_full":
                    raise
                raise CallerError(str(error), code="context_length_exceeded", param="messages") from error

    async def _stream(
        self,
        request: web.Request,
        deltas: AsyncGenerator[LlmDelta, None],
        completion: Completion,
        *,
        with_usage: bool,
    ) -> web.StreamResponse:
        last = LlmDelta("", "stop")
        begun = False

        def as_bytes(delta: LlmDelta) -> Iterable[bytes]:
            nonlocal last, begun
            first, begun, last = not begun, True, delta
            return (event(completion.chunk(delta, first=first)),)

        def end() -> bytes:
            finish = b"" if begun else event(completion.chunk(LlmDelta("", "length"), first=True))
            usage = event(completion.usage_chunk(last)) if with_usage else b""
            return finish + usage + DONE

        return await send_streamed(request, deltas, as_bytes, end=end)

    async def _body(self, request: web.Request) -> bytes:
        return await read_body(request, _JSON, self._config.engine_host.max_body_bytes)

    def _require_model(self, role: HostRole, name: str) -> None:
        """Raises: CallerError: it is another than the one that is here."""
        here = {"stt": self._config.model.name, "llm": self._config.llm.name, "tts": self._config.tts.name}
        if name != here[role]:
            raise CallerError(
                f"There is no model {name!r} for this; there is {here[role]!r}.",
                code="model_not_found",
                param="model",
            )
