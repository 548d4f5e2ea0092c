"""The messages of an engine host's `/v1/realtime`: speech goes in as it is spoken, its transcript comes back.

They are those of vLLM's realtime transcription, so that its clients work here unmodified, and some of our
own, for what that cannot do: the whole of an interim transcript, and a transcript after which the turn goes
on. docs/api.md is their table.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from media.audio import SPEECH_RATE_HZ, Audio
from media.clock import wall_time_s
from media.engines.protocols import Transcript
from media.errors import CallerError, VoxtralKokoroError
from media.items import new_id
from signaling.realtime_base import FromClient
from signaling.realtime_events import field_path

MAX_AUDIO_CHARS = 2_097_152
"""A longer piece of sound is refused: 49 seconds are one."""


class SessionUpdate(FromClient):
    """What the turns from now on are told.

    Attributes:
        model: that is to transcribe; its host has but one.
        language: a primary tag; None to detect it.
        prompt: words that may come.
        interim: our own: the client wants `transcription.interim`.
    """

    type: Literal["session.update"]
    model: str | None = None
    language: str | None = None
    prompt: str = ""
    interim: bool = False


class Append(FromClient):
    """More sound: base64 of 16-bit samples at 16 kHz, little-endian."""

    type: Literal["input_audio_buffer.append"]
    audio: Annotated[str, Field(max_length=MAX_AUDIO_CHARS)]

    def sound(self) -> Audio:
        """Raises: CallerError: it is none."""
        try:
            samples = np.frombuffer(base64.b64decode(self.audio, validate=True), "<i2")
        except (ValueError, binascii.Error):
            raise CallerError(
                "audio: not base64 of whole 16-bit samples.", code="invalid_value", param="audio"
            ) from None
        return Audio(samples.astype(np.int16), SPEECH_RATE_HZ)


class Commit(FromClient):
    """The turn begins; or, `final`, it is over, and its transcript is wanted."""

    type: Literal["input_audio_buffer.commit"]
    final: bool = False


class Flush(FromClient):
    """Our own: the transcript so far is wanted; the turn may go on."""

    type: Literal["input_audio_buffer.flush"]


class Clear(FromClient):
    """The turn is given up."""

    type: Literal["input_audio_buffer.clear"]


ClientMessage: TypeAlias = SessionUpdate | Append | Commit | Flush | Clear

_MESSAGE: TypeAdapter[ClientMessage] = TypeAdapter(Annotated[ClientMessage, Field(discriminator="type")])


def read_message(text: str) -> ClientMessage:
    """What a client sent.

    Raises:
        CallerError: it is none of these.
    """
    try:
        return _MESSAGE.validate_json(text)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        # The first of a path is which of the messages it was taken for.
        param = field_path(fault["loc"][1:])
        code = "unknown_type" if fault["type"].startswith("union_tag") else "invalid_value"
        sentence = f"{param}: {fault['msg']}" if param else f"The message cannot be read: {fault['msg']}"
        raise CallerError(sentence, code=code, param=param or None) from None


def created() -> str:
    """`session.created`: the greeting."""
    return _written("session.created", id=new_id("sess"), created=int(wall_time_s()))


def delta(text: str) -> str:
    """`transcription.delta`: what the transcript goes on with. Never taken back by another one."""
    return _written("transcription.delta", delta=text)


def interim(transcript: Transcript) -> str:
    """Our own `transcription.interim`: the transcript so far, whole; the next one may be another."""
    return _written("transcription.interim", **_members(transcript))


def flushed(transcript: Transcript) -> str:
    """Our own `transcription.flushed`: all so far; the turn may go on."""
    return _written("transcription.flushed", **_members(transcript))


def done(transcript: Transcript) -> str:
    """`transcription.done`: the turn's transcript, whatever the deltas were."""
    return _written("transcription.done", **_members(transcript))


def fault(error: VoxtralKokoroError) -> str:
    """`error`."""
    kind = "invalid_request_error" if isinstance(error, CallerError) else "server_error"
    param = error.param if isinstance(error, CallerError) else None
    return _written("error", error={"message": str(error), "type": kind, "code": error.code, "param": param})


def _members(transcript: Transcript) -> dict[str, Any]:
    return {
        "text": transcript.text,
        "language": transcript.language,
        "audio_s": round(transcript.audio_s, 3),
    }


def _written(kind: str, **members: Any) -> str:
    return json.dumps({"type": kind, **members}, ensure_ascii=False, separators=(",", ":"))
