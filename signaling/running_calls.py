"""The calls that go on, by id: where a trickled candidate or a hang-up finds its call."""

from __future__ import annotations

from typing import Protocol

from media.errors import CallerError
from signaling.realtime_session import RealtimeSession
from signaling.sdp import TrickledCandidate


class RunningCall(Protocol):
    """What can be done to a call from outside of it."""

    @property
    def session(self) -> RealtimeSession:
        """What clients that join the call take part in."""

    async def add_candidate(self, candidate: TrickledCandidate) -> None:
        """One more way to reach the caller."""

    def hang_up(self) -> None:
        """Ends the call soon. May be called twice."""


class RunningCalls:
    """Calls enter when they are answered and leave when they end."""

    def __init__(self) -> None:
        self._calls: dict[str, RunningCall] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call_id: str, call: RunningCall) -> None:
        self._calls[call_id] = call

    def remove(self, call_id: str) -> None:
        self._calls.pop(call_id, None)

    def get(self, call_id: str) -> RunningCall:
        """The call.

        Raises:
            CallerError: `call_not_found`: it never was, or it is over.
        """
        try:
            return self._calls[call_id]
        except KeyError:
            raise CallerError(
                f"There is no call {call_id[:64]}; it may be over.", code="call_not_found"
            ) from None
