"""The server's tools in one conversation: run when a response calls them, answered for when they are done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from media.digits import KeyedIn
from media.events import CallEvent, ItemAdded, ItemDone
from media.filler import Filler
from media.history import History
from media.items import FunctionCallOutput, ResponseOptions, answered_calls
from media.reply import Reply
from media.tool_runs import ToolRuns, ToolSettings
from media.tools import Toolbox
from media.turn import Turn


@dataclass(frozen=True, slots=True)
class FollowUp:
    """The response that makes something of what tools brought.

    Attributes:
        options: as of the one that called them; it may call more, but not without end.
        turn: the caller's, or what they keyed in, that both answer, if any.
        rounds: how many responses called tools before it.
    """

    options: ResponseOptions
    turn: Turn | KeyedIn | None
    rounds: int


class ToolUse:
    """What becomes of the server's tools that responses call.

    Args:
        toolbox: the tools; None where there are none, and calls are but imagined.
        settings: how they are run.
        history: takes the outputs.
        notify: told of them.
        quiet: whether nobody speaks, and nothing is to be heard.
        say: says a sentence, meanwhile.
        ended: told when no tool is at work any more, and a follow-up may be due.
    """

    def __init__(
        self,
        toolbox: Toolbox | None,
        settings: ToolSettings,
        history: History,
        notify: Callable[[CallEvent], None],
        *,
        quiet: Callable[[], bool],
        say: Callable[[str], None],
        ended: Callable[[], None],
    ) -> None:
        self._max_rounds = settings.max_rounds
        self._history = history
        self._notify = notify
        self._ended = ended
        self._runs = ToolRuns(toolbox, settings, self._brought)
        self._filler = Filler(
            settings.fillers,
            settings.filler_after_s,
            settings.filler_again_s,
            waiting=lambda: self.running and not self._runs.silent,
            quiet=quiet,
            say=say,
        )
        self._called: Reply | None = None
        """The latest response that called tools, until something is made of what they bring."""

    @property
    def running(self) -> bool:
        """Whether any tool is at work."""
        return self._runs.running

    @property
    def follow_up(self) -> FollowUp | None:
        """The response that is due, once the tools that were called have brought something.

        None where the client has to run a tool for the same response: then it asks for that one itself.
        """
        called = self._called
        if called is None or self.running or not self._is_answered(called):
            return None
        rounds = called.rounds + 1
        choice = "none" if rounds >= self._max_rounds else "auto"
        options = replace(called.options, tool_choice=choice, remark="")
        return FollowUp(options, called.turn, rounds)

    def begin(self, tasks: asyncio.TaskGroup, called: Reply) -> None:
        """Runs what a response called of the server's tools."""
        self._called = called
        self._runs.begin(tasks, called.calls.for_server)
        self._filler.look()

    def look(self) -> None:
        """Something may have changed."""
        self._filler.look()

    def answered(self) -> None:
        """A response begins that knows what was brought so far."""
        if not self.running:
            self._called = None

    def stop(self) -> None:
        """The caller wants something else: what is at work is cancelled, and the history says so."""
        self._called = None
        self._runs.stop()
        self._filler.look()

    def drop(self) -> None:
        """Cancels what is at work, without a trace. May be called twice."""
        self._called = None
        self._runs.drop()
        self._filler.stop()

    def _is_answered(self, called: Reply) -> bool:
        answered = answered_calls(self._history.items)
        return all(call.call_id in answered or call.by_server for call in called.calls.written)

    def _brought(self, output: FunctionCallOutput, previous_item_id: str | None) -> None:
        known = any(item.id == previous_item_id for item in self._history.items)
        before = self._history.add(output, previous_item_id if known else None)
        self._notify(ItemAdded(output, before))
        self._notify(ItemDone(output, before))
        if not self.running and self._called is not None:
            self._ended()
