"""What comes from a telephone: its voice, its keys, and what is counted of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from media.clock import loop_time_s
from media.inbound_voice import InboundVoice
from media.reception import Packet, ReceptionCounts
from media.telephone_codecs import TelephoneCodec
from signaling.phone.leg import PhoneEar
from signaling.rtp.dtmf import PressedKeys
from signaling.rtp.latch import Latch
from signaling.rtp.negotiation import Agreement
from signaling.rtp.rtcp import Arrivals
from signaling.rtp.socket import Address
from signaling.rtp.srtp import SrtpStreams
from signaling.rtp_in import parse_rtp

COMFORT_NOISE_TYPE: Final = 13
"""RFC 3551's: it comes without having been agreed on, too."""
_SHORTEST_BYTES: Final = 12
"""A packet's header (RFC 3550, section 5.1)."""


@dataclass(slots=True)
class _Mark:
    """A packet that has a number, but no sound: it keeps the others in order."""

    ssrc: int
    sequence_number: int
    timestamp: int
    payload: bytes = b""


class Receiver:
    """One call's, for as long as it lasts: agreements come and go.

    Args:
        ear: takes sound and keys.
        agreement: the first.
        latch: says whose packets are the call's.
        srtp: decrypts them; None where they are not encrypted.
    """

    def __init__(self, ear: PhoneEar, agreement: Agreement, latch: Latch, srtp: SrtpStreams | None) -> None:
        self._ear = ear
        self._voice: InboundVoice | None = None
        self._voice_codec: TelephoneCodec | None = None
        self._voice_ssrc = 0
        self._closed_counts = ReceptionCounts()
        self._agreement = agreement
        self._latch = latch
        self._srtp = srtp
        self._keys = PressedKeys(agreement.events_rate_hz)
        self.arrivals: Arrivals | None = None
        """Of the source that is heard now."""
        self.foreign = 0
        """Packets that were not the call's: of another source, or of another key."""
        self.last_s = loop_time_s()
        """When something came of the far side."""

    def agree(self, agreement: Agreement, latch: Latch, srtp: SrtpStreams | None) -> None:
        """Another agreement stands."""
        self._keys.rate_hz = agreement.events_rate_hz
        self._agreement, self._latch, self._srtp = agreement, latch, srtp

    @property
    def counts(self) -> ReceptionCounts:
        """What became of the packets of sound, in the whole call."""
        before = self._closed_counts
        return before if self._voice is None else _sum(before, self._voice.counts)

    def close(self) -> None:
        """Waits for nothing any more. May be called twice."""
        if self._voice is not None:
            self._voice.close()
            self._closed_counts = _sum(self._closed_counts, self._voice.counts)
            self._voice = None

    def take(self, datagram: bytes, source: Address) -> None:
        """A datagram on RTP's port that is not RTCP."""
        agreement = self._agreement
        if len(datagram) < _SHORTEST_BYTES:
            return
        payload_type = datagram[1] & 0x7F
        codec = agreement.hears.get(payload_type)
        is_event = payload_type in agreement.events_heard
        agreed = codec is not None or is_event or payload_type in agreement.noise_heard
        srtp = self._srtp
        clear = datagram if srtp is None else srtp.unprotect(datagram)
        packet = None if clear is None else parse_rtp(clear)
        now_s = loop_time_s()
        # What nobody agreed on is a sign of life, perhaps, but no reason to trust its source.
        known = agreed or source == self._latch.trusted
        if packet is None or not known or not self._latch.admits(source, packet, now_s, srtp is not None):
            self.foreign += 1
            return
        self.last_s = now_s
        if not agreed and payload_type != COMFORT_NOISE_TYPE:
            # Such as keep a NAT's way open (RFC 6263, section 4.6); their numbers may be anything.
            return
        if codec is not None:
            self._note(packet, codec.packets.clock_rate_hz, now_s)
            self._take_sound(packet, codec, now_s)
            return
        if self.arrivals is not None and self.arrivals.ssrc == packet.ssrc:
            self.arrivals.note(packet, now_s, is_sound=False)
        if is_event and (digit := self._keys.push(packet.payload, packet.timestamp, now_s)) is not None:
            self._ear.digit(digit)
        self._keep_order(packet, now_s)

    def _note(self, packet: Packet, clock_rate_hz: int, at_s: float) -> None:
        arrivals = self.arrivals
        if arrivals is None or arrivals.ssrc != packet.ssrc or arrivals.clock_rate_hz != clock_rate_hz:
            arrivals = self.arrivals = Arrivals(packet.ssrc, clock_rate_hz)
        arrivals.note(packet, at_s)

    def _keep_order(self, packet: Packet, at_s: float) -> None:
        """The packet's number was not lost, but there is nothing to hear.

        Some gateways send keys as a source of their own: they are not in the voice's order.
        """
        if self._voice is not None and self._voice_ssrc == packet.ssrc:
            self._voice.take(_Mark(packet.ssrc, packet.sequence_number, packet.timestamp), at_s)

    def _take_sound(self, packet: Packet, codec: TelephoneCodec, at_s: float) -> None:
        if self._agreement.remote_holds or not self._agreement.listens:
            # What plays while we are on hold is music: nobody says it. It is no loss either.
            self._keep_order(packet, at_s)
            return
        if codec is not self._voice_codec or self._voice is None:
            self.close()
            ear = self._ear
            self._voice_codec = codec
            self._voice = InboundVoice(
                ear.hear, lacking_samples=lambda: ear.lacking_samples, packets=codec.packets
            )
        self._voice_ssrc = packet.ssrc
        self._voice.take(packet, at_s)


def _sum(one: ReceptionCounts, other: ReceptionCounts) -> ReceptionCounts:
    return ReceptionCounts(
        one.played + other.played,
        one.lost + other.lost,
        one.late + other.late,
        one.duplicate + other.duplicate,
        one.restarts + other.restarts,
    )
