"""The HTTP applications of the process and the ports they listen on."""

from __future__ import annotations

import errno
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from media.errors import ConfigError
from server.telephone import Telephone
from server.webclient import webclient_routes
from signaling.call_host import CallHost
from signaling.client_secrets import ClientSecrets
from signaling.guard import guard, headers_signal, key_guard
from signaling.ice import Gathering
from signaling.page_routes import page_routes
from signaling.problem import problem_middleware
from signaling.realtime_routes import realtime_routes
from signaling.realtime_socket_routes import realtime_socket_routes
from signaling.running_calls import RunningCalls
from signaling.whip_routes import whip_routes
from signaling.ws_routes import ws_routes

_SHUTDOWN_TIMEOUT_S = 2.0
"""Requests under way when the server stops have this long; the calls have had their time before."""

_LINGERING_S = 1.0
"""How long the rest of a body is read that was refused for its size."""


def page_app(
    host: CallHost,
    gathering: Gathering,
    own_hosts: tuple[str, ...] = (),
    telephone: Telephone | None = None,
) -> web.Application:
    """The page and the signalling: what callers reach.

    Args:
        host: the server.
        gathering: where the calls' media can be reached.
        own_hosts: names by which it may be called besides those that the settings allow.
        telephone: what brings and places calls of telephones; None: nothing does.
    """
    telephone = telephone or Telephone(host, RunningCalls())
    configured = host.settings.access
    hosts = (*configured.allowed_hosts, *own_hosts, *telephone.own_hosts)
    access = configured.model_copy(update={"allowed_hosts": hosts})
    page = webclient_routes()
    secrets = ClientSecrets()
    open_paths = frozenset(route.path for route in page) | telephone.open_paths
    keys = key_guard(access, secrets, open_paths)
    app = web.Application(
        middlewares=[problem_middleware, guard(access), keys], client_max_size=access.max_body_bytes
    )
    app.on_response_prepare.append(headers_signal(access))
    calls = telephone.calls
    app.add_routes(page_routes(host))
    app.add_routes(whip_routes(host, calls, gathering))
    app.add_routes(ws_routes(host, calls))
    app.add_routes(realtime_routes(host, calls, gathering, secrets))
    app.add_routes(realtime_socket_routes(host, calls, secrets))
    app.add_routes(telephone.routes())
    app.add_routes(page)
    return app


@asynccontextmanager
async def listening(
    app: web.Application,
    host: str,
    port: int,
    *,
    setting: str,
    tls: ssl.SSLContext | None = None,
    cancelling: bool = False,
) -> AsyncIterator[int]:
    """Serves an application until the block ends. Gives its port: the system's choice where 0 was asked.

    Args:
        app: what is served.
        host: address to bind.
        port: to bind; 0 lets the system choose.
        setting: which setting the port comes from, for the error.
        tls: None for plain HTTP.
        cancelling: a request whose client has gone is cancelled.

    Raises:
        ConfigError: the address cannot be bound.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
        lingering_time=_LINGERING_S,
        handler_cancellation=cancelling,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
        except OSError as error:
            raise _cannot_listen(error, host, port, setting) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _cannot_listen(error: OSError, host: str, port: int, setting: str) -> ConfigError:
    match error.errno:
        case errno.EADDRINUSE:
            reason = f"Port {port} on {host} is in use by another program: stop that one, or set {setting}."
        case errno.EACCES:
            reason = f"Port {port} on {host} needs privileges that this program has not: set {setting}."
        case errno.EADDRNOTAVAIL:
            reason = f"This machine has no address {host}: set {setting.replace('port', 'host')}."
        case _:
            reason = f"Cannot listen on {host}, port {port}: {error.strerror}."
    return ConfigError(reason, code="cannot_listen", param=setting)
