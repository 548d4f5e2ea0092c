"""The session timer's shell: it keeps the machine's two deadlines on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import assert_never

from media.clock import loop_time_s
from signaling.sip.session_timer import (
    Agreement,
    ArmExpiry,
    ArmRefresh,
    Disarm,
    EndCall,
    Expired,
    NobodyRefreshes,
    Refresh,
    RefreshDue,
    RefreshFailed,
    Role,
    SessionTimer,
    TheyRefresh,
    TimerEvent,
    TimerState,
    WeRefresh,
)


class TimerClock:
    """One call's session timer.

    Args:
        refresh: sends a refresh, soon.
        end: ends the call, since nobody refreshed it.
    """

    def __init__(self, refresh: Callable[[], None], end: Callable[[], None]) -> None:
        self._refresh = refresh
        self._end = end
        self._machine = SessionTimer()
        self._disarmed = False
        self._due: dict[type[RefreshDue] | type[Expired], asyncio.TimerHandle] = {}
        self.interval_s = 0
        """What was agreed on last; 0: nothing."""

    @property
    def refresher_in_ours(self) -> Role | None:
        """Who refreshes, in the roles of a request that this side sends; None: it is not agreed on."""
        match self._machine.state:
            case TimerState.OURS | TimerState.REFRESHING:
                return "uac"
            case TimerState.THEIRS:
                return "uas"
            case _:
                return None

    def agreed(self, agreement: Agreement | None, role: Role) -> None:
        """What an INVITE or UPDATE has agreed on; `role`: this side's in it."""
        if self._disarmed:
            return
        now_s = loop_time_s()
        if agreement is None:
            self.interval_s = 0
            self._feed(NobodyRefreshes(now_s))
        else:
            self.interval_s = agreement.interval_s
            ours = agreement.refresher == role
            self._feed((WeRefresh if ours else TheyRefresh)(now_s, agreement.interval_s))

    def refresh_failed(self) -> None:
        """A refresh failed, for a passing reason. If all has changed since, nothing happens."""
        if self._machine.state is TimerState.REFRESHING and not self._disarmed:
            self._feed(RefreshFailed(loop_time_s()))

    def disarm(self) -> None:
        """The call is over: nothing fires any more."""
        self._disarmed = True
        for handle in self._due.values():
            handle.cancel()
        self._due.clear()

    def _feed(self, event: TimerEvent) -> None:
        for command in self._machine.feed(event):
            match command:
                case ArmRefresh():
                    self._arm(RefreshDue, command.deadline_s)
                case ArmExpiry():
                    self._arm(Expired, command.deadline_s)
                case Disarm():
                    for handle in self._due.values():
                        handle.cancel()
                    self._due.clear()
                case Refresh():
                    self._refresh()
                case EndCall():
                    self._end()
                case _:
                    assert_never(command)

    def _arm(self, event: type[RefreshDue] | type[Expired], deadline_s: float) -> None:
        if event in self._due:
            self._due[event].cancel()
        loop = asyncio.get_running_loop()
        self._due[event] = loop.call_at(deadline_s, lambda: self._feed(event(loop.time())))
