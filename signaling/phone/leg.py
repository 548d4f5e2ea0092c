"""What a telephone's leg is to its call, and a call to its leg, whatever carries it: SIP, a media stream.

A leg is handed over when it is answered. It carries audio both ways, reports the keys that are pressed, and
does what a telephone can: hang up, press keys, transfer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from media.audio import Audio
from media.errors import CallerError
from signaling.call_host import VoiceOut
from signaling.realtime_session_objects import SessionUpdate

DIGITS: Final = frozenset("0123456789*#ABCD")
"""What a telephone has keys for: RFC 4733, section 3.2, events 0 to 15."""

Direction = Literal["inbound", "outbound"]
Ability = Literal["digits", "transfer"]
Unanswered = Literal["busy", "no_answer", "refused", "unreachable", "failed"]
"""Why a call that was placed is not answered: a person's line is busy, nobody came, the far side will not (a
person, a PBX's rule, wrong credentials), there is no such number or no way there, or something broke."""


@dataclass(frozen=True, slots=True)
class Party:
    """Who is on the line.

    Attributes:
        direction: inbound: they called.
        carrier: what brings the call, as metrics name it: `sip`, `twilio`, `audiosocket`…
        caller: who called: a number or a SIP URI; "" where the carrier does not say.
        called: who was called, likewise.
        call_ref: the far side's name for the call: a Call-ID, a call SID.
        parameters: what came with the call: a stream's custom parameters, `X-` headers by their names in
            lower case. From outside: not to be trusted.
    """

    direction: Direction
    carrier: str
    caller: str = ""
    called: str = ""
    call_ref: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LegFigures:
    """What a leg counted of its media. Zero where the carrier does not tell: a stream over TCP loses nothing.

    Attributes:
        received_packets: of audio, that came.
        lost_packets: that never came, or too late.
        sent_packets: of audio.
    """

    received_packets: int = 0
    lost_packets: int = 0
    sent_packets: int = 0


class PhoneEar(Protocol):
    """What a leg tells its call. Quick, and called on the loop."""

    def hear(self, audio: Audio) -> None:
        """More of the far side's voice: 16 kHz mono int16, in order, without gaps on its timeline."""

    def digit(self, digit: str) -> None:
        """A key was pressed: one of `DIGITS`, once for each press."""

    @property
    def lacking_samples(self) -> int:
        """How much more audio, in samples at 16 kHz, it takes until there is something to listen to."""


class PhoneLeg(Protocol):
    """One answered call's way to a telephone. All methods belong on the loop."""

    @property
    def party(self) -> Party: ...

    @property
    def abilities(self) -> frozenset[Ability]:
        """What this carrier, as it is set up, can do: tools are offered accordingly."""

    @property
    def figures(self) -> LegFigures:
        """Of its media so far; still there when the leg has ended."""

    async def run(self, ear: PhoneEar, voice: VoiceOut) -> str:
        """Carries the call until either side ends it; says why, in a few words for the log.

        Begins when the call is answered, and frees all that the leg holds, whatever happens. Cancelled, it
        ends the call, too.
        """

    def hang_up(self) -> None:
        """Has `run` end soon. May be called twice, and before it runs."""

    async def send_digits(self, digits: str) -> None:
        """Presses keys, one after the other; returns when they are sent.

        Raises:
            ToolError: the carrier cannot, or the call is over.
        """

    async def transfer(self, target: str) -> None:
        """Hands the far side on (a blind transfer). Returns when the target was reached: the call is to end.

        Args:
            target: `sip:…`, `sips:…` or `+49…`, as `signaling.phone.destinations` gives it.

        Raises:
            ToolError: it was not: the sentence says why (busy, refused, not possible). The call goes on.
        """


class NotAnswered(CallerError):
    """A call that was placed was not answered.

    Args:
        message: one sentence.
        outcome: what became of it.
        sip_status: the far side's, if it gave one.
    """

    code = "not_answered"

    def __init__(self, message: str, outcome: Unanswered, sip_status: int | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.sip_status = sip_status


class Dialler(Protocol):
    """Places calls. The SIP user agent is one."""

    async def dial(self, to: str, caller: str | None, ringing: Callable[[], None]) -> PhoneLeg:
        """Calls somebody; returns when they have answered. Cancelled, it calls it off.

        Args:
            to: `sip:…`, `sips:…` or `+49…`, checked and normalised.
            caller: whom they are to see calling; None: as configured.
            ringing: called when it rings there, perhaps more than once.

        Raises:
            NotAnswered: they have not.
            CallerError: this cannot be called at all: no trunk is configured for numbers, say.
        """


class Admission(Protocol):
    """A call's slot, taken before the call is answered. `start` or `release` gives it back in the end."""

    @property
    def call_id(self) -> str:
        """`rtc_…`"""

    def start(self, leg: PhoneLeg, update: SessionUpdate | None = None) -> asyncio.Event:
        """Makes the call's conversation and leaves it to the server. Returns what is set when it is over.

        Args:
            leg: answered just now, not running yet.
            update: settings of this call.

        Raises:
            CallerError: the session cannot be. The slot is free again, and the leg was not run: hang it up.
        """

    def release(self) -> None:
        """Gives the slot back: the call was not answered. May be called twice, and after `start`."""


class Switchboard(Protocol):
    """Where legs take their calls: `signaling.phone.call_starter.PhoneCallStarter`."""

    def admit(self) -> Admission:
        """Takes a slot, before the call is answered: who gets none answers "busy" at once.

        Raises:
            ServerFull: none is free, or the server is draining.
        """

    def start(self, leg: PhoneLeg, update: SessionUpdate | None = None) -> asyncio.Event:
        """`admit().start(leg, update)`, for carriers whose calls come answered."""
