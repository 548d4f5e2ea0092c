"""One telephone call, from its beginning (for one that is placed: before it rings) to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from media.audio import Audio
from media.errors import CallerError, ToolError
from media.events import CallEvent
from media.items import ResponseOptions
from media.level_control import LevelControl
from media.session import SessionConfig
from signaling.call_host import CallConversation, CallSlot
from signaling.phone.answering import Answering
from signaling.phone.leg import LegFigures, NotAnswered, PhoneLeg
from signaling.phone.record import CallRecord, Outcome
from signaling.phone.settings import TelephoneSettings
from signaling.phone.tools import PhoneTools
from signaling.realtime_session import RealtimeSession
from signaling.realtime_session_objects import SessionUpdate

QUIET_S: Final = 0.5
"""After a goodbye, for its last word to be heard, and for the far side to say something yet."""
MAX_EARLY_DIGITS: Final = 64
TOO_LONG: Final = "no call may be longer"
HANG_UP_S: Final = 5.0
"""A leg that was asked to end has this long; then it is cancelled."""

Connect = Callable[[Callable[[], None]], Awaitable[PhoneLeg]]
"""Brings the leg, once it is answered; calls what it is given when it rings."""

log = logging.getLogger(__name__)


class PhoneCall:
    """Joins a telephone's leg, a conversation, and the session of clients that join the call.

    A `signaling.running_calls.RunningCall`; towards its leg a `PhoneEar`, towards its tools a `PhoneLine`.
    The conversation begins when sound can flow, so that its greeting is heard whole, and ends with the leg,
    as the leg with it.

    Args:
        slot: of the call.
        session: what it begins with.
        update: what changes that; None for nothing.
        settings: of telephones.
        record: what others are told of the call.
        connect: brings the leg.
        over: told in the end, with what the leg counted.

    Raises:
        CallerError: the session cannot be.
    """

    def __init__(
        self,
        slot: CallSlot,
        session: SessionConfig,
        update: SessionUpdate | None,
        settings: TelephoneSettings,
        record: CallRecord,
        connect: Connect,
        over: Callable[[LegFigures], None],
    ) -> None:
        self._call_id = slot.call_id
        self._settings = settings
        self._record = record
        self._connect = connect
        self._over = over
        self._leg: PhoneLeg | None = None
        self._level = LevelControl(settings.raise_quiet_db)
        self._sound_came = asyncio.Event()
        self._ending = asyncio.Event()
        self._why: str | None = None
        self._begun = False
        self._pressed: deque[str] = deque(maxlen=MAX_EARLY_DIGITS)
        """Keys that were pressed before the conversation began."""
        tools = PhoneTools(settings, self)

        def converse(session: SessionConfig, notify: Callable[[CallEvent], None]) -> CallConversation:
            return slot.conversation(session, notify, tools)

        self.session = RealtimeSession(session, update, converse, _unsent, overheard=True)
        """For Realtime clients that join the call."""
        self._conversation = self.session.conversation
        self._answering: Answering | None = None
        if record.direction == "outbound" and settings.answering_machines.detect:
            self._answering = Answering(settings.answering_machines, self.session, record, self)

    # A running call

    async def run(self) -> None:
        """The call, until either side ends it. Frees all that it holds, whatever happens."""
        outcome: Outcome = "error"
        try:
            async with asyncio.TaskGroup() as tasks:
                leg = await self._answered(tasks)
                if leg is not None:
                    await self._converse(tasks, leg)
            outcome = "completed" if self._leg is not None else "cancelled"
        finally:
            self._record.why = self._why
            self._record.ended(outcome)
            self._over(LegFigures() if self._leg is None else self._leg.figures)
            log.info("telephone call ended", extra={"why": self._why, "outcome": self._record.outcome})

    def hang_up(self) -> None:
        """Ends the call soon. May be called twice, and before it is answered."""
        self.end("hung up here")

    def stop(self) -> None:
        """Ends the call soon, since the server stops. Likewise."""
        self.end("the server stops")

    async def transfer(self, target: str) -> None:
        """Hands the far side on; returns when the target was reached, and the call ends.

        Args:
            target: allowed, and as `signaling.phone.destinations` writes it.

        Raises:
            CallerError: `call_not_answered`, or `transfer_failed`: the sentence says why. The call goes on.
        """
        if self._leg is None:
            raise CallerError("Nobody has answered yet.", code="call_not_answered")
        try:
            await self._leg.transfer(target)
        except ToolError as error:
            raise CallerError(str(error), code="transfer_failed") from error
        self.end("transferred")

    # What its tools need

    @property
    def leg(self) -> PhoneLeg | None:
        return self._leg

    def say(self, sentence: str) -> None:
        self._conversation.create_response(ResponseOptions(spoken_text=sentence))

    async def until_said(self) -> None:
        await self._conversation.until_said()

    async def until_heard(self) -> None:
        await self._conversation.until_quiet(QUIET_S + self._conversation.playout.heard_lag_s)

    # What its leg hears

    def hear(self, audio: Audio) -> None:
        self._sound_came.set()
        self._conversation.hear(self._level.push(audio))

    def digit(self, digit: str) -> None:
        if self._begun:
            self._conversation.press(digit)
        else:
            # Whoever knows what is asked for need not wait until it is.
            self._pressed.append(digit)

    @property
    def lacking_samples(self) -> int:
        return self._conversation.lacking_samples

    # Its course

    async def _answered(self, tasks: asyncio.TaskGroup) -> PhoneLeg | None:
        """The leg, once it is answered; None if it is not, or was called off."""
        dialling = tasks.create_task(self._dial(), name=f"{self._call_id} dialling")
        ending = tasks.create_task(self._ending.wait(), name=f"{self._call_id} calling off")
        await asyncio.wait({dialling, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not dialling.done():
            dialling.cancel()
            await asyncio.wait({dialling})
        if dialling.cancelled():
            return None
        leg = dialling.result()
        if leg is not None and self._ending.is_set():
            # It was answered while it was called off.
            leg.hang_up()
        return leg

    async def _dial(self) -> PhoneLeg | None:
        try:
            async with asyncio.timeout(self._settings.ring_timeout_s):
                return await self._connect(self._record.rings)
        except NotAnswered as error:
            self._record.sip_status = error.sip_status
            self._fail(error.outcome, str(error))
        except CallerError as error:
            self._fail("failed", str(error))
        except TimeoutError:
            self._fail("no_answer", f"Nobody answered within {self._settings.ring_timeout_s:g} seconds.")
        return None

    def _fail(self, outcome: Outcome, sentence: str) -> None:
        self._record.detail = sentence
        self._record.ended(outcome)

    async def _converse(self, tasks: asyncio.TaskGroup, leg: PhoneLeg) -> None:
        self._leg = leg
        self._record.answered(leg.party)
        log.info(
            "telephone call answered", extra={"carrier": leg.party.carrier, "direction": leg.party.direction}
        )
        carrying = tasks.create_task(self._carry(leg), name=f"{self._call_id} leg")
        watch = asyncio.get_running_loop().call_later(self._settings.max_call_s, self.end, TOO_LONG)
        carrying.add_done_callback(lambda _: watch.cancel())
        # Who waits to hear who answers misses nothing: then there is nothing to be said yet.
        answering = self._answering if self._answering and self._answering.hold_back() else None
        if answering is not None or await self._can_be_heard():
            conversation = tasks.create_task(self._conversation.run(), name=f"{self._call_id} conversation")
            # From its first step on it takes keys.
            await asyncio.sleep(0)
            self._begun = True
            for digit in self._pressed:
                self._conversation.press(digit)
            finding_out = None
            if answering is not None:
                finding_out = tasks.create_task(answering.run(), name=f"{self._call_id} answering")
            await asyncio.wait({conversation})
            if finding_out is not None:
                finding_out.cancel()
        leg.hang_up()
        await asyncio.wait({carrying}, timeout=HANG_UP_S)
        carrying.cancel()

    async def _carry(self, leg: PhoneLeg) -> None:
        try:
            self.end(await leg.run(self, self._conversation.playout))
        finally:
            self.end("the leg failed")

    async def _can_be_heard(self) -> bool:
        """Waits until sound flows. Returns whether the call goes on."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.greeting_wait_s):
                await self._sound_came.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.greeting_delay_s):
                await self._ending.wait()
        return not self._ending.is_set()

    def end(self, why: str) -> None:
        """Ends the call soon, for this reason. May be called twice: the first reason holds."""
        if self._why is None:
            self._why = why
        self._conversation.close()
        self._ending.set()
        self._sound_came.set()


def _unsent(_event: str) -> None:
    """The telephone gets no events."""
