"""One client's session on `/ws`: its conversation's events become messages, its messages become acts.

There is no transport in here: messages come in through `receive` and leave through a function that takes
text.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, assert_never

from pydantic_core import to_json

from media import events as call
from media.audio import Audio
from media.errors import CallerError
from media.items import FunctionCallOutput, Message, Part, PartKind, ResponseOptions, Role, new_id
from media.session import SessionConfig
from media.tools import Tool
from signaling import ws_messages as wire
from signaling import ws_objects as objects
from signaling.call_host import CallConversation
from signaling.realtime_base import token_limit
from signaling.realtime_session_mapping import changed_session, turn_detection_to_wire
from signaling.realtime_session_objects import SessionUpdate
from signaling.ws_audio import decode_audio
from signaling.ws_translation import Translator

FEATURES = (
    "audio",
    "text",
    "interrupt",
    "settings",
    "items",
    "latency",
    "text_only",
    "manual_turns",
    "tools",
)
"""What a client may count on; grows when the protocol does."""

_PART_OF_ROLE: dict[Role, PartKind] = {
    "user": "input_text",
    "assistant": "output_text",
    "system": "input_text",
}
_OF_SETTINGS = ("voice", "language")
"""What the conversation finds fault with in a session."""

log = logging.getLogger(__name__)


class CallLine(Protocol):
    """The call that carries the session."""

    async def begin(self) -> None:
        """Starts the conversation; returns when it takes wishes."""

    def hear(self, audio: Audio) -> None:
        """More of the caller's voice: `signaling.socket_leg.SocketLeg.hear`."""

    async def heard_all(self) -> None:
        """Returns when the conversation has listened to all of it."""

    def forget(self) -> None:
        """What of it was not listened to yet is dropped."""

    def hang_up(self) -> None:
        """Ends the call."""


class WsSession:
    """Translates between one conversation and one client.

    A client's mistake becomes an `error` and changes nothing.

    Args:
        call_id: what the client knows its call by.
        conversation: whose events are given to `notify`.
        send: takes each message as JSON text.
    """

    def __init__(self, call_id: str, conversation: CallConversation, send: Callable[[str], None]) -> None:
        self._call_id = call_id
        self._send_text = send
        self._start: wire.Start | None = None
        """How the call was begun; None before."""
        self._translator = Translator(objects.AudioFormat(rate_hz=objects.OUTPUT_RATE_HZ), latency=False)
        self.conversation = conversation

    def open(self) -> None:
        """The client can be reached: greets it."""
        settings = settings_to_wire(self.conversation.session)
        self._send(wire.Connection(call_id=self._call_id, features=FEATURES, settings=settings))

    def notify(self, event: call.CallEvent) -> None:
        """Tells the client what happened in its conversation."""
        for message in self._translator.translate(event):
            self._send(message)

    async def receive(self, text: str, line: CallLine) -> None:
        """Does what the client asks; says so where that cannot be."""
        message_id: str | None = None
        try:
            message = wire.parse_message(text)
            message_id = message.id
            await self._act(message, line)
        except wire.MessageError as error:
            self.refuse(error, message_id if error.message_id is None else error.message_id)
        except CallerError as error:
            self.refuse(error, message_id)

    def refuse(self, error: CallerError, message_id: str | None = None) -> None:
        """Tells the client what it did wrong."""
        log.info("refused a client's message", extra={"code": error.code, "param": error.param})
        param = f"settings.{error.param}" if error.param in _OF_SETTINGS else error.param
        self._send(
            wire.Error(fault="client", code=error.code, message=str(error), param=param, reply_to=message_id)
        )

    # From the client

    async def _act(self, message: wire.ClientMessage, line: CallLine) -> None:
        match message:
            case wire.Ping():
                self._send(wire.Pong(id=message.id))
            case wire.PongIn():
                return
            case wire.HangUp():
                line.hang_up()
            case wire.Start():
                await self._begin(message, line)
            case _:
                start = self._start or await self._begin(wire.Start(type="start"), line)
                await self._wish(message, start, line)

    async def _begin(self, start: wire.Start, line: CallLine) -> wire.Start:
        """Raises: CallerError: it has begun already, or the settings cannot be; nothing changed."""
        if self._start is not None:
            raise CallerError("The call has begun already.", code="already_started", param="type")
        session = self._changed(start.settings, text_only=start.text_only)
        self.conversation.update(replace(session, modality="text") if start.text_only else session)
        self.conversation.playout.pausable = start.pauses
        self._start = start
        self._translator = Translator(start.output, latency=start.latency)
        self._send(
            wire.Started(
                call_id=self._call_id,
                input=objects.WireFormat(encoding=start.input.encoding, rate_hz=start.input.rate_hz),
                output=objects.WireFormat(encoding=start.output.encoding, rate_hz=start.output.rate_hz),
                text_only=start.text_only,
                settings=settings_to_wire(self.conversation.session),
            )
        )
        # Before the conversation runs: one that goes on needs no greeting.
        for item in start.items:
            self._enter(item, None)
        await line.begin()
        return start

    async def _wish(
        self,
        message: wire.AudioIn
        | wire.TextIn
        | wire.Interrupt
        | wire.Played
        | wire.SettingsUpdate
        | wire.Commit
        | wire.Clear
        | wire.Respond
        | wire.ItemIn
        | wire.ToolResult
        | wire.DeleteItem
        | wire.DigitIn
        | wire.ResetRequest,
        start: wire.Start,
        line: CallLine,
    ) -> None:
        conversation = self.conversation
        match message:
            case wire.AudioIn():
                encoding = message.encoding or start.input.encoding
                line.hear(decode_audio(message.audio, encoding, message.rate_hz or start.input.rate_hz))
            case wire.TextIn():
                conversation.clear_output()
                self._enter(
                    objects.WrittenItem(role="user", text=message.text, item_id=message.item_id), None
                )
                conversation.create_response(ResponseOptions())
            case wire.Interrupt():
                conversation.clear_output()
            case wire.Played():
                conversation.truncate_item(message.item_id, message.audio_ms)
            case wire.SettingsUpdate():
                conversation.update(self._changed(message.settings, text_only=start.text_only))
                self._send(wire.SettingsChanged(settings=settings_to_wire(conversation.session)))
            case wire.Commit():
                await line.heard_all()
                conversation.commit_input()
            case wire.Clear():
                line.forget()
                conversation.clear_input()
            case wire.Respond():
                _require_voice(message.modality, "modality", text_only=start.text_only)
                conversation.create_response(_options(message))
            case wire.ItemIn():
                self._enter(message.item, message.previous_item_id)
            case wire.ToolResult():
                conversation.add_item(FunctionCallOutput(new_id("item"), message.call_id, message.output))
                conversation.create_response(ResponseOptions())
            case wire.DeleteItem():
                conversation.delete_item(message.item_id)
            case wire.DigitIn():
                conversation.press(message.digit)
            case wire.ResetRequest():
                line.forget()
                conversation.reset()
            case _:
                assert_never(message)

    def _changed(self, settings: objects.Settings, *, text_only: bool) -> SessionConfig:
        _require_voice(settings.modality, "settings.modality", text_only=text_only)
        update = session_update(settings)
        session = changed_session(self.conversation.session, update, self.conversation.voices)
        if settings.tools is None:
            return session
        return replace(session, tools=tuple(_tool(tool) for tool in settings.tools))

    def _enter(self, item: objects.WrittenItem, previous_item_id: str | None) -> None:
        part = Part(kind=_PART_OF_ROLE[item.role], text=item.text)
        self.conversation.add_item(
            Message(item.item_id or new_id("item"), item.role, (part,)), previous_item_id
        )

    def _send(self, message: wire.ServerMessage) -> None:
        self._send_text(wire.to_wire(message))


def session_update(settings: objects.Settings) -> SessionUpdate:
    """Flat settings in the Realtime API's shape, so that both mean the same. What was not sent stays so."""
    sent = settings.model_fields_set
    update: dict[str, Any] = {
        name: getattr(settings, name)
        for name in ("instructions", "greeting", "max_output_tokens")
        if name in sent
    }
    if settings.modality is not None:
        update["output_modalities"] = (settings.modality,)
    listening: dict[str, Any] = {}
    if "language" in sent:
        listening["transcription"] = {"language": settings.language}
    if "turn_detection" in sent:
        listening["turn_detection"] = settings.turn_detection
    speaking = {name: getattr(settings, name) for name in ("voice", "speed") if name in sent}
    return SessionUpdate.model_validate({**update, "audio": {"input": listening, "output": speaking}})


def settings_to_wire(session: SessionConfig) -> objects.WireSettings:
    """All that a client can change of its session."""
    detection = turn_detection_to_wire(session.turn_detection)
    return objects.WireSettings(
        instructions=session.instructions,
        greeting=session.greeting,
        voice=session.voice,
        speed=session.speed,
        language=session.language,
        modality=session.modality,
        max_output_tokens=session.max_output_tokens or "inf",
        turn_detection=detection.model_dump(exclude_none=True) if detection else None,
        tools=tuple(tool.name for tool in session.tools),
    )


def _tool(tool: objects.ToolDefinition) -> Tool:
    return Tool(tool.name, tool.description, to_json(tool.parameters).decode())


def _options(message: wire.Respond) -> ResponseOptions:
    return ResponseOptions(
        instructions=message.instructions,
        modality=message.modality,
        max_output_tokens=token_limit(message.max_output_tokens),
    )


def _require_voice(modality: str | None, param: str, *, text_only: bool) -> None:
    if text_only and modality == "audio":
        raise CallerError("This call is one of text alone.", code="invalid_value", param=param)
