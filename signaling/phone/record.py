"""What is remembered of telephone calls: for whoever placed one and asks what became of it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from media.clock import loop_time_s, wall_time_s
from media.errors import CallerError
from media.events import Answerer
from signaling.phone.leg import Direction, LegFigures, Party, Unanswered

KEPT: Final = 1000
"""Calls that are over, of which the last so many are remembered."""
MAX_NAME_CHARS: Final = 512
"""Of who calls and who is called: a far side may write as much as it likes."""

CallState = Literal["calling", "ringing", "answered", "ended"]
Outcome = Literal["completed", "cancelled", "error"] | Unanswered
"""Completed: it was answered, and is over. Cancelled: this side gave up before it was answered."""


@dataclass(slots=True)
class CallRecord:
    """One call, as it is now.

    Attributes:
        call_id: `rtc_…`
        direction: of the call.
        carrier: what brings it.
        caller: who calls; "" where nobody says.
        called: who is called.
        state: how far it is.
        outcome: what became of it, once it has ended.
        detail: why it was not answered, in a sentence.
        sip_status: of the far side, where it gave one.
        answered_by: who or what seems to have answered.
        why: it ended, for people.
        began_s: Unix time.
        answered_s: likewise; None where it was not.
        ended_s: likewise.
    """

    call_id: str
    direction: Direction
    carrier: str
    caller: str
    called: str
    state: CallState = "calling"
    outcome: Outcome | None = None
    detail: str | None = None
    sip_status: int | None = None
    answered_by: Answerer | None = None
    why: str | None = None
    began_s: float = 0.0
    answered_s: float | None = None
    ended_s: float | None = None

    def rings(self) -> None:
        if self.state == "calling":
            self.state = "ringing"

    def answered(self, party: Party) -> None:
        """It is answered; who is on the line is known better now."""
        self.state = "answered"
        self.carrier = party.carrier
        self.caller = party.caller[:MAX_NAME_CHARS] or self.caller
        self.answered_s = wall_time_s()

    def ended(self, outcome: Outcome) -> None:
        """It is over. A second time changes nothing."""
        if self.state != "ended":
            self.state, self.outcome, self.ended_s = "ended", outcome, wall_time_s()


class CallWatcher(Protocol):
    """Counts calls."""

    def call_began(self, record: CallRecord) -> None:
        """It has a slot: it rings, or is answered."""

    def call_ended(self, record: CallRecord, figures: LegFigures) -> None:
        """It is over."""


class CallRecords:
    """The calls that go on, and the last ones of those that are over.

    Args:
        watcher: counts them.
    """

    def __init__(self, watcher: CallWatcher | None = None) -> None:
        self._watcher = watcher
        self._records: OrderedDict[str, CallRecord] = OrderedDict()
        self._placed: set[str] = set()
        """The calls that this server placed and that are not over, by their ids."""
        self._placed_s: list[float] = []
        """When calls were placed in the last minute."""

    def add(self, record: CallRecord) -> None:
        """One more. The oldest that is over is forgotten, where there are too many."""
        record.began_s = wall_time_s()
        self._records[record.call_id] = record
        if self._watcher is not None:
            self._watcher.call_began(record)
        while len(self._records) > KEPT:
            over = next((old.call_id for old in self._records.values() if old.state == "ended"), None)
            if over is None:
                return
            del self._records[over]

    def over(self, record: CallRecord, figures: LegFigures) -> None:
        """It is over, whatever became of it.

        Args:
            record: ended.
            figures: of its leg.
        """
        self._placed.discard(record.call_id)
        if self._watcher is not None:
            self._watcher.call_ended(record, figures)

    def placed(self, record: CallRecord) -> None:
        """This server placed the call just now."""
        self._placed.add(record.call_id)
        self._placed_s.append(loop_time_s())

    @property
    def placed_last_minute(self) -> int:
        """How many calls were placed in the last 60 seconds."""
        now_s = loop_time_s()
        self._placed_s = [at_s for at_s in self._placed_s if at_s > now_s - 60]
        return len(self._placed_s)

    @property
    def outbound(self) -> int:
        """How many calls that this server placed, and no provider, are not over."""
        return len(self._placed)

    def get(self, call_id: str) -> CallRecord:
        """The call.

        Raises:
            CallerError: `call_not_found`: there was none, or it is too long ago.
        """
        record = self._records.get(call_id)
        if record is None:
            raise CallerError(f"There is no telephone call {call_id[:64]}.", code="call_not_found")
        return record
