"""Being registered: by a registrar written by hand in virtual time, and at Kamailio."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sipmessage import URI, Request, Response

from signaling.sip.digest import parameters
from signaling.sip.messages import parse, response_to, serialise
from signaling.sip.registration import (
    NotRegistered,
    RegistrationState,
    granted_s,
    longer_s,
    retry_after_s,
    retry_s,
)
from tests import virtual_time
from tests.signaling.sip.agents import Agent, RawPeer, agent, raw_peer, until, with_sdp

CHALLENGE = 'Digest realm="pbx", nonce="n1", algorithm=MD5, qop="auth"'


def answer(request: Request, code: int, **headers: str) -> Response:
    response = response_to(request, code, to_tag="registrar")
    for name, value in headers.items():
        response.headers.set(name.replace("_", "-"), value)
    return response


@asynccontextmanager
async def registering(**account: Any) -> AsyncIterator[tuple[Agent, RawPeer]]:
    """A user agent with an account at the raw side; nobody else may call it."""
    async with raw_peer() as raw:
        uri = f"sip:100@127.0.0.1:{raw.port}"
        accounts = [{"uri": uri, "password": "secret", "expires_s": 60} | account]
        async with agent(accounts=accounts, access={}) as voice:
            yield voice, raw
            while not raw.silent:
                await raw.message()


async def registered(voice: Agent, raw: RawPeer, **headers: str) -> Request:
    """Accepts the next REGISTER."""
    request = await raw.request("REGISTER")
    raw.send(answer(request, 200, **headers), voice.port)
    await until(lambda: voice.sip.registrations[0].state is RegistrationState.REGISTERED)
    return request


def test_it_registers_with_a_password_and_renews() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with registering() as (voice, raw):
            first = await raw.request("REGISTER")
            assert first.uri == URI(scheme="sip", host="127.0.0.1", port=raw.port)
            assert "Authorization" not in first.headers.keys()  # noqa: SIM118
            assert voice.sip.registrations[0].state is RegistrationState.TRYING
            raw.send(answer(first, 401, WWW_Authenticate=CHALLENGE), voice.port)
            second = await registered(voice, raw, Expires="40")
            given = parameters(second.headers["Authorization"])
            assert given is not None
            assert (given["username"], given["nonce"], given["nc"]) == ("100", "n1", "00000001")
            assert second.call_id == first.call_id
            assert second.cseq.sequence == first.cseq.sequence + 1
            assert second.headers["Contact"] == f"<sip:100@127.0.0.1:{voice.port}>;expires=60"
            began_s = loop.time()
            third = await registered(voice, raw, Expires="40")
            assert loop.time() - began_s == pytest.approx(20, abs=1)
            assert "nc=00000002" in third.headers["Authorization"]

    virtual_time.run(main())


def test_it_ends_the_registration_when_the_server_stops() -> None:
    async def main() -> None:
        async with raw_peer() as raw:
            uri = f"sip:100@127.0.0.1:{raw.port}"
            last: list[Request] = []

            async def registrar(port: int) -> None:
                while True:
                    request = await raw.request("REGISTER")
                    last[:] = [request]
                    raw.send(answer(request, 200), port)

            async with asyncio.TaskGroup() as tasks:
                async with agent(accounts=[{"uri": uri}]) as voice:
                    serving = tasks.create_task(registrar(voice.port))
                    await until(lambda: voice.sip.registrations[0].state is RegistrationState.REGISTERED)
                assert last[0].headers["Expires"] == "0"
                assert last[0].headers["Contact"].endswith(";expires=0")
                assert voice.sip.registrations[0].state is RegistrationState.ENDED
                serving.cancel()

    virtual_time.run(main())


def test_the_registrar_wants_longer_registrations() -> None:
    async def main() -> None:
        async with registering() as (voice, raw):
            raw.send(answer(await raw.request("REGISTER"), 423, Min_Expires="300"), voice.port)
            again = await registered(voice, raw, Contact=f"<sip:100@127.0.0.1:{voice.port}>;expires=300")
            assert again.headers["Expires"] == "300"
            until_s = voice.sip.registrations[0].until_s
            assert until_s is not None

    virtual_time.run(main())


def test_it_tries_again_later_and_later() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with registering() as (voice, raw):
            raw.send(answer(await raw.request("REGISTER"), 503, Retry_After="60"), voice.port)
            failed_s = loop.time()
            await until(lambda: voice.sip.registrations[0].state is RegistrationState.FAILED)
            assert "503" in voice.sip.registrations[0].trouble
            await registered(voice, raw)
            assert loop.time() - failed_s >= 60

    virtual_time.run(main())


@pytest.mark.parametrize("account", [{}, {"password": None}])
def test_a_password_that_is_wrong_or_missing(account: dict[str, Any]) -> None:
    async def main() -> None:
        async with registering(**account) as (voice, raw):
            for _ in range(1 if account else 2):
                request = await raw.request("REGISTER")
                raw.send(answer(request, 401, WWW_Authenticate=CHALLENGE), voice.port)
            await until(lambda: voice.sip.registrations[0].state is RegistrationState.FAILED)
            assert "password" in voice.sip.registrations[0].trouble

    virtual_time.run(main())


def test_a_registrar_that_is_not_there() -> None:
    async def main() -> None:
        async with agent(accounts=[{"uri": "sip:100@127.0.0.1:9"}]) as voice:
            await until(lambda: voice.sip.registrations[0].state is RegistrationState.FAILED)
            assert voice.sip.registrations[0].trouble

    virtual_time.run(main())


def test_the_pbx_may_call_while_this_side_is_registered() -> None:
    async def main() -> None:
        async with registering() as (voice, raw):
            options = raw.make("OPTIONS", voice.port)
            raw.send(options, voice.port)
            await registered(voice, raw)
            raw.send(raw.make("OPTIONS", voice.port, cseq=2), voice.port)
            assert (await raw.response()).code == 200
            raw.send(with_sdp(raw.invite(voice.port)), voice.port)
            await raw.response(200)

    virtual_time.run(main())


def test_the_pbx_may_call_until_the_registration_is_over_though_it_refuses_another() -> None:
    async def main() -> None:
        async with registering() as (voice, raw):
            await registered(voice, raw)
            raw.send(answer(await raw.request("REGISTER"), 503, Retry_After="90"), voice.port)
            await until(lambda: voice.sip.registrations[0].state is RegistrationState.FAILED)
            assert (await _options(voice, raw, 2)).code == 200
            await asyncio.sleep(31)
            raw.send(raw.make("OPTIONS", voice.port, cseq=3), voice.port)
            again = await raw.message()
            assert isinstance(again, Request), "a stranger has no answer"
            assert again.method == "REGISTER"

    virtual_time.run(main())


async def _options(voice: Agent, raw: RawPeer, cseq: int) -> Response:
    raw.send(raw.make("OPTIONS", voice.port, cseq=cseq), voice.port)
    return await raw.response()


def test_a_registration_that_lasts_no_time_is_none() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with registering() as (voice, raw):
            raw.send(answer(await raw.request("REGISTER"), 200, Expires="0"), voice.port)
            began_s = loop.time()
            await raw.request("REGISTER")
            assert loop.time() - began_s > 2
            assert voice.sip.registrations[0].state is RegistrationState.FAILED

    virtual_time.run(main())


def test_a_connection_that_is_lost_has_it_register_anew() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        came: asyncio.Queue[float] = asyncio.Queue()
        closed = asyncio.Semaphore(0)

        async def registrar(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = parse(await reader.readuntil(b"\r\n\r\n"))
            assert isinstance(request, Request)
            writer.write(serialise(answer(request, 200)))
            came.put_nowait(loop.time())
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(10):
                    await reader.read()
            writer.close()
            closed.release()

        server = await asyncio.start_server(registrar, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        account = {"uri": f"sip:100@127.0.0.1:{port};transport=tcp"}
        async with server:
            async with agent(accounts=[account], tcp_port=0):
                first_s = await came.get()
                assert await came.get() - first_s < 60, "not only when it would have been renewed"
            for _ in range(2):
                await closed.acquire()

    virtual_time.run(main())


@pytest.mark.parametrize("loose", ["", ";lr"])
def test_an_outbound_proxy_is_on_the_way(loose: str) -> None:
    async def main() -> None:
        async with raw_peer() as raw:
            proxy = f"sip:127.0.0.1:{raw.port}{loose}"
            account = {"uri": "sip:100@pbx.example.org", "outbound_proxy": proxy}
            async with agent(accounts=[account]) as voice:
                request = await raw.request("REGISTER")
                assert request.uri.host == "pbx.example.org"
                assert request.headers["Route"] == f"<sip:127.0.0.1:{raw.port};lr>"
                raw.send(answer(request, 200), voice.port)
                async with asyncio.TaskGroup() as tasks:
                    dialling = tasks.create_task(voice.call("+4930123456"))
                    invite = await raw.request("INVITE")
                    dialling.cancel()
                    raw.send(answer(invite, 486), voice.port)
                assert invite.uri.user == "+4930123456"
                assert invite.uri.host == "pbx.example.org"
                assert invite.from_address.uri == URI(scheme="sip", host="pbx.example.org", user="100")

    virtual_time.run(main())


# Its parts


def response(**headers: str) -> Response:
    made = Response(200, "OK")
    for name, value in headers.items():
        made.headers.set(name.replace("_", "-"), value)
    return made


OURS = URI(scheme="sip", host="192.0.2.1", user="100", port=5060)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 600),
        ({"Expires": "120"}, 120),
        ({"Contact": "<sip:100@192.0.2.1:5060>;expires=90", "Expires": "120"}, 90),
        ({"Contact": "<sip:100@192.0.2.9:5060>;expires=30, <sip:100@192.0.2.1:5060>;expires=90"}, 90),
        ({"Contact": "<sip:100@192.0.2.9:5060>;expires=30", "Expires": "120"}, 120),
        ({"Contact": "<sip:100@192.0.2.9:5060>;expires=30"}, 30),
        ({"Contact": "<sip:100@192.0.2.9:5060>;expires=30, <sip:100@192.0.2.8:5060>;expires=90"}, 600),
        ({"Contact": "<sip:100@192.0.2.1>;expires=90"}, 90),
        ({"Contact": "<urn:uuid:1>;expires=30, <sip:100@192.0.2.1:5060>;expires=4294967295"}, 4294967295),
        ({"Contact": "nonsense"}, 600),
        ({"Contact": '<sip:100@192.0.2.1:5060>;expires="'}, 600),
        ({"Expires": "soon"}, 600),
        ({"Expires": "-1"}, 600),
    ],
)
def test_how_long_a_registration_lasts(headers: dict[str, str], seconds: float) -> None:
    assert granted_s(response(**headers), OURS, 600) == seconds


def test_a_423_must_ask_for_more() -> None:
    assert longer_s(response(Min_Expires="900"), 600) == 900
    for headers in ({}, {"Min_Expires": "600"}, {"Min_Expires": "99999999"}):
        with pytest.raises(NotRegistered):
            longer_s(response(**headers), 600)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("18 (in a meeting)", 18),
        ("5;duration=3600", 5),
        ("999999", 3600),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after_s(response(Retry_After=text)) == seconds


def test_tries_grow_rarer() -> None:
    rng = random.Random(1)
    waits = [retry_s(failures, rng) for failures in range(1, 14)]
    assert 2.5 <= waits[0] <= 5
    assert all(300 <= wait <= 600 for wait in waits[8:])
