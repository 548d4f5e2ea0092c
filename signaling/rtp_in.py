"""A receiver's RTP packets as they arrive, instead of what aiortc makes of them.

aiortc's own path has a jitter buffer of 80 ms, in which one lost packet leaves a delay of 280 ms for the rest
of the call (aiortc issue 543), neither FEC nor concealment, and a decoder thread for each call. This replaces
it through two methods of `RTCRtpReceiver`; reports to the sender (RTCP) go on.

Each packet's way is short, too: it is decrypted and handed over where its datagram is received, without a
queue and a task's turn between them. What is no Opus packet takes aiortc's way. And where a packet is too
short for the listener to do anything with it yet, it is kept as it came until the next one is there: what a
packet costs is to come upon cold caches, and two at once cost little more than one.

With `signaling.rtp_out` and `signaling.ice` it is what depends on aiortc's insides: its test fails loudly
when they change, and where `can_take_packets` says no, the stock path is left.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aioice.ice import StunProtocol
from aiortc import RTCRtpReceiver
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RtpPacket, is_rtcp
from aiortc.utils import uint16_gt
from pylibsrtp import Error as SrtpError

from media.clock import loop_time_s
from media.errors import ServerFault
from media.opus import RTP_RATE_HZ, packet_samples
from media.reception import Packet

PacketTaker = Callable[[Packet, float], None]
"""Is given each packet and its arrival in loop time, on the loop."""
Idle = Callable[[], int]
"""Less sound than this, in samples at RTP's rate, the taker can do nothing with yet."""

PRIVATE_PARTS: Final = (
    "_enabled",
    "_handle_rtp_packet",
    "_run_rtcp",
    "_RTCRtpReceiver__codecs",
    "_RTCRtpReceiver__decoder_thread",
    "_RTCRtpReceiver__remote_streams",
    "_RTCRtpReceiver__rtcp_task",
    "_RTCRtpReceiver__started",
)
"""What is used of a receiver's insides."""
PRIVATE_PARTS_OF_DTLS: Final = (
    "_rtp_router",
    "_rx_srtp",
    "_transport",
    "_RTCDtlsTransport__rx_bytes",
    "_RTCDtlsTransport__rx_packets",
)
"""What is used of its transport's."""

_HEADER: Final = struct.Struct("!BBHLL")
"""Version, padding, extension and number of sources; marker and payload type; sequence number; timestamp;
source (RFC 3550, section 5.1)."""
_VERSION_2 = range(0x80, 0xC0)


@dataclass(slots=True)
class OpusPacket:
    """What is read of a packet: `media.reception.Packet`."""

    ssrc: int
    sequence_number: int
    timestamp: int
    payload: bytes
    payload_type: int


def can_take_packets(receiver: RTCRtpReceiver) -> bool:
    """Whether this aiortc is as it was when this was written, as far as an attribute's name tells."""
    return all(hasattr(receiver, name) for name in PRIVATE_PARTS) and all(
        hasattr(receiver.transport, name) for name in PRIVATE_PARTS_OF_DTLS
    )


def take_packets(receiver: RTCRtpReceiver, taker: PacketTaker, idle: Idle = lambda: 0) -> None:
    """Hands the receiver's Opus packets to `taker`. To be called before the connection stands.

    Where `idle` allows it, a packet comes only with the one after it.

    The receiver's track then stays silent, and no decoder thread is started.

    Raises:
        ServerFault: this aiortc is another.
    """
    if not can_take_packets(receiver):
        raise ServerFault("This aiortc keeps its RTP packets to itself; 1.16 is known to work.")
    inlet = _Inlet(receiver, taker, idle)
    receiver.receive = inlet.receive  # type: ignore[method-assign]
    receiver._handle_rtp_packet = inlet.handle  # type: ignore[method-assign]


def parse_rtp(datagram: bytes) -> OpusPacket | None:
    """An RTP packet without its padding and its header's extension; None where it is none, or cut short."""
    size = len(datagram)
    if size < _HEADER.size or datagram[0] not in _VERSION_2:
        return None
    flags, marked_type, sequence_number, timestamp, ssrc = _HEADER.unpack_from(datagram)
    start = _HEADER.size + 4 * (flags & 0x0F)
    if flags & 0x10:
        if size < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(datagram[start + 2 : start + 4])
    end = size - datagram[-1] if flags & 0x20 else size
    if start > end or (end == size and flags & 0x20):
        return None
    return OpusPacket(ssrc, sequence_number, timestamp, datagram[start:end], marked_type & 0x7F)


class _Statistics(StreamStatistics):
    """aiortc's, from which what is lost is reported, but by when a packet came, not by when it is added."""

    def add_from(self, packet: Packet, at_s: float) -> None:
        """As `add`."""
        in_order = self.max_seq is None or uint16_gt(packet.sequence_number, self.max_seq)
        self.packets_received += 1
        if self.base_seq is None:
            self.base_seq = packet.sequence_number
        if not in_order:
            return
        arrival = int(at_s * self._clockrate)
        if self.max_seq is not None and packet.sequence_number < self.max_seq:
            self.cycles += 1 << 16
        self.max_seq = packet.sequence_number
        if self._last_arrival is not None and packet.timestamp != self._last_timestamp:
            assert self._last_timestamp is not None
            change = abs(arrival - self._last_arrival - packet.timestamp + self._last_timestamp)
            self._jitter_q4 += change - ((self._jitter_q4 + 8) >> 4)
        self._last_arrival, self._last_timestamp = arrival, packet.timestamp


class _Inlet:
    """Stands in for two methods of one receiver, and for the way to them."""

    def __init__(self, receiver: RTCRtpReceiver, taker: PacketTaker, idle: Idle) -> None:
        self._receiver = receiver
        self._taker = taker
        self._idle = idle
        self._kept: tuple[bytes, float] | None = None
        """A datagram that waits for the next one, and when it came."""
        self._next = (-1, -1, -1)
        """Sequence number, timestamp and source of the packet that would follow the last one."""
        self._samples = 0
        """Of the last packet, at RTP's rate."""
        self._opus: set[int] = set()
        self._streams: dict[int, _Statistics] = receiver._RTCRtpReceiver__remote_streams  # type: ignore[attr-defined]
        self._dtls: Any = None
        self._take_others_way: Callable[[bytes, int], None] | None = None

    async def receive(self, parameters: RTCRtpReceiveParameters) -> None:
        """As `RTCRtpReceiver.receive`, but for the thread."""
        receiver = self._receiver
        if receiver._RTCRtpReceiver__started:  # type: ignore[attr-defined]
            return
        for codec in parameters.codecs:
            receiver._RTCRtpReceiver__codecs[codec.payloadType] = codec  # type: ignore[attr-defined]
            if codec.payloadType is not None and codec.mimeType.lower() == "audio/opus":
                self._opus.add(codec.payloadType)
        receiver.transport._register_rtp_receiver(receiver, parameters)
        self._shorten_the_way()
        # aiortc's `receive` starts this very task in this way, and keeps it there: the receiver's `stop`,
        # which the connection's closing calls, cancels it and waits for its end.
        reporting = asyncio.ensure_future(receiver._run_rtcp())  # noqa: TID251
        receiver._RTCRtpReceiver__rtcp_task = reporting  # type: ignore[attr-defined]
        receiver._RTCRtpReceiver__started = True  # type: ignore[attr-defined]

    async def handle(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        """As `RTCRtpReceiver._handle_rtp_packet`, whose clock is not the loop's."""
        if packet.payload_type in self._opus:
            self._take(packet, loop_time_s())

    def _shorten_the_way(self) -> None:
        """From now on datagrams come here first: aioice's connection has one method that takes them all.

        Those of its own sockets come from there, before anybody has tried to read them as STUN.
        """
        self._dtls = self._receiver.transport
        connection = self._dtls.transport._connection
        self._take_others_way = connection.data_received
        connection.data_received = self._datagram_came
        for end in connection._protocols:
            end.datagram_received = self._first_look(end)

    def _first_look(self, end: StunProtocol) -> Callable[[bytes, tuple[Any, ...]], None]:
        stun_or_not = end.datagram_received

        def datagram_received(datagram: bytes, address: tuple[Any, ...]) -> None:
            if datagram and datagram[0] in _VERSION_2:
                self._datagram_came(datagram, end.local_candidate.component)
            else:
                stun_or_not(datagram, address)

        return datagram_received

    def _datagram_came(self, datagram: bytes, component: int) -> None:
        assert self._take_others_way is not None
        if not datagram:
            # Anybody can send nothing; aiortc would look at its first byte, and end the call.
            return
        dtls = self._dtls
        if (
            len(datagram) < _HEADER.size
            or datagram[0] not in _VERSION_2
            or datagram[1] & 0x7F not in self._opus
            or is_rtcp(datagram)
            or self._receiver not in dtls._rtp_router.receivers
        ):
            self._take_others_way(datagram, component)
            return
        dtls._RTCDtlsTransport__rx_bytes += len(datagram)
        dtls._RTCDtlsTransport__rx_packets += 1
        now_s = loop_time_s()
        if self._kept is not None:
            kept, self._kept = self._kept, None
            self._decrypt(*kept)
        elif self._can_wait(datagram):
            self._kept = datagram, now_s
            return
        self._decrypt(datagram, now_s)

    def _can_wait(self, datagram: bytes) -> bool:
        """Whether it seems to be the next packet, and as much sound as in the last one is too little yet."""
        return _HEADER.unpack_from(datagram)[2:] == self._next and self._samples < self._idle()

    def _decrypt(self, datagram: bytes, at_s: float) -> None:
        try:
            packet = parse_rtp(self._dtls._rx_srtp.unprotect(datagram))
        except SrtpError:
            # Not from our peer, or come twice.
            return
        if packet is not None:
            self._take(packet, at_s)

    def _take(self, packet: Packet, at_s: float) -> None:
        if not self._receiver._enabled:
            return
        statistics = self._streams.get(packet.ssrc)
        if statistics is None:
            # A sender adds FEC when it hears of losses.
            statistics = self._streams[packet.ssrc] = _Statistics(RTP_RATE_HZ)
        statistics.add_from(packet, at_s)
        self._samples = packet_samples(packet.payload)
        self._next = (
            (packet.sequence_number + 1) & 0xFFFF,
            (packet.timestamp + self._samples) & 0xFFFFFFFF,
            packet.ssrc,
        )
        self._taker(packet, at_s)
