"""OpenAI's audio addresses from the serving side: a form with a recording, a text to be spoken."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from aiohttp import BodyPartReader, web
from pydantic import Field

from media.audio import SPEECH_RATE_HZ, Audio
from media.audio_file import read_audio
from media.engines.protocols import SpeechChunk, TtsRequest
from media.errors import CallerError
from signaling.realtime_base import FromClient, VoiceName

_LONGEST_FIELD_BYTES = 16 * 1024


class SpeechRequest(FromClient):
    """The body of `POST /v1/audio/speech`.

    Of our own: what the clause goes on with, `before` and `after`, and how much is still to be heard. They
    are `TtsRequest`'s.
    """

    model: str
    input: Annotated[str, Field(min_length=1, max_length=4096)]
    voice: VoiceName
    speed: Annotated[float, Field(ge=0.25, le=4)] = 1.0
    response_format: Literal["pcm", "wav"] = "wav"
    stream_format: Literal["audio", "sse"] = "audio"
    before: str = ""
    after: str = ""
    lead_s: Annotated[float, Field(ge=0)] = 0.0

    def request(self) -> TtsRequest:
        speed = min(2.0, max(0.5, self.speed))
        return TtsRequest(self.input, self.voice, speed, self.lead_s, self.before, self.after)


def speech_event(chunk: SpeechChunk) -> dict[str, Any]:
    """A chunk, as `speech.audio.delta`, with its words, which are our own."""
    samples = np.ascontiguousarray(chunk.audio.as_int16(), "<i2")
    words = [{"text": word.text, "start_s": word.start_s, "end_s": word.end_s} for word in chunk.words]
    audio = base64.b64encode(samples.tobytes()).decode()
    return {"type": "speech.audio.delta", "audio": audio, "words": words}


@dataclass(frozen=True, slots=True)
class TranscriptionForm:
    """What `POST /v1/audio/transcriptions` asks.

    Attributes:
        recording: the file, as it came.
        model: that is to transcribe it.
        language: a primary tag; None to detect it.
        prompt: words that may come.
        response_format: json, text or verbose_json.
        stream: as server-sent events.
    """

    recording: bytes
    model: str
    language: str | None
    prompt: str
    response_format: str
    stream: bool


async def read_form(request: web.Request, limit_bytes: int) -> TranscriptionForm:
    """The form of a transcription.

    Raises:
        CallerError: it is none, or too large, or asks for something that is not done here.
    """
    if request.content_type != "multipart/form-data":
        raise CallerError("The body must be multipart/form-data.", code="unsupported_media_type")
    recording: bytes | None = None
    fields: dict[str, str] = {}
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or part.name is None:
                continue
            is_file = part.name == "file"
            data = await _read(part, limit_bytes if is_file else _LONGEST_FIELD_BYTES)
            if is_file:
                recording = data
            else:
                fields[part.name] = data.decode("utf-8", "replace").strip()
    except ValueError as error:
        raise CallerError("The form cannot be read.", code="invalid_request") from error
    for name in ("file", "model"):
        if (recording is None) if name == "file" else (not fields.get("model")):
            raise CallerError(f"{name} is missing.", code="missing_required_parameter", param=name)
    kind = fields.get("response_format") or "json"
    if kind not in ("json", "text", "verbose_json"):
        raise CallerError(
            f"The response format {kind} is not done here: json, text or verbose_json.",
            code="unsupported_parameter",
            param="response_format",
        )
    assert recording is not None
    return TranscriptionForm(
        recording,
        fields["model"],
        fields.get("language") or None,
        fields.get("prompt", ""),
        kind,
        fields.get("stream", "").lower() in ("true", "1"),
    )


def decoded(recording: bytes) -> Audio:
    """A recording at 16 kHz, whatever FFmpeg reads. Blocking.

    Raises:
        CallerError: it holds no sound.
    """
    return read_audio(io.BytesIO(recording), SPEECH_RATE_HZ)


async def _read(part: BodyPartReader, limit_bytes: int) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk(64 * 1024):
        data += chunk
        if len(data) > limit_bytes:
            raise CallerError(f"The body is larger than {limit_bytes} bytes.", code="body_too_large")
    return bytes(data)
