"""Responses as the Realtime API writes them: what is asked for, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from signaling.realtime_base import (
    MAX_INSTRUCTIONS_CHARS,
    AudioFormat,
    FromClient,
    MaxOutputTokens,
    NoPrompt,
    OutputModalities,
    ToClient,
    VoiceName,
)
from signaling.realtime_items import ItemOrReference, WireItem
from signaling.realtime_tools import FunctionTools, ToolChoiceFromClient

# --- from the client -------------------------------------------------------------------------------------

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


MAX_INPUT_ITEMS = 256


class ResponseAudioOutputRequest(FromClient):
    voice: VoiceName | None = None


class ResponseAudioRequest(FromClient):
    output: ResponseAudioOutputRequest | None = None


class ResponseRequest(FromClient):
    """How one response shall differ from the session's settings.

    `conversation` is `none` for one out of band, which leaves no trace in the conversation. `input` is
    answered instead of the conversation; an empty one leaves only the instructions.
    """

    instructions: str | None = Field(default=None, max_length=MAX_INSTRUCTIONS_CHARS)
    conversation: Literal["auto", "none"] | None = None
    input: tuple[ItemOrReference, ...] | None = Field(default=None, max_length=MAX_INPUT_ITEMS)
    audio: ResponseAudioRequest | None = None
    prompt: NoPrompt = None
    output_modalities: OutputModalities | None = None
    max_output_tokens: MaxOutputTokens | None = None
    metadata: Metadata | None = None
    tools: FunctionTools | None = None
    tool_choice: ToolChoiceFromClient | None = None
    parallel_tool_calls: bool | None = None


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


class CachedTokensDetails(ToClient):
    text_tokens: int
    audio_tokens: int = 0


class InputTokenDetails(ToClient):
    """All tokens are the LLM's, of text: what was said reaches it as words."""

    text_tokens: int
    audio_tokens: int = 0
    image_tokens: int = 0
    cached_tokens: int
    cached_tokens_details: CachedTokensDetails


class OutputTokenDetails(ToClient):
    text_tokens: int
    audio_tokens: int = 0


class WireUsage(ToClient):
    total_tokens: int
    input_tokens: int
    output_tokens: int
    input_token_details: InputTokenDetails
    output_token_details: OutputTokenDetails


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
    conversation_id: str | None
    output_modalities: tuple[Literal["audio", "text"], ...]
    max_output_tokens: int | Literal["inf"]
    audio: ResponseAudio | None = None
    metadata: dict[str, str] | None = None
    usage: WireUsage | None = None

    @model_serializer(mode="wrap")
    def _explicit(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Says with a null that it belongs to no conversation."""
        return {**fields(self), "conversation_id": self.conversation_id}
