"""The messages of `/ws`: one union of what a client may send, one of what the server sends.

A protocol for programs that want a conversation with the least of ceremony, over a WebSocket, where no UDP
gets through: flat JSON objects, told apart by their `type`, with sound in base64. docs/websocket.md is its
table. The messages are all here, however many, so that the protocol is read in one place; the objects in them
are those of `signaling.ws_objects`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json

from media.errors import CallerError
from media.items import Modality
from signaling.realtime_base import MAX_INSTRUCTIONS_CHARS, FromClient, ItemId, MaxOutputTokens, ToClient
from signaling.realtime_events import field_path
from signaling.wire_stages import WireStage
from signaling.ws_objects import (
    INPUT_RATE_HZ,
    MAX_RATE_HZ,
    MAX_TEXT_CHARS,
    MIN_RATE_HZ,
    OUTPUT_RATE_HZ,
    AudioFormat,
    Encoding,
    Fault,
    Rate,
    Settings,
    WireFormat,
    WireItem,
    WireSettings,
    WrittenItem,
)

MAX_MESSAGE_CHARS = 2_097_152
"""A longer message is refused."""
MAX_ITEMS = 500
MAX_TOOL_OUTPUT_CHARS = 200_000

# --- from the client -------------------------------------------------------------------------------------


class MessageBase(FromClient):
    """What all messages of a client have.

    Attributes:
        id: the client's own name for the message; an error that it causes gives it back as `reply_to`.
    """

    id: str | None = Field(default=None, max_length=128)


class Start(MessageBase):
    """Begins the call. Only of use as the first message; any other one begins it with the defaults.

    Attributes:
        input: how the client's audio is written, where its messages do not say.
        output: how the assistant's voice shall be.
        text_only: no sound is sent: all replies are written.
        latency: tell where each turn's time went.
        pauses: the client pauses what it plays on `playback`, so that a sound of the caller's silences the
            voice while it is judged. Where not, the voice is heard until it is interrupted.
        settings: the session's.
        items: what was said before.
    """

    type: Literal["start"]
    input: AudioFormat = AudioFormat(rate_hz=INPUT_RATE_HZ)
    output: AudioFormat = AudioFormat(rate_hz=OUTPUT_RATE_HZ)
    text_only: bool = False
    latency: bool = False
    pauses: bool = False
    settings: Settings = Settings()
    items: tuple[WrittenItem, ...] = Field(default=(), max_length=MAX_ITEMS)


class AudioIn(MessageBase):
    """More of the caller's voice. `encoding` and `rate_hz`: where they differ from those at the start."""

    type: Literal["audio"]
    audio: str
    encoding: Encoding | None = None
    rate_hz: Rate | None = None


class TextIn(MessageBase):
    """The caller says something in writing; it interrupts, and is answered, as speech would."""

    type: Literal["text"]
    text: str = Field(min_length=1, max_length=MAX_TEXT_CHARS)
    item_id: ItemId | None = None


class Interrupt(MessageBase):
    """Be silent; what was not heard is forgotten."""

    type: Literal["interrupt"]


class Played(MessageBase):
    """After an interruption: this much of the item was really played."""

    type: Literal["played"]
    item_id: ItemId
    audio_ms: int = Field(ge=0)


class SettingsUpdate(MessageBase):
    """Changes the session from the next turn on."""

    type: Literal["settings"]
    settings: Settings


class Commit(MessageBase):
    """The caller's turn is over; for a session without turn detection."""

    type: Literal["commit"]


class Clear(MessageBase):
    """Forget what was said since the last turn."""

    type: Literal["clear"]


class Respond(MessageBase):
    """Answer what was said so far."""

    type: Literal["respond"]
    instructions: str | None = Field(default=None, max_length=MAX_INSTRUCTIONS_CHARS)
    modality: Modality | None = None
    max_output_tokens: MaxOutputTokens | None = None


class ItemIn(MessageBase):
    """Enters a message into the conversation; it is not answered by itself."""

    type: Literal["item"]
    item: WrittenItem
    previous_item_id: ItemId | None = None


class ToolResult(MessageBase):
    """What a tool brought that the assistant asked for; the answer goes on with it."""

    type: Literal["tool_result"]
    call_id: ItemId
    output: str = Field(max_length=MAX_TOOL_OUTPUT_CHARS)


class DeleteItem(MessageBase):
    type: Literal["delete_item"]
    item_id: ItemId


class ResetRequest(MessageBase):
    """Forget the conversation and go on with an empty one."""

    type: Literal["reset"]


class Ping(MessageBase):
    type: Literal["ping"]


class PongIn(MessageBase):
    """Means nothing; a client may send it."""

    type: Literal["pong"]


class DigitIn(MessageBase):
    """The caller pressed a key of a telephone: for clients that bring its audio."""

    type: Literal["digit"]
    digit: Literal["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "#", "A", "B", "C", "D"]


class HangUp(MessageBase):
    type: Literal["hang_up"]


ClientMessage: TypeAlias = (
    Start
    | AudioIn
    | TextIn
    | Interrupt
    | Played
    | SettingsUpdate
    | Commit
    | Clear
    | Respond
    | ItemIn
    | ToolResult
    | DeleteItem
    | ResetRequest
    | Ping
    | PongIn
    | DigitIn
    | HangUp
)

_CLIENT_MESSAGE: TypeAdapter[ClientMessage] = TypeAdapter(
    Annotated[ClientMessage, Field(discriminator="type")]
)


class MessageError(CallerError):
    """What a client sent is none of the messages. `message_id` is the one it carried, if it could be read."""

    def __init__(
        self, message: str, *, code: str, param: str | None = None, message_id: str | None = None
    ) -> None:
        super().__init__(message, code=code, param=param)
        self.message_id = message_id


def parse_message(text: str) -> ClientMessage:
    """Reads one message of a client.

    Raises:
        MessageError: `message_too_large`, `invalid_json`, `unknown_type`, `missing_field` or `invalid_value`.
    """
    if len(text) > MAX_MESSAGE_CHARS:
        raise MessageError(f"A message has {MAX_MESSAGE_CHARS} characters at most.", code="message_too_large")
    try:
        data = text.encode()  # which half a character cannot be
        # Fifty pieces of audio a second: what is well-formed is read once.
        return _CLIENT_MESSAGE.validate_json(data)
    except UnicodeEncodeError:
        raise MessageError("The message is not JSON.", code="invalid_json") from None
    except ValidationError as error:
        raise _fault_of(error.errors(include_url=False, include_context=False)[0], data) from None


def _fault_of(fault: ErrorDetails, data: bytes) -> MessageError:
    try:
        message = from_json(data)
    except ValueError:
        return MessageError("The message is not JSON.", code="invalid_json")
    if not isinstance(message, dict):
        return MessageError("A message is a JSON object.", code="invalid_json")
    given_id = message.get("id")
    message_id = given_id if isinstance(given_id, str) else None
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        given = message.get("type")
        sentence = f"There is no message {given!r} here." if given else "The message has no type."
        return MessageError(sentence[:200], code="unknown_type", param="type", message_id=message_id)
    # The first step of the location is the union's tag, which is no field.
    param = field_path(fault["loc"][1:])
    code = "missing_field" if fault["type"] == "missing" else "invalid_value"
    return MessageError(f"{param}: {fault['msg']}", code=code, param=param, message_id=message_id)


# --- to the client ---------------------------------------------------------------------------------------


class Connection(ToClient):
    """The greeting: what there is. Nothing is heard or said before the client's first message."""

    type: Literal["connection"] = "connection"
    call_id: str
    encodings: tuple[Encoding, ...] = ("int16", "float32")
    min_rate_hz: int = MIN_RATE_HZ
    max_rate_hz: int = MAX_RATE_HZ
    features: tuple[str, ...]
    settings: WireSettings


class Started(ToClient):
    """The call has begun; this is how."""

    type: Literal["started"] = "started"
    call_id: str
    input: WireFormat
    output: WireFormat
    text_only: bool
    settings: WireSettings


class SettingsChanged(ToClient):
    type: Literal["settings"] = "settings"
    settings: WireSettings


class SpeechStarted(ToClient):
    """The caller began to speak: so far into the audio that came."""

    type: Literal["speech_started"] = "speech_started"
    item_id: str
    at_ms: int


class SpeechStopped(ToClient):
    type: Literal["speech_stopped"] = "speech_stopped"
    item_id: str
    at_ms: int


class Transcription(ToClient):
    """What the caller says.

    Attributes:
        text: all of it so far. Partial ones only ever grow; the final one may correct them.
        delta: what is new in a partial one.
        final: no more comes of this item.
        failed: why there are no words; only in a final one.
    """

    type: Literal["transcription"] = "transcription"
    item_id: str
    text: str
    delta: str | None = None
    final: bool
    failed: Fault | None = None


class ItemOut(ToClient):
    """Something entered the conversation: what the caller says or wrote, or the answer of a response."""

    type: Literal["item"] = "item"
    item: WireItem
    previous_item_id: str | None = None
    response_id: str | None = None


class ItemDeleted(ToClient):
    type: Literal["item_deleted"] = "item_deleted"
    item_id: str


class Digit(ToClient):
    """The caller pressed a key of their telephone."""

    type: Literal["digit"] = "digit"
    digit: str


class InputCleared(ToClient):
    type: Literal["input_cleared"] = "input_cleared"


class ResponseStarted(ToClient):
    type: Literal["response_started"] = "response_started"
    response_id: str
    modality: Modality


class ResponseText(ToClient):
    """The words of an answer, written or spoken.

    Attributes:
        delta: what is new; in all but the final one.
        text: all of it; in the final one.
    """

    type: Literal["response_text"] = "response_text"
    response_id: str
    item_id: str
    delta: str | None = None
    text: str | None = None
    final: bool


class SpeechResponse(ToClient):
    """A piece of the assistant's voice, to be played after the one before.

    Attributes:
        audio: base64, mono; none in the final one.
        encoding: how it is written.
        rate_hz: samples a second.
        start_ms: where in the item it begins.
        final: no more of this item comes.
    """

    type: Literal["speech_response"] = "speech_response"
    response_id: str
    item_id: str
    audio: str
    encoding: Encoding
    rate_hz: int
    start_ms: int
    final: bool


class ToolCall(ToClient):
    """The assistant wants one of the client's tools to be called: answer with `tool_result`.

    Attributes:
        arguments: JSON text, as the language model wrote it: it may be no valid JSON.
    """

    type: Literal["tool_call"] = "tool_call"
    response_id: str
    item_id: str
    call_id: str
    name: str
    arguments: str


class Playback(ToClient):
    """What is being heard of a response, by the server's clock.

    Attributes:
        state: `started`; `held`: pause, the caller makes a sound; `resumed`: go on.
        at_ms: where in the item it begins, or goes on: before where it was held, if that was within a word.
    """

    type: Literal["playback"] = "playback"
    response_id: str
    item_id: str
    state: Literal["started", "held", "resumed"]
    at_ms: int | None = None


class Interrupted(ToClient):
    """Stop playing the item at once, and throw away what of it was not played."""

    type: Literal["interrupted"] = "interrupted"
    response_id: str
    item_id: str


class Truncated(ToClient):
    """So much of an item was heard, and that is what the conversation remembers."""

    type: Literal["truncated"] = "truncated"
    item_id: str
    heard_ms: int
    heard_text: str


class ConversationComplete(ToClient):
    """A response is over: made, and if it is spoken, heard to its end or cut.

    Attributes:
        status: `interrupted` by the caller, or `incomplete` where it grew too long.
        text: what was said, as it is remembered.
        failed: why it failed.
    """

    type: Literal["conversation_complete"] = "conversation_complete"
    response_id: str
    item_id: str | None = None
    status: Literal["completed", "interrupted", "incomplete", "failed"]
    text: str
    failed: Fault | None = None


class Latency(ToClient):
    """Where a turn's time went, from the end of the caller's speech; only for a client that asked."""

    type: Literal["latency"] = "latency"
    item_id: str | None = None
    response_id: str
    total_ms: float
    stages: tuple[WireStage, ...]


class Reset(ToClient):
    """Everything was forgotten."""

    type: Literal["reset"] = "reset"


class Pong(ToClient):
    """`id`: the ping's."""

    type: Literal["pong"] = "pong"
    id: str | None = None


class Error(ToClient):
    """Something went wrong; the call goes on, unless the socket is closed after it.

    Attributes:
        fault: whose: the client's, or the server's.
        code: for machines.
        message: for people.
        param: the field at fault.
        reply_to: the `id` of the message at fault.
        retry_after_s: when to come back, where the call was refused.
    """

    type: Literal["error"] = "error"
    fault: Literal["client", "server"]
    code: str
    message: str
    param: str | None = None
    reply_to: str | None = None
    retry_after_s: int | None = None


ServerMessage: TypeAlias = (
    Connection
    | Started
    | SettingsChanged
    | SpeechStarted
    | SpeechStopped
    | Transcription
    | ItemOut
    | ItemDeleted
    | Digit
    | InputCleared
    | ResponseStarted
    | ResponseText
    | SpeechResponse
    | ToolCall
    | Playback
    | Interrupted
    | Truncated
    | ConversationComplete
    | Latency
    | Reset
    | Pong
    | Error
)


def to_wire(message: ServerMessage) -> str:
    """The message as JSON text, `type` first, without its nulls."""
    return message.model_dump_json(exclude_none=True)
