"""The objects that Realtime events carry: sessions, items, content parts, responses.

What a client sends is lenient about what it does not know (vendors' clients send settings that mean nothing
here) and strict about what it does. What the server sends is frozen and is serialised without its nulls,
since some clients refuse a null where a field may be absent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_serializer

MIN_SPEED = 0.5
"""A slower voice is asked for in vain: the speed is clamped to this."""
MAX_SPEED = 2.0

MAX_INSTRUCTIONS_CHARS = 20_000
MAX_GREETING_CHARS = 1000
"""As in the configuration, section `speech_to_speech`."""


class FromClient(BaseModel):
    """Something a client sent. Fields that were not sent are told from nulls by `model_fields_set`."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class ToClient(BaseModel):
    """Something the server sends."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- from the client -------------------------------------------------------------------------------------

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


def _max_output_tokens(value: object) -> int | Literal["inf"]:
    if value == "inf":
        return "inf"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 4096:
        return value
    raise ValueError('give 1 to 4096, or "inf"')


MaxOutputTokens = Annotated[int | Literal["inf"], PlainValidator(_max_output_tokens)]
OutputModalities = Annotated[tuple[Literal["audio", "text"], ...], Field(min_length=1, max_length=1)]
"""One of the two: replies are spoken (and transcribed) or written."""
ItemId = Annotated[str, Field(min_length=1, max_length=128)]


class TurnDetectionUpdate(FromClient):
    """Changes to the turn detection. Another `type` than the present one begins from that type's defaults."""

    type: Literal["server_vad", "semantic_vad"] | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)
    silence_duration_ms: int | None = Field(default=None, ge=0, le=10_000)
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


class TranscriptionUpdate(FromClient):
    """Asks for transcripts of what the caller says. `model` is answered for by the server's own."""

    language: str | None = Field(default=None, max_length=35)


class AudioInputUpdate(FromClient):
    transcription: TranscriptionUpdate | None = None
    turn_detection: TurnDetectionUpdate | None = None


class AudioOutputUpdate(FromClient):
    voice: str | None = Field(default=None, min_length=1, max_length=64)
    speed: float | None = Field(default=None, ge=0.25, le=MAX_SPEED)


class AudioUpdate(FromClient):
    input: AudioInputUpdate | None = None
    output: AudioOutputUpdate | None = None


class SessionUpdate(FromClient):
    """Changes to a session; what is absent stays as it is.

    `greeting` (ours): what is said when the call begins; only of use in the offer that begins it.
    `include` replaces the list of extras that the session wants; see `realtime_translation.INCLUDABLE`.
    """

    type: Literal["realtime"] = "realtime"
    instructions: str | None = Field(default=None, max_length=MAX_INSTRUCTIONS_CHARS)
    greeting: str | None = Field(default=None, max_length=MAX_GREETING_CHARS)
    output_modalities: OutputModalities | None = None
    max_output_tokens: MaxOutputTokens | None = None
    audio: AudioUpdate | None = None
    include: tuple[Annotated[str, Field(max_length=100)], ...] | None = Field(default=None, max_length=50)


class PartFromClient(FromClient):
    """A content part: `text` for the text kinds, `transcript` for the audio ones."""

    type: Literal["input_text", "input_audio", "output_text", "output_audio"]
    text: str | None = None
    transcript: str | None = None


class ItemFromClient(FromClient):
    """A message that enters the conversation."""

    type: Literal["message"]
    role: Literal["user", "assistant", "system"]
    content: tuple[PartFromClient, ...] = Field(min_length=1)
    id: ItemId | None = None


class ResponseRequest(FromClient):
    """How one response shall differ from the session's settings."""

    instructions: str | None = Field(default=None, max_length=MAX_INSTRUCTIONS_CHARS)
    conversation: Literal["auto"] = "auto"
    output_modalities: OutputModalities | None = None
    max_output_tokens: MaxOutputTokens | None = None
    metadata: Metadata | None = None


# --- to the client ---------------------------------------------------------------------------------------


class WirePart(ToClient):
    """A content part of an item. A caller's audio whose transcript is not known yet says so with a null."""

    type: Literal["input_text", "input_audio", "output_text", "output_audio"]
    text: str | None = None
    transcript: str | None = None

    @model_serializer
    def _explicit(self) -> dict[str, str | None]:
        if self.type.endswith("_text"):
            return {"type": self.type, "text": self.text or ""}
        if self.type == "output_audio":
            return {"type": self.type, "transcript": self.transcript or ""}
        return {"type": self.type, "transcript": self.transcript}


class WireItem(ToClient):
    id: str
    object: Literal["realtime.item"] = "realtime.item"
    type: Literal["message"] = "message"
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["user", "assistant", "system"]
    content: tuple[WirePart, ...]


class ResponsePart(ToClient):
    """The part of a response's item, as `response.content_part.*` name it: `audio` or `text`."""

    type: Literal["audio", "text"]
    transcript: str | None = None
    text: str | None = None


class AudioFormat(ToClient):
    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24000] = 24000


class WireTurnDetection(ToClient):
    type: Literal["server_vad", "semantic_vad"]
    threshold: float | None = None
    silence_duration_ms: int | None = None
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: bool
    interrupt_response: bool


class WireTranscription(ToClient):
    language: str | None = None


class WireAudioInput(ToClient):
    format: AudioFormat = AudioFormat()
    transcription: WireTranscription | None = None
    turn_detection: WireTurnDetection | None = None


class WireAudioOutput(ToClient):
    format: AudioFormat = AudioFormat()
    voice: str
    speed: float


class WireAudio(ToClient):
    input: WireAudioInput
    output: WireAudioOutput


class WireSession(ToClient):
    """The whole effective session."""

    id: str
    object: Literal["realtime.session"] = "realtime.session"
    type: Literal["realtime"] = "realtime"
    model: str
    output_modalities: tuple[Literal["audio", "text"], ...]
    instructions: str
    audio: WireAudio
    tools: tuple[Any, ...] = ()
    tool_choice: Literal["auto"] = "auto"
    max_output_tokens: int | Literal["inf"]
    include: tuple[str, ...] | None = None


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
