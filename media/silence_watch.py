"""The shell around the silence machine: looks at a conversation, holds the timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import assert_never

from media.clock import loop_time_s
from media.events import CallEvent, ItemDone, ResponseDone
from media.items import Message
from media.silence import (
    ArmTimer,
    Ask,
    CallerSaid,
    DisarmTimer,
    GoOn,
    HangUp,
    Quieted,
    Silence,
    SilenceElapsed,
    SilenceEvent,
    SilenceSettings,
    SilenceState,
    Stirred,
)


class SilenceWatch:
    """Notices that nobody says anything.

    Args:
        settings: how long, and what then.
        quiet: whether neither side speaks and nothing is being answered, asked at every `look`.
        ask: says a question; the call runs and is quiet.
        go_on: answers the silence; likewise.
        hang_up: ends the call.
    """

    def __init__(
        self,
        settings: SilenceSettings,
        quiet: Callable[[], bool],
        ask: Callable[[str], None],
        go_on: Callable[[float], None],
        hang_up: Callable[[], None],
    ) -> None:
        self._silence = Silence(settings)
        self._quiet = quiet
        self._ask = ask
        self._go_on = go_on
        self._hang_up = hang_up
        self._timer: asyncio.TimerHandle | None = None
        self._answered = False
        """Whether there was a response: a session's own time runs only from then on."""

    def note(self, event: CallEvent) -> None:
        """Something was told of the conversation."""
        match event:
            case ItemDone(item=Message(role="user") as said) if said.text:
                self._feed(CallerSaid())
        self._answered = self._answered or isinstance(event, ResponseDone)
        self.look()

    def watch(self, idle_timeout_s: float | None) -> None:
        """Goes by the session's settings from now on."""
        if idle_timeout_s != self._silence.idle_timeout_s:
            if self._silence.state is not SilenceState.LIVELY:
                self._feed(Stirred())
            self._silence.idle_timeout_s = idle_timeout_s
        self.look()

    def look(self) -> None:
        """Something may have changed."""
        counts = self._answered or self._silence.idle_timeout_s is None
        quiet, was_quiet = counts and self._quiet(), self._silence.state is not SilenceState.LIVELY
        if quiet and not was_quiet:
            self._feed(Quieted(loop_time_s()))
        elif was_quiet and not quiet:
            self._feed(Stirred())

    def stop(self) -> None:
        """Watches no more. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _feed(self, event: SilenceEvent) -> None:
        for command in self._silence.feed(event):
            match command:
                case ArmTimer():
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_at(command.deadline_s, self._feed, SilenceElapsed())
                case DisarmTimer():
                    self.stop()
                case Ask():
                    self._ask(command.question)
                case GoOn():
                    self._go_on(command.idle_timeout_s)
                case HangUp():
                    self._hang_up()
                case _:
                    assert_never(command)
