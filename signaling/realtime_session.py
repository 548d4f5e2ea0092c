"""One client's Realtime session: its conversation's events become the API's, its messages become acts.

There is no transport in here: messages come in through `receive`, events leave through a function that takes
text. A data channel and a WebSocket use the same class.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol, assert_never

from media import events as call
from media.audio import Audio
from media.errors import CallerError
from media.items import Item, Message, new_id
from media.session import SessionConfig
from signaling import realtime_events as wire
from signaling.call_host import CallConversation
from signaling.realtime_audio import audio_in_turns, audio_of
from signaling.realtime_mapping import (
    item_from_client,
    item_to_wire,
    recordings_from_client,
    recordings_in_turns,
    response_options,
)
from signaling.realtime_session_mapping import WireState, changed_session, changed_wire, session_to_wire
from signaling.realtime_session_objects import SessionUpdate
from signaling.realtime_translation import Translator
from signaling.socket_leg import SocketLeg

_SESSION_NAMES = {
    "voice": "session.audio.output.voice",
    "language": "session.audio.input.transcription.language",
    "tool_choice": "session.tool_choice",
}
_RESPONSE_NAMES = {"voice": "response.audio.output.voice", "tool_choice": "response.tool_choice"}
"""What the conversation finds fault with in a session or a response, as the client named it."""

MODEL = "voxtral-kokoro"
"""What the whole of the engines is called, where a client does not call it otherwise."""

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
        as_data: events carry the audio of both sides. `leg` is then to be run beside the conversation.
        overheard: events carry the assistant's voice besides, for clients that join.
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
        as_data: bool = False,
        overheard: bool = False,
        model: str = MODEL,
    ) -> None:
        self._send_text = send
        self._asker = send
        """The client whose message is acted on: what answers it alone goes there."""
        self._joined: dict[Callable[[str], None], Callable[[], None]] = {}
        """Further clients of the same call, and whom to tell of its end."""
        self._speaks = speaks
        self._wire = WireState(new_id("sess"), new_id("conv"), model)
        self._translator = Translator(as_data=as_data, overheard=overheard)
        self._overheard = overheard
        self.conversation = converse(session, self.notify)
        if update is not None:
            self._wire = replace(self._wire, model=update.model or model)
            self._change(update)
        if not speaks:
            self.conversation.update(replace(self.conversation.session, modality="text"))
        self.leg = SocketLeg(self.conversation) if as_data else None
        """Carries the audio, where events do."""
        self._truncating: tuple[str, int] | None = None
        """The item that the client is cutting just now, and where, in ms."""

    def open(self) -> None:
        """The client can be reached now: greets it with `session.created`."""
        self._asker = self._send_text
        self._answer(self._created())

    def notify(self, event: call.CallEvent) -> None:
        """Tells the client what happened in its conversation."""
        if (
            self.leg is not None
            and isinstance(event, call.ItemTruncated)
            and (event.item_id, event.audio_end_ms) != self._truncating
        ):
            # A client that plays the voice itself knows better what was heard, and says it.
            return
        if isinstance(event, call.OutputAudioDelta) and self._overheard and not self._joined:
            # To make events of sound is work, and there is nobody who hears it here.
            return
        if isinstance(event, call.ItemAdded | call.ItemDone) and not self.conversation.session.transcribe:
            event = replace(event, item=_without_transcript(event.item))
        for translated in self._translator.translate(event, self._wire):
            self._send(translated)

    def receive(self, text: str, sender: Callable[[str], None] | None = None) -> None:
        """Does what a client asks; says so where that cannot be.

        Args:
            text: its message.
            sender: how it is reached, if it joined; None for the one whose call it is.
        """
        self._asker = sender or self._send_text
        event = self._read(text)
        if event is not None:
            with self._telling(event):
                self._act(event)

    async def receive_in_order(self, text: str, sender: Callable[[str], None] | None = None) -> None:
        """`receive`, for a client whose messages may be long: lets other calls have their turns meanwhile.

        In a session that carries audio, what was sent before a commit is heard before it.
        """
        asker = self._asker = sender or self._send_text
        event = self._read(text)
        if event is None:
            return
        with self._telling(event):
            match event:
                case wire.InputAudioBufferAppend() if self.leg is not None:
                    self.leg.hear(await audio_in_turns(event.audio, self._wire.input_format))
                    return
                case wire.InputAudioBufferCommit() if self.leg is not None:
                    await self.leg.heard_all()
                case wire.ConversationItemCreate():
                    item = item_from_client(event.item)
                    recordings = await recordings_in_turns(event.item, self._wire.input_format)
                    self._asker = asker
                    self._enter(item, recordings, event.previous_item_id)
                    return
            # Others may have asked for something meanwhile.
            self._asker = asker
            self._act(event)

    def join(self, send: Callable[[str], None], over: Callable[[], None]) -> None:
        """One more client sees what happens from now on, and may act; greets it with `session.created`.

        Args:
            send: takes each event as JSON text, and names the client.
            over: called when the call is over.
        """
        self._joined[send] = over
        self._asker = send
        self._answer(self._created())

    def leave(self, send: Callable[[str], None]) -> None:
        """A client that joined sees no more."""
        self._joined.pop(send, None)

    def close(self) -> None:
        """The call is over. May be called twice."""
        for over in self._joined.values():
            over()
        self._joined.clear()

    def _read(self, text: str) -> wire.ClientEvent | None:
        try:
            return wire.parse_client_event(text)
        except wire.ClientEventError as error:
            self._refuse(error, error.param, error.event_id)
            return None

    @contextmanager
    def _telling(self, event: wire.ClientEvent) -> Iterator[None]:
        """A client's mistake within the block is told."""
        asker = self._asker
        try:
            yield
        except CallerError as error:
            names = _RESPONSE_NAMES if isinstance(event, wire.ResponseCreate) else _SESSION_NAMES
            self._asker = asker
            self._refuse(error, names.get(error.param or "", error.param), event.event_id)

    # From the client

    def _act(self, event: wire.ClientEvent) -> None:
        conversation = self.conversation
        match event:
            case wire.SessionUpdateEvent():
                self._update(event.session)
            case wire.InputAudioBufferAppend():
                self._require_leg().hear(audio_of(event.audio, self._wire.input_format))
            case wire.InputAudioBufferCommit():
                conversation.commit_input()
            case wire.InputAudioBufferClear():
                if self.leg is not None:
                    self.leg.forget()
                conversation.clear_input()
            case wire.OutputAudioBufferClear():
                conversation.clear_output()
            case wire.ConversationItemCreate():
                recordings = recordings_from_client(event.item, self._wire.input_format)
                self._enter(item_from_client(event.item), recordings, event.previous_item_id)
            case wire.ConversationItemRetrieve():
                self._answer(wire.ItemRetrievedEvent(item=item_to_wire(conversation.item(event.item_id))))
            case wire.ConversationItemDelete():
                conversation.delete_item(event.item_id)
            case wire.ConversationItemTruncate():
                self._truncating = event.item_id, event.audio_end_ms
                try:
                    conversation.truncate_item(event.item_id, event.audio_end_ms)
                finally:
                    self._truncating = None
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

    def _enter(self, item: Item, recordings: Mapping[int, Audio], previous_item_id: str | None) -> None:
        if isinstance(item, Message) and recordings:
            self.conversation.add_recording(item, recordings, previous_item_id)
        else:
            self.conversation.add_item(item, previous_item_id)

    def _update(self, update: SessionUpdate) -> None:
        if update.output_modalities == ("audio",):
            self._require_voice("session.output_modalities")
        self._change(update)
        self._send(wire.SessionUpdated(session=session_to_wire(self.conversation.session, self._wire)))

    def _change(self, update: SessionUpdate) -> None:
        conversation = self.conversation
        changed = changed_session(conversation.session, update, conversation.voices)
        if changed.responds != conversation.session.responds and conversation.items:
            raise CallerError(
                "What type a session is of can be changed only before anything was said.",
                code="invalid_value",
                param="session.type",
            )
        conversation.update(changed)
        self._wire = changed_wire(self._wire, update)

    def _require_leg(self) -> SocketLeg:
        if self.leg is None:
            raise CallerError(
                "This call's audio comes as RTP; events of it are not taken.",
                code="audio_not_carried",
                param="type",
            )
        return self.leg

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
        self._answer(wire.ErrorEvent(error=detail))

    # To the client

    def _created(self) -> wire.SessionCreated:
        return wire.SessionCreated(session=session_to_wire(self.conversation.session, self._wire))

    def _send(self, event: wire.ServerEvent) -> None:
        text = wire.to_wire(event)
        for send in (self._send_text, *self._joined):
            send(text)

    def _answer(self, event: wire.ServerEvent) -> None:
        self._asker(wire.to_wire(event))


def _without_transcript(item: Item) -> Item:
    """An item as a client is told of it that wants no transcripts of what is said."""
    if not isinstance(item, Message) or item.role != "user":
        return item
    parts = tuple(replace(part, text=None) if part.kind == "input_audio" else part for part in item.parts)
    return replace(item, parts=parts)
