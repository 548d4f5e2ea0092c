"""Any voice behind an endpoint that speaks OpenAI's `/audio/speech`.

Kokoro-FastAPI, Speaches, vLLM-Omni, hosted ones, and an engine host of ours.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Unpack

import aiohttp
import numpy as np

from media.audio import Audio
from media.clock import loop_time_s
from media.engines.kokoro_voices import LANGUAGES
from media.engines.openai_endpoint import EndpointOptions, OpenAiEndpoint, next_piece, read_to_end
from media.engines.openai_events import event_of
from media.engines.openai_faults import TTS, EndpointFault
from media.engines.protocols import SpeechChunk, SpokenWord, TtsRequest, Voice
from media.engines.server_sent_events import EventReader
from media.engines.starting import closed_unless_started
from media.errors import VoiceUnavailable
from media.resampler import StreamResampler
from media.speech_trim import pause_after_s
from media.streamed_trim import StreamedTrim
from media.wav import SoundReader

RATE_HZ = 24_000
"""What comes at another rate is converted to this."""

_KOKORO_NAME = re.compile(r"([a-z])[fm]_")
"""Names of Kokoro's voices say what they speak, whoever serves them."""

_RATE = re.compile(r"rate=(\d+)")


class OpenAiSpeech:
    """Satisfies `TtsEngine`.

    An engine host of ours is told what the clause goes on with, and tells the times of its words. Elsewhere
    the text is all that is said, and the sound is trimmed here.

    Args:
        base_url: without a slash at its end: `/audio/speech` follows it.
        model: as the endpoint calls it.
        voices: that it has; none asks it (`/audio/voices`), and takes `voice` where it does not know that.
        voice: the configured one.
        language: BCP-47 tag of what its voices speak, where neither it nor their names say so.
        rate_hz: of the bare samples that it sends, where it does not say so.
        extra_body: further fields of each request; None takes one away.
        options: of the endpoint.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        voice: str,
        voices: tuple[str, ...] = (),
        language: str = "en-us",
        rate_hz: int = RATE_HZ,
        extra_body: Mapping[str, Any] | None = None,
        **options: Unpack[EndpointOptions],
    ) -> None:
        self._endpoint = OpenAiEndpoint(TTS, base_url, model, **options)
        self._configured = voices
        self._language = language
        self._sent_rate_hz = rate_hz
        self._extra_body = dict(extra_body or {})
        self._voices = tuple(self._named(name) for name in voices or (voice,))

    @property
    def name(self) -> str:
        return self._endpoint.name

    @property
    def rate_hz(self) -> int:
        return RATE_HZ

    @property
    def voices(self) -> tuple[Voice, ...]:
        return self._voices

    async def start(self) -> None:
        """Asks which models and voices there are.

        Raises:
            EngineError: the endpoint cannot be reached, or does not accept the key.
        """
        if self._endpoint.is_started:
            return
        async with closed_unless_started(self):
            await self._endpoint.start()
            if not self._configured:
                listed = await self._endpoint.document("/audio/voices")
                self._voices = tuple(self._listed(listed)) or self._voices

    async def close(self) -> None:
        await self._endpoint.close()

    async def probe(self) -> None:
        """Asks, once, whether the endpoint is there.

        Raises:
            EngineError: it is not.
        """
        await self._endpoint.probe()

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        """Streams the clause. Closing the generator closes the connection, at which endpoints stop.

        Raises:
            VoiceUnavailable: the endpoint has no such voice.
            EngineError: it failed, and it helps no more to ask again.
        """
        voice = next((voice for voice in self._voices if voice.name == request.voice), None)
        if voice is None:
            raise VoiceUnavailable(f"There is no voice {request.voice!r} at {self.name}.")
        if voice.unavailable is not None:
            raise VoiceUnavailable(voice.unavailable)
        async with aclosing(self._endpoint.tried(partial(self._once, request))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _once(self, request: TtsRequest, deadline_s: float) -> AsyncGenerator[SpeechChunk, None]:
        """Asks once.

        Raises:
            EndpointFault: no sound, or not all of it.
        """
        body = self._body(request)
        async with self._endpoint.answer("/audio/speech", deadline_s, json=body) as answer:
            if answer.content_type == "text/event-stream":
                pieces: Pieces = EventPieces(RATE_HZ)
            else:
                pause_s = 0.0 if request.after else pause_after_s(request.text, speed=request.speed)
                pieces = BarePieces(_rate_hz(answer) or self._sent_rate_hz, pause_s)
            limit_s = deadline_s
            while piece := await next_piece(answer, limit_s):
                for chunk in pieces.push(piece):
                    yield chunk
                limit_s = loop_time_s() + self._endpoint.patience.idle_s
                if pieces.done:
                    break
            for chunk in pieces.finish():
                yield chunk
            await read_to_end(answer)

    def _body(self, request: TtsRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._endpoint.model,
            "input": request.text,
            "voice": request.voice,
            "speed": request.speed,
            "response_format": "pcm",
        }
        if self._endpoint.is_engine_host:
            body |= {
                "stream_format": "sse",
                "before": request.before,
                "after": request.after,
                "lead_s": request.lead_s,
            }
        body |= self._extra_body
        return {name: value for name, value in body.items() if value is not None}

    def _listed(self, listed: object) -> Iterator[Voice]:
        """The voices of `/audio/voices`: names, or objects, in a list that may be called `voices`."""
        if isinstance(listed, Mapping):
            listed = listed.get("voices", listed.get("data"))
        for entry in listed if isinstance(listed, list) else ():
            if isinstance(entry, str):
                yield self._named(entry)
            elif isinstance(entry, Mapping) and (name := entry.get("id") or entry.get("name")):
                known = self._named(str(name))
                unavailable = entry.get("unavailable")
                yield Voice(
                    known.name,
                    str(entry.get("language") or known.language),
                    str(entry.get("label") or entry.get("name") or known.label),
                    str(unavailable) if unavailable else None,
                )

    def _named(self, name: str) -> Voice:
        kokoro = _KOKORO_NAME.match(name)
        language = LANGUAGES.get(kokoro[1]) if kokoro else None
        return Voice(name, language or self._language, name)


class BarePieces:
    """Speech that comes as samples, in a file or bare: converted, and trimmed."""

    def __init__(self, rate_hz: int, pause_s: float) -> None:
        self._reader = SoundReader(rate_hz)
        self._resampler: StreamResampler | None = None
        self._trim = StreamedTrim(RATE_HZ, pause_s=pause_s)
        self.done = False

    def push(self, piece: bytes) -> Iterator[SpeechChunk]:
        audio = self._reader.push(piece)
        if audio is None:
            return
        if self._resampler is None:
            self._resampler = StreamResampler(audio.rate_hz, RATE_HZ)
        yield from _chunks(self._trim.push(self._resampler.push(audio).as_float32()))

    def finish(self) -> Iterator[SpeechChunk]:
        """The end of it.

        Raises:
            EndpointFault: nothing came.
        """
        if self._resampler is None:
            raise EndpointFault(f"{TTS.endpoint} sent no sound.", retryable=True)
        rest = self._trim.push(self._resampler.finish().as_float32())
        yield from _chunks(np.concatenate([rest, self._trim.finish()]))


class EventPieces:
    """Speech that comes as events: base64 of samples, and from an engine host of ours the words in them."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._events = EventReader()
        self.done = False

    def push(self, piece: bytes) -> Iterator[SpeechChunk]:
        for data in self._events.push(piece):
            yield from self._receive(data)

    def finish(self) -> Iterator[SpeechChunk]:
        """The end of it.

        Raises:
            EndpointFault: the stream ended before the speech did.
        """
        for data in self._events.finish():
            yield from self._receive(data)
        if not self.done:
            raise EndpointFault(f"{TTS.endpoint} ended the speech before its end.", retryable=True)

    def _receive(self, data: str) -> Iterator[SpeechChunk]:
        event = event_of(TTS, data)
        if event is None or event.get("type") == "speech.audio.done":
            self.done = True
            return
        if event.get("type") != "speech.audio.delta":
            return
        try:
            samples = np.frombuffer(base64.b64decode(event["audio"]), "<i2").astype(np.int16)
            words = tuple(
                SpokenWord(word["text"], word["start_s"], word["end_s"]) for word in event.get("words", ())
            )
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
            raise EndpointFault(f"{TTS.endpoint} sent an event that is none of speech.") from None
        yield SpeechChunk(Audio(samples, self._rate_hz), words)


Pieces = BarePieces | EventPieces


def _chunks(samples: np.ndarray[Any, np.dtype[np.float32]]) -> Iterator[SpeechChunk]:
    if len(samples):
        yield SpeechChunk(Audio(samples, RATE_HZ))


def _rate_hz(answer: aiohttp.ClientResponse) -> int | None:
    """The rate that an answer's headers give.

    Raises:
        EndpointFault: it is no sound, or compressed.
    """
    kind = answer.content_type
    if kind.startswith(("audio/mpeg", "audio/mp3", "audio/ogg", "audio/opus", "audio/aac", "audio/flac")):
        raise EndpointFault(
            f"{TTS.endpoint} sends {kind} and not samples: "
            "set tts.extra_body to {response_format: wav} or what it has for that."
        )
    if kind.startswith(("text/", "application/json")):
        raise EndpointFault(f"{TTS.endpoint} sends {kind} and no sound.")
    named = _RATE.search(answer.headers.get("Content-Type", ""))
    return int(named[1]) if named else None
