"""Calls that this server places over HTTP: `/api/calls`.

Whoever can place calls can spend money: without keys in the configuration there is none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from aiohttp import web
from pydantic import Field

from media.errors import CallerError
from signaling.call_host import CallHost
from signaling.phone.call_starter import PhoneCallStarter
from signaling.phone.destinations import MAX_CHARS
from signaling.phone.leg import Dialler
from signaling.phone.record import CallRecord
from signaling.realtime_base import MAX_INSTRUCTIONS_CHARS, FromClient
from signaling.realtime_session_objects import MAX_GREETING_CHARS, SessionUpdate, merged_updates
from signaling.request_body import checked_body, read_body
from signaling.running_calls import RunningCalls

CALLS_PATH: Final = "/api/calls"


class MachineBody(FromClient):
    """What differs from `telephone.answering_machines` in one call."""

    detect: bool | None = None
    then: Literal["hang_up", "message", "go_on"] | None = None
    message: str | None = Field(default=None, max_length=1000)


class CallBody(FromClient):
    """`POST /api/calls`.

    Attributes:
        to: who is called: `+49…`, `sip:…`.
        caller: as whom; one of `telephone.allowed_callers`.
        instructions: instead of the configuration's.
        greeting: said once they answer; empty for none.
        session: as the Realtime API has it.
        answering_machine: what is done with one.
    """

    to: str = Field(min_length=1, max_length=MAX_CHARS)
    caller: str | None = Field(default=None, min_length=1, max_length=MAX_CHARS)
    instructions: str | None = Field(default=None, max_length=MAX_INSTRUCTIONS_CHARS)
    greeting: str | None = Field(default=None, max_length=MAX_GREETING_CHARS)
    session: SessionUpdate = SessionUpdate()
    answering_machine: MachineBody = MachineBody()


def phone_routes(
    host: CallHost,
    calls: RunningCalls,
    starter: PhoneCallStarter,
    dialler: Callable[[], Dialler | None],
) -> list[web.RouteDef]:
    """All routes, for `app.add_routes`."""
    handlers = PhoneRoutes(host, calls, starter, dialler)
    return [
        web.post(CALLS_PATH, handlers.place),
        web.get(f"{CALLS_PATH}/{{call_id}}", handlers.show),
        web.delete(f"{CALLS_PATH}/{{call_id}}", handlers.hang_up),
    ]


class PhoneRoutes:
    """The handlers."""

    def __init__(
        self,
        host: CallHost,
        calls: RunningCalls,
        starter: PhoneCallStarter,
        dialler: Callable[[], Dialler | None],
    ) -> None:
        self._host = host
        self._calls = calls
        self._starter = starter
        self._dialler = dialler

    async def place(self, request: web.Request) -> web.Response:
        """Calls somebody; answers at once, before it rings."""
        self._require_keys()
        limit = self._host.settings.access.max_body_bytes
        wanted = checked_body(CallBody, await read_body(request, "application/json", limit))
        dialler = self._dialler()
        if dialler is None:
            raise CallerError("This server has no telephone: see section sip.", code="no_telephone")
        own = SessionUpdate.model_validate(
            wanted.model_dump(include={"instructions", "greeting"}, exclude_none=True)
        )
        update = merged_updates(wanted.session, own)
        machines = wanted.answering_machine.model_dump(exclude_none=True)
        record = self._starter.place(dialler, wanted.to, wanted.caller, update, machines)
        return web.json_response(
            shown(record), status=201, headers={"Location": f"{CALLS_PATH}/{record.call_id}"}
        )

    async def show(self, request: web.Request) -> web.Response:
        """What became of a call, one that came as well."""
        return web.json_response(shown(self._record(request)), headers={"Cache-Control": "no-store"})

    async def hang_up(self, request: web.Request) -> web.Response:
        """Ends a call, or calls it off. One that is over is over."""
        record = self._record(request)
        if record.state != "ended":
            self._calls.get(record.call_id).hang_up()
        return web.Response(status=204)

    def _record(self, request: web.Request) -> CallRecord:
        self._require_keys()
        return self._starter.records.get(request.match_info["call_id"])

    def _require_keys(self) -> None:
        """Raises: CallerError: everybody may call this server, so nobody may have it call."""
        if not self._host.settings.access.api_keys:
            raise keys_not_configured()


def keys_not_configured() -> CallerError:
    return CallerError(
        "Telephones are called for those who have a key: set server.api_keys.", code="keys_not_configured"
    )


def shown(record: CallRecord) -> dict[str, Any]:
    """A call as clients see it. What is not known yet is left out."""
    fields = {
        "call_id": record.call_id,
        "direction": record.direction,
        "carrier": record.carrier,
        "from": record.caller or None,
        "to": record.called or None,
        "state": record.state,
        "outcome": record.outcome,
        "detail": record.detail,
        "sip_status": record.sip_status,
        "answered_by": record.answered_by,
        "ended_because": record.why,
        "began_at": _seconds(record.began_s),
        "answered_at": _seconds(record.answered_s),
        "ended_at": _seconds(record.ended_s),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _seconds(at_s: float | None) -> float | None:
    return None if at_s is None else round(at_s, 3)
