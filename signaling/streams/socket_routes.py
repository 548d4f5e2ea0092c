"""A provider's WebSocket, as a stream needs it: text and bytes come and go, and nothing raises."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiohttp import WSMsgType, web

from media.errors import CallerError
from signaling.api_keys import given_subprotocols
from signaling.streams.wire import MAX_MESSAGE_BYTES

CLOSE_TIMEOUT_S: Final = 2.0
"""How long a provider may take to say goodbye, too."""
HEARTBEAT_S: Final = 20.0
"""A provider is asked so often whether it is there. One that does not answer within half of it has gone."""

log = logging.getLogger(__name__)


class ProviderSocket:
    """`signaling.streams.leg.StreamSocket` over aiohttp.

    Args:
        response: prepared.
        request: that it answers.
    """

    def __init__(self, response: web.WebSocketResponse, request: web.Request) -> None:
        self._response = response
        self._request = request

    async def receive(self) -> str | bytes | None:
        """The next message; None once there will be no more."""
        message = await self._response.receive()
        match message.type:
            case WSMsgType.TEXT:
                return str(message.data)
            case WSMsgType.BINARY:
                return bytes(message.data)
            case _:
                return None

    async def send(self, message: str | bytes) -> None:
        """Sends one message, at the pace at which the provider reads."""
        try:
            if isinstance(message, str):
                await self._response.send_str(message)
            else:
                await self._response.send_bytes(message)
        except ConnectionError:
            # It went away meanwhile; `receive` says so too.
            log.debug("a message was not sent")

    async def close(self) -> None:
        """Closes within a bounded time, also where the provider does not answer. May be called twice."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._response.close()
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()


async def accepted(request: web.Request) -> tuple[web.WebSocketResponse, ProviderSocket]:
    """Answers a request for a WebSocket, in the first of the subprotocols that it offers, if any.

    Raises:
        CallerError: `upgrade_required`.
        web.HTTPBadRequest: it is malformed.
    """
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise CallerError("This address is for WebSockets.", code="upgrade_required")
    response = web.WebSocketResponse(
        timeout=CLOSE_TIMEOUT_S,
        heartbeat=HEARTBEAT_S,
        max_msg_size=MAX_MESSAGE_BYTES,
        compress=False,
        protocols=given_subprotocols(request.headers)[:1],
    )
    await response.prepare(request)
    return response, ProviderSocket(response, request)
