"""Any transcriber behind an endpoint that speaks OpenAI's `/audio/transcriptions`.

vLLM with Voxtral or Whisper, whisper.cpp's server, Speaches, hosted ones, and an engine host of ours.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Unpack

import aiohttp
import numpy as np
import numpy.typing as npt

from media.audio import SPEECH_RATE_HZ
from media.clock import loop_time_s
from media.engines.inference import Urgency
from media.engines.openai_endpoint import EndpointOptions, OpenAiEndpoint, next_piece, read_to_end
from media.engines.openai_faults import STT, EndpointFault
from media.engines.openai_transcript import TranscriptStream
from media.engines.protocols import SttOptions
from media.engines.recorded_session import Heard, RecordedSession
from media.engines.server_sent_events import EventReader
from media.engines.starting import closed_unless_started
from media.engines.stt_languages import require_language
from media.wav import wav_bytes

_SHORTEST_SAMPLES = SPEECH_RATE_HZ // 2
"""Shorter clips are filled up with silence: endpoints refuse them, and models invent words in them."""

_LONGEST_ANSWER_BYTES = 1024 * 1024

_NOISE_DBFS = -70.0
"""What is transcribed to see that it works."""


class OpenAiTranscription:
    """Satisfies `SttEngine`: the endpoint is sent the turn so far, again and again (`RecordedSession`).

    Args:
        base_url: without a slash at its end: `/audio/transcriptions` follows it.
        model: as the endpoint calls it.
        languages: that it can be told, as BCP-47 primary tags.
        partial_interval_s: how often a transcript is made while the caller speaks.
        extra_body: further fields of each request; None takes one away.
        options: of the endpoint.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        languages: tuple[str, ...],
        partial_interval_s: float = 0.5,
        extra_body: Mapping[str, Any] | None = None,
        **options: Unpack[EndpointOptions],
    ) -> None:
        self._endpoint = OpenAiEndpoint(STT, base_url, model, **options)
        self._languages = languages
        self._partial_interval_s = partial_interval_s
        self._extra_body = dict(extra_body or {})

    @property
    def name(self) -> str:
        return self._endpoint.name

    @property
    def languages(self) -> tuple[str, ...]:
        return self._languages

    async def start(self) -> None:
        """Asks which models there are, and has a moment of next to nothing transcribed.

        Raises:
            EngineError: the endpoint cannot be reached, does not accept the key, or does not transcribe.
        """
        if self._endpoint.is_started:
            return
        async with closed_unless_started(self):
            await self._endpoint.start()
            noise = np.random.default_rng(0).normal(0.0, 32768 * 10 ** (_NOISE_DBFS / 20), _SHORTEST_SAMPLES)
            await self.hear(noise.astype(np.int16), None, "")

    async def close(self) -> None:
        await self._endpoint.close()

    async def probe(self) -> None:
        """Asks, once, whether the endpoint is there.

        Raises:
            EngineError: it is not.
        """
        await self._endpoint.probe()

    def open(self, options: SttOptions) -> RecordedSession:
        """Starts a turn.

        Raises:
            EngineError: the language is none of `languages`.
        """
        require_language(self, options)
        return RecordedSession(self.hear, options, self._partial_interval_s)

    async def hear(
        self,
        samples: npt.NDArray[np.int16],
        language: str | None,
        prompt: str,
        _urgency: Urgency = Urgency.NOW,
    ) -> Heard:
        """What a piece of speech says. Cancelling closes the connection, at which endpoints stop.

        Args:
            samples: 16 kHz.
            language: None to detect it.
            prompt: words that may come, or what was said before.

        Raises:
            EngineError: the endpoint failed, and it helps no more to ask again.
        """
        missing = _SHORTEST_SAMPLES - len(samples)
        wav = wav_bytes(np.pad(samples, (0, max(0, missing))), SPEECH_RATE_HZ)
        once = partial(self._once, wav, language, prompt)
        async with aclosing(self._endpoint.tried(once)) as transcripts:
            async for heard in transcripts:
                return heard
        raise AssertionError("there is a transcript, or an error")

    async def _once(
        self, wav: bytes, language: str | None, prompt: str, deadline_s: float
    ) -> AsyncGenerator[Heard, None]:
        """Asks once; the one item is the transcript.

        Raises:
            EndpointFault: no transcript, or no whole one.
        """
        form = self._form(wav, language, prompt)
        async with self._endpoint.answer("/audio/transcriptions", deadline_s, data=form) as answer:
            if answer.content_type == "text/event-stream":
                heard = await self._from_events(answer, deadline_s)
            else:
                heard = _from_document(answer, await _whole(answer, deadline_s))
        yield heard if heard.language else Heard(heard.text, language)

    async def _from_events(self, answer: aiohttp.ClientResponse, deadline_s: float) -> Heard:
        """The transcript that comes in pieces."""
        stream, events = TranscriptStream(), EventReader()
        limit_s = deadline_s
        while not stream.done:
            piece = await next_piece(answer, limit_s)
            for event in events.push(piece) if piece else events.finish():
                stream.receive(event)
            if not piece:
                break
            limit_s = loop_time_s() + self._endpoint.patience.idle_s
        text = stream.last()
        await read_to_end(answer)
        return Heard(text, stream.language)

    def _form(self, wav: bytes, language: str | None, prompt: str) -> aiohttp.FormData:
        fields: dict[str, Any] = {
            "model": self._endpoint.model,
            "response_format": "json",
            "language": language,
            "prompt": prompt or None,
        } | self._extra_body
        form = aiohttp.FormData()
        for name, value in fields.items():
            if value is not None:
                form.add_field(name, value if isinstance(value, str) else json.dumps(value))
        form.add_field("file", wav, filename="speech.wav", content_type="audio/wav")
        return form


async def _whole(answer: aiohttp.ClientResponse, deadline_s: float) -> str:
    body = b""
    while piece := await next_piece(answer, deadline_s):
        body += piece
        if len(body) > _LONGEST_ANSWER_BYTES:
            raise EndpointFault(f"{STT.endpoint} sent more than {_LONGEST_ANSWER_BYTES} bytes.")
    return body.decode(errors="replace")


def _from_document(answer: aiohttp.ClientResponse, body: str) -> Heard:
    """The transcript that came whole."""
    if answer.content_type == "text/plain":
        return Heard(body.strip(), None)
    try:
        document = json.loads(body)
    except ValueError:
        raise EndpointFault(f"{STT.endpoint} sent a transcript that is not JSON.") from None
    text = document.get("text") if isinstance(document, Mapping) else None
    if not isinstance(text, str):
        raise EndpointFault(f"{STT.endpoint} sent an answer that holds no text.")
    language = document.get("language")
    return Heard(text.strip(), language if isinstance(language, str) and 2 <= len(language) <= 3 else None)
