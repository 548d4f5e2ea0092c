"""What the four transaction machines of RFC 3261, section 17, share: their events, timers and commands.

A machine is a table, as the floors of a conversation are: messages and timers go in, commands come out; it
reads no clock and does no I/O. The machines are in `client_transactions.py` and `server_transactions.py`,
with the Accepted state of RFC 6026. `outgoing.py` and `incoming.py` run them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar


@dataclass(frozen=True, slots=True)
class Timers:
    """RFC 3261, section 17.1.1.1 and table 4.

    Attributes:
        t1_s: the round trip, as guessed.
        t2_s: the longest interval between repetitions.
        t4_s: how long a message may stay in the network.
        trying_s: an INVITE that was not answered by then gets 100 (section 17.2.1).
        linger_s: Timer D over UDP: how long repeated final responses are acknowledged.
    """

    t1_s: float = 0.5
    t2_s: float = 4.0
    t4_s: float = 5.0
    trying_s: float = 0.2
    linger_s: float = 32.0

    @property
    def timeout_s(self) -> float:
        """64*T1: Timers B, F, H, J, L and M."""
        return 64 * self.t1_s


# Events. Those without a payload are of the message that the transaction is fed with at the time.


@dataclass(frozen=True, slots=True)
class Provisional:
    """1xx: it came to the client, or the server is to send it."""


@dataclass(frozen=True, slots=True)
class Success:
    """2xx: it came to the client, or the server is to send it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """3xx to 6xx: it came to the client, or the server is to send it."""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """The user wants the client's INVITE cancelled."""


@dataclass(frozen=True, slots=True)
class TransportLost:
    """The connection that the client's request went over is gone."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """The server's request came once more."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The ACK to the server's final response came."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The server is not to answer at all."""


@dataclass(frozen=True, slots=True)
class TimerA:
    """An INVITE is sent once more."""


@dataclass(frozen=True, slots=True)
class TimerB:
    """An INVITE had no answer, or no final one after its CANCEL."""


@dataclass(frozen=True, slots=True)
class TimerD:
    """Repeated final responses to an INVITE will have stopped."""


@dataclass(frozen=True, slots=True)
class TimerE:
    """A request other than INVITE is sent once more."""


@dataclass(frozen=True, slots=True)
class TimerF:
    """A request other than INVITE had no final answer, from the far side or from ours."""


@dataclass(frozen=True, slots=True)
class TimerG:
    """A final response to an INVITE, other than 2xx, is sent once more."""


@dataclass(frozen=True, slots=True)
class TimerH:
    """A final response to an INVITE was not acknowledged."""


@dataclass(frozen=True, slots=True)
class TimerI:
    """Repeated ACKs will have stopped."""


@dataclass(frozen=True, slots=True)
class TimerJ:
    """Repeated requests will have stopped."""


@dataclass(frozen=True, slots=True)
class TimerK:
    """Repeated responses will have stopped."""


@dataclass(frozen=True, slots=True)
class TimerL:
    """No ACK to a 2xx, and no repeated INVITE, will come any more (RFC 6026)."""


@dataclass(frozen=True, slots=True)
class TimerM:
    """No 2xx to an INVITE will come any more (RFC 6026)."""


@dataclass(frozen=True, slots=True)
class TimerTrying:
    """An INVITE has had no answer yet (RFC 3261, section 17.2.1: 200 ms)."""


@dataclass(frozen=True, slots=True)
class TimerRepeat:
    """A 2xx to an INVITE is sent once more (RFC 3261, section 13.3.1.4: over reliable transports too)."""


ClientTimer: TypeAlias = TimerA | TimerB | TimerD | TimerE | TimerF | TimerK | TimerM
ServerTimer: TypeAlias = TimerF | TimerG | TimerH | TimerI | TimerJ | TimerL | TimerTrying | TimerRepeat
ClientEvent: TypeAlias = Provisional | Success | Failure | CancelAsked | TransportLost | ClientTimer
ServerEvent: TypeAlias = Provisional | Success | Failure | Repeated | Acknowledged | Ignored | ServerTimer
TimerT_co = TypeVar("TimerT_co", covariant=True)

# Commands


@dataclass(frozen=True, slots=True)
class SendRequest:
    """The client's request, for the first time or once more."""


@dataclass(frozen=True, slots=True)
class SendAck:
    """The ACK to the final response that came."""


@dataclass(frozen=True, slots=True)
class SendCancel:
    """A CANCEL for the client's INVITE: a transaction of its own."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """The response that came is the user's."""


@dataclass(frozen=True, slots=True)
class Conclude:
    """The user will be given no further response."""


@dataclass(frozen=True, slots=True)
class TellTimeout:
    """The user learns that no (final) response came in time."""


@dataclass(frozen=True, slots=True)
class TellTransportLost:
    """The user learns that the far side is out of reach."""


@dataclass(frozen=True, slots=True)
class SendResponse:
    """The server's latest response, for the first time or once more."""


@dataclass(frozen=True, slots=True)
class SendTrying:
    """100, of the server's own accord."""


@dataclass(frozen=True, slots=True)
class DeliverAck:
    """The ACK that came is the user's."""


@dataclass(frozen=True, slots=True)
class TellUnacknowledged:
    """The user learns that no ACK came."""


@dataclass(frozen=True, slots=True)
class Arm(Generic[TimerT_co]):
    """Feed this timer after so long; 0: as soon as this event is dealt with."""

    timer: TimerT_co
    after_s: float


@dataclass(frozen=True, slots=True)
class Disarm(Generic[TimerT_co]):
    """This timer must not fire. It may be that it was not armed."""

    timer: TimerT_co


ClientCommand: TypeAlias = (
    SendRequest
    | SendAck
    | SendCancel
    | Deliver
    | Conclude
    | TellTimeout
    | TellTransportLost
    | Arm[ClientTimer]
    | Disarm[ClientTimer]
)
ServerCommand: TypeAlias = (
    SendResponse | SendTrying | DeliverAck | TellUnacknowledged | Arm[ServerTimer] | Disarm[ServerTimer]
)
