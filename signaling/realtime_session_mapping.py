"""Between the call's settings and the Realtime API's session object. Pure functions, both ways."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, assert_never

from pydantic import BaseModel

from media.errors import CallerError
from media.session import HALF, Retention, SessionConfig, TurnDetection
from signaling.realtime_base import PCM, AudioFormat, token_limit
from signaling.realtime_session_objects import (
    MAX_THRESHOLD,
    MIN_SPEED,
    MIN_THRESHOLD,
    NoiseReduction,
    RetentionRatio,
    SessionUpdate,
    Tracing,
    Truncation,
    TurnDetectionUpdate,
    WireAudio,
    WireAudioInput,
    WireAudioOutput,
    WireNoiseReduction,
    WireSession,
    WireTranscription,
    WireTranscriptionAudio,
    WireTranscriptionSession,
    WireTurnDetection,
)
from signaling.realtime_tools import choice_from_client, choice_to_wire, tools_from_client, tools_to_wire
from signaling.realtime_voices import voice_here

CHARS_A_TOKEN = 4
"""More or less, in most languages that are written in Latin letters."""


@dataclass(frozen=True, slots=True)
class WireState:
    """What a session has on the wire besides its `SessionConfig`.

    Attributes:
        session_id: `sess_…`
        conversation_id: `conv_…`
        model: the name under which the client asked for this server.
        include: the extras that the client asked for.
        input_format: of the caller's audio, where events carry it.
        output_format: likewise of the assistant's.
        transcription_model: the name under which it asked for transcripts.
        noise_reduction, parallel_tool_calls, tracing, truncation: as it wants them given back.
    """

    session_id: str
    conversation_id: str
    model: str
    include: tuple[str, ...] = ()
    input_format: AudioFormat = PCM
    output_format: AudioFormat = PCM
    transcription_model: str | None = None
    noise_reduction: WireNoiseReduction | None = None
    parallel_tool_calls: bool | None = None
    tracing: Tracing | None = None
    truncation: Truncation = "auto"


def changed_wire(wire: WireState, update: SessionUpdate) -> WireState:
    """The same with a client's changes that concern the wire alone. What it did not send stays."""
    changes: dict[str, Any] = {
        name: getattr(update, name)
        for name in ("include", "parallel_tool_calls", "tracing", "truncation")
        if _sent(update, name)
    }
    if "include" in changes:
        changes["include"] = update.include or ()
    if update.audio is not None:
        for name, side in (("input_format", update.audio.input), ("output_format", update.audio.output)):
            if side is not None and side.format is not None:
                kind = side.format.type
                changes[name] = AudioFormat(type=kind, rate=24000 if kind == "audio/pcm" else None)
    if update.audio is not None and update.audio.input is not None:
        listening = update.audio.input
        if listening.transcription is not None and listening.transcription.model is not None:
            changes["transcription_model"] = listening.transcription.model
        if _sent(listening, "noise_reduction"):
            changes["noise_reduction"] = _noise_reduction(wire.noise_reduction, listening.noise_reduction)
    return replace(wire, **changes)


def _noise_reduction(
    present: WireNoiseReduction | None, update: NoiseReduction | None
) -> WireNoiseReduction | None:
    if update is None:
        return None
    kept = present.model_dump() if present is not None else {}
    return WireNoiseReduction(**{**kept, **update.model_dump(exclude_none=True)})


def changed_session(session: SessionConfig, update: SessionUpdate, voices: tuple[str, ...]) -> SessionConfig:
    """The session with a client's changes. What the client did not send stays.

    Args:
        session: as it is.
        update: the client's.
        voices: those that can be had.

    Raises:
        CallerError: settings that do not go together.
    """
    changes: dict[str, Any] = {}
    if update.type is not None:
        changes["responds"] = update.type == "realtime"
    if update.instructions is not None:
        changes["instructions"] = update.instructions
    if update.greeting is not None:
        changes["greeting"] = update.greeting
    if update.output_modalities is not None:
        changes["modality"] = update.output_modalities[0]
    if update.max_output_tokens is not None:
        changes["max_output_tokens"] = token_limit(update.max_output_tokens)
    if update.tools is not None:
        changes["tools"] = tools_from_client(update.tools)
    if update.tool_choice is not None:
        changes["tool_choice"] = choice_from_client(update.tool_choice)
    if _sent(update, "parallel_tool_calls"):
        changes["parallel_calls"] = update.parallel_tool_calls is not False
    if update.truncation is not None:
        changes["retention"] = _retention(update.truncation)
    if update.audio is not None and update.audio.output is not None:
        output = update.audio.output
        if output.voice is not None:
            changes["voice"] = voice_here(output.voice, session.voice, voices)
        if output.speed is not None:
            changes["speed"] = max(MIN_SPEED, output.speed)
    if update.audio is not None and update.audio.input is not None:
        listening = update.audio.input
        if _sent(listening, "transcription"):
            changes["transcribe"] = listening.transcription is not None
            if listening.transcription is not None and _sent(listening.transcription, "language"):
                language = listening.transcription.language or ""
                changes["language"] = language.partition("-")[0].lower() or None
            if listening.transcription is not None and _sent(listening.transcription, "prompt"):
                changes["spelling"] = listening.transcription.prompt or ""
        if _sent(listening, "turn_detection"):
            changes["turn_detection"] = _turn_detection(session.turn_detection, listening.turn_detection)
    return replace(session, **changes)


def _retention(truncation: Truncation) -> Retention:
    match truncation:
        case "auto":
            return HALF
        case "disabled":
            return Retention(share=None)
        case RetentionRatio():
            tokens = truncation.token_limits.post_instructions if truncation.token_limits else None
            return Retention(truncation.retention_ratio, None if tokens is None else tokens * CHARS_A_TOKEN)
        case _:
            assert_never(truncation)


def _turn_detection(
    present: TurnDetection | None, update: TurnDetectionUpdate | None
) -> TurnDetection | None:
    if update is None:
        return None
    base = present or TurnDetection()
    if update.type is not None and update.type != base.kind:
        base = TurnDetection(kind=update.type)
    changes: dict[str, Any] = {
        name: value
        for name, value in (
            ("threshold", _within(update.threshold, MIN_THRESHOLD, MAX_THRESHOLD)),
            ("padding_s", _seconds(update.prefix_padding_ms)),
            ("silence_s", _seconds(update.silence_duration_ms)),
            ("eagerness", update.eagerness),
            ("create_response", update.create_response),
            ("interrupt_response", update.interrupt_response),
        )
        if value is not None
    }
    if _sent(update, "idle_timeout_ms"):
        changes["idle_timeout_s"] = _seconds(update.idle_timeout_ms)
    if base.kind != "server_vad" and changes.get("idle_timeout_s") is not None:
        raise CallerError(
            "An idle timeout is for server_vad only.",
            code="invalid_value",
            param="session.audio.input.turn_detection.idle_timeout_ms",
        )
    return replace(base, **changes)


def _within(value: float | None, least: float, most: float) -> float | None:
    return None if value is None else min(max(value, least), most)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _sent(model: BaseModel, field: str) -> bool:
    """Whether the client sent the field at all, if only as null."""
    return field in model.model_fields_set


def session_to_wire(session: SessionConfig, wire: WireState) -> WireSession | WireTranscriptionSession:
    """The whole effective session."""
    transcription = WireTranscription(
        model=wire.transcription_model, language=session.language, prompt=session.spelling or None
    )
    listening = WireAudioInput(
        format=wire.input_format,
        noise_reduction=wire.noise_reduction,
        transcription=transcription if session.transcribe else None,
        turn_detection=turn_detection_to_wire(session.turn_detection, responds=session.responds),
    )
    if not session.responds:
        return WireTranscriptionSession(
            id=wire.session_id,
            audio=WireTranscriptionAudio(input=listening),
            include=wire.include or None,
        )
    return WireSession(
        id=wire.session_id,
        model=wire.model,
        output_modalities=(session.modality,),
        instructions=session.instructions,
        audio=WireAudio(
            input=listening,
            output=WireAudioOutput(format=wire.output_format, voice=session.voice, speed=session.speed),
        ),
        tools=tools_to_wire(session.tools),
        tool_choice=choice_to_wire(session.tool_choice),
        max_output_tokens=session.max_output_tokens or "inf",
        parallel_tool_calls=wire.parallel_tool_calls,
        tracing=wire.tracing,
        truncation=wire.truncation,
        include=wire.include or None,
    )


def turn_detection_to_wire(
    detection: TurnDetection | None, *, responds: bool = True
) -> WireTurnDetection | None:
    if detection is None:
        return None
    return WireTurnDetection(
        type=detection.kind,
        threshold=detection.threshold,
        prefix_padding_ms=_milliseconds(detection.padding_s),
        silence_duration_ms=_milliseconds(detection.silence_s),
        idle_timeout_ms=_milliseconds(detection.idle_timeout_s),
        eagerness=detection.eagerness if detection.kind == "semantic_vad" else None,
        create_response=responds and detection.create_response,
        interrupt_response=responds and detection.interrupt_response,
    )
