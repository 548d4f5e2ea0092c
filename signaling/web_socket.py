"""A client's WebSocket, as a call needs it: text comes and goes, and nothing raises."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from aiohttp import WSMsgType, web

from media.errors import CallerError
from signaling.api_keys import SUBPROTOCOL, given_subprotocols
from signaling.socket_call import Ending

MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
"""A longer message closes the socket, by code 1009, before it is read."""
CLOSE_TIMEOUT_S: Final = 2.0
"""How long a client may take to say goodbye, too."""
HEARTBEAT_S: Final = 50.0
"""A client is asked so often whether it is there. Who does not answer within half of it has gone.

An answer is read only once all that the client sent before was taken: this may have to wait for engines that
are started again."""

log = logging.getLogger(__name__)


class WebSocket:
    """`signaling.socket_call.TextSocket` over aiohttp.

    Args:
        response: prepared.
        request: that it answers.
    """

    def __init__(self, response: web.WebSocketResponse, request: web.Request) -> None:
        self._response = response
        self._request = request

    async def receive(self) -> str | None:
        """The client's next message; None once there will be no more. Bytes are taken for text in UTF-8."""
        message = await self._response.receive()
        match message.type:
            case WSMsgType.TEXT:
                return str(message.data)
            case WSMsgType.BINARY:
                return bytes(message.data).decode(errors="replace")
            case _:
                return None

    async def send(self, text: str) -> None:
        """Sends one message, at the pace at which the client reads."""
        try:
            await self._response.send_str(text)
        except ConnectionError:
            # It went away meanwhile; `receive` says so too.
            log.debug("a message was not sent")

    async def close(self, ending: Ending) -> None:
        """Closes within a bounded time, also where the client does not answer."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._response.close(code=ending.code, message=ending.reason.encode())
        except TimeoutError:
            # It does not read: what still waits to be sent would keep the connection open.
            if self._request.transport is not None:
                self._request.transport.abort()


async def accepted(
    request: web.Request, headers: Mapping[str, str] | None = None
) -> tuple[web.WebSocketResponse, WebSocket]:
    """Answers a request for a WebSocket.

    Args:
        request: that is answered.
        headers: of the answer, besides those of the handshake.

    Raises:
        CallerError: `upgrade_required`, or `invalid_subprotocol`.
        web.HTTPBadRequest: it is malformed.
    """
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise CallerError("This address is for WebSockets.", code="upgrade_required")
    offered = given_subprotocols(request.headers)
    if offered and SUBPROTOCOL not in offered:
        # aiohttp would log what was offered: a key, perhaps.
        raise CallerError(f"The subprotocol here is {SUBPROTOCOL}, or none.", code="invalid_subprotocol")
    # Not compressed: sound hardly shrinks, and packing it costs time on the loop that carries it.
    response = web.WebSocketResponse(
        timeout=CLOSE_TIMEOUT_S,
        heartbeat=HEARTBEAT_S,
        max_msg_size=MAX_FRAME_BYTES,
        compress=False,
        protocols=(SUBPROTOCOL,),
    )
    response.headers.update(headers or {})
    await response.prepare(request)
    return response, WebSocket(response, request)
