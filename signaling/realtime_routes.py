"""The Realtime API over HTTP: `/v1/realtime/calls`, `/v1/realtime/client_secrets`, `/v1/models`.

Errors are raised, and become the API's own in `signaling.problem`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import Field

from media.clock import wall_time_s
from media.errors import CallerError
from media.items import new_id
from media.session import SessionConfig
from signaling.api_keys import given_key
from signaling.call_host import CallHost
from signaling.call_starter import CallStarter
from signaling.client_secrets import DEFAULT_S, LONGEST_S, SHORTEST_S, ClientSecret, ClientSecrets
from signaling.guard import SECRETS_PATH
from signaling.ice import Gathering
from signaling.phone.call import PhoneCall
from signaling.phone.call_starter import allowed_destination
from signaling.phone.destinations import MAX_CHARS
from signaling.phone.routes import keys_not_configured
from signaling.realtime_base import FromClient
from signaling.realtime_session import MODEL
from signaling.realtime_session_mapping import WireState, changed_session, changed_wire, session_to_wire
from signaling.realtime_session_objects import SessionUpdate, merged_updates
from signaling.request_body import body_cut_short, checked_body, read_body
from signaling.running_calls import RunningCall, RunningCalls
from signaling.sdp import read_offer

CALLS_PATH: Final = "/v1/realtime/calls"
_SDP: Final = "application/sdp"
_RINGING_ONLY: Final = ("accept", "reject")

# What aiohttp raises on a body that is almost a form: its edges, its parts' headers, how they are encoded.
_FORM_FAULTS = (ValueError, LookupError, RuntimeError, HttpProcessingError)


class ExpiresAfter(FromClient):
    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=DEFAULT_S, ge=SHORTEST_S, le=LONGEST_S)


class SecretBody(FromClient):
    """`POST /v1/realtime/client_secrets`."""

    expires_after: ExpiresAfter = ExpiresAfter()
    session: SessionUpdate = SessionUpdate()


class ReferBody(FromClient):
    """`POST /v1/realtime/calls/{id}/refer`: a `tel:` or `sip:` URI."""

    target_uri: str = Field(min_length=1, max_length=MAX_CHARS)


def realtime_routes(
    host: CallHost, calls: RunningCalls, gathering: Gathering, secrets: ClientSecrets
) -> list[web.RouteDef]:
    """All routes, for `app.add_routes`."""
    handlers = RealtimeRoutes(host, calls, gathering, secrets)
    return [
        web.post(CALLS_PATH, handlers.call),
        web.post(f"{CALLS_PATH}/{{call_id}}/hangup", handlers.hang_up),
        web.post(f"{CALLS_PATH}/{{call_id}}/refer", handlers.refer),
        *(web.post(f"{CALLS_PATH}/{{call_id}}/{act}", handlers.ringing_only) for act in _RINGING_ONLY),
        web.post(SECRETS_PATH, handlers.create_secret),
        web.get("/v1/models", handlers.models),
    ]


class RealtimeRoutes:
    """The handlers."""

    def __init__(
        self, host: CallHost, calls: RunningCalls, gathering: Gathering, secrets: ClientSecrets
    ) -> None:
        self._host = host
        self._calls = calls
        self._starter = CallStarter(host, calls, gathering)
        self._secrets = secrets

    async def call(self, request: web.Request) -> web.Response:
        """Answers an offer and starts the call."""
        sdp, update = await self._offer(request)
        secret = self._secret(request)
        update = merged_updates(secret.session if secret else None, update)
        started = await self._starter.start(read_offer(sdp), update, self._defaults(), secret)
        return web.Response(
            status=201,
            body=started.answer.encode(),
            content_type=_SDP,
            headers={"Location": f"{CALLS_PATH}/{started.call_id}"},
        )

    async def hang_up(self, request: web.Request) -> web.Response:
        self._call(request).hang_up()
        return web.Response()

    async def refer(self, request: web.Request) -> web.Response:
        """Hands a telephone's caller on; answers when the target was reached."""
        call = self._call(request)
        if not isinstance(call, PhoneCall):
            raise CallerError("This is no telephone's call: nobody can be handed on.", code="not_a_sip_call")
        wanted = checked_body(ReferBody, await self._read(request, "application/json"))
        settings = self._host.settings
        if not settings.access.api_keys:
            raise keys_not_configured()
        await call.transfer(str(allowed_destination(wanted.target_uri, settings.telephone, "target_uri")))
        return web.Response()

    async def ringing_only(self, request: web.Request) -> web.Response:
        """What is done to a call that rings for a client to decide: there are none, the server answers."""
        self._call(request)
        raise CallerError("This call is answered already.", code="not_a_sip_call")

    async def create_secret(self, request: web.Request) -> web.Response:
        """Makes a key for a while, to be given to a browser."""
        if request.can_read_body:
            wanted = checked_body(SecretBody, await self._read(request, "application/json"))
        else:
            wanted = SecretBody()
        session = changed_session(self._defaults(), wanted.session, self._host.voices)
        named = WireState(new_id("sess"), new_id("conv"), wanted.session.model or MODEL)
        wire = changed_wire(named, wanted.session)
        now_s = wall_time_s()
        expires_s = int(now_s) + wanted.expires_after.seconds
        value = self._secrets.create(wanted.session, expires_s, now_s)
        shown = session_to_wire(session, wire).model_dump(mode="json", exclude_none=True)
        return web.json_response(
            {"value": value, "expires_at": expires_s, "session": shown},
            headers={"Cache-Control": "no-store"},
        )

    async def models(self, request: web.Request) -> web.Response:
        """For clients that ask. A call may name any model: there is this one."""
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "voxtral-kokoro"}
        return web.json_response({"object": "list", "data": [model]})

    def _secret(self, request: web.Request) -> ClientSecret | None:
        return self._secrets.find(given_key(request.headers), wall_time_s())

    def _call(self, request: web.Request) -> RunningCall:
        return self._calls.get(request.match_info["call_id"], self._secret(request))

    def _defaults(self) -> SessionConfig:
        """A client of this API speaks first, or asks to be spoken to: there is no greeting."""
        return replace(self._host.session_defaults(), greeting="")

    async def _offer(self, request: web.Request) -> tuple[str, SessionUpdate | None]:
        if request.content_type != "multipart/form-data":
            return (await self._read(request, _SDP)).decode(errors="replace"), None
        parts = await self._parts(request)
        if "sdp" not in parts:
            raise CallerError("There is no part sdp.", code="missing_required_parameter", param="sdp")
        session = None
        if "session" in parts:
            session = checked_body(SessionUpdate, parts["session"], part="session")
        return parts["sdp"].decode(errors="replace"), session

    async def _parts(self, request: web.Request) -> dict[str, bytes]:
        """The parts of a form, by name. Raises: CallerError: `invalid_request`, `body_cut_short`."""
        try:
            form = await request.post()
        except _FORM_FAULTS:
            raise CallerError("The body is no form.", code="invalid_request") from None
        except (ConnectionError, web.RequestPayloadError) as error:
            raise body_cut_short() from error
        parts: dict[str, bytes] = {}
        for name, value in form.items():
            if isinstance(value, web.FileField):
                parts[name] = value.file.read()
                value.file.close()
            else:
                parts[name] = value.encode() if isinstance(value, str) else bytes(value)
        return parts

    async def _read(self, request: web.Request, content_type: str) -> bytes:
        return await read_body(request, content_type, self._host.settings.access.max_body_bytes)
