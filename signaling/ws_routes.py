"""The route by which programs, and pages that no UDP reaches, call over a WebSocket: `/ws`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from aiohttp import web

from media.audio import Audio
from media.errors import CallerError, ServerFull
from media.events import CallEvent
from media.session import SessionConfig
from signaling.call_host import CallConversation, CallHost, CallSlot
from signaling.outbox import Outbox
from signaling.realtime_session import RealtimeSession
from signaling.running_calls import RunningCalls
from signaling.socket_call import NOT_READING, Ending, SocketCall, TextSocket
from signaling.socket_leg import SocketLeg
from signaling.web_socket import accepted
from signaling.ws_messages import Error, to_wire
from signaling.ws_session import WsSession

BEGIN_LIMIT_S: Final = 20.0
"""Who has not begun their call by then gives their slot back."""
TRY_AGAIN_LATER: Final = Ending(1013, "all lines are busy")
REFUSED: Final = Ending(1008, "the call is refused")

log = logging.getLogger(__name__)


def ws_routes(host: CallHost, calls: RunningCalls) -> list[web.RouteDef]:
    """All routes, for `app.add_routes`."""
    return [web.get("/ws", WsRoutes(host, calls).call)]


class WsCall:
    """One call over `/ws`: joins the socket's call to the session. `signaling.ws_session.CallLine`.

    Raises:
        CallerError: the engines cannot serve the defaults.
    """

    def __init__(self, host: CallHost, slot: CallSlot, socket: TextSocket) -> None:
        outbox = Outbox(lambda: self.carrier.end(NOT_READING))

        def converse(session: SessionConfig, notify: Callable[[CallEvent], None]) -> CallConversation:
            def tell(event: CallEvent) -> None:
                self._messages.notify(event)
                notify(event)

            return slot.conversation(session, tell)

        self.session = RealtimeSession(host.session_defaults(), None, converse, _unsent)
        """For Realtime clients that join the call."""
        conversation = self.session.conversation
        self._messages = WsSession(slot.call_id, conversation, outbox.put)
        self._leg = SocketLeg(conversation)
        self.carrier = SocketCall(
            slot.call_id,
            socket,
            conversation,
            self._leg,
            outbox,
            lambda text: self._messages.receive(text, self),
            begin_limit_s=BEGIN_LIMIT_S,
        )

    def open(self) -> None:
        """Greets the client. `carrier` is then to be run."""
        self._messages.open()

    async def begin(self) -> None:
        await self.carrier.begin()

    def hear(self, audio: Audio) -> None:
        self._leg.hear(audio)

    async def heard_all(self) -> None:
        await self._leg.heard_all()

    def forget(self) -> None:
        self._leg.forget()

    def hang_up(self) -> None:
        self.carrier.hang_up()


def _unsent(_event: str) -> None:
    """The call's own client gets messages, not events."""


class WsRoutes:
    """The handlers."""

    def __init__(self, host: CallHost, calls: RunningCalls) -> None:
        self._host = host
        self._calls = calls

    async def call(self, request: web.Request) -> web.WebSocketResponse:
        """A whole call. A refusal is a message, since a browser does not show its page a failed handshake."""
        response, socket = await accepted(request)
        try:
            slot = self._host.admit()
        except ServerFull as error:
            refusal = Error(
                fault="server", code=error.code, message=str(error), retry_after_s=error.retry_after_s
            )
            await socket.send(to_wire(refusal))
            await socket.close(TRY_AGAIN_LATER)
            return response
        try:
            call = WsCall(self._host, slot, socket)
        except CallerError as error:
            slot.release()
            await socket.send(to_wire(Error(fault="server", code=error.code, message=str(error))))
            await socket.close(REFUSED)
            return response

        call.open()
        over = self._calls.start(slot, call.carrier, call.session)
        log.info("call answered over a WebSocket")
        # aiohttp closes the socket when its handler returns.
        await over.wait()
        return response
