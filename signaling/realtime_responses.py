"""Responses as the Realtime API writes them: what is asked for, and what became of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from signaling.realtime_base import (
    MAX_INSTRUCTIONS_CHARS,
    AudioFormat,
    FromClient,
    MaxOutputTokens,
    OutputModalities,
    ToClient,
)
from signaling.realtime_items import WireItem

# --- from the client -------------------------------------------------------------------------------------

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class ResponseRequest(FromClient):
    """How one response shall differ from the session's settings."""

    instructions: str | None = Field(default=None, max_length=MAX_INSTRUCTIONS_CHARS)
    conversation: Literal["auto"] = "auto"
    output_modalities: OutputModalities | None = None
    max_output_tokens: MaxOutputTokens | None = None
    metadata: Metadata | None = None


# --- to the client ---------------------------------------------------------------------------------------


class ResponsePart(ToClient):
    """The part of a response's item, as `response.content_part.*` name it: `audio` or `text`."""

    type: Literal["audio", "text"]
    transcript: str | None = None
    text: str | None = None


class StatusError(ToClient):
    type: str
    code: str | None = None
    message: str | None = None


class StatusDetails(ToClient):
    """Why a response ended otherwise than completed."""

    type: Literal["cancelled", "incomplete", "failed"]
    reason: str | None = None
    error: StatusError | None = None


class InputTokenDetails(ToClient):
    cached_tokens: int


class WireUsage(ToClient):
    total_tokens: int
    input_tokens: int
    output_tokens: int
    input_token_details: InputTokenDetails


class ResponseAudioOutput(ToClient):
    format: AudioFormat = AudioFormat()
    voice: str


class ResponseAudio(ToClient):
    output: ResponseAudioOutput


class WireResponse(ToClient):
    id: str
    object: Literal["realtime.response"] = "realtime.response"
    status: Literal["in_progress", "completed", "cancelled", "failed", "incomplete"]
    status_details: StatusDetails | None = None
    output: tuple[WireItem, ...]
    conversation_id: str
    output_modalities: tuple[Literal["audio", "text"], ...]
    audio: ResponseAudio | None = None
    metadata: dict[str, str] | None = None
    usage: WireUsage | None = None
