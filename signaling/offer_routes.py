"""Our own routes: a call in JSON, with trickled candidates, and what a page needs before it calls.

`POST /api/offer`, `PATCH` and `DELETE /api/calls/{id}`, `GET /api/config`, `PATCH /api/settings`. Errors are
raised, and become problem JSON in `signaling.problem`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from aiohttp import web
from pydantic import Field
from pydantic_core import from_json

from media.errors import CallerError
from signaling.call_host import CallHost
from signaling.call_starter import CallStarter
from signaling.guard import is_local
from signaling.ice import Gathering
from signaling.realtime_base import FromClient
from signaling.realtime_session_objects import SessionUpdate
from signaling.request_body import checked_body, read_body
from signaling.running_calls import RunningCalls
from signaling.sdp import TrickledCandidate, read_offer

Body = TypeVar("Body", bound=FromClient)


class OfferBody(FromClient):
    """`POST /api/offer`. `session` is as in `session.update`: how this call differs from the defaults."""

    type: Literal["offer"]
    sdp: str
    session: SessionUpdate | None = None


class CandidateBody(FromClient):
    """A page's `RTCIceCandidate`, as its `toJSON` gives it."""

    candidate: str = Field(max_length=1000)


class TrickleBody(FromClient):
    """`PATCH /api/calls/{id}`: candidates that came after the offer.

    A null, by which some clients say that there are no more, means nothing here.
    """

    candidate: CandidateBody | None = None
    candidates: tuple[CandidateBody | None, ...] = Field(default=(), max_length=100)


def routes(host: CallHost, calls: RunningCalls, gathering: Gathering) -> list[web.RouteDef]:
    """All routes, for `app.add_routes`."""
    handlers = OfferRoutes(host, calls, gathering)
    return [
        web.post("/api/offer", handlers.offer),
        web.patch("/api/calls/{call_id}", handlers.trickle),
        web.delete("/api/calls/{call_id}", handlers.hang_up),
        web.get("/api/config", handlers.config),
        web.patch("/api/settings", handlers.change_settings),
    ]


class OfferRoutes:
    """The handlers."""

    def __init__(self, host: CallHost, calls: RunningCalls, gathering: Gathering) -> None:
        self._host = host
        self._calls = calls
        self._starter = CallStarter(host, calls, gathering)

    async def offer(self, request: web.Request) -> web.Response:
        """Answers an offer and starts the call.

        The body is checked before a slot is taken, so that nonsense costs no caller their place.
        """
        body = await self._read(request, OfferBody)
        started = await self._starter.start(read_offer(body.sdp), body.session)
        return web.json_response(
            {"type": "answer", "sdp": started.answer, "call_id": started.call_id},
            headers={"Location": f"/api/calls/{started.call_id}"},
        )

    async def trickle(self, request: web.Request) -> web.Response:
        """Takes candidates. A call that is over is a 404."""
        call = self._calls.get(request.match_info["call_id"])
        body = await self._read(request, TrickleBody)
        for candidate in (body.candidate, *body.candidates):
            if candidate is not None:
                await call.add_candidate(TrickledCandidate(candidate.candidate))
        return web.Response(status=204)

    async def hang_up(self, request: web.Request) -> web.Response:
        self._calls.get(request.match_info["call_id"]).hang_up()
        return web.Response(status=204)

    async def config(self, request: web.Request) -> web.Response:
        """What a page needs to know before it calls."""
        body = {**self._host.page_config(), "ice_servers": self._ice_servers()}
        return web.json_response(body, headers={"Cache-Control": "no-store"})

    async def change_settings(self, request: web.Request) -> web.Response:
        """Changes settings until the server ends. Returns all that differs from the configuration now.

        They hold for everybody's calls, and there are no accounts: only this machine's own users may.
        """
        if not is_local(request):
            raise CallerError(
                "Settings can be changed from the server's own machine only, and not through a proxy.",
                code="not_local",
            )
        patch = from_json(await self._read_json(request))
        if not isinstance(patch, dict):
            raise CallerError("The settings are a JSON object.", code="invalid_value")
        return web.json_response(self._host.change_settings(patch))

    def _ice_servers(self) -> list[dict[str, Any]]:
        """In the shape of the browser's `RTCIceServer`."""
        servers: list[dict[str, Any]] = []
        for server in self._host.settings.ice.servers:
            entry: dict[str, Any] = {"urls": list(server.urls)}
            if server.username is not None:
                entry["username"] = server.username
            if server.credential is not None:
                entry["credential"] = server.credential.get_secret_value()
            servers.append(entry)
        return servers

    async def _read(self, request: web.Request, model: type[Body]) -> Body:
        """The body, checked.

        Raises:
            CallerError: it is too large, no JSON, or a field is not what it must be; `param` names the field.
        """
        return checked_body(model, await self._read_json(request))

    async def _read_json(self, request: web.Request) -> bytes:
        """The body, if it is JSON at all."""
        body = await read_body(request, "application/json", self._host.settings.access.max_body_bytes)
        try:
            from_json(body)
        except ValueError:
            raise CallerError("The body is not JSON.", code="not_json") from None
        return body
