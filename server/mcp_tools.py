"""Tools of servers that speak the Model Context Protocol, over standard input and output or over HTTP.

The official SDK speaks the protocol; here are the servers' lives. One that is absent or dies makes its own
tools fail, is told in the log and in `/status`, and is tried again for as long as this server runs. The SDK
is an extra (`mcp`): this is imported where a server is configured.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx2
import mcp_types
from mcp import Client, MCPError
from mcp.client import Transport
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost

from media.clock import loop_time_s
from media.errors import ToolError
from media.tools import Tool
from server.mcp_program import program
from server.tool_settings import McpServerSettings

_log = logging.getLogger(__name__)

_HANDSHAKE_LIMIT_S = 60.0
"""A program may have to be fetched first (`npx`, `uvx`). Nobody waits for it."""

_BACK_LIMIT_S = 3.0
"""A call waits so long for a server that is being connected again."""

_CONNECT_LIMIT_S = 10.0

_SHORT_LIFE_S = 60.0
_LONGEST_DELAY_S = 30.0
"""One that is lost young is tried again at once, then after 0.5 s, 1 s, 2 s … up to this."""

_PAGES_LIMIT = 100
"""Of a list of tools: a server that always has another page is broken."""

_LONGEST_REASON_CHARS = 300

_ENDED = "it ended"
"""Why it is lost, where the last line that it wrote says nothing better."""

_LONGEST_EVENT_BYTES = 16 * 1024 * 1024
"""Of a result that comes over HTTP."""


class McpState(StrEnum):
    """How far a server is."""

    CONNECTING = "connecting"
    READY = "ready"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class McpReport:
    """One server, for `/status`.

    Attributes:
        name: as it is configured.
        state: how far it is.
        tools: how many it has, or had.
        reason: why it was lost, one sentence.
    """

    name: str
    state: McpState
    tools: int
    reason: str | None


class McpServer:
    """One server.

    Args:
        settings: where it is.
        changed: called when its tools are others.
    """

    def __init__(self, settings: McpServerSettings, changed: Callable[[], None]) -> None:
        self.name = settings.name
        self._settings = settings
        self._changed = changed
        self._state = McpState.CONNECTING
        self._reason: str | None = None
        self._tools: tuple[Tool, ...] = ()
        self._client: Client | None = None
        self._connected = asyncio.Event()
        self._tried = asyncio.Event()
        """Set when the try to connect that is under way, or comes next, has come to an end."""
        self._wanted = asyncio.Event()
        """A call waits for it."""
        self._news = asyncio.Event()
        """The connection is lost, or its tools are others."""
        self._lost = False
        self._last_error_line = ""

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Its tools, under its own names; those that it had, while it is lost."""
        return self._tools

    @property
    def report(self) -> McpReport:
        return McpReport(self.name, self._state, len(self._tools), self._reason)

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Keeps it connected, until cancelled; then closes the connection, or ends the program.

        Args:
            tasks: owns each connection's task.
        """
        short_lives = 0
        while True:
            began_s = loop_time_s()
            connection = tasks.create_task(self._live(), name=f"mcp {self.name} connection")
            try:
                await asyncio.wait({connection}, timeout=_HANDSHAKE_LIMIT_S)
                if self._state is McpState.READY:
                    await asyncio.wait({connection})
            finally:
                connection.cancel()
                await asyncio.wait({connection})
            reason = "it did not answer in time" if connection.cancelled() else connection.result()
            if self._state is not McpState.READY:
                self._tried.set()
            self._disconnect()
            if reason != self._reason:  # once, not with every try
                _log.warning("a tool server is lost", extra={"server": self.name, "reason": reason})
            self._state, self._reason = McpState.LOST, reason
            short_lives = short_lives + 1 if loop_time_s() - began_s < _SHORT_LIFE_S else 0
            with suppress(TimeoutError):
                async with asyncio.timeout(_delay_s(short_lives)):
                    await self._wanted.wait()

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Calls one of its tools. A cancelled call is cancelled over there.

        Raises:
            ToolError: the server is lost, does not know it, or says that it failed.
        """
        try:
            return await self._call(name, arguments)
        except MCPError as error:
            if not _knows_no_session(error):
                raise self._failure(error) from error
        try:  # it was started anew, and has done nothing yet
            return await self._call(name, arguments)
        except MCPError as error:
            raise self._failure(error) from error

    async def _call(self, name: str, arguments: dict[str, Any]) -> str:
        if not self._connected.is_set():
            self._wanted.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(_BACK_LIMIT_S):
                    await self._tried.wait()
        if not self._connected.is_set():
            raise ToolError(f"The tool server {self.name} cannot be reached just now.")
        client = self._client
        assert client is not None, "connected"
        try:
            result = await client.call_tool(name, arguments)
        except MCPError as error:
            if error.code == mcp_types.CONNECTION_CLOSED or _knows_no_session(error):
                self._lose(client)
            raise
        return _text_of(result)

    def _failure(self, error: MCPError) -> ToolError:
        if error.code == mcp_types.CONNECTION_CLOSED:
            return ToolError(
                f"The tool server {self.name} broke off: whether it did what it was asked to is not known."
            )
        return ToolError(f"The tool server {self.name} refused: {error.message[:_LONGEST_REASON_CHARS]}")

    async def _live(self) -> str:
        """One connection, until it is lost. Gives the reason."""
        self._news.clear()
        self._wanted.clear()
        self._lost = False
        self._last_error_line = ""
        try:
            async with AsyncExitStack() as stack:
                await self._serve(await stack.enter_async_context(await self._client_on(stack)))
            reason = _ENDED
        except Exception as error:  # noqa: BLE001 - somebody else's server: whatever breaks, only it is lost
            reason = _in_words(error)
        return self._last_error_line or reason if reason == _ENDED else reason

    async def _serve(self, client: Client) -> None:
        await self._list(client)
        self._client = client
        self._state, self._reason = McpState.READY, None
        self._connected.set()
        self._tried.set()
        _log.info("a tool server is connected", extra={"server": self.name, "tools": len(self._tools)})
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self._listen(client), name=f"mcp {self.name} listening")
            while not self._lost:
                await self._news.wait()
                self._news.clear()
                if not self._lost:
                    await self._list(client)
            listening.cancel()

    async def _client_on(self, stack: AsyncExitStack) -> Client:
        """A client on the configured transport, not entered yet; what it needs is closed with the stack."""
        settings = self._settings
        if settings.command is not None:
            environment = {name: value.get_secret_value() for name, value in settings.env.items()}
            transport: Transport = program(
                settings.command, settings.args, environment, self._note_error_line, self._end
            )
        else:
            assert settings.url is not None  # the settings see to it
            headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
            # How long a tool may take is not HTTP's affair.
            timeout = httpx2.Timeout(_CONNECT_LIMIT_S, read=None)
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=timeout))
            transport = streamable_http_client(
                settings.url, http_client=http, max_sse_event_size=_LONGEST_EVENT_BYTES
            )
        return Client(transport, message_handler=self._note_message, cache=None)

    async def _list(self, client: Client) -> None:
        tools: list[Tool] = []
        cursor: str | None = None
        for _ in range(_PAGES_LIMIT):
            page = await client.list_tools(cursor=cursor)
            tools += [
                Tool(tool.name, tool.description or tool.title or tool.name, json.dumps(tool.input_schema))
                for tool in page.tools
            ]
            cursor = page.next_cursor
            if cursor is None:
                break
        self._tools = tuple(tools)
        self._changed()

    async def _listen(self, client: Client) -> None:
        """Notes that its tools are others, by the protocol's revision of 2026. Before, messages tell it."""
        with suppress(ListenNotSupportedError, SubscriptionLost, MCPError):
            async with client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    self._news.set()

    async def _note_message(self, message: object) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self._news.set()

    def _note_error_line(self, line: str) -> None:
        line = line[:_LONGEST_REASON_CHARS]
        self._last_error_line = line
        _log.debug("a tool server writes", extra={"server": self.name, "line": line})

    def _end(self) -> None:
        self._lost = True
        self._disconnect()
        self._news.set()

    def _lose(self, client: Client) -> None:
        """A call found the connection dead."""
        if client is self._client:
            self._end()

    def _disconnect(self) -> None:
        """Whoever calls waits from now on."""
        self._client = None
        self._connected.clear()
        if self._tried.is_set():
            self._tried = asyncio.Event()


def _text_of(result: mcp_types.CallToolResult) -> str:
    """A result, for the LLM, which reads text alone.

    Raises:
        ToolError: it says that the tool failed.
    """
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    text = "\n".join(parts) or "Done."
    if result.is_error:
        raise ToolError(text)
    return text


def _part(block: mcp_types.ContentBlock) -> str:
    match block:
        case mcp_types.TextContent():
            return block.text
        case mcp_types.ResourceLink():
            return f"[{block.name}: {block.uri}]"
        case mcp_types.EmbeddedResource(resource=mcp_types.TextResourceContents() as resource):
            return resource.text
        case _:
            return f"[{block.type}]"


def _knows_no_session(error: MCPError) -> bool:
    """Whether an HTTP server refused since it was started anew: the specification has it answer 404."""
    return error.code == mcp_types.INVALID_REQUEST and "session" in error.message.lower()


def _in_words(error: BaseException) -> str:
    """Why a connection failed; of several reasons the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case FileNotFoundError():
            return f"there is no program {error.filename}"
        case TimeoutError():
            return "it did not answer in time"
        case MCPError(code=mcp_types.CONNECTION_CLOSED):
            return _ENDED
        case MCPError():
            return error.message[:_LONGEST_REASON_CHARS]
        case _:
            return f"{type(error).__name__}: {error}"[:_LONGEST_REASON_CHARS]


def _delay_s(short_lives: int) -> float:
    return 0.0 if short_lives < 2 else min(_LONGEST_DELAY_S, 0.5 * 2 ** (short_lives - 2))
