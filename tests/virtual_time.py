"""An event loop whose clock jumps: conversations of minutes run in milliseconds, the same way each time.

The idea is trio's autojump clock (`trio/_core/_mock_clock.py`): when nothing is ready to run, time moves to
the next timer. A loop on which nothing can ever happen again is a deadlock, and raises.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(AssertionError):
    """Nothing is ready, and no timer is set."""


_LOOPBACK_S = 0.0001
"""In real time: where there are sockets, what is on its way gets so long before the clock jumps."""
_OWN_FILES = 1
"""What an event loop always watches: the pipe that wakes it up."""


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, grace_s: float) -> None:
        super().__init__()
        self.now_s = 0.0
        self._grace_s = grace_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        grace_s = self._grace_s or (_LOOPBACK_S if len(self.get_map()) > _OWN_FILES else 0.0)
        ready = super().select(grace_s if timeout else 0)
        if ready:
            return ready
        if timeout is None:
            raise Deadlock(f"nothing will ever happen again, at {self.now_s:.3f} s")
        self.now_s += max(0.0, timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self, grace_s: float = 0.0) -> None:
        self._jumping = _JumpingSelector(grace_s)
        super().__init__(self._jumping)
        # Rounding must not leave a timer due in a time too small to move the clock.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._jumping.now_s


def run(main: Coroutine[Any, Any, T], *, grace_s: float = 0.0) -> T:
    """Runs `main` in virtual time. Tasks that outlive it are a failure.

    Args:
        main: what is run.
        grace_s: in real time, for what the system carries over loopback, before the clock jumps; 0 for what
            that nearly always takes.
    """
    loop = VirtualTimeLoop(grace_s)
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(main)
        leaked = [task.get_name() for task in asyncio.all_tasks(loop)]
        assert not leaked, f"tasks outlived the test: {leaked}"
        return result
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
