"""A session as the Realtime API writes it: the changes that a client asks for, and the whole of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from signaling.realtime_base import (
    MAX_INSTRUCTIONS_CHARS,
    AudioFormat,
    FromClient,
    MaxOutputTokens,
    OutputModalities,
    ToClient,
)

MIN_SPEED = 0.5
"""A slower voice is asked for in vain: the speed is clamped to this."""
MAX_SPEED = 2.0

MAX_GREETING_CHARS = 1000
"""As in the configuration, section `speech_to_speech`."""

# --- from the client -------------------------------------------------------------------------------------


class TurnDetectionUpdate(FromClient):
    """Changes to the turn detection. Another `type` than the present one begins from that type's defaults."""

    type: Literal["server_vad", "semantic_vad"] | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)
    silence_duration_ms: int | None = Field(default=None, ge=0, le=10_000)
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


class AudioFormatUpdate(FromClient):
    """How audio in events is to be written. Of use only where events carry audio."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
    rate: Literal[24000] | None = None


class TranscriptionUpdate(FromClient):
    """Asks for transcripts of what the caller says. `model` is answered for by the server's own."""

    language: str | None = Field(default=None, max_length=35)


class AudioInputUpdate(FromClient):
    format: AudioFormatUpdate | None = None
    transcription: TranscriptionUpdate | None = None
    turn_detection: TurnDetectionUpdate | None = None


class AudioOutputUpdate(FromClient):
    format: AudioFormatUpdate | None = None
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


# --- to the client ---------------------------------------------------------------------------------------


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
