"""A request that this side sent, until everything that can follow it has come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, assert_never

from sipmessage import Request, Response

from signaling.sip.armed_timers import ArmedTimers
from signaling.sip.client_transactions import Client, ClientState, InviteClient, InviteClientState
from signaling.sip.errors import SipTimeout, SipTransportFailed
from signaling.sip.hop import Hop
from signaling.sip.messages import ack_to, cancel_of, copy_of, new_branch, serialise, to_tag
from signaling.sip.transactions import (
    Arm,
    CancelAsked,
    ClientCommand,
    ClientEvent,
    ClientTimer,
    Conclude,
    Deliver,
    Disarm,
    Failure,
    Provisional,
    SendAck,
    SendCancel,
    SendRequest,
    Success,
    TellTimeout,
    TellTransportLost,
    Timers,
    TransportLost,
)
from signaling.sip.wire import Wire

MAX_FORKS: Final = 16
"""Answers to one INVITE that are told apart. Nobody has as many telephones."""
_MAX_WAITING = 32
"""Responses that were not fetched; further provisional ones are dropped."""


def add_via(request: Request, wire: Wire, hop: Hop, branch: str) -> None:
    """Puts this side's Via on top; there is no other. Raises: SipTransportFailed."""
    via = f"SIP/2.0/{hop.transport.value} {wire.sent_by(hop)};rport;branch={branch}"
    request.headers.setlist("Via", [via])


class ClientTransaction:
    """One request and its responses. Made by the transaction layer.

    Args:
        request: with its Via.
        hop: where it goes.
        wire: what carries it.
        timers: how long what lasts.
        begin_cancel: begins the transaction of a CANCEL.
        end: told when the transaction is over.

    Attributes:
        request: as it was sent.
        hop: where it went.
    """

    def __init__(
        self,
        request: Request,
        hop: Hop,
        wire: Wire,
        timers: Timers,
        begin_cancel: Callable[[Request, Hop], None],
        end: Callable[[ClientTransaction], None],
    ) -> None:
        self.request = request
        self.hop = hop
        self._data = serialise(request)
        self._wire = wire
        self._begin_cancel = begin_cancel
        self._end = end
        invite = request.method == "INVITE"
        reliable = hop.transport.reliable
        self._machine = InviteClient(timers, reliable) if invite else Client(timers, reliable)
        self._timers = ArmedTimers[ClientTimer](self._feed)
        self._waiting: deque[Response] = deque()
        self._outcome: SipTimeout | SipTransportFailed | None = None
        self._concluded = False
        self._abandoned = False
        self._news = asyncio.Event()
        self._forks: dict[str, tuple[bytes, Hop] | None] = {}
        """Of each To-tag that a 2xx came with: the ACK, once there is one."""

    def start(self) -> None:
        """Sends the request."""
        self._obey(self._machine.start(), None)

    async def next_response(self) -> Response | None:
        """The next one: provisional ones, then the final one, then None.

        After a 2xx to an INVITE come those of other forks (other To-tags) for 64*T1, then None.

        Raises:
            SipTimeout: no response came, or no final one after a CANCEL.
            SipTransportFailed: the connection was lost before any response.
        """
        while not self._waiting:
            if self._outcome is not None:
                raise self._outcome
            if self._concluded:
                return None
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()

    async def final_response(self) -> Response:
        """The next one that is not provisional.

        Raises:
            SipTimeout: none came in time.
            SipTransportFailed: the connection was lost, or there is no further one.
        """
        while (response := await self.next_response()) is not None:
            if response.code >= 200:
                return response
        raise SipTransportFailed("There is no further response.")

    def acknowledge(self, response: Response, ack: Request, next_hop: Hop) -> None:
        """Sends the ACK to a 2xx, and sends it again each time that the 2xx is repeated.

        Args:
            response: the 2xx.
            ack: of the dialog, with the INVITE's CSeq number. A Via is put on it.
            next_hop: where it goes.

        Raises:
            SipTransportFailed: this side does not speak the hop's transport.
        """
        ack = copy_of(ack)
        add_via(ack, self._wire, next_hop, new_branch())
        data = serialise(ack)
        self._forks[to_tag(response) or ""] = (data, next_hop)
        self._wire.send(data, next_hop)

    def cancel(self) -> None:
        """Cancels an INVITE that has had no final response: now, or as soon as a provisional one comes.

        Go on reading: 487 follows, or a 2xx that was under way already.
        """
        if not self._over and isinstance(self._machine, InviteClient):
            self._feed(CancelAsked())

    # The layer's side

    def receive(self, response: Response) -> None:
        """For the transaction layer: one of its responses. Raises: BadMessage."""
        if self._over:
            return
        if response.code < 200:
            self._feed(Provisional(), response)
        elif response.code < 300:
            self._feed(Success(), response)
        else:
            self._feed(Failure(), response)

    def lose_transport(self) -> None:
        """For the transaction layer: the connection is gone."""
        if not self._over:
            self._feed(TransportLost())

    def abandon(self) -> None:
        """For the transaction layer, when it closes."""
        self._abandoned = True
        self._timers.disarm_all()
        self._conclude(SipTransportFailed("This side closes."))

    @property
    def _over(self) -> bool:
        return self._abandoned or self._machine.state in (
            ClientState.TERMINATED,
            InviteClientState.TERMINATED,
        )

    def _feed(self, event: ClientEvent, response: Response | None = None) -> None:
        self._obey(self._machine.feed(event), response)
        if self._over:
            self._timers.disarm_all()
            self._end(self)

    def _obey(self, commands: tuple[ClientCommand, ...], response: Response | None) -> None:
        for command in commands:
            match command:
                case SendRequest():
                    self._wire.send(self._data, self.hop)
                case SendAck():
                    assert response is not None
                    self._wire.send(serialise(ack_to(self.request, response)), self.hop)
                case SendCancel():
                    self._begin_cancel(cancel_of(self.request), self.hop)
                case Deliver():
                    assert response is not None
                    self._deliver(response)
                case Conclude():
                    self._conclude(None)
                case TellTimeout():
                    self._conclude(SipTimeout("The far side did not answer in time."))
                case TellTransportLost():
                    self._conclude(SipTransportFailed("The connection to the far side was lost."))
                case Arm():
                    self._timers.arm(command)
                case Disarm():
                    self._timers.disarm(command)
                case _:
                    assert_never(command)

    def _deliver(self, response: Response) -> None:
        success = 200 <= response.code < 300
        if success and isinstance(self._machine, InviteClient):
            fork = to_tag(response) or ""
            if fork in self._forks:
                acknowledged = self._forks[fork]
                if acknowledged is not None:
                    self._wire.send(*acknowledged)
                return
            if len(self._forks) >= MAX_FORKS:
                return
            self._forks[fork] = None
        if response.code >= 200 or len(self._waiting) < _MAX_WAITING:
            self._waiting.append(response)
            self._news.set()

    def _conclude(self, outcome: SipTimeout | SipTransportFailed | None) -> None:
        if not self._concluded:
            self._concluded = True
            self._outcome = outcome
            self._news.set()
