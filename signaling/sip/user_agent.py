"""The SIP user agent: registrations, calls in both directions, and who may call at all."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self

from media.clock import loop_time_s
from signaling.phone.leg import NotAnswered, Switchboard
from signaling.sip.access import Access, Answer
from signaling.sip.call_media import OpenMedia
from signaling.sip.caller_line import line_for, target_of
from signaling.sip.dialog import dialog_id
from signaling.sip.endpoint import SipEndpoint
from signaling.sip.errors import BadMessage
from signaling.sip.identity import METHODS, describe, describe_bodies, unsupported
from signaling.sip.inbound_call import InboundCall
from signaling.sip.incoming import ServerTransaction
from signaling.sip.messages import to_tag
from signaling.sip.outbound_call import OutboundCall
from signaling.sip.registration import Registration, RegistrationStatus
from signaling.sip.session_timer import TimerTerms
from signaling.sip.settings import SipSettings
from signaling.sip.sip_leg import SipLeg
from signaling.sip.transactions import Timers

_GRACE_S: Final = 2.5
"""When the server stops, far sides have so long to take note."""

_FAR_SIDES_AGAIN_S: Final = 0.1
"""Within a call, far sides may come to be at other addresses. What is not heard until then is sent again."""

_WITHIN_CALLS: Final = frozenset({"BYE", "INFO", "PRACK", "REFER", "UPDATE"})
_EVENTS: Final = frozenset({"NOTIFY", "SUBSCRIBE"})

log = logging.getLogger(__name__)


def _nowhere(target: str) -> bool:
    return False


class SipUserAgent:
    """An async context manager: SIP is spoken inside of it. It is a `signaling.phone.leg.Dialler`.

    Args:
        settings: section `sip`.
        switchboard: takes the calls that come.
        open_media: makes each call's audio.
        may_call: judges where a call that was placed may be redirected to; nowhere, unless it says so.
        terms: this side's session timer; None: as configured.
        timers: of the transactions.
        rng: chooses numbers and waiting times.
    """

    def __init__(
        self,
        settings: SipSettings,
        switchboard: Switchboard,
        open_media: OpenMedia,
        *,
        may_call: Callable[[str], bool] = _nowhere,
        terms: TimerTerms | None = None,
        timers: Timers | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._switchboard = switchboard
        self._open_media = open_media
        self._may_call = may_call
        self._terms = terms or TimerTerms(settings.session_expires_s, settings.min_session_expires_s)
        self._rng = rng or random.SystemRandom()
        self._access = Access(settings.access)
        self._endpoint = SipEndpoint(settings, self._receive, admits=self._admits, timers=timers)
        self._registrations = tuple(
            Registration(self._endpoint, account, self._access.trust, self._rng)
            for account in settings.accounts
            if account.registers
        )
        self._calls: dict[tuple[str, str], InboundCall | OutboundCall] = {}
        self._far_sides: frozenset[str] = frozenset()
        """Addresses of those who take part in calls, as of `_far_sides_s`."""
        self._far_sides_s = float("-inf")
        self._running: set[asyncio.Task[None]] = set()
        self._lingering: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._held = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Opens the ports, and begins to register.

        Raises:
            ServerFault: a port cannot be opened.
        """
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._endpoint)
            self._tasks = await held.enter_async_context(asyncio.TaskGroup())
            self._held = held.pop_all()
        for registration in self._registrations:
            self._start(registration.run(), f"registration {registration.status.uri}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends all calls and registrations within a few seconds, and closes the ports."""
        self._stopping = True
        try:
            for registration in self._registrations:
                registration.stop()
            for call in tuple(self._calls.values()):
                call.end("the server stops")
            if self._running:
                await asyncio.wait(self._running, timeout=_GRACE_S)
        finally:
            for task in self._running | self._lingering:
                task.cancel()
            await self._held.__aexit__(kind, error, trace)

    @property
    def endpoint(self) -> SipEndpoint:
        return self._endpoint

    @property
    def registrations(self) -> tuple[RegistrationStatus, ...]:
        """How the accounts stand."""
        return tuple(registration.status for registration in self._registrations)

    @property
    def calls(self) -> int:
        """How many calls there are, answered or not."""
        return len(self._calls)

    async def dial(self, to: str, caller: str | None, ringing: Callable[[], None]) -> SipLeg:
        """Calls somebody; returns when they have answered. Cancelled, it calls it off.

        Args:
            to: `sip:…`, `sips:…` or a number, checked and normalised.
            caller: whom they are to see calling; None: the account that the call goes through.
            ringing: called when it rings there, perhaps more than once.

        Raises:
            NotAnswered: they have not.
            CallerError: this cannot be called at all.
            ServerFull: no port is left for its audio.
        """
        if self._stopping:
            raise NotAnswered("The server is shutting down.", "failed")
        target = target_of(to, self._settings.accounts, caller)
        call = OutboundCall(
            self._endpoint,
            self._linger,
            target,
            line_for(target, caller, self._settings.accounts),
            self._settings,
            self._open_media,
            self._terms,
            ringing,
            self._may_call,
            self._rng,
        )
        self._carry(call)
        try:
            return await call.answered
        except asyncio.CancelledError:
            call.end("called off")
            raise

    # Tasks

    def _carry(self, call: InboundCall | OutboundCall) -> None:
        key = (call.id.call_id, call.id.local_tag)
        self._calls[key] = call
        self._far_sides_s = float("-inf")

        async def main() -> None:
            try:
                await call.run()
            except Exception:
                log.exception("SIP call failed")
            finally:
                del self._calls[key]
                self._far_sides_s = float("-inf")

        self._start(main(), f"SIP call {key[0][:16]}")

    def _linger(self, main: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Runs what nobody waits for when the server stops."""

        async def bounded() -> None:
            try:
                await main()
            except Exception:
                log.exception("what follows a SIP call failed")

        task = self._tasks.create_task(bounded(), name=name)
        self._lingering.add(task)
        task.add_done_callback(self._lingering.discard)

    def _start(self, main: Coroutine[Any, Any, None], name: str) -> None:
        task = self._tasks.create_task(main, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # What comes in

    def _admits(self, ip: str) -> bool:
        """Whether an address is listened to: it may call, or takes part in a call."""
        now_s = loop_time_s()
        if ip not in self._far_sides and now_s - self._far_sides_s >= _FAR_SIDES_AGAIN_S:
            # Not for each datagram: a flood of strangers' must not take the calls' time.
            everybody = (call.addresses for call in self._calls.values())
            self._far_sides, self._far_sides_s = frozenset().union(*everybody), now_s
        # Not the other way round: whoever takes part in a call is no stranger to be counted.
        return ip in self._far_sides or self._access.may_knock(ip, now_s)

    def _receive(self, transaction: ServerTransaction) -> None:
        """Any request that comes, but ACK and the CANCEL of an INVITE that there is. Never raises."""
        try:
            tag = to_tag(transaction.request)
            if transaction.request.method == "CANCEL":
                self._cancel_of_nothing(transaction)
            elif tag is None:
                self._judge(transaction)
            else:
                self._within_call(transaction)
        except BadMessage:
            self._respond(transaction, 400)
        except Exception:  # the call boundary: what one request breaks, it breaks for its own call only
            log.exception("a SIP request was not handled", extra={"method": transaction.request.method[:16]})
            if not transaction.answered:
                self._respond(transaction, 500)

    def _cancel_of_nothing(self, transaction: ServerTransaction) -> None:
        """RFC 3261, 9.2. It is never challenged, since it is never sent again (22.1)."""
        ip = transaction.source.ip
        if self._access.judge(transaction.request, ip, loop_time_s()).answer is Answer.TAKE:
            self._respond(transaction, 481)
        else:
            transaction.ignore()

    def _within_call(self, transaction: ServerTransaction) -> None:
        wanted = dialog_id(transaction.request)
        call = self._calls.get((wanted.call_id, wanted.local_tag))
        # A fork's far side has another tag than the one that was answered first.
        if call is not None and call.id.remote_tag in ("", wanted.remote_tag):
            call.receive(transaction)
        elif self._may_come_in(transaction):
            self._respond(transaction, 481)

    def _may_come_in(self, transaction: ServerTransaction) -> bool:
        """Whether the sender may call; otherwise the request is ignored, or challenged."""
        now_s = loop_time_s()
        judgement = self._access.judge(transaction.request, transaction.source.ip, now_s)
        match judgement.answer:
            case Answer.TAKE:
                return True
            case Answer.IGNORE:
                transaction.ignore()
            case Answer.CHALLENGE | Answer.CHALLENGE_STALE:
                response = transaction.response(401)
                response.headers.setlist("WWW-Authenticate", self._access.challenges(judgement.answer, now_s))
                describe(response)
                transaction.challenge(response)
        return False

    def _judge(self, transaction: ServerTransaction) -> None:
        """A request that belongs to no call (RFC 3261, 8.2)."""
        request = transaction.request
        if not self._may_come_in(transaction):
            return
        if request.method not in METHODS and request.method not in _WITHIN_CALLS | _EVENTS:
            self._respond(transaction, 405)
        elif missing := unsupported(request):
            response = transaction.response(420)
            response.headers.set("Unsupported", ", ".join(missing))
            describe(response)
            transaction.respond(response)
        elif request.method == "INVITE":
            self._invited(transaction)
        elif request.method == "OPTIONS":
            response = transaction.response(200)
            describe(response)
            describe_bodies(response)
            transaction.respond(response)
        else:
            self._respond(transaction, 489 if request.method in _EVENTS else 481)

    def _invited(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        if self._stopping:
            self._respond(transaction, 503)
            return
        call = InboundCall(
            self._endpoint,
            transaction,
            self._settings,
            self._switchboard,
            self._open_media,
            self._terms,
            self._rng,
        )
        if any(isinstance(one, InboundCall) and one.is_of(request) for one in self._calls.values()):
            self._respond(transaction, 482)  # the same INVITE, by two ways (RFC 3261, 8.2.2.2)
            return
        self._carry(call)

    def _respond(self, transaction: ServerTransaction, code: int) -> None:
        response = transaction.response(code)
        describe(response)
        transaction.respond(response)
