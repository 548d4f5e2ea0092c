"""What a call goes through between its answer and its end: all requests in its dialog, in both directions.

Named as RFC 5057 has it: one dialog, used by one INVITE. Requests that come are answered where they come, in
one step; so nothing queues up, and a BYE is never behind anything.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from sipmessage import Request, Response

from media.errors import ToolError
from signaling.rtp.sdp import NotAcceptable
from signaling.sip import session_timer
from signaling.sip.bodies import UnsupportedBody, pressed_key, put_sdp, sdp_of
from signaling.sip.call_media import CallMedia
from signaling.sip.dialog import Dialog, OutOfOrder, glare_wait_s
from signaling.sip.dialog_requests import DialogGone, DialogRequests
from signaling.sip.errors import BadMessage
from signaling.sip.identity import allows, describe, describe_bodies, unsupported, warning
from signaling.sip.incoming import ServerTransaction
from signaling.sip.session_timer import Agreement, Role, TimerTerms, TooSmall
from signaling.sip.timer_clock import TimerClock
from signaling.sip.transfer import Transfer

_TRIES: Final = 5
"""Of one offer, where the far side has one under way itself (491)."""

_NO_UPDATE: Final = (405, 501)
"""Whoever answers an UPDATE so takes none, whatever was in Allow."""

_KEYS_KEPT: Final = 32
"""That were pressed before the conversation began."""

_LONGEST_RETRY_S: Final = 10
"""RFC 3261, 14.2: whoever offers while we wait for an ACK is sent away for so long at most."""

log = logging.getLogger(__name__)


class OfferRefused(Exception):
    """The far side wants the call to stay as it is; so it does."""


class InviteUsage:
    """One call's dialog in use.

    Args:
        tasks: the call's own group; `close` ends what was started in it.
        requests: sends this side's requests in the dialog.
        media: the call's audio.
        terms: this side's session timer.
        peer: the far side's INVITE or 2xx: what it says there that it understands.
        rng: chooses waiting times.
        answered: whether it is; an INVITE that still rings is `accept`ed or refused first.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        requests: DialogRequests,
        media: CallMedia,
        terms: TimerTerms,
        peer: Request | Response,
        rng: random.Random,
        *,
        answered: bool,
    ) -> None:
        self.why = ""
        self._keys: deque[str] = deque(maxlen=_KEYS_KEPT)
        self._on_key: Callable[[str], None] = self._keys.append
        self._tasks = tasks
        self._requests = requests
        self._media = media
        self._terms = terms
        self._updates = allows(peer, "UPDATE")
        self._rng = rng
        self._timer = TimerClock(
            self._refresh_soon, lambda: self.end("the far side does not answer any more")
        )
        self._transfer: Transfer | None = None
        self._transferring = False
        self._offering = asyncio.Lock()
        self._our_offer = False
        self._their_invite = asyncio.Event()  # none of theirs is open
        if answered:
            self._their_invite.set()
        self._open: ServerTransaction | None = None
        self._open_answers = False
        self._ended = asyncio.Event()
        self._bye = False
        self._running: set[asyncio.Task[None]] = set()

    @property
    def dialog(self) -> Dialog:
        return self._requests.dialog

    @property
    def addresses(self) -> set[str]:
        """Where requests of the far side may come from, in figures."""
        return self._requests.addresses

    @property
    def over(self) -> bool:
        """Whether the call has ended, or is to."""
        return self._ended.is_set()

    async def ended(self) -> None:
        """Returns when the call has ended, or is to."""
        await self._ended.wait()

    def listen(self, on_key: Callable[[str], None]) -> None:
        """Tells of the keys that INFO brings, those that came before included."""
        self._on_key = on_key
        while self._keys:
            on_key(self._keys.popleft())

    def end(self, why: str, *, bye: bool = True) -> None:
        """Ends the call soon. May be called twice; the first reason counts.

        Args:
            why: for the log.
            bye: whether the far side is still to be told.
        """
        if not self.over:
            self.why, self._bye = why, bye
            self._ended.set()
            self._their_invite.set()
            self._timer.disarm()
            if self._transfer is not None:
                self._transfer.call_ended(by_far_side=not bye)

    def close(self) -> None:
        """Ends all that the call still does, but for the BYE."""
        self.end("hung up")
        for task in self._running:
            task.cancel()

    async def say_bye(self) -> None:
        """Tells the far side that the call is over, where it does not know. After `close`."""
        if self._bye:
            try:
                await self._requests.send("BYE")
            except (DialogGone, BadMessage) as error:
                log.info("the far side did not hear of the end", extra={"why": str(error)})

    def agreed(self, agreement: Agreement | None, role: Role) -> None:
        """The session timer that an INVITE or UPDATE agreed on; `role`: this side's in it."""
        self._timer.agreed(agreement, role)

    # What this side does

    async def hold(self, held: bool) -> None:
        """Puts the far side on hold, or takes it back.

        Raises:
            OfferRefused: the far side will not have it.
            DialogGone: the call is over.
        """
        self._media.hold(held)
        try:
            await self._offer()
        except (OfferRefused, BadMessage) as error:
            self._media.hold(not held)
            raise OfferRefused(str(error)) from error
        except DialogGone as error:
            self.end(str(error))
            raise

    async def refer(self, target: str) -> None:
        """Asks the far side to call somebody else instead (RFC 3515); returns when it has reached them.

        Args:
            target: a URI.

        Raises:
            ToolError: it has not; the call goes on.
        """
        if self.over:
            raise ToolError("The call is over.")
        if self._transferring:
            raise ToolError("A transfer is under way already.")
        transfer = self._transfer = Transfer(target)
        self._transferring = True
        try:
            await transfer.run(self._requests)
        finally:
            self._transferring = False
            if not transfer.accepted:
                self._transfer = None

    async def _offer(self) -> None:
        """Sends a re-INVITE with a fresh offer until it is taken or refused."""
        async with self._offering:
            interval_s, smallest_s = self._timer.interval_s, self._terms.smallest_s
            for _ in range(_TRIES):
                await self._their_invite.wait()
                if self.over:
                    raise DialogGone("The call is over.")
                self._our_offer = True
                try:
                    transaction, response = await self._requests.send(
                        "INVITE", partial(self._fill_offer, interval_s=interval_s, smallest_s=smallest_s)
                    )
                    if 200 <= response.code < 300:
                        # The ACK goes to where the far side is from now on.
                        self.dialog.answered(transaction.request, response)
                        await self._requests.acknowledge(transaction, response)
                        self._taken(response, interval_s)
                        return
                finally:
                    self._our_offer = False
                self._media.withdraw()
                if response.code == 422:
                    interval_s = smallest_s = session_timer.wanted_interval(response, interval_s)
                elif response.code == 491:
                    await asyncio.sleep(glare_wait_s(self.dialog.owns_call_id, self._rng))
                else:
                    raise OfferRefused(f"The far side answers {response.code}.")
            raise OfferRefused(f"The far side answers {response.code}, again and again.")

    def _fill_offer(self, request: Request, *, interval_s: int, smallest_s: int) -> None:
        put_sdp(request, self._media.offer())
        session_timer.propose(request, interval_s, smallest_s, self._timer.refresher_in_ours)

    def _taken(self, response: Response, interval_s: int) -> None:
        """The far side took our offer."""
        self.agreed(session_timer.confirmed(response, interval_s), "uac")
        try:
            self._media.accept(sdp_of(response) or "")
        except (NotAcceptable, UnsupportedBody) as error:
            self.end(f"its answer cannot be used: {error}")
            raise DialogGone(self.why) from error

    def _refresh_soon(self) -> None:
        self._start(self._refresh(), "refresh")

    async def _refresh(self) -> None:
        """RFC 4028, 7.4 and 10: what shows that both sides are still there."""
        try:
            if self._updates:
                interval_s = self._timer.interval_s
                transaction, response = await self._requests.send(
                    "UPDATE",
                    lambda request: session_timer.propose(
                        request, interval_s, self._terms.smallest_s, self._timer.refresher_in_ours
                    ),
                )
                if 200 <= response.code < 300:
                    self.dialog.answered(transaction.request, response)
                    self.agreed(session_timer.confirmed(response, interval_s), "uac")
                    return
                if response.code not in _NO_UPDATE:
                    raise OfferRefused(f"The far side answers {response.code}.")
                self._updates = False
            await self._offer()
        except (OfferRefused, BadMessage) as error:
            log.info("the call was not refreshed", extra={"why": str(error)})
            self._timer.refresh_failed()
        except DialogGone as error:
            self.end(str(error))

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Runs something beside the call, until the call is over at most."""
        if self.over:
            work.close()
            return
        task = self._tasks.create_task(work, name=f"{self.dialog.id.call_id[:16]} {name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # What the far side does

    def receive(self, transaction: ServerTransaction) -> None:
        """Answers a request of the far side in the dialog. Never raises."""
        try:
            self._receive(transaction)
        except OutOfOrder:
            self._respond(transaction, 500)
        except UnsupportedBody:
            response = transaction.response(415)
            describe_bodies(response)
            transaction.respond(response)
        except NotAcceptable as error:
            response = transaction.response(488)
            response.headers.set("Warning", warning(error))
            transaction.respond(response)
        except BadMessage:
            self._respond(transaction, 400)

    def _receive(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        self._settle()
        if self.over and request.method != "BYE":
            self._respond(transaction, 481)
            return
        self.dialog.received(request)
        self._requests.came_from(transaction.source)
        if missing := unsupported(request):
            response = transaction.response(420)
            response.headers.set("Unsupported", ", ".join(missing))
            transaction.respond(response)
            return
        match request.method:
            case "BYE":
                self._respond(transaction, 200)
                self.end("the far side hung up", bye=False)
            case "INVITE":
                self._reinvited(transaction)
            case "UPDATE":
                self._updated(transaction)
            case "INFO":
                key = pressed_key(request) if request.body else None
                self._respond(transaction, 200)
                if key is not None:
                    self._on_key(key)
            case "NOTIFY":
                ours = self._transfer is not None and self._transfer.notified(request)
                self._respond(transaction, 200 if ours else 481)
                if ours and not self._transferring and self._transfer is not None and self._transfer.reached:
                    # Nobody waits for it any more, but they are there: some wait for this side to hang up.
                    self.end("transferred")
            case "REFER":
                self._respond(transaction, 603)
            case "OPTIONS":
                response = transaction.response(200)
                describe(response)
                describe_bodies(response)
                transaction.respond(response)
            case "PRACK":
                self._respond(transaction, 481)
            case _:
                self._respond(transaction, 405)

    def _reinvited(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        if not self._may_be_offered(transaction):
            return
        agreement = session_timer.decide(request, self._terms)
        if isinstance(agreement, TooSmall):
            self._too_small(transaction, agreement)
            return
        theirs = sdp_of(request)
        sdp = self._media.offer(anew=True) if theirs is None else self._media.answer(theirs)
        response = transaction.response(200)
        response.headers.set("Contact", self._requests.contact)
        put_sdp(response, sdp)
        self.accept(transaction, response, agreement, answers=theirs is None)

    def _updated(self, transaction: ServerTransaction) -> None:
        """RFC 3311, 5.2."""
        request = transaction.request
        theirs = sdp_of(request)
        if theirs is not None and not self._may_be_offered(transaction):
            return
        agreement = session_timer.decide(request, self._terms)
        if isinstance(agreement, TooSmall):
            self._too_small(transaction, agreement)
            return
        sdp = None if theirs is None else self._media.answer(theirs)
        response = transaction.response(200)
        response.headers.set("Contact", self._requests.contact)
        if sdp is not None:
            put_sdp(response, sdp)
        self._confirm(response, agreement)
        transaction.respond(response)

    def _may_be_offered(self, transaction: ServerTransaction) -> bool:
        """Whether no other offer is under way (RFC 3261, 14.2); answers the request otherwise."""
        if not self._their_invite.is_set():
            self._respond(transaction, 500, retry_after_s=self._rng.randint(0, _LONGEST_RETRY_S))
            return False
        if self._our_offer:
            self._respond(transaction, 491)
            return False
        return True

    def accept(
        self,
        transaction: ServerTransaction,
        response: Response,
        agreement: Agreement | None,
        *,
        answers: bool,
    ) -> None:
        """Answers an INVITE with 2xx, and waits for the ACK; the call ends if none comes.

        Args:
            transaction: the INVITE's.
            response: without the session timer.
            agreement: on that.
            answers: this side made the offer, and the answer to it is in the ACK.
        """
        describe(response)
        self._confirm(response, agreement)
        self._their_invite.clear()
        self._open, self._open_answers = transaction, answers
        transaction.respond(response)
        self._start(self._acknowledged(transaction), "ACK")

    def watch_for_cancel(self, transaction: ServerTransaction) -> None:
        """Ends the call, which still rings, where the far side calls it off."""
        self._start(self._cancelled(transaction), "CANCEL")

    async def _cancelled(self, transaction: ServerTransaction) -> None:
        await transaction.cancelled.wait()
        if not transaction.answered:
            self.end("the caller gave up", bye=False)

    def _confirm(self, response: Response, agreement: Agreement | None) -> None:
        if agreement is not None:
            session_timer.confirm(response, agreement)
        self._timer.agreed(agreement, "uas")

    async def _acknowledged(self, transaction: ServerTransaction) -> None:
        await transaction.acknowledged()
        self._settle()

    def _settle(self) -> None:
        """Takes the ACK of their INVITE, if it has come; the call ends if it never will.

        Not only when the task that waits for it gets its turn: a request may be right behind it.
        """
        if self._open is None or not self._open.settled:
            return
        ack, answers = self._open.ack, self._open_answers
        self._open = None
        self._their_invite.set()
        if ack is None:
            self.end("the far side did not acknowledge")
        elif answers:
            try:
                self._media.accept(sdp_of(ack) or "")
            except (NotAcceptable, UnsupportedBody, BadMessage) as error:
                self.end(f"its answer cannot be used: {error}")

    async def acknowledged(self) -> None:
        """Returns when no INVITE of the far side waits for its ACK, or the call has ended."""
        await self._their_invite.wait()

    def _too_small(self, transaction: ServerTransaction, agreement: TooSmall) -> None:
        response = transaction.response(422)
        response.headers.set("Min-SE", str(agreement.smallest_s))
        transaction.respond(response)

    def _respond(self, transaction: ServerTransaction, code: int, retry_after_s: int | None = None) -> None:
        response = transaction.response(code)
        describe(response)
        if retry_after_s is not None:
            response.headers.set("Retry-After", str(retry_after_s))
        transaction.respond(response)
