"""The server's two machines: what follows from a request and its answer (RFC 3261, 17.2; RFC 6026)."""

from __future__ import annotations

from enum import Enum
from typing import assert_never

from media.floor_table import IllegalEvent, Table, follow
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
    Success,
    TellUnacknowledged,
    TimerF,
    TimerG,
    TimerH,
    TimerI,
    TimerJ,
    TimerL,
    TimerRepeat,
    Timers,
    TimerTrying,
)


class InviteServerState(Enum):
    RECEIVED = "nothing was answered yet"
    PROCEEDING = "a provisional response was sent"
    COMPLETED = "refused; the refusal is repeated until its ACK"
    CONFIRMED = "the refusal was acknowledged"
    ACCEPTED = "a 2xx was sent; it is repeated until its ACK"
    ACKNOWLEDGED = "the 2xx was acknowledged"
    TERMINATED = "over"


INVITE_SERVER_TABLE: Table[InviteServerState] = {
    (InviteServerState.RECEIVED, Provisional): InviteServerState.PROCEEDING,
    (InviteServerState.RECEIVED, Success): InviteServerState.ACCEPTED,
    (InviteServerState.RECEIVED, Failure): InviteServerState.COMPLETED,
    (InviteServerState.RECEIVED, Repeated): InviteServerState.RECEIVED,
    (InviteServerState.RECEIVED, Acknowledged): InviteServerState.RECEIVED,
    (InviteServerState.RECEIVED, Ignored): InviteServerState.TERMINATED,
    (InviteServerState.RECEIVED, TimerTrying): InviteServerState.PROCEEDING,
    (InviteServerState.PROCEEDING, Provisional): InviteServerState.PROCEEDING,
    (InviteServerState.PROCEEDING, Success): InviteServerState.ACCEPTED,
    (InviteServerState.PROCEEDING, Failure): InviteServerState.COMPLETED,
    (InviteServerState.PROCEEDING, Repeated): InviteServerState.PROCEEDING,
    (InviteServerState.PROCEEDING, Acknowledged): InviteServerState.PROCEEDING,
    (InviteServerState.COMPLETED, Repeated): InviteServerState.COMPLETED,
    (InviteServerState.COMPLETED, Acknowledged): InviteServerState.CONFIRMED,
    (InviteServerState.COMPLETED, TimerG): InviteServerState.COMPLETED,
    (InviteServerState.COMPLETED, TimerH): InviteServerState.TERMINATED,
    (InviteServerState.CONFIRMED, Repeated): InviteServerState.CONFIRMED,
    (InviteServerState.CONFIRMED, Acknowledged): InviteServerState.CONFIRMED,
    (InviteServerState.CONFIRMED, TimerI): InviteServerState.TERMINATED,
    (InviteServerState.ACCEPTED, Repeated): InviteServerState.ACCEPTED,
    (InviteServerState.ACCEPTED, Acknowledged): InviteServerState.ACKNOWLEDGED,
    (InviteServerState.ACCEPTED, TimerRepeat): InviteServerState.ACCEPTED,
    (InviteServerState.ACCEPTED, TimerL): InviteServerState.TERMINATED,
    (InviteServerState.ACKNOWLEDGED, Repeated): InviteServerState.ACKNOWLEDGED,
    (InviteServerState.ACKNOWLEDGED, Acknowledged): InviteServerState.ACKNOWLEDGED,
    (InviteServerState.ACKNOWLEDGED, TimerL): InviteServerState.TERMINATED,
}


class InviteServer:
    """The machine of an INVITE.

    The user agent's part of section 13.3.1.4 is in it: a 2xx is repeated until its ACK, which is of another
    transaction by its branch, and is found by its dialog.
    """

    def __init__(self, timers: Timers, reliable: bool) -> None:
        self.state = InviteServerState.RECEIVED
        self._timers = timers
        self._reliable = reliable
        self._interval_s = timers.t1_s

    def start(self) -> tuple[ServerCommand, ...]:
        """What the machine begins with."""
        return (Arm(TimerTrying(), self._timers.trying_s),)

    def feed(self, event: ServerEvent) -> tuple[ServerCommand, ...]:
        """The commands that the event calls for, in order.

        Raises:
            IllegalEvent: the table forbids it; nothing changed.
        """
        before = self.state
        self.state = follow(INVITE_SERVER_TABLE, before, event)
        match event:
            case Provisional():
                return (Disarm(TimerTrying()), SendResponse())
            case Success():
                repeat, end = Arm(TimerRepeat(), self._interval_s), Arm(TimerL(), self._timers.timeout_s)
                return (Disarm(TimerTrying()), SendResponse(), repeat, end)
            case Failure():
                give_up = Arm(TimerH(), self._timers.timeout_s)
                again = () if self._reliable else (Arm(TimerG(), self._interval_s),)
                return (Disarm(TimerTrying()), SendResponse(), *again, give_up)
            case Repeated():
                resends = before in (InviteServerState.PROCEEDING, InviteServerState.COMPLETED)
                return (SendResponse(),) if resends else ()
            case Acknowledged():
                return self._acknowledged(before)
            case Ignored():
                return (Disarm(TimerTrying()),)
            case TimerTrying():
                return (SendTrying(),)
            case TimerG() | TimerRepeat():
                self._interval_s = min(2 * self._interval_s, self._timers.t2_s)
                return (SendResponse(), Arm(event, self._interval_s))
            case TimerH():
                return (Disarm(TimerG()), TellUnacknowledged())
            case TimerL():
                accepted = before is InviteServerState.ACCEPTED
                return (Disarm(TimerRepeat()), TellUnacknowledged()) if accepted else ()
            case TimerI():
                return ()
            case TimerF() | TimerJ():
                raise IllegalEvent(before, event)
            case _:
                assert_never(event)

    def _acknowledged(self, before: InviteServerState) -> tuple[ServerCommand, ...]:
        if before is InviteServerState.ACCEPTED:
            return (Disarm(TimerRepeat()), DeliverAck())
        if before is InviteServerState.COMPLETED:
            linger_s = 0.0 if self._reliable else self._timers.t4_s
            return (Disarm(TimerG()), Disarm(TimerH()), Arm(TimerI(), linger_s))
        return ()


class ServerState(Enum):
    TRYING = "nothing was answered yet"
    PROCEEDING = "a provisional response was sent"
    COMPLETED = "a final response was sent"
    TERMINATED = "over"


SERVER_TABLE: Table[ServerState] = {
    (ServerState.TRYING, Provisional): ServerState.PROCEEDING,
    (ServerState.TRYING, Success): ServerState.COMPLETED,
    (ServerState.TRYING, Failure): ServerState.COMPLETED,
    (ServerState.TRYING, Repeated): ServerState.TRYING,
    (ServerState.TRYING, Ignored): ServerState.TERMINATED,
    (ServerState.TRYING, TimerF): ServerState.TERMINATED,
    (ServerState.PROCEEDING, Provisional): ServerState.PROCEEDING,
    (ServerState.PROCEEDING, Success): ServerState.COMPLETED,
    (ServerState.PROCEEDING, Failure): ServerState.COMPLETED,
    (ServerState.PROCEEDING, Repeated): ServerState.PROCEEDING,
    (ServerState.PROCEEDING, TimerF): ServerState.TERMINATED,
    (ServerState.COMPLETED, Repeated): ServerState.COMPLETED,
    (ServerState.COMPLETED, TimerJ): ServerState.TERMINATED,
}
"""Timer F is not in the standard's: nobody waits for an answer that takes longer (RFC 4320, section 4.2)."""


class Server:
    """The machine of every other request."""

    def __init__(self, timers: Timers, reliable: bool) -> None:
        self.state = ServerState.TRYING
        self._timers = timers
        self._reliable = reliable

    def start(self) -> tuple[ServerCommand, ...]:
        """What the machine begins with."""
        return (Arm(TimerF(), self._timers.timeout_s),)

    def feed(self, event: ServerEvent) -> tuple[ServerCommand, ...]:
        """The commands that the event calls for, in order.

        Raises:
            IllegalEvent: the table forbids it; nothing changed.
        """
        before = self.state
        self.state = follow(SERVER_TABLE, before, event)
        match event:
            case Provisional():
                return (SendResponse(),)
            case Success() | Failure():
                linger_s = 0.0 if self._reliable else self._timers.timeout_s
                return (Disarm(TimerF()), SendResponse(), Arm(TimerJ(), linger_s))
            case Repeated():
                return () if before is ServerState.TRYING else (SendResponse(),)
            case Ignored():
                return (Disarm(TimerF()),)
            case TimerF() | TimerJ():
                return ()
            case Acknowledged() | TimerG() | TimerH() | TimerI() | TimerL() | TimerTrying() | TimerRepeat():
                raise IllegalEvent(before, event)
            case _:
                assert_never(event)
