"""The HTTP interface, good requests and bad ones, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import yarl
from aiohttp import web
from scripted_call import Serving, serving
from test_webrtc_call import offer_of_a_stranger

from media.errors import EngineError
from signaling.problem import Handler, problem_middleware


class Answer:
    def __init__(self, response: aiohttp.ClientResponse, text: str) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body: Any = json.loads(text) if text else {}
        if self.status >= 400:
            assert response.content_type == "application/problem+json"
            assert self.body["status"] == self.status
            assert self.body["title"]
            assert self.body["detail"]


Ask = Callable[..., Awaitable[Answer]]


def serve(test: Callable[[Serving, Ask], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(20),
            serving(**options) as server,
            aiohttp.ClientSession(server.url) as http,
        ):

            async def ask(method: str, path: str, **request: Any) -> Answer:
                async with http.request(method, path, **request) as response:
                    return Answer(response, await response.text())

            await test(server, ask)

    asyncio.run(main())


def test_bad_offers_are_refused_and_take_no_slot() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        json_type = {"Content-Type": "application/json"}
        cases: list[tuple[dict[str, Any], int, str, str | None]] = [
            ({"data": "{", "headers": json_type}, 400, "not_json", None),
            ({"data": "hello"}, 415, "unsupported_media_type", None),
            ({"json": []}, 400, "invalid_value", None),
            ({"json": {}}, 400, "missing_required_parameter", "type"),
            ({"json": {"type": "answer", "sdp": "v=0"}}, 400, "invalid_value", "type"),
            ({"json": {"type": "offer", "sdp": 5}}, 400, "invalid_value", "sdp"),
            ({"json": {"type": "offer", "sdp": "hello"}}, 400, "invalid_sdp", "sdp"),
            ({"json": {"type": "offer", "sdp": "v=0\r\ns=-\r\n"}}, 400, "unsupported_media", "sdp"),
            (
                {"json": {"type": "offer", "sdp": "v=0", "session": {"audio": {"output": {"speed": 9}}}}},
                400,
                "invalid_value",
                "session.audio.output.speed",
            ),
            (
                {"json": {"type": "offer", "sdp": "v=0", "session": {"instructions": "x" * 20_001}}},
                400,
                "invalid_value",
                "session.instructions",
            ),
            (
                {"json": {"type": "offer", "sdp": "v=0", "session": {"greeting": "x" * 1001}}},
                400,
                "invalid_value",
                "session.greeting",
            ),
            ({"data": io.BytesIO(b" " * 10_000_000), "headers": json_type}, 413, "body_too_large", None),
        ]
        for request, status, code, param in cases:
            answer = await ask("POST", "/api/offer", **request)
            assert (answer.status, answer.body["code"], answer.body.get("param")) == (status, code, param)
        assert not server.host.conversations
        assert not server.host.taken

    serve(test)


def test_a_body_without_a_length_is_cut_off_too() -> None:
    async def endless() -> Any:
        for _ in range(1000):
            yield b" " * 10_000

    async def test(server: Serving, ask: Ask) -> None:
        answer = await ask("POST", "/api/offer", data=endless(), headers={"Content-Type": "application/json"})
        assert answer.status == 413

    serve(test)


def test_a_client_that_goes_away_in_its_body_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async def test(server: Serving, ask: Ask) -> None:
        place = yarl.URL(server.url)
        _, writer = await asyncio.open_connection(place.host, place.port)
        head = f"POST /api/offer HTTP/1.1\r\nHost: localhost:{place.port}\r\nContent-Length: 1000\r\n"
        writer.write(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
        await writer.drain()
        # Another request's answer says that the first one is being read.
        await ask("GET", "/api/config")
        writer.close()
        await writer.wait_closed()
        await ask("GET", "/api/config")
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    serve(test)


def test_an_offer_that_aiortc_cannot_take_frees_its_slot() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        offer = await offer_of_a_stranger()
        broken = offer.replace("UDP/DTLS/SCTP", "DTLS/SCTP")
        answer = await ask("POST", "/api/offer", json={"type": "offer", "sdp": broken})
        assert (answer.status, answer.body["code"]) == (400, "invalid_sdp")
        assert not server.host.taken
        assert server.host.conversations[0].closed

    serve(test)


def test_a_calls_life_over_http() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        offer = {"type": "offer", "sdp": await offer_of_a_stranger()}
        answer = await ask("POST", "/api/offer", json=offer)
        assert answer.status == 200
        assert answer.body["type"] == "answer"
        call = f"/api/calls/{answer.body['call_id']}"
        assert answer.headers["Location"] == call

        candidate = {
            "candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host",
            "sdpMid": "0",
            "sdpMLineIndex": 0,
        }
        assert (await ask("PATCH", call, json={"candidate": candidate})).status == 204
        assert (await ask("PATCH", call, json={"candidates": [candidate, None]})).status == 204
        bad = await ask("PATCH", call, json={"candidate": {"candidate": "candidate:x"}})
        assert (bad.status, bad.body["code"]) == (400, "invalid_candidate")

        assert (await ask("DELETE", call)).status == 204
        await server.host.all_free()
        gone = await ask("DELETE", call)
        assert (gone.status, gone.body["code"]) == (404, "call_not_found")
        assert (await ask("PATCH", "/api/calls/rtc_0", json={})).status == 404

    serve(test)


def test_a_full_server_says_when_to_come_back() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        answer = await ask("POST", "/api/offer", json={"type": "offer", "sdp": await offer_of_a_stranger()})
        assert (answer.status, answer.body["code"]) == (503, "server_full")
        assert answer.headers["Retry-After"] == "7"

    serve(test, slots=0)


def test_what_the_page_is_told() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        answer = await ask("GET", "/api/config")
        turn = {"urls": ["turn:turn.example:3478"], "username": "me", "credential": "secret"}
        assert answer.body == {
            "voices": ["af_heart"],
            "ice_servers": [{"urls": ["stun:stun.example:3478"]}, turn],
        }

    servers = (
        {"urls": ("stun:stun.example:3478",)},
        {"urls": ("turn:turn.example:3478",), "username": "me", "credential": "secret"},
    )
    serve(test, servers=servers)


def test_settings_change_or_are_refused() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        answer = await ask("PATCH", "/api/settings", json={"tts": {"voice": "bf_emma"}})
        assert answer.body == {"tts": {"voice": "bf_emma"}}
        refused = await ask("PATCH", "/api/settings", json={"ttts": {}})
        assert (refused.status, refused.body["code"], refused.body["param"]) == (
            422,
            "invalid_configuration",
            "ttts",
        )
        assert (await ask("PATCH", "/api/settings", json=[])).status == 400

    serve(test)


@pytest.mark.parametrize(
    ("remote", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("192.168.1.7", {}, 403),
        ("fe80::1%eth0", {}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "192.168.1.7"}, 403),
    ],
)
def test_settings_are_changed_from_this_machine_only(
    remote: str, headers: dict[str, str], status: int
) -> None:
    @web.middleware
    async def comes_from(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await handler(request.clone(remote=remote))

    async def main() -> None:
        async with serving(comes_from) as server, aiohttp.ClientSession(server.url) as http:
            change = {"tts": {"voice": "bf_emma"}}
            async with http.patch("/api/settings", json=change, headers=headers) as response:
                assert response.status == status
                if status == 403:
                    assert (await response.json())["code"] == "not_local"

    asyncio.run(main())


def test_what_is_not_there_is_a_problem_too() -> None:
    async def test(server: Serving, ask: Ask) -> None:
        assert (await ask("GET", "/nowhere")).body["code"] == "not_found"
        wrong = await ask("GET", "/api/offer")
        assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")

    serve(test)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "{url}"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost:80", "Origin": "http://localhost:80"}, 200),
        ({"Host": "localhost:80", "Origin": "https://localhost:80"}, 200),
    ],
)
def test_strangers_are_turned_away(headers: dict[str, str], status: int) -> None:
    async def test(server: Serving, ask: Ask) -> None:
        filled = {name: value.format(url=server.url) for name, value in headers.items()}
        answer = await ask("GET", "/api/config", headers=filled)
        assert answer.status == status
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in answer.headers

    serve(test)


def test_a_fault_of_ours_is_told_by_reference_only() -> None:
    """The reference is in the log beside the traceback; the client learns nothing of our insides."""

    async def broken(request: web.Request) -> web.Response:
        raise RuntimeError("the secret path /etc/x")

    async def unwell(request: web.Request) -> web.Response:
        raise EngineError("The engine is gone.")

    async def main() -> None:
        app = web.Application(middlewares=[problem_middleware])
        app.add_routes([web.get("/broken", broken), web.get("/unwell", unwell)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
            async with http.get("/broken") as response:
                answer = Answer(response, await response.text())
            assert answer.status == 500
            assert answer.body["reference"] in answer.body["detail"]
            assert "secret" not in json.dumps(answer.body)
            async with http.get("/unwell") as response:
                assert Answer(response, await response.text()).status == 503
                assert int(response.headers["Retry-After"]) > 0
        await runner.cleanup()

    asyncio.run(main())
