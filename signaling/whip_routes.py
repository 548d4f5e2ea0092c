"""WHIP (RFC 9725): a publisher's offer over HTTP, at `/whip`; its answer, and the session that steers it.

WHIP has no channel for events. A publisher that wants them offers a data channel as well; one that listens
(`sendrecv`, which the RFC lets it offer) is answered in speech, in the same connection.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakKeyDictionary

from aiohttp import web

from media.errors import CallerError
from media.items import new_id
from media.session import SessionConfig
from signaling.api_keys import given_key, is_key
from signaling.call_host import CallHost
from signaling.call_starter import CallStarter
from signaling.ice import Gathering
from signaling.problem import problem
from signaling.request_body import read_body
from signaling.running_calls import RunningCalls
from signaling.settings import IceServer
from signaling.webrtc_call import WebrtcCall
from signaling.whip_sdp import Publication, finish_publication, read_fragment, read_publication

OFFER_TYPE: Final = "application/sdp"
FRAGMENT_TYPE: Final = "application/trickle-ice-sdpfrag"

_METHODS: Final = "GET, POST, PATCH, DELETE, OPTIONS"
"""Of both addresses together: from the endpoint's, clients conclude whether candidates may be trickled."""


def whip_routes(host: CallHost, calls: RunningCalls, gathering: Gathering) -> list[web.RouteDef]:
    """All routes, for `app.add_routes`."""
    handlers = WhipRoutes(host, calls, gathering)
    return [
        web.post("/whip", handlers.publish),
        web.get("/whip", handlers.nothing),
        web.options("/whip", handlers.options),
        web.patch("/whip/{call_id}", handlers.trickle),
        web.delete("/whip/{call_id}", handlers.end),
        web.get("/whip/{call_id}", handlers.nothing_of_session),
        web.options("/whip/{call_id}", handlers.session_options),
    ]


@dataclass(frozen=True, slots=True)
class _Session:
    """What WHIP remembers of a call.

    Attributes:
        publication: what the call began with.
        etag: names its only ICE session. Strong (RFC 9110, section 8.8.3), without the quotes.
    """

    publication: Publication
    etag: str


class WhipRoutes:
    """The handlers."""

    def __init__(self, host: CallHost, calls: RunningCalls, gathering: Gathering) -> None:
        self._host = host
        self._calls = calls
        self._starter = CallStarter(host, calls, gathering)
        self._sessions: WeakKeyDictionary[WebrtcCall, _Session] = WeakKeyDictionary()
        """A session goes with its call, or before it."""

    async def publish(self, request: web.Request) -> web.Response:
        """Answers an offer and starts the call."""
        if request.content_type != OFFER_TYPE:
            return _unsupported_type(OFFER_TYPE, "Accept-Post")
        publication = read_publication(await self._read(request, OFFER_TYPE, "invalid_sdp"))
        started = await self._starter.start(
            publication.offer, defaults=_session_for(publication, self._host.session_defaults())
        )
        session = _Session(publication, new_id("ice"))
        self._sessions[started.call] = session
        headers = {
            # Relative, so that it holds behind a proxy that knows this server by another path.
            "Location": f"whip/{started.call_id}",
            "ETag": f'"{session.etag}"',
            "Accept-Patch": FRAGMENT_TYPE,
        }
        answer = finish_publication(started.answer).encode()
        response = web.Response(status=201, body=answer, content_type=OFFER_TYPE, headers=headers)
        self._name_ice_servers(response)
        return response

    async def trickle(self, request: web.Request) -> web.Response:
        """Takes candidates. All of a fragment holds, or nothing."""
        call, session = self._session(request)
        if request.content_type != FRAGMENT_TYPE:
            return _unsupported_type(FRAGMENT_TYPE, "Accept-Patch")
        _require_match(request, session.etag)
        text = await self._read(request, FRAGMENT_TYPE, "invalid_sdp_fragment")
        fragment = read_fragment(text, session.publication.mids)
        if fragment.ice != session.publication.ice:
            raise CallerError(
                "ICE restarts are not supported: publish anew. The session goes on.",
                code="ice_restart_unsupported",
            )
        for candidate in fragment.candidates:
            await call.add_candidate(candidate)
        return web.Response(status=204)

    async def end(self, request: web.Request) -> web.Response:
        """Hangs up. Preconditions mean nothing here (RFC 9725, section 4.3.1)."""
        call, _ = self._session(request)
        del self._sessions[call]
        call.hang_up()
        return web.Response(status=200)

    async def nothing(self, request: web.Request) -> web.Response:
        """There is nothing to be seen, and that is no error (RFC 9725, section 4.1)."""
        return web.Response(status=204)

    async def nothing_of_session(self, request: web.Request) -> web.Response:
        self._session(request)
        return web.Response(status=204)

    async def options(self, request: web.Request) -> web.Response:
        """What can be done here. A browser's preflight is not told the ICE servers, nor is who has no key.

        (OPTIONS needs none elsewhere: a preflight cannot have one.)
        """
        headers = {"Access-Control-Allow-Methods": _METHODS, "Accept-Post": OFFER_TYPE}
        response = web.Response(status=204, headers=headers)
        if "Access-Control-Request-Method" not in request.headers and self._may_call(request):
            self._name_ice_servers(response)
        return response

    async def session_options(self, request: web.Request) -> web.Response:
        headers = {"Access-Control-Allow-Methods": _METHODS, "Accept-Patch": FRAGMENT_TYPE}
        return web.Response(status=204, headers=headers)

    def _session(self, request: web.Request) -> tuple[WebrtcCall, _Session]:
        """The call and its session.

        Raises:
            CallerError: `call_not_found`: it never was, it is over, or it was not published by WHIP.
        """
        call_id = request.match_info["call_id"]
        call = self._calls.get(call_id)
        if isinstance(call, WebrtcCall) and (session := self._sessions.get(call)) is not None:
            return call, session
        raise CallerError(f"There is no WHIP session {call_id[:64]}; it may be over.", code="call_not_found")

    async def _read(self, request: web.Request, content_type: str, code: str) -> str:
        """The body as text. What is none is a caller's error of this code."""
        body = await read_body(request, content_type, self._host.settings.access.max_body_bytes)
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise CallerError("The body is not UTF-8.", code=code) from None

    def _may_call(self, request: web.Request) -> bool:
        keys = self._host.settings.access.api_keys
        given = given_key(request.headers)
        return not keys or (given is not None and is_key(given, keys))

    def _name_ice_servers(self, response: web.Response) -> None:
        for server in self._host.settings.ice.servers:
            for url in server.urls:
                response.headers.add("Link", _link(server, url))


def _session_for(publication: Publication, defaults: SessionConfig) -> SessionConfig:
    """A publisher whom no answer could reach is heard and transcribed; nothing is made for nobody."""
    offer = publication.offer
    detection = defaults.turn_detection
    if offer.caller_listens or offer.data_channel or detection is None:
        return defaults
    return replace(defaults, greeting="", turn_detection=replace(detection, create_response=False))


def _require_match(request: web.Request, etag: str) -> None:
    """Whether a PATCH is meant for this ICE session (RFC 9110, section 13.1.1).

    Raises:
        CallerError: `precondition_required`: it does not say (RFC 6585, section 3); `precondition_failed`: it
            is meant for another.
    """
    tags = request.if_match
    if tags is None:
        # @eyevinn/whip-web-client sends the tag back under the name that it came by.
        returned = request.headers.get("ETag")
        if returned is None:
            raise CallerError(
                "If-Match must say which ICE session is meant: the ETag of the answer.",
                code="precondition_required",
            )
        matched = returned == f'"{etag}"'
    else:
        matched = any(tag.value in (etag, "*") and not tag.is_weak for tag in tags)
    if not matched:
        raise CallerError(
            "If-Match names another ICE session than the present one.", code="precondition_failed"
        )


def _unsupported_type(expected: str, told_by: str) -> web.Response:
    detail = f"The body must be {expected}."
    return problem(415, "unsupported_media_type", detail, headers={told_by: expected})


def _link(server: IceServer, url: str) -> str:
    """One server as a `Link` (RFC 9725, section 4.6; RFC 8288, section 3)."""
    parts = [f"<{url}>", 'rel="ice-server"']
    if server.username is not None:
        parts.append(f"username={_quoted(server.username)}")
    if server.credential is not None:
        parts.append(f"credential={_quoted(server.credential.get_secret_value())}")
        parts.append('credential-type="password"')
    return "; ".join(parts)


def _quoted(text: str) -> str:
    """A quoted string (RFC 9110, section 5.6.4)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
