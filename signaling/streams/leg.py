"""A telephone whose audio comes over a provider's socket: `signaling.phone.leg.PhoneLeg`.

The far side plays what it is sent, one after the other, and falls silent where nothing comes. So the voice
is sent in real time, a little before it is due (`Playout.ahead_s`): that little is all that the far side has
queued. Marks come back as it plays, and tell how far behind it is: what counts as heard is what they say.
Where the voice is held or cut, the far side's queue is cleared, and what was not heard of it is sent again if
the voice goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol, assert_never

from media.audio import Audio
from media.clock import loop_time_s
from media.errors import ToolError
from media.opus import OpusSettings
from media.playout import PLAYOUT_RATE_HZ
from signaling.call_host import VoiceOut
from signaling.phone.leg import DIGITS, Ability, LegFigures, Party, PhoneEar
from signaling.streams.codecs import StreamEncoder
from signaling.streams.inbound import InboundStream
from signaling.streams.key_tones import key_tones
from signaling.streams.marks import Marks
from signaling.streams.outgoing import Outgoing
from signaling.streams.wire import (
    BadMessage,
    Began,
    Drained,
    Ended,
    Full,
    Heard,
    Objected,
    Pressed,
    Reached,
    StreamEvent,
    StreamFormat,
    Wire,
)

FRAMES_A_MARK: Final = 5
"""Every 100 ms, and with the last frame before a silence."""
FRAME_S: Final = 0.02
MOST_SILENCE_S: Final = 5.0
"""How long the playout's clock may stand still while there is nothing to be heard."""
MOST_BAD_MESSAGES: Final = 1000
"""Whoever sends so many in one call does nothing else."""
LOGGED_BAD_MESSAGES: Final = 3
MESSAGES_A_TURN: Final = 20
"""So many are read until the loop turns to others."""
FAREWELL_S: Final = 1.0

Transfer = Callable[[str], Awaitable[None]]
"""Has the far side taken on by somebody else once the stream ends; raises ToolError where it is not."""

log = logging.getLogger(__name__)


class StreamSocket(Protocol):
    """A socket, as a leg needs it. Whatever happens to the connection, nothing raises."""

    async def receive(self) -> str | bytes | None:
        """The far side's next message; None once there will be no more."""

    async def send(self, message: str | bytes) -> None:
        """Sends one message, at the pace at which the far side reads."""

    async def close(self) -> None:
        """Closes within a bounded time, also where the far side does not answer."""


class StreamLeg:
    """One call.

    Args:
        socket: open.
        wire: its protocol; it has read how the stream began.
        began: what it read.
        ahead_s: how long before it is due the voice is sent, if the wire allows so much.
        opus: how Opus is encoded, where the stream has it.
        transfer: where the provider would ask what to do next.
    """

    def __init__(
        self,
        socket: StreamSocket,
        wire: Wire,
        began: Began,
        *,
        ahead_s: float,
        opus: OpusSettings | None = None,
        transfer: Transfer | None = None,
    ) -> None:
        self._socket = socket
        self._wire = wire
        self._ahead_s = min(ahead_s, wire.most_ahead_s)
        self._opus = opus
        self._transfer = transfer
        self._format = began.format
        self._party = Party(
            "outbound" if began.outbound else "inbound",
            wire.carrier,
            began.caller,
            began.called,
            began.call_ref,
            began.parameters,
        )
        self._encoder = StreamEncoder(began.format, PLAYOUT_RATE_HZ, opus)
        self._inbound: InboundStream | None = None
        self._marks: Marks | None = None
        self._outgoing = Outgoing(lambda: self._end("the far side does not read"))
        self._unmarked = 0
        """Frames sent since the last mark."""
        self._speaks = asyncio.Lock()
        """Held while a frame of the voice is sent, and while keys are pressed."""
        self._room = asyncio.Event()
        """Clear while the far side's buffer is full."""
        self._room.set()
        self._over = asyncio.Event()
        self._handed_on: asyncio.Event | None = None
        """Set when it is known what became of a transfer: until then the call is not over."""
        self._why = ""
        self._sent = 0
        self._silences = 0
        """How often what was sent was taken back."""
        self.bad_messages = 0
        """Malformed ones that came."""
        self.unknown_messages = 0
        """Those that mean nothing here."""
        self.objections = 0
        """Those by which the far side told of an error."""

    @property
    def party(self) -> Party:
        return self._party

    @property
    def abilities(self) -> frozenset[Ability]:
        return frozenset(("digits", "transfer") if self._transfer is not None else ("digits",))

    @property
    def figures(self) -> LegFigures:
        received = self._inbound.figures if self._inbound is not None else LegFigures()
        return replace(received, sent_packets=self._sent)

    async def run(self, ear: PhoneEar, voice: VoiceOut) -> str:
        """Carries the call until either side ends it; says why. Closes the socket, whatever happens."""
        self._inbound = inbound = InboundStream(ear.hear, self._format)
        self._marks = Marks(voice.heard_lag_s)
        voice.ahead_s = self._ahead_s
        voice.silenced = self._silence if self._wire.clears else None
        try:
            async with asyncio.TaskGroup() as tasks:
                carrying = [
                    tasks.create_task(self._read(ear, voice, inbound), name="stream reader"),
                    tasks.create_task(self._speak(voice), name="stream voice"),
                    tasks.create_task(self._write(), name="stream writer"),
                ]
                await self._over.wait()
                for task in carrying:
                    task.cancel()
            await self._say_goodbye()
        finally:
            voice.silenced = None
            inbound.close()
            if self.bad_messages or inbound.undecodable or inbound.dropped:
                log.warning(
                    "not all that came over the stream was understood",
                    extra={
                        "bad_messages": self.bad_messages,
                        "undecodable": inbound.undecodable,
                        "too_fast": inbound.dropped,
                    },
                )
            await self._socket.close()
        if self._handed_on is not None:
            await self._handed_on.wait()
        return self._why

    def hang_up(self) -> None:
        """Has `run` end soon. May be called twice, and before it runs."""
        self._end("hung up here")

    async def send_digits(self, digits: str) -> None:
        """Presses keys: as the wire has it, else as tones amid the voice.

        Raises:
            ToolError: these are no keys, or the call is over.
        """
        if not digits or not DIGITS.issuperset(digits):
            raise ToolError("These are not keys of a telephone: 0 to 9, *, #, A to D.")
        if self._over.is_set():
            raise ToolError("The call is over.")
        command = self._wire.digits(digits)
        if command is not None:
            self._outgoing.put(command)
            return
        async with self._speaks:
            encoder = StreamEncoder(self._format, PLAYOUT_RATE_HZ, self._opus)
            # Ahead as the voice is: a tone with a gap in it is two keys.
            due_s = loop_time_s() - self._ahead_s
            for frame in key_tones(digits):
                self._send(encoder, frame)
                due_s += FRAME_S
                await asyncio.sleep(max(0.0, due_s - loop_time_s()))

    async def transfer(self, target: str) -> None:
        """Hands the far side on: the stream ends, and the provider is told what to do next.

        Raises:
            ToolError: this wire has no way for it, or the provider did not ask.
        """
        if self._transfer is None:
            raise ToolError("This line cannot transfer calls.")
        if self._over.is_set():
            raise ToolError("The call is over.")
        self._handed_on = asyncio.Event()
        asked = self._transfer(target)
        self._end("transferred")
        try:
            await asked
        finally:
            self._handed_on.set()

    def _end(self, why: str) -> None:
        if not self._over.is_set():
            self._why = why
            self._over.set()

    # What comes

    async def _read(self, ear: PhoneEar, voice: VoiceOut, inbound: InboundStream) -> None:
        read = 0
        while not self._over.is_set() and (message := await self._socket.receive()) is not None:
            event = self._understood(message)
            if event is not None:
                self._take(event, ear, voice, inbound)
            read += 1
            if read % MESSAGES_A_TURN == 0:
                # Those that have come already are there at once: others' calls do not wait for all of them.
                await asyncio.sleep(0)
        self._end("the far side hung up")

    def _understood(self, message: str | bytes) -> StreamEvent | None:
        try:
            event = self._wire.read(message)
        except BadMessage as error:
            self.bad_messages += 1
            if self.bad_messages <= LOGGED_BAD_MESSAGES:
                log.warning("a message of a stream was not understood", extra={"error": str(error)})
            if self.bad_messages >= MOST_BAD_MESSAGES:
                self._end("the far side sends nonsense")
            return None
        if event is None:
            self.unknown_messages += 1
        return event

    def _take(self, event: StreamEvent, ear: PhoneEar, voice: VoiceOut, inbound: InboundStream) -> None:
        match event:
            case Began():
                # A stream begins once.
                self.unknown_messages += 1
            case Heard():
                if event.format is not None:
                    self._speak_as(event.format)
                inbound.take(event)
            case Pressed(digit=digit):
                if digit.upper() in DIGITS:
                    ear.digit(digit.upper())
            case Reached(mark=mark):
                assert self._marks is not None
                self._marks.reached(mark, loop_time_s())
                voice.heard_lag_s = self._marks.lag_s(loop_time_s())
            case Full():
                self._room.clear()
            case Drained():
                self._room.set()
            case Objected(why=why):
                self.objections += 1
                if self.objections <= LOGGED_BAD_MESSAGES:
                    log.warning("the far side cannot do what it was told", extra={"error": why})
            case Ended(why=why):
                self._end(why)
            case _:
                assert_never(event)

    def _speak_as(self, format: StreamFormat) -> None:
        """We speak as we are spoken to."""
        if format != self._format:
            self._format = format
            self._encoder = StreamEncoder(format, PLAYOUT_RATE_HZ, self._opus)

    # What goes

    async def _speak(self, voice: VoiceOut) -> None:
        spoke = False
        while True:
            if not spoke:
                await voice.until_sound(MOST_SILENCE_S)
            await self._room.wait()
            frame, _ = await voice.next_frame()
            assert self._marks is not None
            if self._wire.clears:
                voice.heard_lag_s = self._marks.lag_s(loop_time_s())
            # Nothing is sent in silence, but for a frame with the end of what the converter still holds.
            spoke, went_silent = voice.spoke, spoke and not voice.spoke
            if not (spoke or went_silent):
                continue
            silences = self._silences
            async with self._speaks:
                if silences == self._silences:
                    # Else it was taken back while keys were pressed.
                    self._send(self._encoder, frame)
            if went_silent:
                self._encoder.reset()
            elif self._wire.clears:
                self._mark(voice)

    def _send(self, encoder: StreamEncoder, frame: Audio) -> None:
        self._outgoing.put(self._wire.voice(encoder.encode(frame), self._format), voice=True)
        self._sent += 1

    def _mark(self, voice: VoiceOut) -> None:
        assert self._marks is not None
        self._unmarked += 1
        if self._unmarked >= FRAMES_A_MARK or not voice.pending:
            self._unmarked = 0
            name = self._marks.send(voice.heard_from_s)
            self._outgoing.put(self._wire.mark(name), voice=True)

    def _silence(self) -> None:
        """What was sent is not to be heard: the playout was held, or cut."""
        assert self._marks is not None
        self._outgoing.take_back_voice()
        self._outgoing.put(self._wire.clear())
        self._marks.clear()
        self._silences += 1
        self._unmarked = 0
        self._encoder.reset()

    async def _write(self) -> None:
        while True:
            await self._socket.send(await self._outgoing.next())

    async def _say_goodbye(self) -> None:
        self._outgoing.put(self._wire.hang_up())
        try:
            async with asyncio.timeout(FAREWELL_S):
                for message in self._outgoing.rest():
                    await self._socket.send(message)
        except TimeoutError:
            log.info("the far side did not read the end")
