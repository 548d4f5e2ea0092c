"""One client's Realtime session: its conversation's events become the API's, its messages become acts.

There is no transport in here: messages come in through `receive`, events leave through a function that takes
text. A data channel and a WebSocket use the same class.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, assert_never

from media import events as call
from media.errors import CallerError
from media.items import new_id
from media.session import SessionConfig
from signaling import realtime_events as wire
from signaling.call_host import CallConversation
from signaling.realtime_mapping import item_from_client, item_to_wire, response_options
from signaling.realtime_session_mapping import WireState, changed_session, session_to_wire
from signaling.realtime_session_objects import SessionUpdate
from signaling.realtime_translation import Translator

_SESSION_NAMES = {
    "voice": "session.audio.output.voice",
    "language": "session.audio.input.transcription.language",
}
_RESPONSE_NAMES = {"voice": "response.audio.output.voice"}
"""What the conversation finds fault with in a session or a response, as the client named it."""

log = logging.getLogger(__name__)


class ConversationFactory(Protocol):
    """`CallSlot.conversation`."""

    def __call__(
        self, session: SessionConfig, notify: Callable[[call.CallEvent], None], /
    ) -> CallConversation: ...


class RealtimeSession:
    """Translates between one conversation and one client.

    Nothing here blocks or awaits. A client's mistake becomes an `error` event and changes nothing.

    Args:
        session: the call's first settings, before the client's `update`.
        update: the settings that came with the call; None where there were none.
        converse: makes the conversation.
        send: takes each event as JSON text.
        speaks: whether this transport carries the assistant's voice; without it all replies are written.
        model: the name under which the client asked for this server.

    Raises:
        CallerError: the update cannot be.
    """

    def __init__(
        self,
        session: SessionConfig,
        update: SessionUpdate | None,
        converse: ConversationFactory,
        send: Callable[[str], None],
        *,
        speaks: bool = True,
        model: str = "voxtral-kokoro",
    ) -> None:
        self._send_text = send
        self._speaks = speaks
        self._wire = WireState(new_id("sess"), new_id("conv"), model)
        self._translator = Translator()
        self._include(update)
        first = changed_session(session, update) if update else session
        if not speaks:
            first = replace(first, modality="text")
        self.conversation = converse(first, self.notify)

    def open(self) -> None:
        """The client can be reached now: greets it with `session.created`."""
        self._send(wire.SessionCreated(session=session_to_wire(self.conversation.session, self._wire)))

    def notify(self, event: call.CallEvent) -> None:
        """Tells the client what happened in its conversation."""
        for translated in self._translator.translate(event, self._wire):
            self._send(translated)

    def receive(self, text: str) -> None:
        """Does what the client asks; says so where that cannot be."""
        try:
            event = wire.parse_client_event(text)
        except wire.ClientEventError as error:
            self._refuse(error, error.param, error.event_id)
            return
        try:
            self._act(event)
        except CallerError as error:
            names = _RESPONSE_NAMES if isinstance(event, wire.ResponseCreate) else _SESSION_NAMES
            self._refuse(error, names.get(error.param or "", error.param), event.event_id)

    # From the client

    def _act(self, event: wire.ClientEvent) -> None:
        conversation = self.conversation
        match event:
            case wire.SessionUpdateEvent():
                self._update(event.session)
            case wire.InputAudioBufferCommit():
                conversation.commit_input()
            case wire.InputAudioBufferClear():
                conversation.clear_input()
            case wire.OutputAudioBufferClear():
                conversation.clear_output()
            case wire.ConversationItemCreate():
                conversation.add_item(item_from_client(event.item), event.previous_item_id)
            case wire.ConversationItemRetrieve():
                self._send(wire.ItemRetrievedEvent(item=item_to_wire(conversation.item(event.item_id))))
            case wire.ConversationItemDelete():
                conversation.delete_item(event.item_id)
            case wire.ConversationItemTruncate():
                conversation.truncate_item(event.item_id, event.audio_end_ms)
            case wire.ResponseCreate():
                options = response_options(event.response, conversation.item)
                if options.modality == "audio":
                    self._require_voice("response.output_modalities")
                conversation.create_response(options)
            case wire.ResponseCancel():
                conversation.cancel_response(event.response_id)
            case wire.ConversationResetRequest():
                conversation.reset()
            case _:
                assert_never(event)

    def _update(self, update: SessionUpdate) -> None:
        if update.output_modalities == ("audio",):
            self._require_voice("session.output_modalities")
        self.conversation.update(changed_session(self.conversation.session, update))
        self._include(update)
        self._send(wire.SessionUpdated(session=session_to_wire(self.conversation.session, self._wire)))

    def _include(self, update: SessionUpdate | None) -> None:
        if update is not None and update.include is not None:
            self._wire = replace(self._wire, include=update.include)

    def _require_voice(self, param: str) -> None:
        if not self._speaks:
            raise CallerError(
                "This call carries no audio to the caller; its replies are text.",
                code="invalid_value",
                param=param,
            )

    def _refuse(self, error: CallerError, param: str | None, event_id: str | None) -> None:
        log.info("refused a client's event", extra={"code": error.code, "param": param})
        detail = wire.ErrorDetail(
            type="invalid_request_error",
            code=error.code,
            message=str(error),
            param=param,
            event_id=event_id,
        )
        self._send(wire.ErrorEvent(error=detail))

    # To the client

    def _send(self, event: wire.ServerEvent) -> None:
        self._send_text(wire.to_wire(event))
