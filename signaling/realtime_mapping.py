"""Between the conversation's values and the Realtime API's objects. Pure functions, both ways."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, assert_never

from pydantic import BaseModel

from media.errors import CallerError
from media.items import Item, Modality, Part, Response, ResponseOptions, Usage, new_id
from media.session import SessionConfig, TurnDetection
from signaling.realtime_objects import (
    MIN_SPEED,
    InputTokenDetails,
    ItemFromClient,
    PartFromClient,
    ResponseAudio,
    ResponseAudioOutput,
    ResponseRequest,
    SessionUpdate,
    StatusDetails,
    StatusError,
    TurnDetectionUpdate,
    WireAudio,
    WireAudioInput,
    WireAudioOutput,
    WireItem,
    WirePart,
    WireResponse,
    WireSession,
    WireTranscription,
    WireTurnDetection,
    WireUsage,
)

_PARTS_OF_ROLE = {
    "user": ("input_text", "input_audio"),
    "assistant": ("output_text", "output_audio"),
    "system": ("input_text",),
}


@dataclass(frozen=True, slots=True)
class WireState:
    """What a session has on the wire besides its `SessionConfig`.

    Attributes:
        session_id: `sess_…`
        conversation_id: `conv_…`
        model: the name under which the client asked for this server.
        include: the extras that the client asked for.
    """

    session_id: str
    conversation_id: str
    model: str
    include: tuple[str, ...] = ()


# --- from the client -------------------------------------------------------------------------------------


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
        changes["max_output_tokens"] = _token_limit(update.max_output_tokens)
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


def item_from_client(wire: ItemFromClient) -> Item:
    """A message that a client wrote, or gives back from an earlier call.

    Raises:
        CallerError: a part that its role cannot have, or one without its text.
    """
    parts = tuple(_part_from_client(wire.role, index, part) for index, part in enumerate(wire.content))
    return Item(id=wire.id or new_id("item"), role=wire.role, parts=parts)


def _part_from_client(role: str, index: int, part: PartFromClient) -> Part:
    if part.type not in _PARTS_OF_ROLE[role]:
        allowed = " or ".join(_PARTS_OF_ROLE[role])
        raise CallerError(
            f"The content of a message from the {role} is {allowed}, not {part.type}.",
            code="invalid_value",
            param=f"item.content[{index}].type",
        )
    field = "transcript" if part.type.endswith("_audio") else "text"
    text = part.transcript if field == "transcript" else part.text
    if text is None:
        raise CallerError(
            f"A part of type {part.type} carries its {field}.",
            code="missing_required_parameter",
            param=f"item.content[{index}].{field}",
        )
    return Part(kind=part.type, text=text)


def response_options(request: ResponseRequest | None) -> ResponseOptions:
    """How the response that a client asks for differs from its session."""
    if request is None:
        return ResponseOptions()
    return ResponseOptions(
        instructions=request.instructions,
        modality=request.output_modalities[0] if request.output_modalities else None,
        max_output_tokens=_token_limit(request.max_output_tokens),
        metadata=tuple((request.metadata or {}).items()),
    )


def _token_limit(wire: int | str | None) -> int | None:
    return wire if isinstance(wire, int) else None


def _sent(model: BaseModel, field: str) -> bool:
    """Whether the client sent the field at all, if only as null."""
    return field in model.model_fields_set


# --- to the client ---------------------------------------------------------------------------------------


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
                transcription=transcription, turn_detection=_turn_detection_to_wire(session.turn_detection)
            ),
            output=WireAudioOutput(voice=session.voice, speed=session.speed),
        ),
        max_output_tokens=session.max_output_tokens or "inf",
        include=wire.include or None,
    )


def _turn_detection_to_wire(detection: TurnDetection | None) -> WireTurnDetection | None:
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


def item_to_wire(item: Item) -> WireItem:
    return WireItem(
        id=item.id,
        status=item.status,
        role=item.role,
        content=tuple(_part_to_wire(part) for part in item.parts),
    )


def _part_to_wire(part: Part) -> WirePart:
    if part.kind in ("input_audio", "output_audio"):
        return WirePart(type=part.kind, transcript=part.text)
    return WirePart(type=part.kind, text=part.text)


def response_to_wire(response: Response, voice: str, wire: WireState) -> WireResponse:
    spoken = response.modality == "audio"
    return WireResponse(
        id=response.id,
        status=response.status,
        status_details=_status_details(response),
        output=tuple(item_to_wire(item) for item in response.output),
        conversation_id=wire.conversation_id,
        output_modalities=(response.modality,),
        audio=ResponseAudio(output=ResponseAudioOutput(voice=voice)) if spoken else None,
        metadata=dict(response.metadata) or None,
        usage=_usage_to_wire(response.usage),
    )


def _usage_to_wire(usage: Usage | None) -> WireUsage | None:
    if usage is None:
        return None
    return WireUsage(
        total_tokens=usage.input_tokens + usage.output_tokens,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        input_token_details=InputTokenDetails(cached_tokens=usage.cached_tokens),
    )


def _status_details(response: Response) -> StatusDetails | None:
    match response.status:
        case "in_progress" | "completed":
            return None
        case "cancelled" | "incomplete" as status:
            return StatusDetails(type=status, reason=response.reason)
        case "failed":
            error = StatusError(type="server_error", code=response.error_code, message=response.error)
            return StatusDetails(type="failed", error=error)
        case _:
            assert_never(response.status)


def spoken_or_written(item: Item, default: Modality) -> Modality:
    """Which an assistant's item is; the response's modality where it has no part yet."""
    if not item.parts:
        return default
    return "audio" if item.parts[0].kind == "output_audio" else "text"
