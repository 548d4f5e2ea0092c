"""What the page asks over HTTP, and what strangers ask, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from scripted_call import Serving, serving

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
        json_type = {"Content-Type": "application/json"}
        assert (await ask("PATCH", "/api/settings", data="{", headers=json_type)).body["code"] == "not_json"
        plain = await ask("PATCH", "/api/settings", data="hello")
        assert (plain.status, plain.body["code"]) == (415, "unsupported_media_type")

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
        wrong = await ask("POST", "/api/settings")
        assert (wrong.status, wrong.headers["Allow"]) == (405, "PATCH")

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
