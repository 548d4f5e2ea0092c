"""The calls that go on, by id: where a trickled candidate, a hang-up or a further client finds its call."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from media.errors import CallerError
from signaling.call_host import CallSlot
from signaling.client_secrets import ClientSecret
from signaling.realtime_session import RealtimeSession


class RunningCall(Protocol):
    """A call, whatever carries it, and what can be done to it from outside of it."""

    async def run(self) -> None:
        """The call, until either side ends it. Frees all that it holds."""

    def hang_up(self) -> None:
        """Ends the call soon. May be called twice."""

    def stop(self) -> None:
        """Ends the call soon, since the server stops. May be called twice."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """A call that goes on.

    Attributes:
        call: itself.
        session: what clients that join it take part in.
        secret: the one that it began with, if it was one.
    """

    call: RunningCall
    session: RealtimeSession
    secret: ClientSecret | None


class RunningCalls:
    """Calls enter when they are answered and leave when they end."""

    def __init__(self) -> None:
        self._calls: dict[str, _Listed] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def start(
        self,
        slot: CallSlot,
        call: RunningCall,
        session: RealtimeSession,
        secret: ClientSecret | None = None,
    ) -> asyncio.Event:
        """Leaves the call to the server, and lists it until it ends. Returns what is set then.

        Args:
            slot: the call's.
            call: not running yet.
            session: what clients that join the call take part in; closed when it ends.
            secret: the client secret that the call begins with.
        """
        over = asyncio.Event()

        async def main() -> None:
            try:
                await call.run()
            finally:
                del self._calls[slot.call_id]
                session.close()
                over.set()

        self._calls[slot.call_id] = _Listed(call, session, secret)
        slot.start(main(), call.stop)
        return over

    def get(self, call_id: str, secret: ClientSecret | None = None) -> RunningCall:
        """The call.

        Args:
            call_id: its name.
            secret: of whoever asks, if that is all they have: to them there are no calls but those that began
                with it.

        Raises:
            CallerError: `call_not_found`: it never was, or it is over.
        """
        return self._find(call_id, secret).call

    def session(self, call_id: str, secret: ClientSecret | None = None) -> RealtimeSession:
        """What clients that join the call take part in. As `get`."""
        return self._find(call_id, secret).session

    def _find(self, call_id: str, secret: ClientSecret | None) -> _Listed:
        listed = self._calls.get(call_id)
        if listed is None or (secret is not None and listed.secret is not secret):
            raise CallerError(f"There is no call {call_id[:64]}; it may be over.", code="call_not_found")
        return listed
