"""WHIP over HTTP: what RFC 9725 asks for, request by request, over real sockets on loopback."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from scripted_call import Serving, serving
from webrtc_calls import SDP, heard_s, loudest_hz, only, run, tone

from media.audio import Audio
from signaling.ice import loopback_gathered
from signaling.microphone import Microphone
from signaling.microphone_track import MicrophoneTrack
from signaling.realtime_routes import CALLS_PATH
from signaling.settings import AccessSettings

KEY = "a-key-of-sixteen-letters"
FRAGMENT = "application/trickle-ice-sdpfrag"
SECTION = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
CANDIDATE = "a=candidate:1 1 udp 2122260223 127.0.0.1 9 typ host\r\n"


class Reply:
    """Status, headers and body of an answer; a problem's members where it is one."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = body.decode()
        self.problem: Any = {}
        if self.status >= 400:
            assert response.content_type == "application/problem+json"
            self.problem = json.loads(body)

    @property
    def refusal(self) -> tuple[int, str]:
        return self.status, self.problem["code"]


Ask = Callable[..., Awaitable[Reply]]


def serve(test: Callable[[Serving, Ask], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with serving(**options) as server, aiohttp.ClientSession(server.url) as http:

            async def ask(method: str, path: str, **request: Any) -> Reply:
                async with http.request(method, path, **request) as response:
                    return Reply(response, await response.read())

            await test(server, ask)

    run(main)


async def offer(direction: str = "sendonly", *, channel: bool = False, **tracks: int) -> str:
    """Of somebody who will never be there: so many `audio` and `video` tracks, one of sound by default."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind, count in {"audio": 1, **tracks}.items():
        for _ in range(count):
            peer.addTransceiver(kind, direction=direction)
    if channel:
        peer.createDataChannel("oai-events")
    await peer.setLocalDescription()
    sdp: str = peer.localDescription.sdp
    await peer.close()
    return sdp


def session_of(reply: Reply, endpoint: str = "/whip") -> str:
    return urljoin(endpoint, reply.headers["Location"])


def ice_of(sdp: str) -> str:
    """The lines by which a fragment names its ICE session."""
    return "".join(f"{line}\r\n" for line in re.findall(r"a=ice-(?:ufrag|pwd):\S+", sdp)[:2])


def test_a_publishers_session_from_its_offer_to_its_end() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        sdp = await offer()
        made = await ask("POST", "/whip", data=sdp, headers=SDP)
        assert made.status == 201
        assert made.headers["Content-Type"] == "application/sdp"
        assert re.fullmatch(r'"[!#-~]+"', made.headers["ETag"])
        assert made.headers["Accept-Patch"] == FRAGMENT
        assert "a=recvonly\r\n" in made.text
        assert "a=rtcp-mux-only\r\n" in made.text
        assert "a=candidate:" in made.text
        assert "a=end-of-candidates" in made.text

        session = session_of(made)
        matching = {"Content-Type": FRAGMENT, "If-Match": made.headers["ETag"]}
        fragment = ice_of(sdp) + SECTION + CANDIDATE + "a=end-of-candidates\r\n"
        trickled = await ask("PATCH", session, data=fragment, headers=matching)
        assert (trickled.status, trickled.text) == (204, "")
        assert "ETag" not in trickled.headers

        assert (await ask("GET", session)).status == 204
        ended = await ask("DELETE", session, headers={"If-Match": '"another"'})
        assert ended.status == 200
        for method in ("DELETE", "GET", "PATCH"):
            gone = await ask(method, session, headers=matching)
            assert gone.refusal == (404, "call_not_found")
        await server.host.all_free()
        assert only(server).closed

    serve(test)


def test_the_location_holds_behind_a_proxy_that_knows_us_by_another_path() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        made = await ask("POST", "/whip?key=value", data=await offer(), headers=SDP)
        call_id = made.headers["Location"].removeprefix("whip/")
        outside = "https://voice.example/calls/whip?key=value"
        assert session_of(made, outside) == f"https://voice.example/calls/whip/{call_id}"
        await ask("DELETE", session_of(made))

    serve(test)


def test_preconditions() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        sdp = await offer()
        made = await ask("POST", "/whip", data=sdp, headers=SDP)
        etag = made.headers["ETag"]
        for condition, status in (
            ({"If-Match": etag}, 204),
            ({"If-Match": f'"older", {etag}'}, 204),
            ({"If-Match": "*"}, 204),
            ({}, 428),
            ({"If-Match": '"older"'}, 412),
            ({"If-Match": f"W/{etag}"}, 412),
            ({"If-Match": etag.strip('"')}, 412),
            ({"If-Match": ""}, 428),
            # What @eyevinn/whip-web-client sends.
            ({"ETag": etag}, 204),
            ({"ETag": '"older"'}, 412),
            ({"ETag": etag, "If-Match": '"older"'}, 412),
        ):
            headers = {"Content-Type": FRAGMENT, **condition}
            reply = await ask("PATCH", session_of(made), data=ice_of(sdp) + SECTION, headers=headers)
            assert reply.status == status, condition
        await ask("DELETE", session_of(made))

    serve(test)


def test_an_ice_restart_is_refused_and_the_session_goes_on() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        sdp = await offer()
        made = await ask("POST", "/whip", data=sdp, headers=SDP)
        headers = {"Content-Type": FRAGMENT, "If-Match": "*"}
        restarted = ice_of(await offer()) + SECTION + CANDIDATE
        refused = await ask("PATCH", session_of(made), data=restarted, headers=headers)
        assert refused.refusal == (422, "ice_restart_unsupported")
        assert not only(server).closed
        again = await ask("PATCH", session_of(made), data=ice_of(sdp) + SECTION + CANDIDATE, headers=headers)
        assert again.status == 204
        await ask("DELETE", session_of(made))

    serve(test)


def test_bad_offers_are_refused_whole_and_take_no_slot() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        sdp = await offer()
        cases: list[tuple[Any, dict[str, str], tuple[int, str]]] = [
            (sdp, {}, (415, "unsupported_media_type")),
            (sdp, {"Content-Type": "application/json"}, (415, "unsupported_media_type")),
            ("", SDP, (400, "invalid_sdp")),
            ("hello", SDP, (400, "invalid_sdp")),
            (b"v=0\xff", SDP, (400, "invalid_sdp")),
            (sdp.replace("a=ice-pwd", "a=x"), SDP, (400, "invalid_sdp")),
            ("v=0" + " " * 300_000, SDP, (413, "body_too_large")),
            (await offer("recvonly"), SDP, (422, "unsupported_tracks")),
            (await offer(audio=2), SDP, (422, "unsupported_tracks")),
            (await offer(video=1), SDP, (422, "unsupported_tracks")),
            (await offer(audio=0, video=1), SDP, (422, "unsupported_tracks")),
            (await offer(audio=0, channel=True), SDP, (422, "unsupported_tracks")),
        ]
        for data, headers, refusal in cases:
            reply = await ask("POST", "/whip", data=data, headers=headers)
            assert reply.refusal == refusal
        wrong = await ask("POST", "/whip", data="x", headers={"Content-Type": "text/plain"})
        assert wrong.headers["Accept-Post"] == "application/sdp"
        assert not server.host.taken

    serve(test)


def test_bad_fragments_are_refused_and_nothing_of_them_holds() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        sdp = await offer()
        made = await ask("POST", "/whip", data=sdp, headers=SDP)
        ice, session = ice_of(sdp), session_of(made)
        matching = {"Content-Type": FRAGMENT, "If-Match": made.headers["ETag"]}
        for data, refusal in (
            ("", (400, "invalid_sdp_fragment")),
            (b"\xff", (400, "invalid_sdp_fragment")),
            (SECTION + CANDIDATE, (400, "invalid_sdp_fragment")),
            (ice + CANDIDATE, (400, "invalid_sdp_fragment")),
            (ice + SECTION + CANDIDATE + "a=candidate:x\r\n", (400, "invalid_candidate")),
            (ice + " " * 300_000, (413, "body_too_large")),
        ):
            assert (await ask("PATCH", session, data=data, headers=matching)).refusal == refusal
        wrong = await ask("PATCH", session, data=ice, headers={**matching, "Content-Type": "application/sdp"})
        assert wrong.refusal == (415, "unsupported_media_type")
        assert wrong.headers["Accept-Patch"] == FRAGMENT
        await ask("DELETE", session)

    serve(test)


def test_only_whips_own_calls_are_sessions() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        place = (await ask("POST", CALLS_PATH, data=await offer("sendrecv"), headers=SDP)).headers["Location"]
        call = place.rpartition("/")[2]
        assert (await ask("DELETE", f"/whip/{call}")).refusal == (404, "call_not_found")
        assert (await ask("POST", f"{place}/hangup")).status == 200
        async with aiohttp.ClientSession(server.url) as http, http.ws_connect("/ws") as socket:
            call = (await socket.receive_json())["call_id"]
            assert (await ask("DELETE", f"/whip/{call}")).refusal == (404, "call_not_found")

    serve(test)


def test_a_full_server_says_when_to_come_back() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        reply = await ask("POST", "/whip", data=await offer(), headers=SDP)
        assert reply.refusal == (503, "server_full")
        assert reply.headers["Retry-After"] == "7"

    serve(test, slots=0)


def test_ice_servers_are_links() -> None:
    """Nobody is there, and each refuses at once: this side, too, would ask them."""
    urls = ("turn:127.0.0.1:9?transport=tcp", "turns:127.0.0.1:9?transport=tcp")
    user = r'username="me"; credential="a\"b\\c=="; credential-type="password"'

    async def test(server: Serving, ask: Ask) -> None:
        links = [*(f'<{url}>; rel="ice-server"; {user}' for url in urls), f'<{urls[0]}>; rel="ice-server"']
        made = await ask("POST", "/whip", data=await offer(), headers=SDP)
        assert made.headers.getall("Link") == links
        await ask("DELETE", session_of(made))
        assert (await ask("OPTIONS", "/whip")).headers.getall("Link") == links
        preflight = {"Origin": server.url, "Access-Control-Request-Method": "POST"}
        assert "Link" not in (await ask("OPTIONS", "/whip", headers=preflight)).headers

    known = {"urls": urls, "username": "me", "credential": r'a"b\c=='}
    serve(test, servers=(known, {"urls": urls[:1]}))


def test_who_has_no_key_publishes_nothing_and_is_told_no_ice_servers() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        bearer = {"Authorization": f"Bearer {KEY}"}
        refused = await ask("POST", "/whip", data=await offer(), headers=SDP)
        assert refused.refusal == (401, "missing_api_key")
        made = await ask("POST", "/whip", data=await offer(), headers=SDP | bearer)
        assert made.status == 201
        for method in ("PATCH", "DELETE"):
            assert (await ask(method, session_of(made))).refusal == (401, "missing_api_key")
        assert (await ask("DELETE", session_of(made), headers=bearer)).status == 200
        assert "Link" not in (await ask("OPTIONS", "/whip")).headers
        assert "Link" in (await ask("OPTIONS", "/whip", headers=bearer)).headers

    turn = {"urls": ("turn:127.0.0.1:9?transport=tcp",), "username": "me", "credential": "secret"}
    serve(test, servers=(turn,), access=AccessSettings.model_validate({"api_keys": [KEY]}))


def test_options_say_what_can_be_done() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        told = await ask("OPTIONS", "/whip")
        assert told.status == 204
        assert told.headers["Accept-Post"] == "application/sdp"
        assert "PATCH" in told.headers["Access-Control-Allow-Methods"].split(", ")
        told = await ask("OPTIONS", "/whip/rtc_0")
        assert told.status == 204
        assert told.headers["Accept-Patch"] == FRAGMENT
        assert (await ask("GET", "/whip")).status == 204
        assert (await ask("PUT", "/whip")).status == 405

    serve(test)


def test_a_publisher_whom_no_answer_reaches_is_not_answered() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        for direction, channel, answered in (
            ("sendonly", False, False),
            ("sendonly", True, True),
            ("sendrecv", False, True),
        ):
            sdp = await offer(direction, channel=channel)
            made = await ask("POST", "/whip", data=sdp, headers=SDP)
            session = server.host.conversations[-1].session
            assert session.turn_detection is not None
            assert session.turn_detection.create_response is answered
            assert bool(session.greeting) is answered
            assert ("a=sendrecv" in made.text) is (direction == "sendrecv")
            await ask("DELETE", session_of(made))

    serve(test)


@pytest.mark.parametrize("direction", ["sendonly", "sendrecv"])
def test_a_publisher_is_heard_and_hears(direction: str) -> None:
    """The offer has no candidates: they are trickled."""

    async def test(server: Serving, ask: Ask) -> None:
        microphone = Microphone()
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.addTransceiver(MicrophoneTrack(microphone), direction=direction)
        with loopback_gathered(True):
            await peer.setLocalDescription()
        sdp: str = peer.localDescription.sdp
        candidates = re.findall(r"a=candidate:[^\r]+\r\n", sdp)
        bare = re.sub(r"a=(candidate:|end-of-candidates)[^\r]*\r\n", "", sdp)
        made = await ask("POST", "/whip", data=bare, headers=SDP)
        await peer.setRemoteDescription(RTCSessionDescription(made.text, "answer"))
        fragment = ice_of(sdp) + SECTION + "".join(candidates) + "a=end-of-candidates\r\n"
        headers = {"Content-Type": FRAGMENT, "If-Match": made.headers["ETag"]}
        assert (await ask("PATCH", session_of(made), data=fragment, headers=headers)).status == 204
        await microphone.say(tone(0.8))
        assert loudest_hz(await heard_s(only(server), 0.7)) == pytest.approx(1000, abs=30)
        if direction == "sendrecv":
            (receiver,) = peer.getReceivers()
            heard = [await receiver.track.recv() for _ in range(40)]
            sound = Audio(heard[-1].to_ndarray().reshape(-1, 2)[:, 0].copy(), heard[-1].sample_rate)
            assert loudest_hz(sound) == pytest.approx(440, abs=60)
        assert (await ask("DELETE", session_of(made))).status == 200
        await server.host.all_free()
        await peer.close()

    serve(test)
