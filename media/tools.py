"""Tools: functions that the LLM may ask to be called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from media.errors import ToolError

ToolChoice: TypeAlias = str
"""`auto`, `none`, `required`, or `function:NAME`: that one must be called."""

FUNCTION_CHOICE = "function:"


@dataclass(frozen=True, slots=True)
class Tool:
    """A function, as the LLM is told of it.

    Attributes:
        name: letters, digits, `_` and `-`.
        description: when to call it, and what it gives.
        parameters: a JSON Schema of its arguments, an object, as JSON text.
        silent: nothing is said meanwhile to pass the time.
    """

    name: str
    description: str
    parameters: str
    silent: bool = False


class Toolbox(Protocol):
    """Tools that run in the server. Shared by all calls; several may be under way at once."""

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Those that can be called just now."""

    async def call(self, name: str, arguments: str) -> str:
        """Runs a tool. Cancelling it frees what the call holds.

        Args:
            name: one of `tools`.
            arguments: JSON text, as the LLM wrote it.

        Returns:
            Text for the LLM.

        Raises:
            ToolError: no such tool, arguments that it does not take, or it failed in whatever way; never
                what the tool itself raised. The sentence is for the LLM.
        """


class JoinedToolbox:
    """The tools of several boxes. Of two with one name, the first box's is called. A `Toolbox`."""

    def __init__(self, *boxes: Toolbox) -> None:
        self._boxes = boxes

    @property
    def tools(self) -> tuple[Tool, ...]:
        named: dict[str, Tool] = {}
        for box in self._boxes:
            for tool in box.tools:
                named.setdefault(tool.name, tool)
        return tuple(named.values())

    async def call(self, name: str, arguments: str) -> str:
        for box in self._boxes:
            if any(tool.name == name for tool in box.tools):
                return await box.call(name, arguments)
        raise ToolError(f"There is no tool {name}.")
