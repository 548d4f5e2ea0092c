"""One call that this side places, from its INVITE to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

from sipmessage import URI, Request, Response

from media.errors import CallerError, ServerFull
from signaling.phone.leg import NotAnswered, Party, Unanswered
from signaling.rtp.sdp import NotAcceptable
from signaling.sip import session_timer
from signaling.sip.agent_settings import SipAgentSettings
from signaling.sip.bodies import UnsupportedBody, put_sdp, sdp_of
from signaling.sip.call_media import CallMedia, OpenMedia, media_addresses
from signaling.sip.caller_line import CallerLine
from signaling.sip.dialog import Dialog, DialogId
from signaling.sip.dialog_requests import DialogGone, DialogRequests
from signaling.sip.digest import AuthenticationFailed
from signaling.sip.endpoint import SipEndpoint
from signaling.sip.errors import BadMessage, SipTimeout, SipTransportFailed
from signaling.sip.fields import format_address, format_uri, parse_address
from signaling.sip.hop import Hop
from signaling.sip.identity import describe
from signaling.sip.incoming import ServerTransaction
from signaling.sip.invite_usage import InviteUsage
from signaling.sip.messages import new_call_id, new_tag, raw_list, to_tag
from signaling.sip.outgoing import ClientTransaction
from signaling.sip.parties import number_or_uri
from signaling.sip.registration import route_to
from signaling.sip.session_timer import TimerTerms
from signaling.sip.sip_leg import SipLeg

_NOBODY: Final = "voxtral-kokoro"
"""The name in From of calls that are no account's."""

_RING_LIMIT_S: Final = 180.0
"""Nobody rings for longer (RFC 3261, 16.6: proxies' Timer C); whoever dials may give up before."""

_TRIES: Final = 8
"""Of one call: challenges, longer session timers, redirections."""

_EARLY_KEPT: Final = 16
"""Early session descriptions, one for each fork that rings."""

log = logging.getLogger(__name__)


class OutboundCall:
    """A call that this side places. `run` it once, and wait for `answered`.

    Args:
        endpoint: open.
        linger: has the user agent run what outlasts the call, with its name: answers of further forks.
        target: whom to call.
        line: whose call it is, and which way it goes.
        settings: section `sip`.
        open_media: makes its audio.
        terms: this side's session timer.
        ringing: told when it rings there.
        may_call: judges where the far side redirects the call to.
        rng: chooses numbers and waiting times.
    """

    def __init__(
        self,
        endpoint: SipEndpoint,
        linger: Callable[[Callable[[], Coroutine[Any, Any, None]], str], None],
        target: URI,
        line: CallerLine,
        settings: SipAgentSettings,
        open_media: OpenMedia,
        terms: TimerTerms,
        ringing: Callable[[], None],
        may_call: Callable[[str], bool],
        rng: random.Random,
    ) -> None:
        self._endpoint = endpoint
        self._linger = linger
        self._target = target
        self._line = line
        self._settings = settings
        self._open_media = open_media
        self._terms = terms
        self._ringing = ringing
        self._who = line.caller or URI("sip", "anonymous.invalid", _NOBODY)
        self._may_call = may_call
        self._rng = rng
        self._tag = new_tag()
        self._call_id = new_call_id()
        self._cseq = rng.randint(1, 2**16)
        self._interval_s = terms.interval_s
        self._smallest_s = terms.smallest_s
        self._redirects_left = settings.max_redirects
        self._transaction: ClientTransaction | None = None
        self._called_off = ""
        self._early: dict[str, str] = {}
        self._usage: InviteUsage | None = None
        self.answered: asyncio.Future[SipLeg] = asyncio.get_running_loop().create_future()
        """The leg, or why there is none: `NotAnswered`, or another `CallerError`."""

    @property
    def id(self) -> DialogId:
        """The dialog's; its remote tag is empty until somebody answers."""
        return self._usage.dialog.id if self._usage else DialogId(self._call_id, self._tag, "")

    @property
    def addresses(self) -> set[str]:
        """Where the far side's requests may come from, in figures."""
        way = {self._transaction.hop.ip} if self._transaction is not None else set()
        return way | (self._usage.addresses if self._usage else set())

    def end(self, why: str) -> None:
        """Ends the call soon: calls it off, if it is not answered yet. May be called twice."""
        if self._usage is not None:
            self._usage.end(why)
        elif not self._called_off:
            self._called_off = why
            if self._transaction is not None:
                self._transaction.cancel()

    def receive(self, transaction: ServerTransaction) -> None:
        """A request of the far side in the call's dialog, or before it is (an UPDATE while it rings)."""
        if self._usage is not None:
            self._usage.receive(transaction)
            return
        request = transaction.request
        code = (491 if request.body else 200) if request.method == "UPDATE" else 481
        response = transaction.response(code)
        if code == 200:
            response.headers.set("Contact", self._contact(transaction.source))
        describe(response)
        transaction.respond(response)

    async def run(self) -> None:
        """The whole call. Whatever it held is free when it returns."""
        try:
            async with AsyncExitStack() as held:
                await self._call(held)
        except NotAnswered as error:
            self._fail(error)
        except (SipTransportFailed, SipTimeout, DialogGone) as error:
            self._fail(NotAnswered(str(error), "unreachable"))
        except AuthenticationFailed as error:
            self._fail(NotAnswered(str(error), "refused"))
        except (BadMessage, NotAcceptable, UnsupportedBody) as error:
            self._fail(NotAnswered(f"The far side's answer cannot be used: {error}", "failed"))
        except ServerFull as error:
            self._fail(error)
        finally:
            self._fail(NotAnswered("The call broke.", "failed"))
        if self._usage is not None:
            await self._usage.say_bye()

    def _fail(self, error: CallerError) -> None:
        if not self.answered.done():
            self.answered.set_exception(error)

    async def _call(self, held: AsyncExitStack) -> None:
        hop = await self._endpoint.resolve(self._line.next_hop(self._target))
        if self._line.caller is None:
            self._who = URI("sip", self._endpoint.contact(hop).host, _NOBODY)
        media = await held.enter_async_context(self._open_media(*self._addresses(hop)))
        watch = asyncio.get_running_loop().call_later(_RING_LIMIT_S, self._nobody_came)
        held.callback(watch.cancel)
        transaction, response = await self._until_answered(hop, media.offer())
        watch.cancel()
        dialog = Dialog.calling(transaction.request, response)
        requests = self._requests(dialog, transaction)
        await requests.acknowledge(transaction, response)
        self._linger(partial(self._end_forks, transaction), f"{self._call_id[:16]} forks")
        async with asyncio.TaskGroup() as tasks:
            usage = self._usage = InviteUsage(
                tasks, requests, media, self._terms, response, self._rng, answered=True
            )
            held.callback(usage.close)
            leg = self._established(usage, media, response)
            if leg is not None:
                await leg.carried()
            log.info("SIP call ended", extra={"why": usage.why, "call_ref": self._call_id})
            usage.close()

    def _established(self, usage: InviteUsage, media: CallMedia, response: Response) -> SipLeg | None:
        """Hands the leg over. None: it cannot be used, or nobody waits for it any more, and it is to end."""
        try:
            # The answer may have come in a 183 alone, which is against the rules, and happens.
            media.accept(sdp_of(response) or self._early.get(to_tag(response) or "", ""))
            usage.agreed(session_timer.confirmed(response, self._interval_s), "uac")
        except (NotAcceptable, UnsupportedBody, BadMessage) as error:
            usage.end(f"its answer cannot be used: {error}")
            self._fail(NotAnswered(f"The far side's answer cannot be used: {error}", "failed"))
            return None
        if self._called_off or self.answered.done():
            usage.end(self._called_off or "called off")
            return None
        party = Party(
            "outbound",
            "sip",
            caller=number_or_uri(self._who),
            called=number_or_uri(self._target),
            call_ref=self._call_id,
        )
        leg = SipLeg(party, usage, media)
        self.answered.set_result(leg)
        return leg

    # Until it is answered

    async def _until_answered(self, hop: Hop, sdp: str) -> tuple[ClientTransaction, Response]:
        """Sends the INVITE, as often as it takes. Returns its first 2xx.

        Raises:
            NotAnswered, SipTimeout, SipTransportFailed, AuthenticationFailed, BadMessage: there is none.
        """
        for _ in range(_TRIES):
            if self._called_off:
                break
            transaction = self._transaction = await self._endpoint.request(self._invite(hop, sdp), hop)
            if self._called_off:
                transaction.cancel()
            response = await self._final(transaction)
            if 200 <= response.code < 300:
                return transaction, response
            self._take_up(response)
            hop = await self._endpoint.resolve(self._line.next_hop(self._target))
        raise NotAnswered("The call did not come about.", "failed")

    def _invite(self, hop: Hop, sdp: str) -> Request:
        self._cseq += 1
        invite = Request("INVITE", self._target)
        if self._line.proxy is not None:
            invite.headers.add("Route", route_to(self._line.proxy))
        invite.headers.add("From", f"{format_address(self._who)};tag={self._tag}")
        invite.headers.add("To", format_address(self._target))
        invite.headers.add("Call-ID", self._call_id)
        invite.headers.add("CSeq", f"{self._cseq} INVITE")
        invite.headers.add("Contact", self._contact(hop))
        describe(invite)
        session_timer.propose(invite, self._interval_s, self._smallest_s)
        put_sdp(invite, sdp)
        if self._line.digest is not None:
            self._line.digest.authorize(invite)
        return invite

    async def _final(self, transaction: ClientTransaction) -> Response:
        while (response := await transaction.next_response()) is not None:
            if response.code >= 200:
                return response
            if response.code > 100:
                self._rings(response)
        raise SipTimeout("The far side began to answer, and did not go on.")

    def _rings(self, response: Response) -> None:
        if response.body and len(self._early) < _EARLY_KEPT:
            with contextlib.suppress(UnsupportedBody, BadMessage):
                self._early[to_tag(response) or ""] = sdp_of(response) or ""
        if not self.answered.done():
            self._ringing()

    def _take_up(self, response: Response) -> None:
        """Prepares the next try after a refusal.

        Raises:
            NotAnswered, AuthenticationFailed, BadMessage: there is none.
        """
        code = response.code
        if code in (401, 407) and self._line.digest is not None:
            self._line.digest.challenged(response)
        elif code == 422:
            self._interval_s = self._smallest_s = session_timer.wanted_interval(response, self._interval_s)
        elif 300 <= code < 400 and self._redirects_left:
            self._redirects_left -= 1
            target = self._redirected(response)
            self._line = self._line.sent_elsewhere(self._target, target)
            self._target = target
        else:
            raise NotAnswered(
                f"The call was not answered ({code} {response.phrase[:80]}).", outcome_of(code), code
            )

    def _redirected(self, response: Response) -> URI:
        """Where the far side sends the call: the first of its choices that may be called.

        Raises:
            NotAnswered: there is none.
            BadMessage: they cannot be read.
        """
        choices = [parse_address(value) for value in raw_list(response, "Contact")]
        for choice in choices:
            target = choice.uri
            if target.scheme in ("sip", "sips") and self._may_call(format_uri(target)):
                return URI(target.scheme, target.host, target.user, None, target.port, target.parameters)
        raise NotAnswered("The call was sent elsewhere, where it must not go.", "refused", response.code)

    def _nobody_came(self) -> None:
        self._fail(NotAnswered("Nobody answers.", "no_answer"))
        self.end("nobody answered")

    # Further forks

    async def _end_forks(self, transaction: ClientTransaction) -> None:
        """Whoever else answers the INVITE is acknowledged, and told that it is over (RFC 3261, 13.2.2.4)."""
        with contextlib.suppress(SipTimeout, SipTransportFailed):
            while (response := await transaction.next_response()) is not None:
                if 200 <= response.code < 300:
                    ending = partial(self._end_fork, transaction, response)
                    self._linger(ending, f"{self._call_id[:16]} fork")

    async def _end_fork(self, transaction: ClientTransaction, response: Response) -> None:
        try:
            requests = self._requests(Dialog.calling(transaction.request, response), transaction)
            await requests.acknowledge(transaction, response)
            await requests.send("BYE")
        except (BadMessage, DialogGone, SipTransportFailed) as error:
            log.info("a further fork was not ended", extra={"why": str(error)})

    def _requests(self, dialog: Dialog, transaction: ClientTransaction) -> DialogRequests:
        contact = self._contact(transaction.hop)
        digest, hop = self._line.digest, transaction.hop
        return DialogRequests(self._endpoint, dialog, contact, digest, hop, connected=False)

    def _contact(self, hop: Hop) -> str:
        return format_address(self._endpoint.contact(hop, self._who.user))

    def _addresses(self, hop: Hop) -> tuple[str, str | None, str]:
        return media_addresses(self._endpoint, hop)


def outcome_of(code: int) -> Unanswered:
    """What a refusal means, in a word."""
    match code:
        case 486 | 600:
            return "busy"
        case 408 | 480 | 487:
            return "no_answer"
        case 404 | 410 | 416 | 484 | 485 | 502 | 503 | 604:
            return "unreachable"
        case 401 | 403 | 407 | 433 | 603 | 607 | 608:
            return "refused"
        case _:
            return "refused" if code < 400 else "failed"
