"""What is used of aiortc's insides is there. That packets are heard is proved by the other tests' calls."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import threading

import pytest
from aiortc import RTCPeerConnection, RTCRtpReceiver
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpreceiver import StreamStatistics
from scripted_call import serving

from media.errors import ServerFault
from signaling import caller_voice
from signaling.caller import Caller
from signaling.rtp_in import PRIVATE_PARTS, can_take_packets, take_packets

COPIED = "d6d8d8d7a0bf4e95"
"""SHA-256 of `RTCRtpReceiver.receive`; `signaling.rtp_in` does as it does, but for the thread."""


def test_the_method_that_is_replaced_has_not_changed() -> None:
    source = inspect.getsource(RTCRtpReceiver.receive)
    assert hashlib.sha256(source.encode()).hexdigest().startswith(COPIED), (
        "aiortc has changed RTCRtpReceiver.receive: compare it with signaling.rtp_in, then change COPIED"
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
