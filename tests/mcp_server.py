"""A server of tools, written with the official SDK: `python tests/mcp_server.py stdio|PORT|legacy:PORT`.

With a port it speaks streamable HTTP on loopback; `legacy` does not know the protocol's revision of 2026, so
that clients fall back to handshakes and sessions.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image

server = MCPServer("tests", log_level="ERROR")


@server.tool()
def add(first: int, second: int) -> int:
    """Adds two numbers."""
    return first + second


@server.tool()
def greet(name: str) -> str:
    """Greets somebody."""
    return f"{os.environ.get('GREETING', 'Hello')}, {name}!"


@server.tool(name="home/light.state")
def light(room: str) -> dict[str, Any]:
    """Tells whether the light is on."""
    return {"room": room, "on": True}


@server.tool()
def process_id() -> int:
    """Tells which process this is."""
    return os.getpid()


@server.tool()
async def wait() -> str:
    """Takes for ever."""
    print("waiting", file=sys.stderr, flush=True)
    await asyncio.Event().wait()
    return "never"


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("the boiler is cold")


@server.tool()
def die() -> str:
    """Ends this process at once."""
    print("dying as asked", file=sys.stderr, flush=True)
    os._exit(3)


@server.tool()
def picture() -> Image:
    """Shows a picture."""
    return Image(data=b"\x89PNG", format="png")


@server.tool()
def much() -> str:
    """Says a megabyte."""
    return "x" * 1_000_000


@server.tool()
async def learn(context: Context) -> str:
    """Learns to subtract."""

    def subtract(first: int, second: int) -> int:
        """Subtracts one number from another."""
        return first - second

    server.add_tool(subtract)
    await context.notify_tools_changed()
    await context.session.send_tool_list_changed()
    return "learned"


async def before_2026(scope: Any, receive: Any, send: Any) -> None:
    """The application, without `server/discover`."""
    if scope["type"] == "http" and (b"mcp-protocol-version", b"2026-07-28") in scope["headers"]:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    await app(scope, receive, send)


if __name__ == "__main__":
    kind, _, port = sys.argv[1].rpartition(":")
    if port == "stdio":
        server.run("stdio")
    else:
        app = server.streamable_http_app()
        uvicorn.run(before_2026 if kind == "legacy" else app, port=int(port), log_level="error")
