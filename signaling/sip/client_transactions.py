"""The client's two machines: what follows from the responses to a request (RFC 3261, 17.1; RFC 6026)."""

from __future__ import annotations

from enum import Enum
from typing import assert_never

from media.floor_table import IllegalEvent, Table, follow
from signaling.sip.transactions import (
    Arm,
    CancelAsked,
    ClientCommand,
    ClientEvent,
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
    TimerA,
    TimerB,
    TimerD,
    TimerE,
    TimerF,
    TimerK,
    TimerM,
    Timers,
    TransportLost,
)


class InviteClientState(Enum):
    CALLING = "no answer yet"
    WITHDRAWING = "no answer yet; the first one is followed by a CANCEL"
    PROCEEDING = "a provisional response came"
    CANCELLED = "a CANCEL was sent; a final response must follow"
    COMPLETED = "refused; repeated refusals are acknowledged"
    ACCEPTED = "a 2xx came; others may follow, of other forks"
    TERMINATED = "over"


INVITE_CLIENT_TABLE: Table[InviteClientState] = {
    (InviteClientState.CALLING, Provisional): InviteClientState.PROCEEDING,
    (InviteClientState.CALLING, Success): InviteClientState.ACCEPTED,
    (InviteClientState.CALLING, Failure): InviteClientState.COMPLETED,
    (InviteClientState.CALLING, CancelAsked): InviteClientState.WITHDRAWING,
    (InviteClientState.CALLING, TransportLost): InviteClientState.TERMINATED,
    (InviteClientState.CALLING, TimerA): InviteClientState.CALLING,
    (InviteClientState.CALLING, TimerB): InviteClientState.TERMINATED,
    (InviteClientState.WITHDRAWING, Provisional): InviteClientState.CANCELLED,
    (InviteClientState.WITHDRAWING, Success): InviteClientState.ACCEPTED,
    (InviteClientState.WITHDRAWING, Failure): InviteClientState.COMPLETED,
    (InviteClientState.WITHDRAWING, CancelAsked): InviteClientState.WITHDRAWING,
    (InviteClientState.WITHDRAWING, TransportLost): InviteClientState.TERMINATED,
    (InviteClientState.WITHDRAWING, TimerA): InviteClientState.WITHDRAWING,
    (InviteClientState.WITHDRAWING, TimerB): InviteClientState.TERMINATED,
    (InviteClientState.PROCEEDING, Provisional): InviteClientState.PROCEEDING,
    (InviteClientState.PROCEEDING, Success): InviteClientState.ACCEPTED,
    (InviteClientState.PROCEEDING, Failure): InviteClientState.COMPLETED,
    (InviteClientState.PROCEEDING, CancelAsked): InviteClientState.CANCELLED,
    (InviteClientState.PROCEEDING, TransportLost): InviteClientState.PROCEEDING,
    (InviteClientState.CANCELLED, Provisional): InviteClientState.CANCELLED,
    (InviteClientState.CANCELLED, Success): InviteClientState.ACCEPTED,
    (InviteClientState.CANCELLED, Failure): InviteClientState.COMPLETED,
    (InviteClientState.CANCELLED, CancelAsked): InviteClientState.CANCELLED,
    (InviteClientState.CANCELLED, TransportLost): InviteClientState.CANCELLED,
    (InviteClientState.CANCELLED, TimerB): InviteClientState.TERMINATED,
    (InviteClientState.COMPLETED, Provisional): InviteClientState.COMPLETED,
    (InviteClientState.COMPLETED, Success): InviteClientState.COMPLETED,
    (InviteClientState.COMPLETED, Failure): InviteClientState.COMPLETED,
    (InviteClientState.COMPLETED, CancelAsked): InviteClientState.COMPLETED,
    (InviteClientState.COMPLETED, TransportLost): InviteClientState.COMPLETED,
    (InviteClientState.COMPLETED, TimerD): InviteClientState.TERMINATED,
    (InviteClientState.ACCEPTED, Provisional): InviteClientState.ACCEPTED,
    (InviteClientState.ACCEPTED, Success): InviteClientState.ACCEPTED,
    (InviteClientState.ACCEPTED, Failure): InviteClientState.ACCEPTED,
    (InviteClientState.ACCEPTED, CancelAsked): InviteClientState.ACCEPTED,
    (InviteClientState.ACCEPTED, TransportLost): InviteClientState.ACCEPTED,
    (InviteClientState.ACCEPTED, TimerM): InviteClientState.TERMINATED,
}
"""Once a provisional response has come, a connection that is lost ends nothing: the final one may come over
another (RFC 3261, section 18.2.2)."""


_QUIET: tuple[ClientCommand, ...] = (Disarm(TimerA()), Disarm(TimerB()))
"""An answer came: the request is not repeated, nor given up."""


class InviteClient:
    """The machine of an INVITE. CANCEL, which may only follow a provisional response, is in it."""

    def __init__(self, timers: Timers, reliable: bool) -> None:
        self.state = InviteClientState.CALLING
        self._timers = timers
        self._reliable = reliable
        self._interval_s = timers.t1_s

    def start(self) -> tuple[ClientCommand, ...]:
        """What the machine begins with."""
        repeat: tuple[ClientCommand, ...] = () if self._reliable else (Arm(TimerA(), self._interval_s),)
        return (SendRequest(), *repeat, Arm(TimerB(), self._timers.timeout_s))

    def feed(self, event: ClientEvent) -> tuple[ClientCommand, ...]:
        """The commands that the event calls for, in order.

        Raises:
            IllegalEvent: the table forbids it; nothing changed.
        """
        before = self.state
        self.state = follow(INVITE_CLIENT_TABLE, before, event)
        over = before in (InviteClientState.COMPLETED, InviteClientState.ACCEPTED)
        match event:
            case Provisional():
                return () if over else self._provisional(before)
            case Success():
                if before is InviteClientState.ACCEPTED:
                    return (Deliver(),)
                return () if over else (*_QUIET, Deliver(), Arm(TimerM(), self._timers.timeout_s))
            case Failure():
                if before is InviteClientState.COMPLETED:
                    return (SendAck(),)
                linger = Arm(TimerD(), 0.0 if self._reliable else self._timers.linger_s)
                return () if over else (*_QUIET, SendAck(), Deliver(), Conclude(), linger)
            case CancelAsked():
                return self._cancel() if before is InviteClientState.PROCEEDING else ()
            case TransportLost():
                ends = self.state is InviteClientState.TERMINATED
                return (*_QUIET, TellTransportLost()) if ends else ()
            case TimerA():
                self._interval_s *= 2
                return (SendRequest(), Arm(TimerA(), self._interval_s))
            case TimerB():
                return (Disarm(TimerA()), TellTimeout())
            case TimerD():
                return ()
            case TimerM():
                return (Conclude(),)
            case TimerE() | TimerF() | TimerK():
                raise IllegalEvent(before, event)
            case _:
                assert_never(event)

    def _provisional(self, before: InviteClientState) -> tuple[ClientCommand, ...]:
        if before is InviteClientState.CALLING:
            return (*_QUIET, Deliver())
        if before is InviteClientState.WITHDRAWING:
            return (*_QUIET, Deliver(), *self._cancel())
        return (Deliver(),)

    def _cancel(self) -> tuple[ClientCommand, ...]:
        """RFC 3261, section 9.1: one that has no final response 64*T1 later is given up."""
        return (SendCancel(), Arm(TimerB(), self._timers.timeout_s))


class ClientState(Enum):
    TRYING = "no answer yet"
    PROCEEDING = "a provisional response came"
    COMPLETED = "a final response came; repeated ones are dropped"
    TERMINATED = "over"


CLIENT_TABLE: Table[ClientState] = {
    (ClientState.TRYING, Provisional): ClientState.PROCEEDING,
    (ClientState.TRYING, Success): ClientState.COMPLETED,
    (ClientState.TRYING, Failure): ClientState.COMPLETED,
    (ClientState.TRYING, TransportLost): ClientState.TERMINATED,
    (ClientState.TRYING, TimerE): ClientState.TRYING,
    (ClientState.TRYING, TimerF): ClientState.TERMINATED,
    (ClientState.PROCEEDING, Provisional): ClientState.PROCEEDING,
    (ClientState.PROCEEDING, Success): ClientState.COMPLETED,
    (ClientState.PROCEEDING, Failure): ClientState.COMPLETED,
    (ClientState.PROCEEDING, TransportLost): ClientState.PROCEEDING,
    (ClientState.PROCEEDING, TimerE): ClientState.PROCEEDING,
    (ClientState.PROCEEDING, TimerF): ClientState.TERMINATED,
    (ClientState.COMPLETED, Provisional): ClientState.COMPLETED,
    (ClientState.COMPLETED, Success): ClientState.COMPLETED,
    (ClientState.COMPLETED, Failure): ClientState.COMPLETED,
    (ClientState.COMPLETED, TransportLost): ClientState.COMPLETED,
    (ClientState.COMPLETED, TimerK): ClientState.TERMINATED,
}


class Client:
    """The machine of every other request."""

    def __init__(self, timers: Timers, reliable: bool) -> None:
        self.state = ClientState.TRYING
        self._timers = timers
        self._reliable = reliable
        self._interval_s = timers.t1_s

    def start(self) -> tuple[ClientCommand, ...]:
        """What the machine begins with."""
        repeat: tuple[ClientCommand, ...] = () if self._reliable else (Arm(TimerE(), self._interval_s),)
        return (SendRequest(), *repeat, Arm(TimerF(), self._timers.timeout_s))

    def feed(self, event: ClientEvent) -> tuple[ClientCommand, ...]:
        """The commands that the event calls for, in order.

        Raises:
            IllegalEvent: the table forbids it; nothing changed.
        """
        before = self.state
        self.state = follow(CLIENT_TABLE, before, event)
        match event:
            case Provisional():
                return () if before is ClientState.COMPLETED else (Deliver(),)
            case Success() | Failure():
                if before is ClientState.COMPLETED:
                    return ()
                linger_s = 0.0 if self._reliable else self._timers.t4_s
                return (
                    Disarm(TimerE()),
                    Disarm(TimerF()),
                    Deliver(),
                    Conclude(),
                    Arm(TimerK(), linger_s),
                )
            case TransportLost():
                if before is not ClientState.TRYING:
                    return ()
                return (Disarm(TimerE()), Disarm(TimerF()), TellTransportLost())
            case TimerE():
                proceeding = before is ClientState.PROCEEDING
                longest_s = self._timers.t2_s
                self._interval_s = longest_s if proceeding else min(2 * self._interval_s, longest_s)
                return (SendRequest(), Arm(TimerE(), self._interval_s))
            case TimerF():
                return (Disarm(TimerE()), TellTimeout())
            case TimerK():
                return ()
            case CancelAsked() | TimerA() | TimerB() | TimerD() | TimerM():
                raise IllegalEvent(before, event)
            case _:
                assert_never(event)
