"""One call's audio over RTP, from its offer to its end."""

from __future__ import annotations

import ipaddress
import logging
import secrets
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Final, Self

from media.clock import loop_time_s, wall_time_s
from media.errors import ServerFault, ToolError
from media.opus import OpusSettings
from signaling.call_host import VoiceOut
from signaling.phone.leg import LegFigures, PhoneEar
from signaling.rtp.dtmf import KEYS
from signaling.rtp.latch import Latch, follows
from signaling.rtp.negotiation import (
    Agreement,
    Place,
    Refused,
    Section,
    Wishes,
    agreed,
    answered,
    description,
    offered_section,
    renewed_section,
)
from signaling.rtp.receiver import Receiver
from signaling.rtp.rtcp import Reports
from signaling.rtp.sdp import Direction, NotAcceptable
from signaling.rtp.sender import Sender
from signaling.rtp.settings import CodecName, RtpSettings
from signaling.rtp.socket import Address, PacketSocket, RtpPorts
from signaling.rtp.srtp import SrtpStreams, new_keys

MOST_DIGITS: Final = 64
"""At once: 13 s of keys."""
log = logging.getLogger(__name__)

_RTCP_TYPES: Final = range(192, 224)
"""The second byte of RTCP where it comes on RTP's port (RFC 5761, section 4)."""
_LONGEST_LAG_S: Final = 1.0
"""No call has a way to the far side that is longer."""


@dataclass(frozen=True, slots=True)
class RtpQuality:
    """How well the media came and went, for the call's record.

    Attributes:
        codec: what we spoke last; None where nothing was agreed on.
        encrypted: whether by SRTP.
        received: packets of the far side.
        lost: of its sound, that never came or came too late.
        late: of these, the latter.
        duplicate: packets that came twice.
        foreign: packets that were not the call's.
        jitter_s: how much the received packets' travelling times differed, at last.
        round_trip_s: by the far side's reports; None without them.
        remote_lost: the part of our packets that the far side lost of late, likewise.
        remote_jitter_s: theirs, likewise.
    """

    codec: CodecName | None
    encrypted: bool
    received: int
    lost: int
    late: int
    duplicate: int
    foreign: int
    jitter_s: float
    round_trip_s: float | None
    remote_lost: float | None
    remote_jitter_s: float | None


@dataclass(frozen=True, slots=True)
class _Standing:
    """What was agreed on last."""

    section: Section
    position: int
    refused: tuple[Refused, ...]
    agreement: Agreement


class RtpMedia:
    """One call's audio. An async context manager: entering takes an RTP and an RTCP port, leaving frees them.

    Offers and answers may come and go while it runs; each takes effect at once.

    Args:
        settings: `sip.rtp`.
        ports: of all calls.
        address: this machine's, on which media is received: where the signalling came in, in figures.
        advertised: what the far side reaches it by, if that is another.
        far_side: the address that its signalling comes from; its media most likely does, too.
        opus: how Opus is encoded.
    """

    def __init__(
        self,
        settings: RtpSettings,
        ports: RtpPorts,
        address: str,
        advertised: str | None = None,
        far_side: str = "",
        opus: OpusSettings | None = None,
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._address = address
        self._advertised = advertised or address
        self._far_side = far_side
        self._opus = opus or OpusSettings()
        self._wishes = Wishes(settings.codecs, settings.srtp, settings.comfort_noise)
        self._keys = new_keys()
        self._session_id = secrets.randbits(31)
        self._version = 0
        self._said: tuple[Section, int, tuple[Refused, ...]] | None = None
        """In our last description."""
        self._offered: Section | None = None
        self._standing: _Standing | None = None
        self._held = False
        self._opened = AsyncExitStack()
        self._began_wall_s = 0.0
        """The wall clock's time at the loop's zero, as of the call's beginning: it may be set meanwhile."""
        self._here: Place | None = None
        self._rtp: PacketSocket | None = None
        self._rtcp: PacketSocket | None = None
        self._latch = Latch(None, follows=False)
        self._rtcp_source: Address | None = None
        self._srtp: SrtpStreams | None = None
        self._reports = Reports(secrets.token_hex(8))
        self._receiver: Receiver | None = None
        self._sender: Sender | None = None
        self._runs = False
        self.remote_holds = False
        """Whether the far side has put us on hold: it hears nothing, and its music is not heard."""

    async def __aenter__(self) -> Self:
        """Raises: ServerFull, `rtp_ports_used_up`."""
        rtp, rtcp = self._ports.bound(self._address)
        async with AsyncExitStack() as undo:
            undo.callback(rtp.close)
            undo.callback(rtcp.close)
            port = rtp.getsockname()[1]
            self._rtp = await PacketSocket.opened(rtp, self._take_rtp)
            undo.push_async_callback(self._rtp.close)
            self._rtcp = await PacketSocket.opened(rtcp, self._take_rtcp)
            undo.push_async_callback(self._rtcp.close)
            self._opened = undo.pop_all()
        self._began_wall_s = wall_time_s() - loop_time_s()
        self._here = Place(self._advertised, port, self._advertised, port + 1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    def offer(self, *, anew: bool = False) -> str:
        """The SDP of an offer: all codecs at first, later what stands; `hold` is in it.

        Args:
            anew: all codecs again: the far side asked for an offer.
        """
        direction: Direction = "sendonly" if self._held else "sendrecv"
        if self._standing is None:
            self._offered = offered_section(self._wishes, self._keys, direction)
        elif anew:
            self._offered = renewed_section(self._standing.section, self._wishes, direction)
        else:
            self._offered = replace(self._standing.section, direction=direction)
        return self._described(self._offered)

    def answer(self, offer_sdp: str) -> str:
        """Takes the far side's offer, and answers it.

        Raises:
            NotAcceptable: nothing in it can be used (488); what stood before still stands.
        """
        current = None if self._standing is None else self._standing.agreement.codec.name
        taken = answered(offer_sdp, self._wishes, self._keys, self._held, current)
        self._stand(_Standing(taken.section, taken.position, taken.refused, taken.agreement))
        return self._described(taken.section)

    def accept(self, answer_sdp: str) -> None:
        """Takes the answer to our last offer. An early one (183) may come again with the 200.

        Raises:
            NotAcceptable: it cannot be used; what stood before still stands.
        """
        standing = self._standing
        ours = self._offered or (standing.section if standing is not None else None)
        if ours is None:
            raise NotAcceptable("There is no offer that this could answer.")
        position = 0 if standing is None else standing.position
        refused = () if standing is None else standing.refused
        agreement = agreed(answer_sdp, ours, position, self._wishes)
        self._stand(_Standing(ours, position, refused, agreement))

    def withdraw(self) -> None:
        """Our last offer was refused: what stood before stands again."""
        self._offered = None

    def hold(self, held: bool) -> None:
        """Our side's direction in the next offer or answer: on hold, we do not listen."""
        self._held = held

    @property
    def sends_digits(self) -> bool:
        """Whether the far side agreed to take keys in RTP."""
        return self._standing is not None and self._standing.agreement.events_type is not None

    @property
    def figures(self) -> LegFigures:
        """What came, was lost and was sent, so far and when it has ended."""
        counts = None if self._receiver is None else self._receiver.counts
        return LegFigures(
            received_packets=0 if counts is None else counts.played + counts.late,
            lost_packets=0 if counts is None else counts.lost,
            sent_packets=0 if self._sender is None else self._sender.packets,
        )

    @property
    def quality(self) -> RtpQuality:
        """The same at length."""
        receiver, reports = self._receiver, self._reports
        counts = None if receiver is None else receiver.counts
        arrivals = None if receiver is None else receiver.arrivals
        return RtpQuality(
            codec=None if self._standing is None else self._standing.agreement.codec.name,
            encrypted=self._srtp is not None,
            received=0 if counts is None else counts.played + counts.late,
            lost=0 if counts is None else counts.lost,
            late=0 if counts is None else counts.late,
            duplicate=0 if counts is None else counts.duplicate,
            foreign=0 if receiver is None else receiver.foreign,
            jitter_s=0.0 if arrivals is None else arrivals.jitter_s,
            round_trip_s=reports.round_trip_s,
            remote_lost=None if reports.remote is None else reports.remote.fraction_lost,
            remote_jitter_s=None if reports.remote is None else reports.remote.jitter_s,
        )

    async def run(self, ear: PhoneEar, voice: VoiceOut) -> str:
        """Carries audio both ways until it is cancelled, or nothing has come for too long. Returns why.

        There must be an agreement: `answer` or `accept` came first.
        """
        if self._standing is None:
            raise ServerFault("There is no agreement on media yet.")
        agreement = self._standing.agreement
        receiver = self._receiver = Receiver(ear, agreement, self._latch, self._srtp)
        sender = self._sender = Sender(agreement, self._opus, self._send_rtp)
        lag_s = voice.heard_lag_s
        voice.phase_s = self._ports.next_phase_s()
        self._runs = True
        try:
            while True:
                frame, position_samples = await voice.next_frame()
                sender.push(frame, position_samples)
                now_s = loop_time_s()
                if self._silent_for_too_long(receiver, now_s):
                    return f"nothing came from the far side for {self._settings.timeout_s:g} s"
                if self._reports.due(now_s):
                    self._report(receiver, sender, now_s)
                    if (round_trip_s := self._reports.round_trip_s) is not None:
                        voice.heard_lag_s = lag_s + min(_LONGEST_LAG_S, round_trip_s / 2)
        finally:
            self._runs = False
            receiver.close()
            sender.close()
            now_s = loop_time_s()
            self._send_rtcp(
                self._reports.farewell(sender.sent, receiver.arrivals, now_s, self._wall_s(now_s))
            )
            log.info("a telephone's media ended", extra=asdict(self.quality))

    async def send_digits(self, digits: str) -> None:
        """Presses keys (RFC 4733), the voice being suspended meanwhile. Returns when they are sent.

        Raises:
            ToolError: they are no keys, the far side does not take them, or the call has ended.
        """
        if not digits or len(digits) > MOST_DIGITS or not set(digits) <= set(KEYS):
            raise ToolError(f"Keys are 1 to {MOST_DIGITS} of {KEYS}.")
        if not self._runs or self._sender is None:
            raise ToolError("There is no call whose keys could be pressed.")
        if not self.sends_digits:
            raise ToolError("The far side does not take keys.")
        if self.remote_holds:
            raise ToolError("The far side has put the call on hold.")
        await self._sender.press(digits)

    def _described(self, section: Section) -> str:
        if self._here is None:
            raise ServerFault("Media has no ports: it was not entered.")
        position = 0 if self._standing is None else self._standing.position
        refused = () if self._standing is None else self._standing.refused
        said = section, position, refused
        if said != self._said:
            self._version += 1
            self._said = said
        return description(*said, self._here, self._session_id, self._version)

    def _stand(self, standing: _Standing) -> None:
        """Raises: NotAcceptable, with nothing changed."""
        agreement = standing.agreement
        announced = self._announced(agreement.there)
        before = None if self._standing is None else self._standing.agreement
        self._standing, self._offered = standing, None
        self.remote_holds = agreement.remote_holds
        if before is None or (announced is not None and announced != self._latch.announced):
            # Not where a hold only said 0.0.0.0 for a while.
            follow = follows(agreement.there.address, self._settings.latching)
            self._latch = Latch(announced, follow, self._far_side)
            self._rtcp_source = None
        used = None if before is None else before.protect
        if used is not None and (agreement.protect is None or agreement.protect.suite != used.suite):
            # A key that encrypts again, counting from the beginning, would encrypt two packets alike.
            self._keys = {**self._keys, used.suite: new_keys()[used.suite]}
        if agreement.protect is None or agreement.unprotect is None:
            self._srtp = None
        elif self._srtp is None:
            self._srtp = SrtpStreams(agreement.protect, agreement.unprotect)
        else:
            self._srtp.renew(agreement.protect, agreement.unprotect)
        if self._runs and self._receiver is not None and self._sender is not None:
            self._receiver.agree(agreement, self._latch, self._srtp)
            self._sender.agree(agreement)

    def _announced(self, there: Place) -> Address | None:
        """Where the far side says that packets go to; None where it names no address, or none that is one.

        Raises:
            NotAcceptable: that cannot be.
        """
        if not there.address:
            return None
        address = ipaddress.ip_address(there.address)
        if address.is_unspecified:
            return None
        if address.is_multicast:
            raise NotAcceptable("Media to a group of receivers (multicast) is not sent from here.")
        if address.version != ipaddress.ip_address(self._address).version:
            raise NotAcceptable(f"Media cannot be sent to {address} from {self._address}.")
        return there.address, there.port

    def _silent_for_too_long(self, receiver: Receiver, now_s: float) -> bool:
        assert self._standing is not None
        if self.remote_holds or not self._standing.agreement.listens:
            receiver.last_s = now_s
        return now_s - receiver.last_s > self._settings.timeout_s

    def _report(self, receiver: Receiver, sender: Sender, now_s: float) -> None:
        self._send_rtcp(self._reports.report(sender.sent, receiver.arrivals, now_s, self._wall_s(now_s)))

    def _wall_s(self, now_s: float) -> float:
        return self._began_wall_s + now_s

    def _send_rtp(self, packet: bytes) -> None:
        destination = self._latch.destination
        if destination is None or self._rtp is None:
            return
        self._rtp.send(packet if self._srtp is None else self._srtp.protect(packet), destination)

    def _send_rtcp(self, packet: bytes) -> None:
        if self._standing is None or self._rtp is None or self._rtcp is None:
            return
        agreement = self._standing.agreement
        datagram = packet if self._srtp is None else self._srtp.protect_rtcp(packet)
        destination = self._latch.destination
        if destination is None:
            return
        if agreement.rtcp_mux:
            self._rtp.send(datagram, destination)
            return
        there = agreement.there
        if destination == (there.address, there.port):
            self._rtcp.send(datagram, (there.rtcp_address, there.rtcp_port))
        else:
            self._rtcp.send(datagram, self._rtcp_source or (destination[0], min(destination[1] + 1, 65_535)))

    def _take_rtp(self, datagram: bytes, source: Address) -> None:
        if not self._runs or self._receiver is None:
            return
        if len(datagram) > 1 and datagram[1] in _RTCP_TYPES:
            self._take_rtcp(datagram, source)
        else:
            self._receiver.take(datagram, source)

    def _take_rtcp(self, datagram: bytes, source: Address) -> None:
        receiver, sender = self._receiver, self._sender
        if not self._runs or receiver is None or sender is None:
            return
        if self._srtp is not None:
            clear = self._srtp.unprotect_rtcp(datagram)
        else:
            # Whoever sends RTCP is on the machine that sends RTP.
            destination = self._latch.destination
            clear = datagram if destination is not None and source[0] == destination[0] else None
        if clear is None:
            receiver.foreign += 1
            return
        now_s = loop_time_s()
        self._rtcp_source = source
        receiver.last_s = now_s
        self._reports.take(clear, sender.sent, now_s, self._wall_s(now_s))
