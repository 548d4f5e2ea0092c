"""Which hosts and origins are this server's own, and how others are let in."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr, ValidationError

from media.errors import ServerFull
from signaling.api_keys import given_key, is_key
from signaling.client_secrets import MAX_SECRETS, ClientSecrets
from signaling.guard import guard, headers_signal, host_allowed, origin_allowed
from signaling.problem import problem_middleware
from signaling.realtime_session_objects import SessionUpdate
from signaling.settings import AccessSettings


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("localhost:8000", True),
        ("LOCALHOST:8000", True),
        ("voice.localhost", True),
        ("127.0.0.1:8000", True),
        ("127.8.8.8", True),
        ("192.168.1.20:8443", True),
        ("[::1]:8000", True),
        ("[fe80::1]", True),
        ("voice.example", True),
        ("voice.example:443", True),
        ("evil.voice.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        (":8000", False),
        ("[", False),
    ],
)
def test_hosts(host: str, allowed: bool) -> None:
    assert host_allowed(host, ("voice.example",)) is allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:8000", True),
        ("https://localhost:8000", True),
        ("http://localhost:8001", False),
        ("http://localhost", False),
        ("file://localhost:8000", False),
        ("localhost:8000", False),
        ("null", False),
        ("https://page.example", True),
        ("http://page.example", False),
    ],
)
def test_origins(origin: str, allowed: bool) -> None:
    assert origin_allowed(origin, "localhost:8000", ("https://page.example",)) is allowed


def test_a_star_lets_everybody_in() -> None:
    assert host_allowed("any.example", ("*",))
    assert origin_allowed("https://any.example", "localhost", ("*",))


@pytest.mark.parametrize(
    ("field", "given", "held"),
    [
        ("allowed_hosts", "Voice.Example.ORG", "voice.example.org"),
        ("allowed_hosts", "voice.example.org.", "voice.example.org"),
        ("allowed_hosts", "*", "*"),
        ("allowed_origins", "HTTPS://Page.Example/", "https://page.example"),
        ("allowed_origins", "https://page.example:443", "https://page.example"),
        ("allowed_origins", "http://page.example:8080", "http://page.example:8080"),
        ("allowed_origins", "http://[::1]:8080", "http://[::1]:8080"),
        ("allowed_origins", "*", "*"),
    ],
)
def test_what_is_allowed_is_held_as_it_is_sent(field: str, given: str, held: str) -> None:
    assert getattr(AccessSettings.model_validate({field: [given]}), field) == (held,)


@pytest.mark.parametrize(
    "key", ["short", "x" * 300, "with spaces in between", "ek_0123456789abcdef", "ümlaut" * 4]
)
def test_keys_that_could_not_be_used_are_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="a key "):
        AccessSettings.model_validate({"api_keys": [key]})


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Authorization": "Bearer abc"}, "abc"),
        ({"Authorization": "bearer  abc "}, "abc"),
        ({"Authorization": "Basic abc"}, None),
        ({"Authorization": "Bearer"}, None),
        ({"Sec-WebSocket-Protocol": "realtime, openai-insecure-api-key.abc, openai-beta.realtime-v1"}, "abc"),
        ({"Sec-WebSocket-Protocol": "realtime"}, None),
        ({}, None),
    ],
)
def test_where_a_request_has_its_key(headers: dict[str, str], key: str | None) -> None:
    assert given_key(headers) == key


def test_a_key_is_one_of_the_keys() -> None:
    keys = (SecretStr("0123456789abcdef"), SecretStr("fedcba9876543210"))
    assert is_key("fedcba9876543210", keys)
    assert not is_key("fedcba987654321", keys)
    assert not is_key("", keys)
    assert not is_key("\udcff", keys)


def test_a_secret_expires_and_is_then_forgotten() -> None:
    secrets, session = ClientSecrets(), SessionUpdate(instructions="Hum.")
    value = secrets.create(session, expires_s=110, now_s=100)
    found = secrets.find(value, 109.9)
    assert found is not None
    assert found.session == session
    assert secrets.find(value, 110) is None
    assert secrets.find(value + "x", 100) is None
    assert secrets.find(None, 100) is None
    for _ in range(MAX_SECRETS - 1):
        secrets.create(session, expires_s=200, now_s=105)
    with pytest.raises(ServerFull):
        secrets.create(session, expires_s=200, now_s=109)
    secrets.create(session, expires_s=200, now_s=110)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("allowed_hosts", "voice.example:8000"),
        ("allowed_hosts", "https://voice.example"),
        ("allowed_hosts", "voice.example/"),
        ("allowed_hosts", "*.example"),
        ("allowed_hosts", ""),
        ("allowed_origins", "page.example"),
        ("allowed_origins", "https://page.example/path"),
        ("allowed_origins", "https://page.example:port"),
        ("allowed_origins", "https://*.example"),
        ("allowed_origins", "null"),
    ],
)
def test_what_could_never_be_sent_is_refused(field: str, given: str) -> None:
    with pytest.raises(ValidationError, match=r"a host is a bare name|an origin is scheme, host"):
        AccessSettings.model_validate({field: [given]})


def test_an_allowed_page_may_call_from_elsewhere() -> None:
    """The preflight is answered, and the answer may be read."""

    async def main() -> None:
        access = AccessSettings(allowed_origins=("https://page.example",))
        app = web.Application(middlewares=[problem_middleware, guard(access)])
        app.on_response_prepare.append(headers_signal(access))
        app.add_routes([web.post("/v1/realtime/calls", _made), web.options("/whip", _accepts)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        origin = {"Origin": "https://page.example"}
        preflight = {**origin, "Access-Control-Request-Method": "POST"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
            async with http.options("/v1/realtime/calls", headers=preflight) as response:
                assert response.status == 204
                assert "POST" in response.headers["Access-Control-Allow-Methods"]
                # What the vendor's own SDK sends from a page.
                for name in ("authorization", "content-type", "x-openai-agents-sdk"):
                    assert name in response.headers["Access-Control-Allow-Headers"]
                assert response.headers["Access-Control-Allow-Origin"] == "https://page.example"
            async with http.options("/whip", headers=preflight) as response:
                assert response.headers["Accept-Post"] == "application/sdp"
                assert "if-match" in response.headers["Access-Control-Allow-Headers"]
            async with http.options("/whip", headers=origin) as response:
                assert "Access-Control-Allow-Methods" in response.headers["Access-Control-Expose-Headers"]
            async with http.post("/v1/realtime/calls", headers=origin) as response:
                assert response.status == 201
                assert response.headers["Access-Control-Allow-Origin"] == "https://page.example"
                assert response.headers["Vary"] == "Origin"
                assert "Location" in response.headers["Access-Control-Expose-Headers"]
            async with http.options(
                "/v1/realtime/calls", headers={**preflight, "Origin": "https://e.example"}
            ) as other:
                assert other.status == 403
        await runner.cleanup()

    asyncio.run(main())


async def _made(request: web.Request) -> web.Response:
    return web.Response(status=201)


async def _accepts(request: web.Request) -> web.Response:
    return web.Response(headers={"Accept-Post": "application/sdp"})
