"""What is used of aiortc's insides is there. That packets are heard is proved by the other tests' calls."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import struct
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from aioice import Connection
from aioice.ice import StunProtocol
from aiortc import RTCPeerConnection, RTCRtpReceiver
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import HeaderExtensionsMap, RtpPacket
from scripted_call import serving

from media.errors import ServerFault
from signaling import caller_voice
from signaling.caller import Caller
from signaling.rtp_in import (
    PRIVATE_PARTS,
    PRIVATE_PARTS_OF_DTLS,
    OpusPacket,
    _Statistics,
    can_take_packets,
    parse_rtp,
    take_packets,
)

COPIED = {
    RTCRtpReceiver.receive: "d6d8d8d7a0bf4e95",
    RTCDtlsTransport._recv_next: "998076720c05aa13",
    RTCDtlsTransport._handle_rtp_data: "5def9061cc3da1f6",
    StreamStatistics.add: "d157b75e24b7ff53",
    Connection.data_received: "5631b17fab717d6b",
    StunProtocol.datagram_received: "ff4c8b910d45fb3a",
}
"""SHA-256 of what `signaling.rtp_in` does in its own way."""


@pytest.mark.parametrize("method", COPIED)
def test_the_methods_that_are_replaced_have_not_changed(method: Callable[..., Any]) -> None:
    source = inspect.getsource(method)
    assert hashlib.sha256(source.encode()).hexdigest().startswith(COPIED[method]), (
        f"aiortc has changed {method.__qualname__}: compare it with signaling.rtp_in, then change COPIED"
    )


def test_the_transport_still_hands_packets_over_by_this_name() -> None:
    parameters = inspect.signature(RTCRtpReceiver._handle_rtp_packet).parameters
    assert list(parameters) == ["self", "packet", "arrival_time_ms"]
    assert "receiver._handle_rtp_packet(" in inspect.getsource(RTCDtlsTransport._handle_rtp_data)
    assert list(inspect.signature(StreamStatistics.add).parameters) == ["self", "packet"]


def test_a_receiver_has_the_parts_that_are_used() -> None:
    async def main() -> None:
        peer = RTCPeerConnection()
        receiver = peer.addTransceiver("audio").receiver
        assert can_take_packets(receiver)
        for name in PRIVATE_PARTS:
            assert hasattr(receiver, name), f"aiortc has changed: RTCRtpReceiver has no {name}"
        for name in PRIVATE_PARTS_OF_DTLS:
            assert hasattr(receiver.transport, name), f"aiortc has changed: RTCDtlsTransport has no {name}"
        del receiver._RTCRtpReceiver__remote_streams  # type: ignore[attr-defined]
        assert not can_take_packets(receiver)
        with pytest.raises(ServerFault):
            take_packets(receiver, lambda _packet, _at_s: None)
        await peer.close()

    asyncio.run(main())


def test_no_call_has_a_thread_and_senders_are_told_what_is_lost() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), serving() as server, Caller(server.url) as caller:
            await caller.next_audible(0)
            assert not [thread for thread in threading.enumerate() if "decoder" in thread.name]
            assert caller._peer is not None
            sender = caller._peer.getSenders()[0]
            kinds: set[str] = set()
            while "remote-inbound-rtp" not in kinds:
                # Reports come every 0.5 to 1.5 s, and nothing tells of them.
                await asyncio.sleep(0.1)
                kinds = {stats.type for stats in (await sender.getStats()).values()}

    asyncio.run(main())


def test_an_aiortc_that_changed_is_heard_by_its_own_path(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        monkeypatch.setattr(caller_voice, "can_take_packets", lambda receiver: False)
        async with asyncio.timeout(30), serving() as server, Caller(server.url):
            (conversation,) = server.host.conversations
            while sum(audio.duration_s for audio in conversation.heard) < 0.5:
                conversation.more_heard.clear()
                await conversation.more_heard.wait()
            assert conversation.heard[-1].rate_hz == 16_000

    asyncio.run(main())
    assert "not the one that was tested" in caplog.text


def serialized(**parts: Any) -> bytes:
    packet = RtpPacket(payload_type=111, marker=1, sequence_number=65_535, timestamp=2**32 - 1)
    packet.ssrc, packet.payload = 0xDEADBEEF, b"speech"
    for name, value in parts.items():
        setattr(packet, name, value)
    return packet.serialize(HeaderExtensionsMap())


@pytest.mark.parametrize(
    "datagram",
    [
        serialized(),
        serialized(csrc=[1, 2, 3]),
        serialized(padding_size=4),
        # One-byte extensions (RFC 8285): one word of them.
        serialized()[:1].replace(b"\x80", b"\x90") + serialized()[1:12] + b"\xbe\xde\0\1\x10\x99\0\0speech",
    ],
)
def test_a_packet_is_read_as_aiortc_reads_it(datagram: bytes) -> None:
    ours, theirs = parse_rtp(datagram), RtpPacket.parse(datagram, HeaderExtensionsMap())
    assert ours is not None
    for name in ("ssrc", "sequence_number", "timestamp", "payload", "payload_type"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.payload == b"speech"


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        serialized()[:11],
        b"\x00" + serialized()[1:],
        serialized(csrc=[1, 2, 3])[:20],
        b"\x90" + serialized()[1:12] + b"\xbe\xde",
        b"\x90" + serialized()[1:12] + b"\xbe\xde" + struct.pack("!H", 9) + b"short",
        b"\xa0" + serialized()[1:12] + b"\x09",
        b"\xa0" + serialized()[1:12] + b"speech\0",
    ],
)
def test_what_is_no_packet_is_not_read(datagram: bytes) -> None:
    assert parse_rtp(datagram) is None


def test_packets_take_the_short_way_and_strangers_are_not_heard() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), serving() as server, Caller(server.url) as caller:
            await caller.next_audible(0)
            assert caller._peer is not None
            receiver = caller._peer.getTransceivers()[0].receiver
            dtls: Any = receiver.transport
            connection = dtls.transport._connection
            heard = caller.packets_heard
            before = dtls._RTCDtlsTransport__rx_packets
            for stranger in (serialized(), serialized()[:13], b"\x80", b"", b"\x80\xc8" + bytes(30)):
                connection.data_received(stranger, 1)
            assert caller.packets_heard == heard
            # Those of our payload type were looked at here, and thrown away: they are not our peer's.
            assert dtls._RTCDtlsTransport__rx_packets - before <= 2
            while caller.packets_heard == heard:
                caller.more_heard.clear()
                await caller.more_heard.wait()
            assert connection._queue.qsize() <= 3

    asyncio.run(main())


def test_what_brings_nothing_yet_comes_with_the_next_packet_and_none_is_lost() -> None:
    async def main() -> None:
        async with asyncio.timeout(30), serving() as server, Caller(server.url) as caller:
            await caller.next_audible(0)
            (conversation,) = server.host.conversations
            conversation.lacks_samples = 512
            came_at_s: list[float] = []
            while len(came_at_s) < 20:
                heard = len(conversation.heard)
                conversation.more_heard.clear()
                await conversation.more_heard.wait()
                came_at_s += [asyncio.get_running_loop().time()] * (len(conversation.heard) - heard)
            steps_s = np.diff(came_at_s)
            assert 8 <= (steps_s < 0.001).sum() <= 11
            assert {len(audio) for audio in conversation.heard} == {320}
            conversation.lacks_samples = 0
            assert caller._peer is not None
            stats = await caller._peer.getSenders()[0].getStats()
            lost = [each.packetsLost for each in stats.values() if each.type == "remote-inbound-rtp"]
            assert not any(lost)

    asyncio.run(main())


def test_packets_are_counted_as_aiortc_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = _Statistics(48_000), StreamStatistics(48_000)
    arrival_s = 1000.0
    monkeypatch.setattr("aiortc.rtcrtpreceiver.time.time", lambda: arrival_s)
    numbers = [65_533, 65_534, 65_535, 1, 0, 2, 2, 7]
    for at, number in enumerate(numbers):
        packet = OpusPacket(5, number, 960 * at, b"", 111)
        arrival_s += 0.02 + 0.001 * (at % 3)
        ours.add_from(packet, arrival_s)
        theirs.add(packet)  # type: ignore[arg-type]
    assert vars(ours) == vars(theirs)
    assert ours.jitter
