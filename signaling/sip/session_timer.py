"""Session timers (RFC 4028): a call whose far side has died in silence ends by itself.

Both sides agree, with each INVITE or UPDATE, on an interval and on who refreshes it. The machine knows what
follows from that; what is agreed is read from headers and written into them by functions beside it. Neither
reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, TypeAlias, assert_never

from sipmessage import Message, Request, Response

from media.floor_table import Table, follow
from signaling.sip.errors import BadMessage
from signaling.sip.fields import split_list, split_parameters

SMALLEST_INTERVAL_S: Final = 90
"""No Session-Expires may be smaller (RFC 4028, 5)."""

_OVER_BEFORE_S: Final = 32
"""The call ends so long before the interval does, or a third of it (RFC 4028, 10)."""

_TRIES_PER_INTERVAL: Final = 10
"""A refresh that failed for a passing reason is tried again after this part of the interval."""

Role = Literal["uac", "uas"]


# What is agreed


@dataclass(frozen=True, slots=True)
class TimerTerms:
    """What this side wants. Seconds.

    Attributes:
        interval_s: the interval that it proposes; 0: none.
        smallest_s: the smallest that it accepts.
    """

    interval_s: int
    smallest_s: int = SMALLEST_INTERVAL_S


@dataclass(frozen=True, slots=True)
class Agreement:
    """The interval, and who refreshes it: in the roles of the transaction that agreed on it."""

    interval_s: int
    refresher: Role


@dataclass(frozen=True, slots=True)
class TooSmall:
    """The proposed interval: answer 422, with this as Min-SE."""

    smallest_s: int


def propose(request: Request, interval_s: int, smallest_s: int, refresher: Role | None = None) -> None:
    """Writes a proposal into this side's INVITE or UPDATE.

    Args:
        request: the request.
        interval_s: this side's, or what `wanted_interval` made of a 422; 0: none is proposed.
        smallest_s: this side's, or what the 422 named (RFC 4028, 7.4).
        refresher: who does it already; None: as the far side likes.
    """
    if interval_s:
        role = f";refresher={refresher}" if refresher else ""
        request.headers.set("Session-Expires", f"{interval_s}{role}")
        if smallest_s != SMALLEST_INTERVAL_S:
            request.headers.set("Min-SE", str(smallest_s))


def wanted_interval(refusal: Response, interval_s: int) -> int:
    """What to propose after a 422.

    Raises:
        BadMessage: it does not say, or wants no more than it was given.
    """
    smallest = _seconds(refusal.headers.get("Min-SE"))
    if smallest is None or smallest <= interval_s:
        raise BadMessage("A 422 needs a Min-SE above the interval that it refuses.")
    return smallest


def decide(request: Request, terms: TimerTerms) -> Agreement | TooSmall | None:
    """What to agree on with whoever sent an INVITE or UPDATE (RFC 4028, 9).

    Raises:
        BadMessage: the headers cannot be read.
    """
    proposed, role = _session_expires(request)
    knows = _knows_timers(request)
    their_smallest = _seconds(request.headers.get("Min-SE")) or 0
    if proposed is None:
        if not terms.interval_s:
            return None
        # One that does not know timers cannot refuse, so long as this side does the work.
        return Agreement(max(terms.interval_s, their_smallest), "uas")
    if proposed < terms.smallest_s and knows:
        return TooSmall(terms.smallest_s)
    interval = max(proposed, terms.smallest_s)
    if terms.interval_s:
        interval = max(min(interval, terms.interval_s), their_smallest, terms.smallest_s)
    return Agreement(interval, (role or "uas") if knows else "uas")


def confirm(response: Response, agreement: Agreement) -> None:
    """Writes what was decided into the 2xx."""
    response.headers.set("Session-Expires", f"{agreement.interval_s};refresher={agreement.refresher}")
    if agreement.refresher == "uac":
        response.headers.add("Require", "timer")


def confirmed(response: Response, proposed_s: int) -> Agreement | None:
    """What a 2xx to this side's INVITE or UPDATE agrees on (RFC 4028, 7.2).

    Where the far side does not know timers, this side refreshes for itself.

    Raises:
        BadMessage: the headers cannot be read.
    """
    interval, role = _session_expires(response)
    if interval is not None:
        return Agreement(interval, role or "uac")
    return Agreement(proposed_s, "uac") if proposed_s else None


def _knows_timers(message: Message) -> bool:
    return any(
        option.lower() == "timer"
        for value in message.headers.getlist("Supported")
        for option in split_list(value)
    )


def _session_expires(message: Message) -> tuple[int | None, Role | None]:
    value = message.headers.get("Session-Expires")
    if value is None:
        return None, None
    head, parameters = split_parameters(value)
    role = (parameters.get("refresher") or "").lower()
    return _seconds(head), "uac" if role == "uac" else "uas" if role == "uas" else None


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    figures = split_parameters(text)[0].strip()
    if not (figures.isascii() and figures.isdigit() and len(figures) < 10):
        raise BadMessage("A time in a header is a number of seconds.")
    return int(figures)


# What follows


class TimerState(Enum):
    OFF = "nothing was agreed on"
    OURS = "this side refreshes"
    REFRESHING = "this side's refresh is under way"
    THEIRS = "the far side refreshes"
    OVER = "nobody refreshed in time"


@dataclass(frozen=True, slots=True)
class WeRefresh:
    """It was agreed, just now, that this side refreshes."""

    at_s: float
    interval_s: int


@dataclass(frozen=True, slots=True)
class TheyRefresh:
    """It was agreed, just now, that the far side does."""

    at_s: float
    interval_s: int


@dataclass(frozen=True, slots=True)
class NobodyRefreshes:
    """It was agreed to have no timer (any more)."""

    at_s: float


@dataclass(frozen=True, slots=True)
class RefreshDue:
    """The timer that `ArmRefresh` set."""

    at_s: float


@dataclass(frozen=True, slots=True)
class RefreshFailed:
    """For a passing reason: the call goes on, and so does its interval."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Expired:
    """The timer that `ArmExpiry` set."""

    at_s: float


TimerEvent: TypeAlias = WeRefresh | TheyRefresh | NobodyRefreshes | RefreshDue | RefreshFailed | Expired


@dataclass(frozen=True, slots=True)
class ArmRefresh:
    """Send `RefreshDue` at this time; replaces an earlier one."""

    deadline_s: float


@dataclass(frozen=True, slots=True)
class ArmExpiry:
    """Send `Expired` at this time; replaces an earlier one."""

    deadline_s: float


@dataclass(frozen=True, slots=True)
class Disarm:
    """Neither timer may fire."""


@dataclass(frozen=True, slots=True)
class Refresh:
    """Send an UPDATE or a re-INVITE."""


@dataclass(frozen=True, slots=True)
class EndCall:
    """Send BYE: the far side is gone."""


TimerCommand: TypeAlias = ArmRefresh | ArmExpiry | Disarm | Refresh | EndCall

_AGREED: Final = (TimerState.OFF, TimerState.OURS, TimerState.REFRESHING, TimerState.THEIRS)

TABLE: Table[TimerState] = {
    **{(state, WeRefresh): TimerState.OURS for state in _AGREED},
    **{(state, TheyRefresh): TimerState.THEIRS for state in _AGREED},
    **{(state, NobodyRefreshes): TimerState.OFF for state in _AGREED},
    (TimerState.OURS, RefreshDue): TimerState.REFRESHING,
    (TimerState.REFRESHING, RefreshFailed): TimerState.OURS,
    (TimerState.OURS, Expired): TimerState.OVER,
    (TimerState.REFRESHING, Expired): TimerState.OVER,
    (TimerState.THEIRS, Expired): TimerState.OVER,
}


class SessionTimer:
    """The machine."""

    def __init__(self) -> None:
        self.state = TimerState.OFF
        self._interval_s = 0

    def feed(self, event: TimerEvent) -> tuple[TimerCommand, ...]:
        """The commands that the event calls for, in order.

        Raises:
            IllegalEvent: the table forbids it; nothing changed.
        """
        self.state = follow(TABLE, self.state, event)
        match event:
            case WeRefresh():
                self._interval_s = event.interval_s
                return (
                    Disarm(),
                    ArmRefresh(event.at_s + event.interval_s / 2),
                    ArmExpiry(_expiry_s(event.at_s, event.interval_s)),
                )
            case TheyRefresh():
                return (Disarm(), ArmExpiry(_expiry_s(event.at_s, event.interval_s)))
            case NobodyRefreshes():
                return (Disarm(),)
            case RefreshDue():
                return (Refresh(),)
            case RefreshFailed():
                return (ArmRefresh(event.at_s + self._interval_s / _TRIES_PER_INTERVAL),)
            case Expired():
                return (Disarm(), EndCall())
            case _:
                assert_never(event)


def _expiry_s(at_s: float, interval_s: int) -> float:
    return at_s + interval_s - min(_OVER_BEFORE_S, interval_s / 3)
