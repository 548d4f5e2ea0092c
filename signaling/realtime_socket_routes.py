"""`GET /v1/realtime`: the Realtime API over a WebSocket.

With `call_id` the client joins a call that goes on, else one begins.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import replace

from aiohttp import web

from media.clock import wall_time_s
from signaling.api_keys import given_key
from signaling.call_host import CallHost
from signaling.client_secrets import ClientSecret, ClientSecrets
from signaling.outbox import Outbox
from signaling.realtime_routes import CALLS_PATH
from signaling.realtime_session import RealtimeSession
from signaling.realtime_session_objects import SessionUpdate, merged_updates
from signaling.running_calls import RunningCalls
from signaling.socket_call import NOT_READING, SocketCall
from signaling.socket_visit import SocketVisit
from signaling.web_socket import accepted

log = logging.getLogger(__name__)


def realtime_socket_routes(host: CallHost, calls: RunningCalls, secrets: ClientSecrets) -> list[web.RouteDef]:
    """All routes, for `app.add_routes`."""
    return [web.get("/v1/realtime", RealtimeSocketRoutes(host, calls, secrets).connect)]


class RealtimeSocketRoutes:
    """The handler."""

    def __init__(self, host: CallHost, calls: RunningCalls, secrets: ClientSecrets) -> None:
        self._host = host
        self._calls = calls
        self._secrets = secrets

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Carries a call, or a visit to one, until it ends."""
        call_id = request.query.get("call_id")
        if call_id is not None:
            return await self._join(request, call_id)
        return await self._begin(request, request.query.get("model"))

    async def _begin(self, request: web.Request, model: str | None) -> web.StreamResponse:
        secret = self._secret(request)
        named = SessionUpdate(model=model[:128]) if model else None
        update = merged_updates(secret.session if secret else None, named)
        async with AsyncExitStack() as undo:
            slot = self._host.admit()
            undo.callback(slot.release)
            outbox = Outbox(lambda: call.end(NOT_READING))
            session = RealtimeSession(
                # A client of this API speaks first, or asks to be spoken to.
                replace(self._host.session_defaults(), greeting=""),
                update,
                slot.conversation,
                outbox.put,
                as_data=True,
            )
            undo.callback(session.conversation.close)
            where = {"Location": f"{CALLS_PATH}/{slot.call_id}"}
            response, socket = await accepted(request, where)
            undo.pop_all()
        assert session.leg is not None
        call = SocketCall(
            slot.call_id,
            socket,
            session.conversation,
            session.leg,
            outbox,
            session.receive_in_order,
        )
        session.open()
        over = self._calls.start(slot, call, session, secret)
        log.info("call answered", extra={"transport": "websocket"})
        # aiohttp closes the socket when its handler returns.
        await over.wait()
        return response

    async def _join(self, request: web.Request, call_id: str) -> web.StreamResponse:
        session = self._calls.session(call_id, self._secret(request))
        response, socket = await accepted(request)
        await SocketVisit(call_id, socket, session).run()
        return response

    def _secret(self, request: web.Request) -> ClientSecret | None:
        return self._secrets.find(given_key(request.headers), wall_time_s())
