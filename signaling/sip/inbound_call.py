"""One call that came in, from its INVITE to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from contextlib import AsyncExitStack

from sipmessage import Request, Response

from media.errors import CallerError, ServerFull
from signaling.phone.leg import Admission, Switchboard
from signaling.rtp.sdp import NotAcceptable
from signaling.sip import session_timer
from signaling.sip.agent_settings import SipAgentSettings
from signaling.sip.bodies import UnsupportedBody, put_sdp, sdp_of
from signaling.sip.call_media import OpenMedia, media_addresses
from signaling.sip.dialog import Dialog, DialogId
from signaling.sip.dialog_requests import DialogRequests
from signaling.sip.endpoint import SipEndpoint
from signaling.sip.errors import BadMessage
from signaling.sip.fields import format_address
from signaling.sip.identity import describe, describe_bodies, warning
from signaling.sip.incoming import ServerTransaction
from signaling.sip.invite_usage import InviteUsage
from signaling.sip.messages import call_id, cseq, from_tag
from signaling.sip.parties import inbound_party
from signaling.sip.session_timer import TimerTerms, TooSmall
from signaling.sip.sip_leg import SipLeg

log = logging.getLogger(__name__)


class InboundCall:
    """A call that came in. `run` it once.

    Args:
        endpoint: open.
        transaction: the INVITE's; its sender may call.
        settings: section `sip`.
        switchboard: takes the call.
        open_media: makes its audio.
        terms: this side's session timer.
        rng: chooses numbers and waiting times.
    """

    def __init__(
        self,
        endpoint: SipEndpoint,
        transaction: ServerTransaction,
        settings: SipAgentSettings,
        switchboard: Switchboard,
        open_media: OpenMedia,
        terms: TimerTerms,
        rng: random.Random,
    ) -> None:
        self._endpoint = endpoint
        self._transaction = transaction
        self._settings = settings
        self._switchboard = switchboard
        self._open_media = open_media
        self._terms = terms
        self._rng = rng
        self._usage: InviteUsage | None = None
        self._ending = ""
        """Why this side ends the call."""
        self._accepted = False
        request = transaction.request
        self.id = DialogId(call_id(request), transaction.tag, from_tag(request) or "")

    @property
    def addresses(self) -> set[str]:
        """Where the far side's requests may come from, in figures."""
        return {self._transaction.source.ip} | (self._usage.addresses if self._usage else set())

    def is_of(self, invite: Request) -> bool:
        """Whether the INVITE is this call's, come by another way (RFC 3261, 8.2.2.2)."""
        ours = self._transaction.request
        return (call_id(invite), from_tag(invite) or "", cseq(invite).sequence) == (
            self.id.call_id,
            self.id.remote_tag,
            cseq(ours).sequence,
        )

    def receive(self, transaction: ServerTransaction) -> None:
        """A further request of the far side in the call's dialog."""
        if self._usage is not None:
            self._usage.receive(transaction)
        else:
            transaction.respond(transaction.response(481))

    def end(self, why: str) -> None:
        """Ends the call soon, answered or not."""
        self._ending = self._ending or why
        if self._usage is not None:
            self._usage.end(why, bye=self._accepted)

    async def run(self) -> None:
        """The whole call. Whatever it held is free when it returns."""
        try:
            async with AsyncExitStack() as held:
                refusal = await self._answer(held)
            if refusal is not None:
                describe(refusal)
                self._transaction.respond(refusal)
                log.info("SIP call refused", extra={"code": refusal.code, "call_ref": self.id.call_id})
        finally:
            # Whatever went wrong, whoever called is not left to wait.
            if not self._transaction.answered:
                self._transaction.respond(self._response(500))
        if self._usage is not None:
            await self._usage.say_bye()

    async def _answer(self, held: AsyncExitStack) -> Response | None:
        """The call, or what to refuse it with."""
        request = self._transaction.request
        try:
            agreement = session_timer.decide(request, self._terms)
            if isinstance(agreement, TooSmall):
                return self._response(422, ("Min-SE", str(agreement.smallest_s)))
            theirs = sdp_of(request)
            dialog = Dialog.called(request, self._transaction.tag, self._rng)
            party = inbound_party(request)
            admission = self._switchboard.admit()
            held.callback(admission.release)
            media = await held.enter_async_context(
                self._open_media(*media_addresses(self._endpoint, self._transaction.source))
            )
            sdp = media.offer() if theirs is None else media.answer(theirs)
        except BadMessage:
            return self._response(400)
        except UnsupportedBody:
            response = self._response(415)
            describe_bodies(response)
            return response
        except NotAcceptable as error:
            return self._response(488, ("Warning", warning(error)))
        except ServerFull as error:
            # A full house is busy; one that is not open yet, or has no port left, is out of service.
            busy = error.code == ServerFull.code
            return self._response(486 if busy else 503, ("Retry-After", str(error.retry_after_s)))
        async with asyncio.TaskGroup() as tasks:
            usage = self._usage = InviteUsage(
                tasks, self._requests(dialog), media, self._terms, request, self._rng, answered=False
            )
            held.callback(usage.close)
            if self._ending:
                usage.end(self._ending, bye=False)
            refusal = await self._ring(usage)
            if refusal is None:
                response = self._response(200, ("Contact", self._contact))
                put_sdp(response, sdp)
                self._accepted = True
                usage.accept(self._transaction, response, agreement, answers=theirs is None)
                await usage.acknowledged()
                if not usage.over:
                    await self._converse(admission, SipLeg(party, usage, media), usage)
                log.info("SIP call ended", extra={"why": usage.why, "call_ref": self.id.call_id})
            usage.close()
        return refusal

    async def _ring(self, usage: InviteUsage) -> Response | None:
        """Rings as long as it is configured. Returns what to refuse the call with, if it ended meanwhile."""
        ringing = self._response(180, ("Contact", self._contact))
        describe(ringing)
        self._transaction.respond(ringing)
        usage.watch_for_cancel(self._transaction)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.answer_after_s):
                await usage.ended()
        if self._transaction.cancelled.is_set():
            usage.end("the caller gave up", bye=False)
        if not usage.over:
            return None
        return self._response(503 if self._ending else 487)

    async def _converse(self, admission: Admission, leg: SipLeg, usage: InviteUsage) -> None:
        try:
            admission.start(leg)
        except CallerError as error:
            usage.end(f"no conversation can be had: {error.code}")
            return
        await leg.carried()

    def _requests(self, dialog: Dialog) -> DialogRequests:
        source = self._transaction.source
        return DialogRequests(self._endpoint, dialog, self._contact, None, source, connected=True)

    @property
    def _contact(self) -> str:
        uri = self._transaction.request.uri
        return format_address(self._endpoint.contact(self._transaction.source, uri.user))

    def _response(self, code: int, *headers: tuple[str, str]) -> Response:
        response = self._transaction.response(code)
        for name, value in headers:
            response.headers.set(name, value)
        return response
