"""What a page needs before it calls, and settings that are changed while the server runs.

`GET /api/config`, `PATCH /api/settings`. Errors are raised, and become problem JSON in `signaling.problem`.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic_core import from_json

from media.errors import CallerError
from signaling.call_host import CallHost
from signaling.guard import is_local
from signaling.request_body import read_body


def page_routes(host: CallHost) -> list[web.RouteDef]:
    """All routes, for `app.add_routes`."""
    handlers = PageRoutes(host)
    return [
        web.get("/api/config", handlers.config),
        web.patch("/api/settings", handlers.change_settings),
    ]


class PageRoutes:
    """The handlers."""

    def __init__(self, host: CallHost) -> None:
        self._host = host

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
        body = await read_body(request, "application/json", self._host.settings.access.max_body_bytes)
        try:
            patch = from_json(body)
        except ValueError:
            raise CallerError("The body is not JSON.", code="not_json") from None
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
