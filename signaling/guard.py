"""Who may speak to the HTTP interface: the names it is reached by, and the web pages that may call.

A server on loopback is within reach of every page that its user visits. The `Host` header is checked
against DNS rebinding (a foreign name that resolves to this machine), the `Origin` header against pages from
elsewhere.
Requests without an `Origin` are not from pages that could be tricked: curl, SDKs, navigation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Container
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from media.clock import wall_time_s
from media.errors import CallerError
from signaling.api_keys import given_key, is_key
from signaling.client_secrets import PREFIX, ClientSecrets
from signaling.problem import API_PREFIX, Handler
from signaling.settings import ANY, AccessSettings

SECRETS_PATH = "/v1/realtime/client_secrets"

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'self'"
    ),
    "Permissions-Policy": "microphone=(self), camera=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "authorization, content-type, if-match, etag, x-openai-agents-sdk",
    "Access-Control-Max-Age": "600",
}
_EXPOSED_HEADERS = (
    "Location, Retry-After, ETag, Link, Accept-Post, Accept-Patch, Access-Control-Allow-Methods"
)
"""The last: by it WHIP's clients find out whether candidates may be trickled."""


def host_allowed(host: str, allowed_hosts: tuple[str, ...]) -> bool:
    """Whether a `Host` header names this server.

    Loopback's names do, and so does any address in figures: only names can be rebound.
    """
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if not name:
        return False
    if ANY in allowed_hosts or name in allowed_hosts or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def origin_allowed(origin: str, host: str, allowed_origins: tuple[str, ...]) -> bool:
    """Whether a page of `origin` may call the server that it reached as `host`.

    The scheme is not compared: a proxy in front may be the one that speaks TLS.
    """
    if ANY in allowed_origins or origin in allowed_origins:
        return True
    return same_origin(origin, host)


def is_local(request: web.Request) -> bool:
    """Whether a request comes from this machine itself. One that a proxy passed on does not."""
    if was_passed_on(request):
        return False
    try:
        address = ipaddress.ip_address((request.remote or "").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def was_passed_on(request: web.Request) -> bool:
    """Whether a proxy says that it passed the request on: its address is the proxy's."""
    return "Forwarded" in request.headers or "X-Forwarded-For" in request.headers


def same_origin(origin: str, host: str) -> bool:
    scheme, separator, place = origin.partition("://")
    return bool(separator) and scheme in ("http", "https") and place.lower() == host.lower()


def guard(access: AccessSettings) -> Middleware:
    """The middleware that turns strangers away with 403. Inside `problem_middleware`, outside all else.

    Raises (to the problem middleware):
        CallerError: `forbidden_host` or `forbidden_origin`.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        if not host_allowed(host, access.allowed_hosts):
            raise CallerError(
                f"This server is not known as {host!r}. Name it under server.allowed_hosts.",
                code="forbidden_host",
            )
        origin = request.headers.get("Origin")
        if origin is None or same_origin(origin, host):
            return await handler(request)
        if not origin_allowed(origin, host, access.allowed_origins):
            raise CallerError(
                f"Pages of {origin} may not call this server. Name it under server.allowed_origins.",
                code="forbidden_origin",
            )
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return await _preflighted(request, handler)
        return await handler(request)

    return middleware


async def _preflighted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What a browser asks before it lets a page call. An address that answers OPTIONS itself adds to it."""
    answers_itself = request.match_info.http_exception is None
    response = await handler(request) if answers_itself else web.Response(status=204)
    response.headers.update(_PREFLIGHT_HEADERS)
    return response


def key_guard(access: AccessSettings, secrets: ClientSecrets, open_paths: Container[str]) -> Middleware:
    """The middleware that turns away with 401 whoever has no key, where keys are configured. Inside `guard`.

    A page has no other way in than anybody else: what a browser says of a request's origin, any program can.

    Args:
        access: its `api_keys`; where there are none, everybody may call, as everybody may who has one.
        secrets: that may be used at `/v1` as well.
        open_paths: what is for everybody: the page's files.

    Raises (to the problem middleware):
        CallerError: `missing_api_key`, `invalid_api_key`, or `not_for_client_secrets`.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = given_key(request.headers)
        is_secret = given is not None and given.startswith(PREFIX)
        if is_secret and request.path.startswith(API_PREFIX):
            if secrets.find(given, wall_time_s()) is None:
                raise CallerError(
                    "This client secret has expired, or is none of this server's.", code="invalid_api_key"
                )
            if request.path == SECRETS_PATH:
                raise CallerError(
                    "A client secret cannot make others: use a key of server.api_keys.",
                    code="not_for_client_secrets",
                )
        elif access.api_keys and request.path not in open_paths and request.method != "OPTIONS":
            if given is None:
                raise CallerError(
                    "This server asks for a key: Authorization: Bearer …", code="missing_api_key"
                )
            if not is_key(given, access.api_keys):
                raise CallerError("This key is none of this server's.", code="invalid_api_key")
        return await handler(request)

    return middleware


def headers_signal(access: AccessSettings) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """For `app.on_response_prepare`: the security headers, and CORS for the origins that are allowed.

    A signal and not a middleware, so that errors and streamed responses carry them too.
    """

    async def prepare(request: web.Request, response: web.StreamResponse) -> None:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        origin, host = request.headers.get("Origin"), request.headers.get("Host", "")
        if origin is None or same_origin(origin, host):
            return
        response.headers["Vary"] = "Origin"
        if origin_allowed(origin, host, access.allowed_origins):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS

    return prepare
