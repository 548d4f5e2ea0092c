"""A request that came to this side, until nothing more of it can come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import assert_never

from sipmessage import Request, Response

from signaling.sip.armed_timers import ArmedTimers
from signaling.sip.hop import Hop
from signaling.sip.messages import new_tag, response_to, serialise, to_tag
from signaling.sip.server_transactions import InviteServer, InviteServerState, Server, ServerState
from signaling.sip.transactions import (
    Acknowledged,
    Arm,
    DeliverAck,
    Disarm,
    Failure,
    Ignored,
    Provisional,
    Repeated,
    SendResponse,
    SendTrying,
    ServerCommand,
    ServerEvent,
    ServerTimer,
    Success,
    TellUnacknowledged,
    Timers,
)
from signaling.sip.wire import Wire

_UNANSWERED = (
    InviteServerState.RECEIVED,
    InviteServerState.PROCEEDING,
    ServerState.TRYING,
    ServerState.PROCEEDING,
)


class ServerTransaction:
    """One request and what this side answers. Made by the transaction layer.

    Args:
        request: as it came, with `received` and `rport` in its top Via.
        source: where it came from.
        reply_to: where responses go.
        otherwise: where they go if the connection that it came over is gone.
        wire: what carries them.
        timers: how long what lasts.
        accepted: told of a 2xx to an INVITE, whose ACK is found by the dialog.
        end: told when the transaction is over.

    Attributes:
        request: as it came.
        source: where it came from.
        tag: this side's To-tag, unless the request has one.
        cancelled: set when a CANCEL came before a final response was given. 487 is what to answer then.
    """

    def __init__(
        self,
        request: Request,
        source: Hop,
        reply_to: Hop,
        otherwise: Hop | None,
        wire: Wire,
        timers: Timers,
        accepted: Callable[[ServerTransaction, str], None],
        end: Callable[[ServerTransaction], None],
    ) -> None:
        self.request = request
        self.source = source
        self.tag = new_tag()
        self.cancelled = asyncio.Event()
        self._reply_to = reply_to
        self._otherwise = otherwise
        self._wire = wire
        self._accepted = accepted
        self._end = end
        invite = request.method == "INVITE"
        reliable = source.transport.reliable
        self._machine = InviteServer(timers, reliable) if invite else Server(timers, reliable)
        self._timers = ArmedTimers[ServerTimer](self._feed)
        self._latest = b""
        self._ack: Request | None = None
        self._settled = asyncio.Event()
        self._abandoned = False

    def start(self) -> None:
        """Before the user is told of the request."""
        self._obey(self._machine.start())

    @property
    def answered(self) -> bool:
        """Whether a final response was given, or none will be."""
        return self._machine.state not in _UNANSWERED

    def response(self, code: int, phrase: str | None = None) -> Response:
        """A response without a body, with this side's To-tag."""
        return response_to(self.request, code, phrase, None if code == 100 else self.tag)

    def respond(self, response: Response) -> None:
        """Sends a response: provisional ones, then one final. A 2xx to an INVITE is repeated until its ACK.

        Nothing is sent where the transaction has ended already, since the far side does not wait any more.

        Raises:
            IllegalEvent: a final one was given before.
            BadMessage: the response cannot be written.
        """
        if self._over:
            return
        data = serialise(response)
        if response.code < 200:
            self._feed(Provisional(), data)
        elif response.code < 300:
            self._feed(Success(), data)
            if isinstance(self._machine, InviteServer):
                self._accepted(self, to_tag(response) or "")
        else:
            self._feed(Failure(), data)

    def ignore(self) -> None:
        """Never answers. For requests of strangers; only before anything was answered.

        Raises:
            IllegalEvent: something was.
        """
        self._feed(Ignored())

    def challenge(self, response: Response) -> None:
        """Sends a final response once, and forgets the request: who asks again is answered anew.

        RFC 3261, section 26.3.2.4: what is not proven to be anybody's must neither have this side repeat
        itself, at an address that may be made up, nor take the place of others' requests.

        Raises:
            IllegalEvent: something was answered.
            BadMessage: the response cannot be written.
        """
        self._wire.send(serialise(response), self._reply_to, self._otherwise)
        self.ignore()

    @property
    def settled(self) -> bool:
        """Whether `acknowledged` would return at once."""
        return self._settled.is_set()

    @property
    def ack(self) -> Request | None:
        """The ACK to this side's 2xx, if it has come."""
        return self._ack

    async def acknowledged(self) -> Request | None:
        """The ACK to this side's 2xx; None if none comes within 64*T1, or the INVITE was refused."""
        await self._settled.wait()
        return self._ack

    # The layer's side

    def repeat(self) -> None:
        """For the transaction layer: the request came once more."""
        if not self._over:
            self._feed(Repeated())

    def acknowledge(self, ack: Request) -> None:
        """For the transaction layer: the ACK to the final response."""
        if not self._over:
            self._feed(Acknowledged(), ack=ack)

    def cancel(self) -> None:
        """For the transaction layer: a CANCEL came."""
        if not self.answered:
            self.cancelled.set()

    def abandon(self) -> None:
        """For the transaction layer, when it closes."""
        self._abandoned = True
        self._timers.disarm_all()
        self._settled.set()

    @property
    def _over(self) -> bool:
        return self._abandoned or self._machine.state in (
            InviteServerState.TERMINATED,
            ServerState.TERMINATED,
        )

    def _feed(self, event: ServerEvent, data: bytes | None = None, ack: Request | None = None) -> None:
        commands = self._machine.feed(event)
        if data is not None:
            self._latest = data
        self._obey(commands, ack)
        if self._over:
            self._timers.disarm_all()
            self._settled.set()
            self._end(self)

    def _obey(self, commands: tuple[ServerCommand, ...], ack: Request | None = None) -> None:
        for command in commands:
            match command:
                case SendResponse():
                    self._wire.send(self._latest, self._reply_to, self._otherwise)
                case SendTrying():
                    self._latest = serialise(self.response(100))
                    self._wire.send(self._latest, self._reply_to, self._otherwise)
                case DeliverAck():
                    self._ack = ack
                    self._settled.set()
                case TellUnacknowledged():
                    self._settled.set()
                case Arm():
                    self._timers.arm(command)
                case Disarm():
                    self._timers.disarm(command)
                case _:
                    assert_never(command)
