"""What both sides of a call report of its packets: RTCP (RFC 3550, section 6)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from aiortc.rtp import (
    RtcpByePacket,
    RtcpPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
)

from media.reception import Packet

INTERVAL_S: Final = 5.0
"""Between two reports, give or take half of it (section 6.2)."""
_UNIX_EPOCH_IN_NTP_S: Final = 2_208_988_800
"""From 1900 to 1970: RFC 5905, figure 4."""
_CNAME: Final = 1
_MOST_LOST: Final = 0x7FFFFF
"""What the 24 bits of a report can tell."""
_MAX_DROPOUT: Final = 3000
_LONGEST_ROUND_TRIP_S: Final = 10.0
"""Beyond this it is a mistake of the far side's, or of somebody else's."""


class Arrivals:
    """One source's packets, as a report tells of them (appendices A.1, A.3 and A.8).

    Args:
        ssrc: the source.
        clock_rate_hz: of its timestamps.
    """

    def __init__(self, ssrc: int, clock_rate_hz: int) -> None:
        self.ssrc = ssrc
        self.clock_rate_hz = clock_rate_hz
        self.received = 0
        self._first = 0
        self._highest = 0
        """Without wrapping."""
        self._expected_before = 0
        self._received_before = 0
        self._jitter = 0.0
        self._transit: float | None = None

    def note(self, packet: Packet, at_s: float, *, is_sound: bool = True) -> None:
        """A packet of it came. An event's timestamp is not when it was sent: it tells nothing of jitter."""
        if not self.received:
            self._first = self._highest = packet.sequence_number
        self.received += 1
        ahead = (packet.sequence_number - self._highest + 0x8000) % 0x10000 - 0x8000
        if ahead > _MAX_DROPOUT or ahead < -_MAX_DROPOUT:
            # The sender began anew.
            self._first = packet.sequence_number - self.received + 1
            self._highest = packet.sequence_number
        elif ahead > 0:
            self._highest += ahead
            if not is_sound:
                return
            transit = at_s * self.clock_rate_hz - packet.timestamp
            if self._transit is not None:
                change = (transit - self._transit + 0x80000000) % 0x100000000 - 0x80000000
                self._jitter += (abs(change) - self._jitter) / 16
            self._transit = transit

    @property
    def jitter_s(self) -> float:
        """How much the packets' travelling times differ, in the mean."""
        return self._jitter / self.clock_rate_hz

    @property
    def lost(self) -> int:
        """How many did not come; fewer than none where some came twice."""
        return self._expected - self.received if self.received else 0

    def block(self, since_report: tuple[int, float] | None) -> RtcpReceiverInfo:
        """The report, which is of the time since the one before.

        Args:
            since_report: the middle of the NTP time in the source's last report, and how many seconds ago it
                came; None without one.
        """
        expected = self._expected - self._expected_before
        lost = expected - (self.received - self._received_before)
        self._expected_before, self._received_before = self._expected, self.received
        last, ago_s = since_report or (0, 0.0)
        return RtcpReceiverInfo(
            ssrc=self.ssrc,
            fraction_lost=min(255, (lost << 8) // expected) if expected > 0 and lost > 0 else 0,
            packets_lost=max(-_MOST_LOST, min(_MOST_LOST, self.lost)),
            highest_sequence=self._highest & 0xFFFFFFFF,
            jitter=min(0xFFFFFFFF, int(self._jitter)),
            lsr=last,
            dlsr=min(0xFFFFFFFF, int(ago_s * 65_536)),
        )

    @property
    def _expected(self) -> int:
        return self._highest - self._first + 1


@dataclass(slots=True)
class Sent:
    """What a sender reports of itself.

    Attributes:
        ssrc: its own.
        packets: so far.
        octets: of their payloads.
        timestamp: of the last packet.
        at_s: when that was sent, in loop time.
        clock_rate_hz: of the timestamps.
    """

    ssrc: int
    clock_rate_hz: int
    packets: int = 0
    octets: int = 0
    timestamp: int = 0
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RemoteView:
    """What the far side said of our packets at last: the part of them lost of late, and their jitter."""

    fraction_lost: float
    jitter_s: float


class Reports:
    """One call's reports, both ways."""

    def __init__(self, cname: str) -> None:
        self._cname = cname.encode()
        self._next_s: float | None = None
        self._last_report: tuple[int, int, float] | None = None
        """Of the far side: its source, the middle of its NTP time, and when it came."""
        self.round_trip_s: float | None = None
        self.remote: RemoteView | None = None

    def due(self, now_s: float) -> bool:
        """Whether it is time for a report. Then it is not, for a while."""
        if self._next_s is None:
            self._next_s = now_s + INTERVAL_S * random.uniform(0.25, 0.75)
            return False
        if now_s < self._next_s:
            return False
        self._next_s = now_s + INTERVAL_S * random.uniform(0.5, 1.5)
        return True

    def report(self, sent: Sent, arrivals: Arrivals | None, now_s: float, wall_s: float) -> bytes:
        """A compound packet: what was sent, if anything was of late, what came, and who says so."""
        blocks: list[RtcpReceiverInfo] = []
        if arrivals is not None and arrivals.received:
            blocks.append(arrivals.block(self._since_report(arrivals.ssrc, now_s)))
        first: RtcpSrPacket | RtcpRrPacket
        if sent.packets:
            since = round((now_s - sent.at_s) * sent.clock_rate_hz)
            info = RtcpSenderInfo(
                ntp_timestamp=_ntp(wall_s),
                rtp_timestamp=(sent.timestamp + since) & 0xFFFFFFFF,
                packet_count=sent.packets & 0xFFFFFFFF,
                octet_count=sent.octets & 0xFFFFFFFF,
            )
            first = RtcpSrPacket(sent.ssrc, info, blocks)
        else:
            first = RtcpRrPacket(sent.ssrc, blocks)
        name = RtcpSdesPacket([RtcpSourceInfo(sent.ssrc, [(_CNAME, self._cname)])])
        return bytes(first) + bytes(name)

    def farewell(self, sent: Sent, arrivals: Arrivals | None, now_s: float, wall_s: float) -> bytes:
        """The last one."""
        return self.report(sent, arrivals, now_s, wall_s) + bytes(RtcpByePacket([sent.ssrc]))

    def take(self, datagram: bytes, sent: Sent, now_s: float, wall_s: float) -> None:
        """A compound packet of the far side's, perhaps of what we sent. What is none is skipped."""
        try:
            packets = RtcpPacket.parse(datagram)
        except ValueError:
            return
        for packet in packets:
            if isinstance(packet, RtcpSrPacket):
                middle = packet.sender_info.ntp_timestamp >> 16 & 0xFFFFFFFF
                self._last_report = packet.ssrc, middle, now_s
            if isinstance(packet, RtcpSrPacket | RtcpRrPacket):
                for block in packet.reports:
                    if block.ssrc == sent.ssrc:
                        self._learn(block, sent.clock_rate_hz, wall_s)

    def _learn(self, block: RtcpReceiverInfo, rate_hz: int, wall_s: float) -> None:
        self.remote = RemoteView(block.fraction_lost / 256, block.jitter / rate_hz)
        if not block.lsr:
            return
        middle = _ntp(wall_s) >> 16 & 0xFFFFFFFF
        round_trip_s = ((middle - block.lsr - block.dlsr) & 0xFFFFFFFF) / 65_536
        if round_trip_s <= _LONGEST_ROUND_TRIP_S:
            self.round_trip_s = round_trip_s

    def _since_report(self, ssrc: int, now_s: float) -> tuple[int, float] | None:
        if self._last_report is None or self._last_report[0] != ssrc:
            return None
        _, middle, at_s = self._last_report
        return middle, now_s - at_s


def _ntp(wall_s: float) -> int:
    """64 bits, from seconds since the Unix epoch."""
    return int((wall_s + _UNIX_EPOCH_IN_NTP_S) * (1 << 32)) & 0xFFFFFFFFFFFFFFFF
