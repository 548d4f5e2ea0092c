"""A transaction's timers, on the event loop's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from signaling.sip.transactions import Arm, Disarm

TimerT = TypeVar("TimerT")


class ArmedTimers(Generic[TimerT]):
    """At most one of each kind.

    Args:
        fire: told of each timer that was due.
    """

    def __init__(self, fire: Callable[[TimerT], None]) -> None:
        self._fire = fire
        self._armed: dict[type[TimerT], asyncio.TimerHandle] = {}

    def arm(self, command: Arm[TimerT]) -> None:
        """Replaces an earlier one of the kind."""
        self.disarm(Disarm(command.timer))
        loop = asyncio.get_running_loop()
        self._armed[type(command.timer)] = loop.call_later(command.after_s, self._due, command.timer)

    def disarm(self, command: Disarm[TimerT]) -> None:
        armed = self._armed.pop(type(command.timer), None)
        if armed is not None:
            armed.cancel()

    def disarm_all(self) -> None:
        for armed in self._armed.values():
            armed.cancel()
        self._armed.clear()

    def _due(self, timer: TimerT) -> None:
        del self._armed[type(timer)]
        self._fire(timer)
