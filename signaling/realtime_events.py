"""The events of the Realtime API: one union of what a client may send, one of what the server sends.

Names and fields are the API's. Events of our own begin with `vk.`; those that the server sends go only to a
session that asked for them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json

from media.errors import CallerError
from media.items import new_id
from signaling.realtime_base import FromClient, ItemId, ToClient
from signaling.realtime_items import ItemFromClient, WireItem
from signaling.realtime_responses import ResponsePart, ResponseRequest, WireResponse
from signaling.realtime_session_objects import SessionUpdate, WireSession, WireTranscriptionSession
from signaling.wire_stages import WireStage

# --- from the client -------------------------------------------------------------------------------------


class ClientEventBase(FromClient):
    """What all client events have.

    Attributes:
        event_id: the client's own name for the event; an error that it causes gives it back.
    """

    event_id: str | None = Field(default=None, max_length=512)


class SessionUpdateEvent(ClientEventBase):
    type: Literal["session.update"]
    session: SessionUpdate


class InputAudioBufferAppend(ClientEventBase):
    """`audio` is checked by `realtime_audio`."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class InputAudioBufferCommit(ClientEventBase):
    type: Literal["input_audio_buffer.commit"]


class InputAudioBufferClear(ClientEventBase):
    type: Literal["input_audio_buffer.clear"]


class OutputAudioBufferClear(ClientEventBase):
    type: Literal["output_audio_buffer.clear"]


class ConversationItemCreate(ClientEventBase):
    type: Literal["conversation.item.create"]
    item: ItemFromClient
    previous_item_id: ItemId | None = None


class ConversationItemRetrieve(ClientEventBase):
    type: Literal["conversation.item.retrieve"]
    item_id: ItemId


class ConversationItemDelete(ClientEventBase):
    type: Literal["conversation.item.delete"]
    item_id: ItemId


class ConversationItemTruncate(ClientEventBase):
    type: Literal["conversation.item.truncate"]
    item_id: ItemId
    content_index: Literal[0] = 0
    audio_end_ms: int = Field(ge=0)


class ResponseCreate(ClientEventBase):
    type: Literal["response.create"]
    response: ResponseRequest | None = None


class ResponseCancel(ClientEventBase):
    type: Literal["response.cancel"]
    response_id: ItemId | None = None


class ConversationResetRequest(ClientEventBase):
    """Ours: forget the conversation and go on with an empty one."""

    type: Literal["vk.conversation.reset"]


ClientEvent: TypeAlias = (
    SessionUpdateEvent
    | InputAudioBufferAppend
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | OutputAudioBufferClear
    | ConversationItemCreate
    | ConversationItemRetrieve
    | ConversationItemDelete
    | ConversationItemTruncate
    | ResponseCreate
    | ResponseCancel
    | ConversationResetRequest
)

_CLIENT_EVENT: TypeAdapter[ClientEvent] = TypeAdapter(Annotated[ClientEvent, Field(discriminator="type")])


class ClientEventError(CallerError):
    """A client's message is none of the events. `event_id` is the one it carried, if any could be read."""

    def __init__(self, message: str, *, code: str, param: str | None, event_id: str | None) -> None:
        super().__init__(message, code=code, param=param)
        self.event_id = event_id


def parse_client_event(text: str) -> ClientEvent:
    """Reads one message of a client.

    Raises:
        ClientEventError: `invalid_json`, `unknown_event`, `missing_required_parameter`, `invalid_type`,
            `invalid_value`, or a length beyond its limit.
    """
    try:
        data = text.encode()  # which half a character cannot be
        # Fifty pieces of audio a second, or one of 15 MiB: what is well-formed is read once.
        return _CLIENT_EVENT.validate_json(data)
    except UnicodeEncodeError:
        raise _no_event("The message is not JSON.") from None
    except ValidationError as error:
        raise _fault_of(error.errors(include_url=False, include_context=False)[0], data) from None


def field_path(location: tuple[int | str, ...]) -> str:
    """`("session", "include", 0)` as clients write it: `session.include[0]`."""
    path = ""
    for step in location:
        if step not in _ITEM_TYPES:
            path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


_ITEM_TYPES = ("message", "function_call", "function_call_output", "item_reference")
"""In a location, these are an item's union's tag, which is no field."""


_CODES = {
    "missing": "missing_required_parameter",
    "string_too_long": "string_above_max_length",
    "too_long": "array_above_max_length",
    "too_short": "array_below_min_length",
}
"""The API's words for what pydantic finds; `invalid_value` and `invalid_type` are for the rest."""


def _no_event(sentence: str) -> ClientEventError:
    return ClientEventError(sentence, code="invalid_json", param=None, event_id=None)


def _fault_of(fault: ErrorDetails, data: bytes) -> ClientEventError:
    try:
        message = from_json(data, allow_inf_nan=False)
    except ValueError:
        return _no_event("The message is not JSON.")
    if not isinstance(message, dict):
        return _no_event("An event is a JSON object.")
    given_id = message.get("event_id")
    event_id = given_id if isinstance(given_id, str) else None
    # The first step of the location is the union's tag, which is no field.
    param = field_path(fault["loc"][1:])
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        given, what = fault["input"].get("type"), "item" if param else "event"
        sentence = f"There is no {what} {given!r} here." if given else f"The {what} has no type."
        code = "invalid_value" if param else "unknown_event"
        param = f"{param}.type" if param else "type"
        return ClientEventError(sentence[:200], code=code, param=param, event_id=event_id)
    code = _CODES.get(fault["type"], "invalid_type" if fault["type"].endswith("_type") else "invalid_value")
    return ClientEventError(f"{param}: {fault['msg']}", code=code, param=param, event_id=event_id)


# --- to the client ---------------------------------------------------------------------------------------


class ServerEventBase(ToClient):
    event_id: str = Field(default_factory=lambda: new_id("event"))


class ErrorDetail(ToClient):
    """What went wrong. `type`: `invalid_request_error` is the client's fault, `server_error` is not."""

    type: Literal["invalid_request_error", "server_error"]
    code: str
    message: str
    param: str | None = None
    event_id: str | None = None


class ErrorEvent(ServerEventBase):
    type: Literal["error"] = "error"
    error: ErrorDetail


class SessionCreated(ServerEventBase):
    type: Literal["session.created"] = "session.created"
    session: WireSession | WireTranscriptionSession


class SessionUpdated(ServerEventBase):
    type: Literal["session.updated"] = "session.updated"
    session: WireSession | WireTranscriptionSession


class SpeechStartedEvent(ServerEventBase):
    type: Literal["input_audio_buffer.speech_started"] = "input_audio_buffer.speech_started"
    audio_start_ms: int
    item_id: str


class TimeoutTriggeredEvent(ServerEventBase):
    type: Literal["input_audio_buffer.timeout_triggered"] = "input_audio_buffer.timeout_triggered"
    audio_start_ms: int
    audio_end_ms: int
    item_id: str


class SpeechStoppedEvent(ServerEventBase):
    type: Literal["input_audio_buffer.speech_stopped"] = "input_audio_buffer.speech_stopped"
    audio_end_ms: int
    item_id: str


class InputCommittedEvent(ServerEventBase):
    type: Literal["input_audio_buffer.committed"] = "input_audio_buffer.committed"
    item_id: str
    previous_item_id: str | None = None


class DtmfEventReceived(ToClient):
    """`event`: the key that the caller pressed; `received_at`: when, in Unix time. The API's has no id."""

    type: Literal["input_audio_buffer.dtmf_event_received"] = "input_audio_buffer.dtmf_event_received"
    event: str
    received_at: int


class InputClearedEvent(ServerEventBase):
    type: Literal["input_audio_buffer.cleared"] = "input_audio_buffer.cleared"


class ItemAddedEvent(ServerEventBase):
    type: Literal["conversation.item.added"] = "conversation.item.added"
    previous_item_id: str | None = None
    item: WireItem


class ItemDoneEvent(ServerEventBase):
    type: Literal["conversation.item.done"] = "conversation.item.done"
    previous_item_id: str | None = None
    item: WireItem


class ItemRetrievedEvent(ServerEventBase):
    type: Literal["conversation.item.retrieved"] = "conversation.item.retrieved"
    item: WireItem


class ItemDeletedEvent(ServerEventBase):
    type: Literal["conversation.item.deleted"] = "conversation.item.deleted"
    item_id: str


class ItemTruncatedEvent(ServerEventBase):
    """`transcript` (ours): the words that were heard; only for a session that includes `vk.heard_text`."""

    type: Literal["conversation.item.truncated"] = "conversation.item.truncated"
    item_id: str
    content_index: int = 0
    audio_end_ms: int
    transcript: str | None = None


class DurationUsage(ToClient):
    type: Literal["duration"] = "duration"
    seconds: float


class TranscriptDeltaEvent(ServerEventBase):
    type: Literal["conversation.item.input_audio_transcription.delta"] = (
        "conversation.item.input_audio_transcription.delta"
    )
    item_id: str
    content_index: int = 0
    delta: str


class TranscriptCompletedEvent(ServerEventBase):
    type: Literal["conversation.item.input_audio_transcription.completed"] = (
        "conversation.item.input_audio_transcription.completed"
    )
    item_id: str
    content_index: int = 0
    transcript: str
    usage: DurationUsage


class TranscriptError(ToClient):
    type: str = "transcription_error"
    code: str
    message: str


class TranscriptFailedEvent(ServerEventBase):
    type: Literal["conversation.item.input_audio_transcription.failed"] = (
        "conversation.item.input_audio_transcription.failed"
    )
    item_id: str
    content_index: int = 0
    error: TranscriptError


class ResponseCreatedEvent(ServerEventBase):
    type: Literal["response.created"] = "response.created"
    response: WireResponse


class ResponseDoneEvent(ServerEventBase):
    type: Literal["response.done"] = "response.done"
    response: WireResponse


class OutputItemAddedEvent(ServerEventBase):
    type: Literal["response.output_item.added"] = "response.output_item.added"
    response_id: str
    output_index: int
    item: WireItem


class OutputItemDoneEvent(ServerEventBase):
    type: Literal["response.output_item.done"] = "response.output_item.done"
    response_id: str
    output_index: int
    item: WireItem


class InResponse(ServerEventBase):
    """Where in a response something happened."""

    response_id: str
    item_id: str
    output_index: int
    content_index: int = 0


class ContentPartAdded(InResponse):
    type: Literal["response.content_part.added"] = "response.content_part.added"
    part: ResponsePart


class ContentPartDone(InResponse):
    type: Literal["response.content_part.done"] = "response.content_part.done"
    part: ResponsePart


class OutputTextDeltaEvent(InResponse):
    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    delta: str


class OutputTextDone(InResponse):
    type: Literal["response.output_text.done"] = "response.output_text.done"
    text: str


class OutputAudioDeltaEvent(InResponse):
    """`delta` is base64, in the session's format."""

    type: Literal["response.output_audio.delta"] = "response.output_audio.delta"
    delta: str


class OutputAudioDone(InResponse):
    type: Literal["response.output_audio.done"] = "response.output_audio.done"


class AudioTranscriptDelta(InResponse):
    type: Literal["response.output_audio_transcript.delta"] = "response.output_audio_transcript.delta"
    delta: str


class AudioTranscriptDone(InResponse):
    type: Literal["response.output_audio_transcript.done"] = "response.output_audio_transcript.done"
    transcript: str


class FunctionCallArgumentsDelta(ServerEventBase):
    type: Literal["response.function_call_arguments.delta"] = "response.function_call_arguments.delta"
    response_id: str
    item_id: str
    output_index: int
    call_id: str
    delta: str


class FunctionCallArgumentsDone(ServerEventBase):
    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"
    response_id: str
    item_id: str
    output_index: int
    call_id: str
    name: str
    arguments: str


class OutputBufferStartedEvent(ServerEventBase):
    type: Literal["output_audio_buffer.started"] = "output_audio_buffer.started"
    response_id: str


class OutputBufferStoppedEvent(ServerEventBase):
    type: Literal["output_audio_buffer.stopped"] = "output_audio_buffer.stopped"
    response_id: str


class OutputBufferClearedEvent(ServerEventBase):
    type: Literal["output_audio_buffer.cleared"] = "output_audio_buffer.cleared"
    response_id: str


class TurnLatencyEvent(ServerEventBase):
    """Ours: where a turn's time went; `media.latency.TurnLatency` says how to read it."""

    type: Literal["vk.turn.latency"] = "vk.turn.latency"
    item_id: str | None = None
    response_id: str
    total_ms: float
    stages: tuple[WireStage, ...]


class AnsweredByEvent(ServerEventBase):
    """Ours: who or what seems to have answered a call that was placed."""

    type: Literal["vk.call.answered_by"] = "vk.call.answered_by"
    answered_by: Literal["human", "machine", "uncertain"]


class ConversationResetEvent(ServerEventBase):
    """Ours: everything was forgotten, as this session asked."""

    type: Literal["vk.conversation.reset"] = "vk.conversation.reset"


ServerEvent: TypeAlias = (
    ErrorEvent
    | SessionCreated
    | SessionUpdated
    | SpeechStartedEvent
    | SpeechStoppedEvent
    | TimeoutTriggeredEvent
    | InputCommittedEvent
    | InputClearedEvent
    | DtmfEventReceived
    | ItemAddedEvent
    | ItemDoneEvent
    | ItemRetrievedEvent
    | ItemDeletedEvent
    | ItemTruncatedEvent
    | TranscriptDeltaEvent
    | TranscriptCompletedEvent
    | TranscriptFailedEvent
    | ResponseCreatedEvent
    | ResponseDoneEvent
    | OutputItemAddedEvent
    | OutputItemDoneEvent
    | ContentPartAdded
    | ContentPartDone
    | OutputTextDeltaEvent
    | OutputTextDone
    | OutputAudioDeltaEvent
    | OutputAudioDone
    | AudioTranscriptDelta
    | AudioTranscriptDone
    | FunctionCallArgumentsDelta
    | FunctionCallArgumentsDone
    | OutputBufferStartedEvent
    | OutputBufferStoppedEvent
    | OutputBufferClearedEvent
    | TurnLatencyEvent
    | AnsweredByEvent
    | ConversationResetEvent
)


def to_wire(event: ServerEvent) -> str:
    """The event as JSON text, `type` first, without its nulls."""
    fields: dict[str, Any] = event.model_dump(mode="json", exclude_none=True)
    return _JSON.dump_json({"type": fields.pop("type"), **fields}).decode()


_JSON: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
