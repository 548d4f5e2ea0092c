"""The objects that messages of `/ws` are made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from media.items import ItemStatus, Modality, Role
from signaling.realtime_base import MAX_INSTRUCTIONS_CHARS, FromClient, ItemId, MaxOutputTokens, ToClient
from signaling.realtime_session_objects import MAX_GREETING_CHARS, MAX_SPEED, TurnDetectionUpdate
from signaling.realtime_tools import Parameters

Encoding: TypeAlias = Literal["int16", "float32"]
"""Mono samples, little-endian; float32 is in [-1, 1]."""

MIN_RATE_HZ = 8_000
MAX_RATE_HZ = 96_000
INPUT_RATE_HZ = 16_000
"""What a client's audio is taken for where it does not say."""
OUTPUT_RATE_HZ = 24_000
"""What it gets where it does not say: Kokoro's own."""

MAX_TEXT_CHARS = 20_000
MAX_TOOLS = 64

Rate: TypeAlias = Annotated[int, Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ)]

# --- from the client -------------------------------------------------------------------------------------


class AudioFormat(FromClient):
    """How sound is written."""

    encoding: Encoding = "int16"
    rate_hz: Rate


class ToolDefinition(FromClient):
    """A function of the client's that the assistant may ask for. `parameters`: JSON Schema of an object."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str = Field(default="", max_length=4096)
    parameters: Parameters = Field(default={"type": "object", "properties": {}})


class Settings(FromClient):
    """Changes to a session; what is absent stays as it is. A null `language` means: detect it."""

    instructions: str | None = Field(default=None, max_length=MAX_INSTRUCTIONS_CHARS)
    greeting: str | None = Field(default=None, max_length=MAX_GREETING_CHARS)
    voice: str | None = Field(default=None, min_length=1, max_length=64)
    speed: float | None = Field(default=None, ge=0.25, le=MAX_SPEED)
    language: str | None = Field(default=None, max_length=35)
    modality: Modality | None = None
    max_output_tokens: MaxOutputTokens | None = None
    turn_detection: TurnDetectionUpdate | None = None
    tools: tuple[ToolDefinition, ...] | None = Field(default=None, max_length=MAX_TOOLS)


class WrittenItem(FromClient):
    """A message of an earlier conversation, in words."""

    role: Role
    text: str = Field(min_length=1, max_length=MAX_TEXT_CHARS)
    item_id: ItemId | None = None


# --- to the client ---------------------------------------------------------------------------------------


class WireFormat(ToClient):
    """How sound is written."""

    encoding: Encoding
    rate_hz: int


class WireSettings(ToClient):
    """All settings of the session that a client can change; `language` is absent where it is detected."""

    instructions: str
    greeting: str
    voice: str
    speed: float
    language: str | None = None
    modality: Modality
    max_output_tokens: int | Literal["inf"]
    turn_detection: dict[str, Any] | None = None
    tools: tuple[str, ...] = ()
    """Their names."""


class WireItem(ToClient):
    """A message of the conversation. Its text may still be to come."""

    item_id: str
    role: Role
    status: ItemStatus
    text: str


class Fault(ToClient):
    code: str
    message: str
