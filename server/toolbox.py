"""All tools that run in this server: Python functions, and those of MCP servers. `media.tools.Toolbox`."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from media.errors import ConfigError, ToolError
from media.tools import Tool
from server.python_tools import PythonTool, load, text_of
from server.tool_settings import ToolsSettings

if TYPE_CHECKING:
    from server.mcp_tools import McpServer

_log = logging.getLogger(__name__)

_LONGEST_NAME = 64
_NOT_IN_NAMES = re.compile("[^A-Za-z0-9_-]")
"""What LLMs' names of functions may not hold, though the Model Context Protocol's do."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A tool, under the name that the LLM knows, and what runs it."""

    tool: Tool
    run: Callable[[dict[str, Any]], Awaitable[Any]]


class ServerToolbox:
    """The tools. Satisfies `media.tools.Toolbox`.

    Args:
        settings: which are offered.
        python: the functions.
    """

    def __init__(self, settings: ToolsSettings, python: Sequence[PythonTool] = ()) -> None:
        self._settings = settings
        self._python = tuple(python)
        self._servers: tuple[McpServer, ...] = ()
        self._entries: dict[str, _Entry] = {}
        self._name_all()

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Those that are offered, and can be called just now, or could before their server was lost."""
        return tuple(entry.tool for entry in self._entries.values())

    @property
    def report(self) -> dict[str, Any]:
        """For `/status`, JSON-able."""
        return {
            "python": [python.tool.name for python in self._python],
            "mcp": [asdict(server.report) for server in self._servers],
            "offered": [tool.name for tool in self.tools],
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Connects the MCP servers, waits for none of them, and keeps them connected until the block ends."""
        if not self._settings.mcp:
            yield self
            return
        from server.mcp_tools import McpServer

        self._servers = tuple(McpServer(settings, self._name_all) for settings in self._settings.mcp)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(server.run(tasks), name=f"mcp {server.name}") for server in self._servers
            ]
            try:
                yield self
            finally:
                for task in running:
                    task.cancel()

    async def call(self, name: str, arguments: str) -> str:
        """Runs a tool. Cancelling it frees what the call holds, but for a thread that a function blocks.

        Args:
            name: one of `tools`.
            arguments: JSON text, as the LLM wrote it.

        Returns:
            Text for the LLM, however long.

        Raises:
            ToolError: no such tool, arguments that it does not take, or it failed; a sentence for the LLM.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise ToolError(f"There is no tool {name}.")
        try:
            return text_of(await entry.run(_object_in(arguments)))
        except ToolError:
            raise
        except (Exception, SystemExit) as error:  # the tool boundary: whatever it raises, the server goes on
            _log.warning("a tool raised", extra={"tool": name, "kind": type(error).__name__})
            # With it what the caller said may come into the log.
            _log.debug("a tool's traceback", extra={"tool": name}, exc_info=error)
            raise ToolError(f"{name} failed: {type(error).__name__}: {error}") from error

    def _name_all(self) -> None:
        """Gives each tool its name for the LLM: its own or, where others have it, its server's before it.

        Functions keep theirs. Whether a name is taken does not depend on which server was connected first.
        """
        entries = {python.tool.name: _Entry(python.tool, python.call) for python in self._python}
        names = Counter(_fitting(tool.name) for server in self._servers for tool in server.tools)
        for server in self._servers:
            for tool in server.tools:
                name = _fitting(tool.name)
                if names[name] > 1 or name in entries:
                    name = _fitting(f"{server.name}_{tool.name}")
                if name in entries:
                    _log.warning("two tools have one name", extra={"server": server.name, "tool": tool.name})
                    continue
                entries[name] = _Entry(replace(tool, name=name), partial(server.call, tool.name))
        patterns = self._settings.offer
        self._entries = {
            name: entry
            for name, entry in entries.items()
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        }


def toolbox_of(settings: ToolsSettings) -> ServerToolbox:
    """The configured tools; nothing is connected yet.

    Raises:
        ConfigError: a function cannot be imported or told to an LLM, or MCP's SDK is not installed.
    """
    if settings.mcp and importlib.util.find_spec("mcp") is None:
        raise ConfigError(
            "tools.mcp needs a package that is not installed: pip install 'voxtral-kokoro[mcp]'.",
            param="tools.mcp",
        )
    return ServerToolbox(settings, load(settings))


def _object_in(arguments: str) -> dict[str, Any]:
    """The arguments, which an LLM wrote. None at all are an empty object."""
    try:
        given = json.loads(arguments or "{}")
    except ValueError as error:
        raise ToolError(f"The arguments are not JSON: {error}.") from error
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ToolError("The arguments are not a JSON object.")
    return given


def _fitting(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name)[:_LONGEST_NAME]
