"""Calls between two real WebRTC stacks on loopback, with a scripted conversation on the server's side."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcsctptransport import WEBRTC_STRING
from scripted_call import ScriptedConversation, serving
from webrtc_calls import SDP, audible, heard_s, loudest_hz, only, run, tone

from media.audio import concatenate, silence
from media.clock import loop_time_s
from media.events import CallFault, OutputBufferStarted
from signaling.caller import Caller, CallerOptions
from signaling.ice import loopback_gathered
from signaling.peer_signals import ChannelOpened, MessageCame, PeerSignals, Signal
from signaling.realtime_routes import CALLS_PATH


def test_both_hear_each_other_and_events_pass() -> None:
    async def main() -> None:
        async with serving() as server, Caller(server.url) as caller:
            conversation = only(server)
            created = await caller.next_event()
            assert created.type == "session.created"
            assert created.event["session"]["instructions"] == "Be brief."

            began_s = loop_time_s()
            left_s = await caller.say(concatenate([tone(1.0), silence(0.5, 24_000)], 24_000))
            assert left_s - began_s == pytest.approx(1.0, abs=0.2)
            heard = await heard_s(conversation, 1.4)
            assert loudest_hz(heard) == pytest.approx(1000, abs=20)

            at_s = await audible(caller)
            assert conversation.playout.began_s is not None
            # Encoder and loopback: no jitter buffer in between.
            assert 0 <= at_s - conversation.playout.began_s < 0.15
            assert loudest_hz(caller.recording().slice_s(0.5, 1.0)) == pytest.approx(440, abs=20)

            caller.type_text("Good morning.")
            added = await caller.next_event("conversation.item.added")
            assert added.event["item"]["content"] == [{"type": "input_text", "text": "Good morning."}]
            conversation.notify(CallFault("Something broke.", "engine_error"))
            error = await caller.next_event("error")
            assert error.event["error"]["type"] == "server_error"
            assert caller.setup is not None
            assert caller.setup.channel_s is not None
            assert caller.setup.channel_s < 5
        assert not server.calls
        assert conversation.closed

    run(main)


def test_the_answer_names_what_aiortc_leaves_out() -> None:
    async def main() -> None:
        async with serving() as server, Caller(server.url) as caller:
            assert caller.call_id.startswith("rtc_")
            sdp = caller.answer_sdp
            assert "useinbandfec=1" in sdp
            assert "a=msid:" in sdp
            assert " 127.0.0.1 " in sdp
            assert "a=end-of-candidates" in sdp

    run(main)


def test_text_alone_needs_no_audio() -> None:
    async def main() -> None:
        options = CallerOptions(audio="none")
        async with serving() as server, Caller(server.url, options) as caller:
            created = await caller.next_event("session.created")
            assert created.event["session"]["output_modalities"] == ["text"]
            update = {"type": "realtime", "output_modalities": ["audio"]}
            caller.send_event({"type": "session.update", "event_id": "e1", "session": update})
            error = await caller.next_event("error", "session.updated")
            assert error.event["error"]["event_id"] == "e1"
            assert error.event["error"]["param"] == "session.output_modalities"
            caller.type_text("Hello")
            await caller.next_event("conversation.item.done")
        assert only(server).acts[-1][0] == "create_response"

    run(main)


def test_a_text_that_is_none_is_refused_and_the_call_goes_on() -> None:
    async def main() -> None:
        async with serving() as server, Caller(server.url) as caller:
            await caller.next_event("session.created")
            channel = caller._channel
            assert channel is not None
            transport = channel.transport
            transport._data_channel_queue.append((channel, WEBRTC_STRING, b'{"type": "\xff"}'))
            await transport._data_channel_flush()
            error = await caller.next_event("error")
            assert error.event["error"]["code"] == "invalid_json"
            caller.send_event({"type": "session.update", "session": {}})
            await caller.next_event("session.updated")

    run(main)


def test_a_wish_that_comes_with_the_channels_opening_finds_the_conversation_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put = PeerSignals._put

    def put_and_follow(signals: PeerSignals, signal: Signal) -> None:
        put(signals, signal)
        if isinstance(signal, ChannelOpened):
            wish = MessageCame('{"type": "response.create"}')
            asyncio.get_running_loop().call_soon(put, signals, wish)

    class Attentive(ScriptedConversation):
        """Notes of each wish whether it ran by then."""

        def _act(self, *what: Any) -> None:
            super()._act(*what, self.began.is_set())

    monkeypatch.setattr(PeerSignals, "_put", put_and_follow)

    async def main() -> None:
        async with serving(converse=Attentive) as server, Caller(server.url) as caller:
            caller.send_event({"type": "session.update", "session": {}})
            await caller.next_event("session.updated", "error")
            ran = {act[0]: act[-1] for act in only(server).acts}
            assert ran == {"create_response": True, "update": True}

    run(main)


def test_a_caller_without_a_microphone_hears() -> None:
    async def main() -> None:
        async with serving() as server, Caller(server.url, CallerOptions(audio="recvonly")) as caller:
            await audible(caller)
            assert not only(server).heard

    run(main)


def test_a_caller_who_only_speaks_is_heard() -> None:
    async def main() -> None:
        async with serving() as server, Caller(server.url, CallerOptions(audio="sendonly")) as caller:
            await caller.say(tone(0.6))
            assert loudest_hz(await heard_s(only(server), 0.6)) == pytest.approx(1000, abs=30)
            assert not caller.heard
            assert only(server).session.modality == "text"

    run(main)


def test_a_call_without_a_data_channel_works() -> None:
    async def main() -> None:
        async with serving() as server, Caller(server.url, CallerOptions(data_channel=False)) as caller:
            only(server).notify(OutputBufferStarted("resp_1"))
            await audible(caller)
            assert not caller.events

    run(main)


def test_the_session_of_the_offer_holds_from_the_start() -> None:
    async def main() -> None:
        session = {"greeting": "", "audio": {"output": {"voice": "bf_emma", "speed": 1.5}}}
        async with serving() as server, Caller(server.url, CallerOptions(session=session)) as caller:
            created = await caller.next_event("session.created")
            assert created.event["session"]["audio"]["output"]["voice"] == "bf_emma"
            assert only(server).session.greeting == ""

    run(main)


def test_an_offer_without_candidates_connects() -> None:
    """By the caller's own checks."""

    async def main() -> None:
        async with serving() as server:
            options = CallerOptions(names_candidates=False)
            async with Caller(server.url, options) as caller:
                await audible(caller)

    run(main)


@pytest.mark.parametrize("kinds", [("audio", "video"), ("video", "audio"), ("audio", "audio"), ("video",)])
def test_what_is_of_no_use_in_an_offer_stays_idle(kinds: tuple[str, ...]) -> None:
    """Pictures, and a second voice: declined, while the first voice and the events work."""

    async def main() -> None:
        async with serving() as server, aiohttp.ClientSession(server.url) as http:
            peer = RTCPeerConnection(RTCConfiguration([], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
            for kind in kinds:
                peer.addTransceiver(kind)
            channel = peer.createDataChannel("oai-events")
            first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            channel.once("message", first.set_result)
            with loopback_gathered(True):
                await peer.setLocalDescription()
            sdp = peer.localDescription.sdp.encode()
            async with http.post(CALLS_PATH, data=sdp, headers=SDP) as response:
                answer = await response.text()
            await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
            assert json.loads(await first)["type"] == "session.created"
            directions = [(each.kind, each.currentDirection) for each in peer.getTransceivers()]
            assert directions.count(("audio", "sendrecv")) == min(1, kinds.count("audio"))
            assert directions.count(("video", "inactive")) == kinds.count("video")
            await peer.close()

    run(main)
