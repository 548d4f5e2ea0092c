"""A session as the Realtime API writes it: the changes that a client asks for, and the whole of it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Field, JsonValue, PlainValidator, ValidationError

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
from signaling.realtime_tools import FunctionTools, ToolChoiceFromClient, ToolChoiceToClient, WireFunctionTool

MIN_SPEED = 0.5
"""A slower voice is asked for in vain: the speed is clamped to this."""
MAX_SPEED = 2.0
MIN_THRESHOLD, MAX_THRESHOLD = 0.05, 0.95
"""Beyond these everything, or nothing, would be speech: the threshold is clamped to them."""

MAX_GREETING_CHARS = 1000
"""As in the configuration, section `speech_to_speech`."""

# --- from the client -------------------------------------------------------------------------------------


class TurnDetectionUpdate(FromClient):
    """Changes to the turn detection. Another `type` than the present one begins from that type's defaults."""

    type: Literal["server_vad", "semantic_vad"] | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)
    prefix_padding_ms: int | None = Field(default=None, ge=0, le=5000)
    silence_duration_ms: int | None = Field(default=None, ge=0, le=10_000)
    idle_timeout_ms: int | None = Field(default=None, ge=5000, le=30_000)
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


class AudioFormatUpdate(FromClient):
    """How audio in events is to be written. Of use only where events carry audio."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
    rate: Literal[24000] | None = None


class TranscriptionUpdate(FromClient):
    """Asks for transcripts of what the caller says. Whatever `model` is named, the server's own makes them.

    `prompt`: words that may be said, or a text that they continue.
    """

    model: str | None = Field(default=None, max_length=128)
    language: str | None = Field(default=None, max_length=35)
    prompt: str | None = Field(default=None, max_length=2000)


class NoiseReduction(FromClient):
    """Taken and given back; nothing here filters the audio."""

    type: Literal["near_field", "far_field"] | None = None
    strength: float | None = Field(default=None, ge=0, le=1)


class AudioInputUpdate(FromClient):
    format: AudioFormatUpdate | None = None
    noise_reduction: NoiseReduction | None = None
    transcription: TranscriptionUpdate | None = None
    turn_detection: TurnDetectionUpdate | None = None


class AudioOutputUpdate(FromClient):
    format: AudioFormatUpdate | None = None
    voice: VoiceName | None = None
    speed: float | None = Field(default=None, ge=0.25, le=MAX_SPEED)


class AudioUpdate(FromClient):
    input: AudioInputUpdate | None = None
    output: AudioOutputUpdate | None = None


class TokenLimits(ToClient):
    post_instructions: int | None = Field(default=None, ge=0, strict=True)


class RetentionRatio(ToClient):
    """How much of the conversation is kept where it grows too long."""

    type: Literal["retention_ratio"]
    retention_ratio: float = Field(ge=0, le=1, allow_inf_nan=False)
    token_limits: TokenLimits | None = None


class TracingOptions(ToClient):
    """What traces are called, where there are any."""

    model_config = ConfigDict(extra="ignore")
    workflow_name: str | None = None
    group_id: str | None = None
    metadata: dict[str, JsonValue] | None = None


Truncation: TypeAlias = Literal["auto", "disabled"] | RetentionRatio
Tracing: TypeAlias = Literal["auto"] | TracingOptions
MAX_TRACING_CHARS = 4000


def _truncation(value: object) -> Truncation:
    if value is None or value == "auto":
        return "auto"
    if value == "disabled":
        return "disabled"
    try:
        return RetentionRatio.model_validate(value)
    except ValidationError:
        raise ValueError('give "auto", "disabled", or a `retention_ratio` of 0 to 1') from None


def _tracing(value: object) -> Tracing | None:
    if value is None:
        return None
    if value == "auto":
        return "auto"
    if len(str(value)) > MAX_TRACING_CHARS:
        raise ValueError(f"give an object of {MAX_TRACING_CHARS} characters at most")
    try:
        return TracingOptions.model_validate(value)
    except ValidationError:
        raise ValueError('give "auto", or an object with `workflow_name`, `group_id`, `metadata`') from None


class SessionUpdate(FromClient):
    """Changes to a session; what is absent stays as it is.

    `type` cannot be changed once anything was said. `model` counts where a call begins.

    These are taken and given back, and change nothing here: `tracing`, `audio.input.noise_reduction`.

    `greeting` (ours): what is said when the call begins; only of use in the offer that begins it.
    `include` replaces the list of extras that the session wants; see `realtime_translation.INCLUDABLE`.
    """

    type: Literal["realtime", "transcription"] | None = None
    model: str | None = Field(default=None, min_length=1, max_length=128)
    prompt: NoPrompt = None
    parallel_tool_calls: bool | None = None
    tracing: Annotated[Tracing | None, PlainValidator(_tracing)] = None
    truncation: Annotated[Truncation | None, PlainValidator(_truncation)] = None
    instructions: str | None = Field(default=None, max_length=MAX_INSTRUCTIONS_CHARS)
    greeting: str | None = Field(default=None, max_length=MAX_GREETING_CHARS)
    output_modalities: OutputModalities | None = None
    max_output_tokens: MaxOutputTokens | None = None
    tools: FunctionTools | None = None
    tool_choice: ToolChoiceFromClient | None = None
    audio: AudioUpdate | None = None
    include: tuple[Annotated[str, Field(max_length=100)], ...] | None = Field(default=None, max_length=50)


def merged_updates(*updates: SessionUpdate | None) -> SessionUpdate | None:
    """One update that does what these do one after the other; None where there are none."""
    given = [update.model_dump(mode="json", exclude_unset=True) for update in updates if update is not None]
    if not given:
        return None
    merged: dict[str, Any] = {}
    for changes in given:
        merged = _merged(merged, changes)
    return SessionUpdate.model_validate_json(json.dumps(merged))


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    merged = dict(first)
    for name, value in second.items():
        before = merged.get(name)
        merged[name] = (
            _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
        )
    return merged


# --- to the client ---------------------------------------------------------------------------------------


class WireTurnDetection(ToClient):
    type: Literal["server_vad", "semantic_vad"]
    threshold: float | None = None
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None
    idle_timeout_ms: int | None = None
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: bool
    interrupt_response: bool


class WireTranscription(ToClient):
    model: str | None = None
    language: str | None = None
    prompt: str | None = None


class WireNoiseReduction(ToClient):
    type: Literal["near_field", "far_field"] | None = None
    strength: float | None = None


class WireAudioInput(ToClient):
    format: AudioFormat = AudioFormat()
    noise_reduction: WireNoiseReduction | None = None
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
    tools: tuple[WireFunctionTool, ...] = ()
    tool_choice: ToolChoiceToClient = "auto"
    max_output_tokens: int | Literal["inf"]
    parallel_tool_calls: bool | None = None
    tracing: Tracing | None = None
    truncation: Truncation | None = None
    include: tuple[str, ...] | None = None


class WireTranscriptionAudio(ToClient):
    input: WireAudioInput


class WireTranscriptionSession(ToClient):
    """The same for a session in which nothing is answered."""

    id: str
    object: Literal["realtime.transcription_session"] = "realtime.transcription_session"
    type: Literal["transcription"] = "transcription"
    audio: WireTranscriptionAudio
    include: tuple[str, ...] | None = None
