"""What a call that was placed does with whoever answered: nothing is said before that is known."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Final, Protocol, assert_never

from media.answering_machine import AnsweringSettings
from media.answering_watch import AnsweringWatch
from media.errors import CallerError
from media.events import AnsweredBy, Answerer
from media.items import Message, Part, ResponseOptions, new_id
from media.session import SessionConfig, TurnDetection
from signaling.phone.record import CallRecord
from signaling.realtime_session import RealtimeSession

MESSAGE_REMARK: Final = (
    "(An answering machine took this call, and records from now on. Leave a message of one or two sentences: "
    "who calls, and why. Then say goodbye.)"
)
MACHINE_ANSWERED: Final = "An answering machine took this call. What is said from now on is recorded."

log = logging.getLogger(__name__)


class AnsweredLine(Protocol):
    """The call, as far as this is concerned with it."""

    async def until_heard(self) -> None:
        """Returns when all that was said has been heard."""

    def end(self, why: str) -> None: ...


class Answering:
    """Holds the assistant back until it is known who answered; then has it do what is to be done.

    Args:
        settings: of answering machines.
        session: of the call.
        record: told who answered.
        line: the call.
    """

    def __init__(
        self,
        settings: AnsweringSettings,
        session: RealtimeSession,
        record: CallRecord,
        line: AnsweredLine,
    ) -> None:
        self._settings = settings
        self._session = session
        self._conversation = session.conversation
        self._record = record
        self._line = line
        self._watch = AnsweringWatch(settings, self._decide, self._takes_message)
        self._wanted: SessionConfig = session.conversation.session
        self._held: TurnDetection | None = None
        self._decided = asyncio.Event()
        self._recording = asyncio.Event()
        self._who: Answerer = "uncertain"

    def hold_back(self) -> bool:
        """Has the conversation begin without a word. Returns whether there is anything to be found out.

        Where the client ends turns, or nothing is answered, the assistant does not speak by itself anyway.
        """
        wanted = self._conversation.session
        if wanted.turn_detection is None or not wanted.responds:
            return False
        self._wanted = wanted
        self._held = replace(wanted.turn_detection, create_response=False)
        self._conversation.update(replace(wanted, greeting="", turn_detection=self._held))
        self._conversation.overhearing = self._watch
        return True

    async def run(self) -> None:
        """Finds out who answered, and does what is then to be done. The conversation runs."""
        self._watch.begin()
        try:
            await self._decided.wait()
            self._record.answered_by = self._who
            self._session.notify(AnsweredBy(self._who))
            if self._who == "machine":
                await self._with_machine()
            else:
                self._with_person()
        except CallerError as error:
            # The call is ending, or a client that joined has something said already.
            log.info("nothing is said to whoever answered", extra={"code": error.code})
        finally:
            self._watch.stop()
            self._conversation.overhearing = None

    def _decide(self, who: Answerer) -> None:
        self._who = who
        self._decided.set()

    def _takes_message(self) -> None:
        self._recording.set()

    def _with_person(self) -> None:
        self._let_go()
        if self._has_spoken:
            # A client that joined has seen to it.
            return
        if self._wanted.greeting:
            # The greeting is the answer to their "Hello?".
            self._conversation.forgo()
            self._conversation.create_response(ResponseOptions(spoken_text=self._wanted.greeting))
        elif self._answers_by_itself and (not self._watch.greeted or self._has_words):
            self._conversation.create_response(ResponseOptions())
        # Else the turn is not over yet, or not transcribed, and is answered when it is.

    async def _with_machine(self) -> None:
        match self._settings.then:
            case "hang_up":
                self._line.end("an answering machine answered")
            case "message":
                await self._recording.wait()
                # Nothing interrupts a message.
                self._conversation.update(replace(self._conversation.session, turn_detection=None))
                message = self._settings.message
                options = (
                    ResponseOptions(spoken_text=message)
                    if message
                    else ResponseOptions(remark=MESSAGE_REMARK)
                )
                self._conversation.create_response(options)
                await self._line.until_heard()
                self._line.end("a message was left")
            case "go_on":
                await self._recording.wait()
                self._conversation.forgo()
                told = Message(new_id("item"), "system", (Part("input_text", MACHINE_ANSWERED),))
                self._conversation.add_item(told)
                self._let_go()
                greeting = self._wanted.greeting or None
                self._conversation.create_response(ResponseOptions(spoken_text=greeting))
            case _:
                assert_never(self._settings.then)

    def _let_go(self) -> None:
        session = self._conversation.session
        if session.turn_detection == self._held:
            self._conversation.update(replace(session, turn_detection=self._wanted.turn_detection))

    @property
    def _answers_by_itself(self) -> bool:
        detection = self._conversation.session.turn_detection
        return detection is not None and detection.create_response

    @property
    def _has_spoken(self) -> bool:
        """Whether the assistant has said something, or is about to."""
        return any(
            isinstance(item, Message) and item.role == "assistant" for item in self._conversation.items
        )

    @property
    def _has_words(self) -> bool:
        """Whether what was said is transcribed already."""
        items = self._conversation.items
        last = items[-1] if items else None
        return isinstance(last, Message) and last.role == "user" and last.status == "completed"
