"""A client's WebSocket and an engine host's, joined: what one says the other hears."""

from __future__ import annotations

import asyncio

import aiohttp
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from signaling.api_keys import given_subprotocols
from signaling.web_socket import HEARTBEAT_S, MAX_FRAME_BYTES

_OF_THE_HANDSHAKE = frozenset({"connection", "content-length", "host", "transfer-encoding", "upgrade"})
"""Headers that each of the two connections has anew, beside the `sec-websocket-*` ones."""

_MAY_BE_SENT = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
"""Of the codes that a connection can end with (RFC 6455, 7.4)."""
_HOST_IS_LOST = 1011
"""The server met what it did not expect."""


async def relayed(client: WebSocket, session: aiohttp.ClientSession, url: str) -> None:
    """Connects the two until one of them goes; the other one is told how.

    A host that refuses is not hidden behind a connection that opens and ends: its status and its reason are
    the answer to the client's handshake.

    Args:
        client: not accepted yet.
        session: asks the host.
        url: of the host's WebSocket.
    """
    try:
        host = await session.ws_connect(
            url,
            params=client.query_params.multi_items(),
            headers=_forwarded(client),
            protocols=given_subprotocols(client.headers),
            heartbeat=HEARTBEAT_S,
            max_msg_size=MAX_FRAME_BYTES,
        )
    except aiohttp.WSServerHandshakeError as refusal:
        await _refuse(client, refusal)
        return
    async with host:
        await client.accept(subprotocol=host.protocol)
        async with asyncio.TaskGroup() as tasks:
            heard = tasks.create_task(_to_host(client, host), name="client to engine host")
            said = tasks.create_task(_to_client(host, client), name="engine host to client")
            await asyncio.wait({heard, said}, return_when=asyncio.FIRST_COMPLETED)
            heard.cancel()
            said.cancel()
    if client.application_state is WebSocketState.CONNECTED:
        await _close(client, host.close_code)


async def _to_host(client: WebSocket, host: aiohttp.ClientWebSocketResponse) -> None:
    """Ends where the client does."""
    try:
        while True:
            message = await client.receive()
            if message["type"] != "websocket.receive":
                return
            if (text := message.get("text")) is not None:
                await host.send_str(text)
            else:
                await host.send_bytes(message["bytes"])
    except ConnectionError:
        return  # the host has gone: who reads it tells the client


async def _to_client(host: aiohttp.ClientWebSocketResponse, client: WebSocket) -> None:
    """Ends where the host does."""
    try:
        async for message in host:
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    await client.send_text(message.data)
                case aiohttp.WSMsgType.BINARY:
                    await client.send_bytes(message.data)
                case _:
                    return
    except WebSocketDisconnect:
        return


async def _close(client: WebSocket, code: int | None) -> None:
    """With the host's code; where it ended without one that may be sent, as an error."""
    try:
        await client.close(code if code is not None and code in _MAY_BE_SENT else _HOST_IS_LOST)
    except WebSocketDisconnect:
        return  # it went by itself


async def _refuse(client: WebSocket, refusal: aiohttp.WSServerHandshakeError) -> None:
    retry = (refusal.headers or {}).get("Retry-After")
    headers = {} if retry is None else {"Retry-After": retry}
    await client.send_denial_response(Response(refusal.message, refusal.status, headers))


def _forwarded(client: WebSocket) -> dict[str, str]:
    """Its own headers: the host asks for the key, too."""
    return {
        name: value
        for name, value in client.headers.items()
        if name not in _OF_THE_HANDSHAKE and not name.startswith("sec-websocket-")
    }
