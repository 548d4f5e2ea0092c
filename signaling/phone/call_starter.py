"""Starts telephone calls: those that come, and those that are placed."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from media.errors import CallerError, ServerFull
from media.session import SessionConfig
from signaling.call_host import CallHost, CallSlot
from signaling.phone.call import Connect, PhoneCall
from signaling.phone.destinations import Destination, destination, is_allowed
from signaling.phone.leg import Dialler, PhoneLeg
from signaling.phone.record import MAX_NAME_CHARS, CallRecord, CallRecords
from signaling.phone.settings import TelephoneSettings
from signaling.realtime_session_objects import SessionUpdate
from signaling.running_calls import RunningCalls

_RETRY_S = 10
"""Who may place no call just now may ask again after so long."""

log = logging.getLogger(__name__)


class PhoneAdmission:
    """A slot for a call that comes: `signaling.phone.leg.Admission`."""

    def __init__(self, starter: PhoneCallStarter, slot: CallSlot) -> None:
        self._starter = starter
        self._slot = slot

    @property
    def call_id(self) -> str:
        return self._slot.call_id

    def start(self, leg: PhoneLeg, update: SessionUpdate | None = None) -> asyncio.Event:
        """Raises: CallerError: the session cannot be. The slot is free again."""
        party = leg.party
        caller, called = party.caller[:MAX_NAME_CHARS], party.called[:MAX_NAME_CHARS]
        record = CallRecord(self.call_id, party.direction, party.carrier, caller, called)

        async def connect(_ringing: Callable[[], None]) -> PhoneLeg:
            return leg

        return self._starter.begin(self._slot, record, connect, update)

    def release(self) -> None:
        self._slot.release()


class PhoneCallStarter:
    """Takes slots, makes calls, and leaves them to the server: `signaling.phone.leg.Switchboard`.

    Args:
        host: the server.
        calls: where calls are listed while they go on.
        records: where they are remembered.
    """

    def __init__(self, host: CallHost, calls: RunningCalls, records: CallRecords) -> None:
        self._host = host
        self._calls = calls
        self.records = records

    def admit(self) -> PhoneAdmission:
        """Raises: ServerFull."""
        # The task that answers one call answers others, too: its logs are not this call's.
        return PhoneAdmission(self, contextvars.copy_context().run(self._host.admit))

    def start(self, leg: PhoneLeg, update: SessionUpdate | None = None) -> asyncio.Event:
        """Raises: ServerFull; CallerError: the session cannot be."""
        return self.admit().start(leg, update)

    def place(
        self,
        dialler: Dialler,
        to: str,
        caller: str | None,
        update: SessionUpdate | None,
        machines: Mapping[str, Any] = MappingProxyType({}),
    ) -> CallRecord:
        """Calls somebody, if that is allowed. Returns at once; the record says what becomes of it.

        Args:
            dialler: places the call.
            to: as the client wrote it.
            caller: as whom, likewise; None: as configured.
            update: settings of the call.
            machines: what differs from `telephone.answering_machines`, checked.

        Raises:
            CallerError: `invalid_destination`, `destination_not_allowed`, `caller_not_allowed`, or the
                session cannot be.
            ServerFull: no slot is free, or as many calls were placed as may be.
        """
        settings = self._settings
        wanted = allowed_destination(to, settings)
        as_caller = None if caller is None else _allowed_caller(caller, settings)
        self._require_room(settings)
        slot = contextvars.copy_context().run(self._host.admit)
        record = CallRecord(slot.call_id, "outbound", "sip", as_caller or "", wanted.name)

        async def connect(ringing: Callable[[], None]) -> PhoneLeg:
            return await dialler.dial(str(wanted), as_caller, ringing)

        answering = settings.answering_machines.model_copy(update=dict(machines))
        settings = settings.model_copy(update={"answering_machines": answering})
        self.begin(slot, record, connect, update, settings)
        self.records.placed(record)
        return record

    def begin(
        self,
        slot: CallSlot,
        record: CallRecord,
        connect: Connect,
        update: SessionUpdate | None,
        settings: TelephoneSettings | None = None,
    ) -> asyncio.Event:
        """Makes the call and leaves it to the server. Returns what is set when it is over.

        Raises:
            CallerError: the session cannot be. The slot is free again.
        """
        settings = settings or self._settings
        try:
            over = partial(self.records.over, record)
            call = PhoneCall(slot, self._session(settings), update, settings, record, connect, over)
        except CallerError:
            slot.release()
            raise
        self.records.add(record)
        return self._calls.start(slot, call, call.session)

    @property
    def _settings(self) -> TelephoneSettings:
        return self._host.settings.telephone

    def _session(self, settings: TelephoneSettings) -> SessionConfig:
        defaults = self._host.session_defaults()
        greeting = defaults.greeting if settings.greeting is None else settings.greeting
        instructions = "\n".join(filter(None, (defaults.instructions, settings.instructions)))
        return replace(defaults, greeting=greeting, instructions=instructions)

    def _require_room(self, settings: TelephoneSettings) -> None:
        """Raises: ServerFull."""
        if self.records.outbound >= settings.max_outbound_calls:
            sentence = f"No more than {settings.max_outbound_calls} calls are placed at once."
        elif self.records.placed_last_minute >= settings.max_outbound_per_minute:
            sentence = f"No more than {settings.max_outbound_per_minute} calls are placed in a minute."
        else:
            return
        raise ServerFull(sentence, retry_after_s=_RETRY_S, code="too_many_outbound_calls")


def allowed_destination(to: str, settings: TelephoneSettings, param: str = "to") -> Destination:
    """Whom a client wants called, or a caller handed on to.

    Args:
        to: as the client wrote it.
        settings: say who may be.
        param: the field's name.

    Raises:
        CallerError: `invalid_destination`, `destination_not_allowed`.
    """
    wanted = destination(to, param)
    if not is_allowed(wanted, settings.allowed_destinations, settings.denied_destinations):
        log.warning("a call was not allowed", extra={"setting": "telephone.allowed_destinations"})
        raise CallerError(
            f"{wanted.name} may not be called: telephone.allowed_destinations does not name it.",
            code="destination_not_allowed",
            param=param,
        )
    return wanted


def _allowed_caller(caller: str, settings: TelephoneSettings) -> str:
    """Raises: CallerError."""
    wanted = str(destination(caller, "caller"))
    if wanted not in settings.allowed_callers:
        raise CallerError(
            f"This server may not call as {wanted}: telephone.allowed_callers does not name it.",
            code="caller_not_allowed",
            param="caller",
        )
    return wanted
