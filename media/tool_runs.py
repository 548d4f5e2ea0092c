"""Running the server's tools for one call, and what comes of them: text for the LLM, whatever happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from pydantic import Field

from media.clock import loop_time_s
from media.errors import ToolError
from media.items import FunctionCall, FunctionCallOutput, new_id
from media.prompt_entries import beginning
from media.section import Section
from media.tools import Toolbox

log = logging.getLogger(__name__)

STOPPED = "Error: this was stopped before it brought a result, since the caller went on speaking."


class ToolSettings(Section):
    """How the server's tools are run."""

    timeout_s: float = Field(20.0, gt=0, le=3600)
    """A call that has brought nothing by then is given up."""
    max_output_chars: int = Field(1500, ge=100, le=1_000_000)
    """What a call brings beyond so many characters is cut off. Of calls made together the LLM is shown no
    more than half of `llm.history_chars`."""
    max_rounds: int = Field(5, ge=1, le=100)
    """How many responses in a row may call tools. The next one has to speak."""
    filler_after_s: float | None = Field(1.0, ge=0)
    """Silence while a tool is at work, after which the assistant says something. None: it never does."""
    filler_again_s: float = Field(8.0, ge=1)
    """Silence after which it says something more."""
    fillers: tuple[str, ...] = Field(
        ("One moment, please.", "I'm still working on that.", "Just a little longer."), min_length=1
    )
    """What it says, one after the other."""


class ToolRuns:
    """The tools that are at work for one call.

    Args:
        toolbox: the tools; None where there are none, and calls are but imagined.
        settings: how long they may take, and how much they may bring.
        brought: told of each output; and after which item it belongs, where that is not the end.
    """

    def __init__(
        self,
        toolbox: Toolbox | None,
        settings: ToolSettings,
        brought: Callable[[FunctionCallOutput, str | None], None],
    ) -> None:
        self._toolbox = toolbox
        self._settings = settings
        self._brought = brought
        self._running: dict[FunctionCall, asyncio.Task[None]] = {}

    @property
    def running(self) -> bool:
        """Whether any tool is at work."""
        return bool(self._running)

    @property
    def silent(self) -> bool:
        """Whether one is at work during which nothing is said."""
        if self._toolbox is None or not self._running:
            return False
        silent = {tool.name for tool in self._toolbox.tools if tool.silent}
        return any(call.name in silent for call in self._running)

    def begin(self, tasks: asyncio.TaskGroup, calls: Iterable[FunctionCall]) -> None:
        """Runs the calls of a response, all at once."""
        for call in calls:
            self._running[call] = tasks.create_task(self._run(call), name=f"tool {call.name[:40]}")

    def stop(self) -> None:
        """The caller wants something else: what is at work is cancelled, and the history says so."""
        for call in self._cancel():
            self._brought(FunctionCallOutput(new_id("item"), call.call_id, STOPPED, by_server=True), call.id)

    def drop(self) -> None:
        """Cancels what is at work, for good. May be called twice."""
        self._cancel()

    def _cancel(self) -> tuple[FunctionCall, ...]:
        running, self._running = self._running, {}
        for task in running.values():
            task.cancel()
        return tuple(running)

    async def _run(self, call: FunctionCall) -> None:
        began_s = loop_time_s()
        output = beginning(await self._output(call), self._settings.max_output_chars)
        log.info("a tool ran", extra={"tool": call.name, "duration_s": round(loop_time_s() - began_s, 3)})
        del self._running[call]
        self._brought(FunctionCallOutput(new_id("item"), call.call_id, output, by_server=True), None)

    async def _output(self, call: FunctionCall) -> str:
        if call.status != "completed":
            return "Error: the call was cut off, since it was too long."
        if self._toolbox is None or all(tool.name != call.name for tool in self._toolbox.tools):
            return f"Error: there is no tool {call.name[:64]!r}."
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await self._toolbox.call(call.name, call.arguments)
        except TimeoutError:
            log.warning("a tool was given up", extra={"tool": call.name})
            return f"Error: {call.name} brought nothing within {self._settings.timeout_s:g} seconds."
        except ToolError as error:
            log.warning("a tool failed", extra={"tool": call.name, "code": error.code})
            return f"Error: {error}"
