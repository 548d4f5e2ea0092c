"""Between the call's settings and the Realtime API's session object. Pure functions, both ways."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from media.session import SessionConfig, TurnDetection
from signaling.realtime_base import PCM, AudioFormat, token_limit
from signaling.realtime_session_objects import (
    MIN_SPEED,
    SessionUpdate,
    TurnDetectionUpdate,
    WireAudio,
    WireAudioInput,
    WireAudioOutput,
    WireSession,
    WireTranscription,
    WireTurnDetection,
)


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
    """

    session_id: str
    conversation_id: str
    model: str
    include: tuple[str, ...] = ()
    input_format: AudioFormat = PCM
    output_format: AudioFormat = PCM


def changed_wire(wire: WireState, update: SessionUpdate) -> WireState:
    """The same with a client's changes that concern the wire alone."""
    changes: dict[str, Any] = {}
    if update.include is not None:
        changes["include"] = update.include
    if update.audio is not None:
        for name, side in (("input_format", update.audio.input), ("output_format", update.audio.output)):
            if side is not None and side.format is not None:
                kind = side.format.type
                changes[name] = AudioFormat(type=kind, rate=24000 if kind == "audio/pcm" else None)
    return replace(wire, **changes)


def changed_session(session: SessionConfig, update: SessionUpdate) -> SessionConfig:
    """The session with a client's changes. What the client did not send stays."""
    changes: dict[str, Any] = {}
    if update.instructions is not None:
        changes["instructions"] = update.instructions
    if update.greeting is not None:
        changes["greeting"] = update.greeting
    if update.output_modalities is not None:
        changes["modality"] = update.output_modalities[0]
    if update.max_output_tokens is not None:
        changes["max_output_tokens"] = token_limit(update.max_output_tokens)
    if update.audio is not None and update.audio.output is not None:
        output = update.audio.output
        if output.voice is not None:
            changes["voice"] = output.voice
        if output.speed is not None:
            changes["speed"] = max(MIN_SPEED, output.speed)
    if update.audio is not None and update.audio.input is not None:
        listening = update.audio.input
        if _sent(listening, "transcription"):
            changes["transcribe"] = listening.transcription is not None
            if listening.transcription is not None and _sent(listening.transcription, "language"):
                changes["language"] = listening.transcription.language or None
        if _sent(listening, "turn_detection"):
            changes["turn_detection"] = _turn_detection(session.turn_detection, listening.turn_detection)
    return replace(session, **changes)


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
            ("threshold", update.threshold),
            ("eagerness", update.eagerness),
            ("create_response", update.create_response),
            ("interrupt_response", update.interrupt_response),
        )
        if value is not None
    }
    if update.silence_duration_ms is not None:
        changes["silence_s"] = update.silence_duration_ms / 1000
    return replace(base, **changes)


def _sent(model: BaseModel, field: str) -> bool:
    """Whether the client sent the field at all, if only as null."""
    return field in model.model_fields_set


def session_to_wire(session: SessionConfig, wire: WireState) -> WireSession:
    """The whole effective session."""
    transcription = WireTranscription(language=session.language) if session.transcribe else None
    return WireSession(
        id=wire.session_id,
        model=wire.model,
        output_modalities=(session.modality,),
        instructions=session.instructions,
        audio=WireAudio(
            input=WireAudioInput(
                format=wire.input_format,
                transcription=transcription,
                turn_detection=turn_detection_to_wire(session.turn_detection),
            ),
            output=WireAudioOutput(format=wire.output_format, voice=session.voice, speed=session.speed),
        ),
        max_output_tokens=session.max_output_tokens or "inf",
        include=wire.include or None,
    )


def turn_detection_to_wire(detection: TurnDetection | None) -> WireTurnDetection | None:
    if detection is None:
        return None
    silence_ms = None if detection.silence_s is None else round(detection.silence_s * 1000)
    return WireTurnDetection(
        type=detection.kind,
        threshold=detection.threshold,
        silence_duration_ms=silence_ms,
        eagerness=detection.eagerness if detection.kind == "semantic_vad" else None,
        create_response=detection.create_response,
        interrupt_response=detection.interrupt_response,
    )
