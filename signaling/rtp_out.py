"""A sender's RTP packets, made by us instead of aiortc.

aiortc's sender makes each packet and its header's extensions anew, asks for the date three times, works out
the time in fractions, and sets the marker on every packet. Here the header is made once, by aiortc, and each
packet changes what changes. The marker is set where a talkspurt begins (RFC 3551, section 4.1). Reports go
on, and tell what was sent.

Each packet goes straight to the socket, past five coroutines of aiortc's and aioice's that never wait.

It replaces one method of `RTCRtpSender`: tests/signaling/test_rtp_out.py fails loudly when that changes, and
where `can_send_packets` says no, aiortc sends the same track itself.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiortc import RTCRtpSender
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpsender import random_sequence_number
from aiortc.rtp import RtpPacket
from aiortc.utils import random32

from media.clock import wall_time_s
from media.errors import ServerFault

PRIVATE_PARTS: Final = (
    "_enabled",
    "_run_rtp",
    "_ssrc",
    "_RTCRtpSender__mid",
    "_RTCRtpSender__ntp_timestamp",
    "_RTCRtpSender__octet_count",
    "_RTCRtpSender__packet_count",
    "_RTCRtpSender__rtp_exited",
    "_RTCRtpSender__rtp_header_extensions_map",
    "_RTCRtpSender__rtp_started",
    "_RTCRtpSender__rtp_timestamp",
)
"""What is used of a sender's insides."""

PRIVATE_PARTS_OF_DTLS: Final = (
    "_tx_srtp",
    "_transport",
    "_RTCDtlsTransport__tx_bytes",
    "_RTCDtlsTransport__tx_packets",
)
"""What is used of its transport's."""

_COMPONENT: Final = 1
"""Of ICE: RTP, and RTCP with it."""
_SEQUENCE_AND_TIME: Final = struct.Struct("!HL")
_MARKER: Final = 0x80
_UNIX_EPOCH_IN_NTP_S: Final = 2_208_988_800
"""From 1900 to 1970: RFC 5905, figure 4."""


@dataclass(frozen=True, slots=True)
class OutboundPacket:
    """One packet's content.

    Attributes:
        payload: of the codec.
        position_samples: of its first sample, at RTP's rate, since the track's beginning.
        begins_talkspurt: whether it is the first one with sound after silence in which none was sent.
    """

    payload: bytes
    position_samples: int
    begins_talkspurt: bool


class PacketSource(Protocol):
    """A track that makes its own packets."""

    async def next_packet(self) -> OutboundPacket:
        """Returns when the packet is to be sent.

        Raises:
            MediaStreamError: there will be no more.
        """

    def stop(self) -> None: ...


def can_send_packets(sender: RTCRtpSender) -> bool:
    """Whether this aiortc is as it was when this was written, as far as an attribute's name tells."""
    return all(hasattr(sender, name) for name in PRIVATE_PARTS) and all(
        hasattr(sender.transport, name) for name in PRIVATE_PARTS_OF_DTLS
    )


def send_packets(sender: RTCRtpSender, source: PacketSource) -> None:
    """Has the sender send these packets. To be called before the connection stands.

    Raises:
        ServerFault: this aiortc is another.
    """
    if not can_send_packets(sender):
        raise ServerFault("This aiortc sends packets in its own way only; 1.16 is known to work.")
    sender._run_rtp = _Outlet(sender, source).run  # type: ignore[method-assign]


class _Outlet:
    """Stands in for one method of one sender."""

    def __init__(self, sender: Any, source: PacketSource) -> None:
        self._sender = sender
        self._source = source

    async def run(self, codec: RTCRtpCodecParameters) -> None:
        """As `RTCRtpSender._run_rtp`, which ends when it is cancelled and is not told so."""
        sender = self._sender
        sender._RTCRtpSender__rtp_started.set()
        payload_type = codec.payloadType
        assert payload_type is not None, "a codec that was negotiated has one"
        header = self._header(payload_type)
        sequence_number, first_timestamp = random_sequence_number(), random32()
        with self._told_when_it_ended():
            while True:
                packet = await self._source.next_packet()
                if not sender._enabled:
                    continue
                timestamp = (first_timestamp + packet.position_samples) & 0xFFFFFFFF
                _SEQUENCE_AND_TIME.pack_into(header, 2, sequence_number, timestamp)
                header[1] = payload_type | _MARKER * packet.begins_talkspurt
                self._send(bytes(header) + packet.payload)
                sequence_number = (sequence_number + 1) & 0xFFFF
                # For the reports.
                sender._RTCRtpSender__ntp_timestamp = int((wall_time_s() + _UNIX_EPOCH_IN_NTP_S) * (1 << 32))
                sender._RTCRtpSender__rtp_timestamp = timestamp
                sender._RTCRtpSender__octet_count += len(packet.payload)
                sender._RTCRtpSender__packet_count += 1

    def _send(self, packet: bytes) -> None:
        """As `RTCDtlsTransport._send_rtp`, and what that awaits in turn, of which nothing ever waits.

        Raises:
            ConnectionError: there is no connection, or none any more.
        """
        dtls = self._sender.transport
        pair = dtls.transport._connection._nominated.get(_COMPONENT)
        if dtls.state != "connected" or pair is None:
            raise ConnectionError("not connected")
        datagram = dtls._tx_srtp.protect(packet)
        pair.protocol.transport.sendto(datagram, pair.remote_addr)
        dtls._RTCDtlsTransport__tx_bytes += len(datagram)
        dtls._RTCDtlsTransport__tx_packets += 1

    def _header(self, payload_type: int) -> bytearray:
        """It says which stream it is, in an extension. Sequence number, time and marker are still to come."""
        sender = self._sender
        packet = RtpPacket(payload_type=payload_type)
        packet.ssrc = sender._ssrc
        packet.extensions.mid = sender._RTCRtpSender__mid
        return bytearray(packet.serialize(sender._RTCRtpSender__rtp_header_extensions_map))

    @contextmanager
    def _told_when_it_ended(self) -> Iterator[None]:
        """`RTCRtpSender.stop` waits for this, having cancelled the task, and would wait for ever."""
        try:
            yield
        except (asyncio.CancelledError, ConnectionError, MediaStreamError):
            pass
        finally:
            self._source.stop()
            self._sender._RTCRtpSender__rtp_exited.set()
