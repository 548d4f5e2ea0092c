"""Calls between two real WebRTC stacks on loopback, with a scripted conversation on the server's side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from typing import Any

import aiohttp
import aioice.ice
import numpy as np
import pytest
from aiohttp import web
from aioice import stun
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcsctptransport import WEBRTC_STRING
from scripted_call import ScriptedConversation, Serving, serving

from media.audio import Audio, concatenate, silence
from media.clock import loop_time_s
from media.errors import CallerError
from media.events import CallFault, OutputBufferStarted
from signaling.caller import Caller, CallerOptions, CallRefused
from signaling.hearing import CallFailed
from signaling.ice import loopback_gathered
from signaling.peer_signals import ChannelOpened, MessageCame, PeerSignals, Signal
from signaling.realtime_routes import CALLS_PATH
from signaling.webrtc_call import CLOSE_TIMEOUT_S

SDP = {"Content-Type": "application/sdp"}


def tone(duration_s: float, frequency_hz: float = 1000, rate_hz: int = 24_000) -> Audio:
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    return Audio((9000 * np.sin(2 * np.pi * frequency_hz * t)).astype(np.int16), rate_hz)


def loudest_hz(audio: Audio) -> float:
    spectrum = np.abs(np.fft.rfft(audio.as_float32()))
    return float(np.argmax(spectrum) * audio.rate_hz / len(audio))


def only(server: Serving) -> ScriptedConversation:
    (conversation,) = server.host.conversations
    return conversation


async def heard_s(conversation: ScriptedConversation, duration_s: float) -> Audio:
    """What the conversation heard, once it is so much."""
    while sum(len(audio) for audio in conversation.heard) < duration_s * 16_000:
        conversation.more_heard.clear()
        await conversation.more_heard.wait()
    return concatenate(conversation.heard, 16_000)


async def audible(caller: Caller, after_s: float = 0) -> float:
    return (await caller.next_audible(after_s)).at_s


def run(main: Any, limit_s: float = 30) -> None:
    async def limited() -> None:
        async with asyncio.timeout(limit_s):
            await main()

    asyncio.run(limited())


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


def test_the_greeting_waits_for_the_connection() -> None:
    """An offer that is never followed up starts no conversation, and its slot is free again in time."""

    async def main() -> None:
        async with serving(slots=1, connect_timeout_s=0.5) as server:
            offer = await offer_of_a_stranger()
            async with aiohttp.ClientSession() as http:
                url = f"{server.url}{CALLS_PATH}"
                async with http.post(url, data=offer.encode(), headers=SDP) as response:
                    assert response.status == 201
                assert len(server.calls) == 1
                async with http.post(url, data=offer.encode(), headers=SDP) as response:
                    assert response.status == 503
                    assert response.headers["Retry-After"] == "7"
            await server.host.all_free()
            assert not only(server).began.is_set()
            assert only(server).closed
            assert not server.calls

    run(main)


def test_vanishing_mid_word_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The laptop's lid closes: nothing answers any more, and consent (RFC 7675) runs out.

    In half a minute; here it is asked for ten times as often.
    """
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", aioice.ice.CONSENT_INTERVAL / 10)

    async def main() -> None:
        async with serving() as server, Caller(server.url) as caller:
            await audible(caller)
            await caller.vanish()
            await server.host.all_free()
            assert only(server).closed

    run(main)


def test_a_page_that_is_closed_ends_the_call_at_once() -> None:
    """No hang-up reaches the server, but the browser's DTLS says goodbye."""

    async def main() -> None:
        async with serving() as server, Caller(server.url) as caller:
            await audible(caller)
            began_s = loop_time_s()
            await caller.leave()
            await server.host.all_free()
            assert loop_time_s() - began_s < 3

    run(main)


def test_hanging_up_tells_the_caller() -> None:
    async def main() -> None:
        async with serving() as server, Caller(server.url) as caller:
            server.calls.get(caller.call_id).hang_up()
            await caller.ended.wait()

    run(main)


def test_whoever_waits_in_a_call_that_ends_is_told() -> None:
    """Waiting for an event, for a sound, or until something long was said."""

    async def main() -> None:
        async with serving() as server, Caller(server.url) as caller:

            async def told(waiting: Coroutine[Any, Any, Any]) -> None:
                with pytest.raises(CallFailed, match=r"^The server ended the call\.$"):
                    await waiting

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(told(caller.next_event("response.done")))
                tasks.create_task(told(caller.next_audible(loop_time_s() + 1000)))
                tasks.create_task(told(caller.say(tone(60))))
                await asyncio.sleep(0)
                server.calls.get(caller.call_id).hang_up()
            with pytest.raises(CallFailed):
                await caller.say(tone(1))
            with pytest.raises(CallFailed):
                await caller.next_event("response.done")

    run(main)


class StunServer(asyncio.DatagramProtocol):
    """Says to everybody where they are, and notes who asked."""

    def __init__(self) -> None:
        self.asked_by: set[tuple[str, int]] = set()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = stun.parse_message(data)
        answer = stun.Message(request.message_method, stun.Class.RESPONSE, request.transaction_id)
        answer.attributes["XOR-MAPPED-ADDRESS"] = addr
        self._transport.sendto(bytes(answer), addr)
        self.asked_by.add(addr)


def test_the_caller_asks_the_ice_servers_that_the_server_names() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, stun_server = await loop.create_datagram_endpoint(StunServer, ("127.0.0.1", 0))
        url = f"stun:127.0.0.1:{transport.get_extra_info('sockname')[1]}"
        asked = []
        async with serving(servers=({"urls": (url,)},)) as server:
            for options in (CallerOptions(ice_servers=()), CallerOptions()):
                stun_server.asked_by.clear()
                async with Caller(server.url, options) as caller:
                    await audible(caller)
                    asked.append(len(stun_server.asked_by))
        transport.close()
        assert asked[1] == 2 * asked[0] > 0, "the server's sockets, then the caller's too"

    run(main)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "127.0.0.1:8000", "", "http://", "ws://a", "http://a:99999"]
)
def test_what_is_no_address_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(CallerError, match=r"is not a server's address: write it as http://127\.0\.0\.1:8000"):
        Caller(url)


PASSED_ON = ("Content-Type", "Location")


def test_a_server_behind_a_folder_of_a_site_is_called() -> None:
    async def main() -> None:
        async with serving() as server, aiohttp.ClientSession() as http:

            async def pass_on(request: web.Request) -> web.Response:
                target, body = f"{server.url}/{request.match_info['rest']}", await request.read()
                kind = {"Content-Type": request.headers.get("Content-Type", "")}
                async with http.request(request.method, target, data=body, headers=kind) as answer:
                    passed = {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}
                    return web.Response(status=answer.status, body=await answer.read(), headers=passed)

            site = web.Application()
            site.router.add_route("*", "/voice/{rest:.*}", pass_on)
            runner = web.AppRunner(site)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            async with Caller(f"http://127.0.0.1:{runner.addresses[0][1]}/voice/") as caller:
                await audible(caller)
            await runner.cleanup()

    run(main)


def test_somebody_else_who_answers_is_told_from_a_server() -> None:
    async def main() -> None:
        async def page(_request: web.Request) -> web.Response:
            return web.Response(text="<p>hello")

        site = web.Application()
        site.router.add_route("*", "/{rest:.*}", page)
        runner = web.AppRunner(site)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        with pytest.raises(CallFailed, match="is not this kind of server"):
            async with Caller(f"http://127.0.0.1:{runner.addresses[0][1]}"):
                raise AssertionError("not reached")
        await runner.cleanup()

    run(main)


def test_a_conversation_that_breaks_ends_its_call_only() -> None:
    async def main() -> None:
        async with serving() as server, Caller(server.url) as broken, Caller(server.url) as sound:
            conversation = server.host.conversations[0]
            conversation.fails = RuntimeError("broken")
            conversation.close()
            await broken.ended.wait()
            began_s = loop_time_s()
            await audible(sound, began_s)
            assert [type(failure) for failure in server.host.failures] == [ExceptionGroup]

    run(main)


def test_a_connection_that_hangs_while_it_closes_gives_up_its_slot() -> None:
    """aiortc waits for its sender's task for ever; here that task will not end."""

    async def main() -> None:
        async with serving() as server, Caller(server.url) as caller:
            await audible(caller)
            playout = only(server).playout
            playout.unstuck.clear()
            await playout.got_stuck.wait()
            began_s = loop_time_s()
            server.calls.get(caller.call_id).hang_up()
            await server.host.all_free()
            assert CLOSE_TIMEOUT_S - 0.1 < loop_time_s() - began_s < 2 * CLOSE_TIMEOUT_S
            playout.unstuck.set()

    run(main)


def test_calls_one_after_the_other_leave_nothing_behind() -> None:
    """The fixtures of every test count sockets and tasks; here also a line is free each time."""

    async def main() -> None:
        async with serving(slots=1) as server:
            for _ in range(4):
                async with Caller(server.url) as caller:
                    await audible(caller)
                await server.host.all_free()
            assert asyncio.current_task() is not None
            names = [task.get_name() for task in asyncio.all_tasks()]
            assert not [name for name in names if name.startswith("rtc_")]

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


def test_a_server_that_is_full_says_so() -> None:
    async def main() -> None:
        async with serving(slots=0) as server:
            with pytest.raises(CallRefused) as refused:
                async with Caller(server.url):
                    raise AssertionError("not reached")
            assert refused.value.status == 503
            assert refused.value.code == "server_full"

    run(main)


def offer_form(sdp: str, session: Mapping[str, Any] | str | None = None) -> aiohttp.FormData:
    """An offer as the page sends it. A session that is a text is sent as it stands."""
    text = session if isinstance(session, str) or session is None else json.dumps(session)
    parts = {"sdp": sdp} if text is None else {"sdp": sdp, "session": text}
    return aiohttp.FormData(parts, default_to_multipart=True)


async def offer_of_a_stranger() -> str:
    """A complete offer of somebody who will never be there."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("audio")
    peer.createDataChannel("oai-events")
    await peer.setLocalDescription()
    sdp: str = peer.localDescription.sdp
    await peer.close()
    return sdp
