"""What is used of aiortc's sender is there, and what is sent in its place says what it should."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from aioice.ice import CandidatePair, Connection, StunProtocol
from aiortc import RTCPeerConnection, RTCRtpSender
from aiortc.rtcdtlstransport import RTCDtlsTransport
from scripted_call import serving

from media.errors import ServerFault
from media.reception import Packet
from signaling import webrtc_call
from signaling.caller import Caller, CallerOptions
from signaling.rtp_in import OpusPacket
from signaling.rtp_out import PRIVATE_PARTS, PRIVATE_PARTS_OF_DTLS, can_send_packets, send_packets

COPIED = {
    RTCRtpSender._run_rtp: "ff597a1d554cb373",
    RTCRtpSender.send: "3969482b77a2a65f",
    RTCRtpSender.stop: "38c1e92baf8e2997",
    RTCDtlsTransport._send_rtp: "763b02bceb0b0ab9",
    Connection.send: "8f91d54578f0ca74",
    Connection.sendto: "bf162ec03bdce2cc",
    StunProtocol.send_data: "8bfbce074a897482",
}
"""SHA-256 of what `signaling.rtp_out` does in its own way, and of what it works with."""


@pytest.mark.parametrize("method", COPIED)
def test_the_methods_have_not_changed(method: Callable[..., Any]) -> None:
    source = inspect.getsource(method)
    assert hashlib.sha256(source.encode()).hexdigest().startswith(COPIED[method]), (
        f"aiortc has changed {method.__qualname__}: compare it with signaling.rtp_out, then change COPIED"
    )


class Mute:
    """Never has a packet."""

    async def next_packet(self) -> Any:
        await asyncio.Event().wait()

    def stop(self) -> None:
        """Holds nothing."""


def test_a_sender_has_the_parts_that_are_used() -> None:
    async def main() -> None:
        peer = RTCPeerConnection()
        sender = peer.addTransceiver("audio").sender
        for name in PRIVATE_PARTS:
            assert hasattr(sender, name), f"aiortc has changed: RTCRtpSender has no {name}"
        for name in PRIVATE_PARTS_OF_DTLS:
            assert hasattr(sender.transport, name), f"aiortc has changed: RTCDtlsTransport has no {name}"
        assert hasattr(sender.transport.transport._connection, "_nominated")
        assert isinstance(CandidatePair.remote_addr, property)
        assert can_send_packets(sender)
        del sender._RTCRtpSender__mid  # type: ignore[attr-defined]
        assert not can_send_packets(sender)
        with pytest.raises(ServerFault):
            send_packets(sender, Mute())
        await peer.close()

    asyncio.run(main())


class Watched:
    """Notes a caller's packets as they were on the wire, before they are heard."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.packets: list[tuple[bool, Packet]] = []
        from signaling import rtp_in

        parse = rtp_in.parse_rtp

        def parse_and_note(datagram: bytes) -> OpusPacket | None:
            packet = parse(datagram)
            if packet is not None:
                self.packets.append((bool(datagram[1] & 0x80), packet))
            return packet

        monkeypatch.setattr(rtp_in, "parse_rtp", parse_and_note)


def test_a_talkspurt_is_marked_once_and_reports_tell_what_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)

    async def main() -> None:
        # Only the server sends.
        options = CallerOptions(audio="recvonly")
        async with asyncio.timeout(30), serving() as server, Caller(server.url, options) as caller:
            await caller.next_audible(0)
            assert caller._peer is not None
            receiver = caller._peer.getTransceivers()[0].receiver
            sent = None
            while sent is None:
                await asyncio.sleep(0.1)
                stats = (await receiver.getStats()).values()
                sent = next((each for each in stats if each.type == "remote-outbound-rtp"), None)
            marked = [index for index, (marker, _) in enumerate(watched.packets) if marker]
            packets = [packet for _, packet in watched.packets]
            assert len(marked) == 1, marked
            begin = packets[marked[0]]
            assert len(begin.payload) > 2
            for before, after in pairwise(packets):
                assert (after.sequence_number - before.sequence_number) & 0xFFFF == 1
                step = (after.timestamp - before.timestamp) & 0xFFFFFFFF
                assert step == 960 or after is begin
            assert 0 < sent.packetsSent <= len(packets)
            assert sent.bytesSent <= sum(len(packet.payload) for packet in packets)
            assert {packet.ssrc for packet in packets} == {sent.ssrc}

    asyncio.run(main())


def test_an_aiortc_that_changed_sends_the_track_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webrtc_call, "can_send_packets", lambda sender: False)

    async def main() -> None:
        async with asyncio.timeout(30), serving() as server, Caller(server.url) as caller:
            await caller.next_audible(0)

    asyncio.run(main())
    assert "not the one that was tested" in caplog.text
