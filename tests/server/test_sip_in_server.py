"""Section `sip` in a whole server: real telephones call it and are called, with scripted engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from media.audio import Audio
from server.config import Config
from server.serve import Server, running_server
from signaling.sip import hop
from tests.free_ports import free_ports
from tests.peers.baresip_phone import Baresip, Transport, baresip
from tests.peers.kamailio import PASSWORD, Kamailio, kamailio
from tests.peers.sipp import played, sipp
from tests.scripted import ScriptedEngines

KEY = "a-key-for-the-tests"
ENOUGH_BYTES = 50_000
"""Of a telephone's recording: some 3 s."""


@asynccontextmanager
async def answering(sip: dict[str, Any] | None = None, **telephone: Any) -> AsyncIterator[tuple[Server, int]]:
    """A server that answers loopback's telephones. Gives its SIP port, too."""
    ports = free_ports(40)
    sections = {
        "server": {"port": 0, "health_port": 0, "api_keys": [KEY], "drain_timeout_s": 0},
        "sip": {
            "udp_port": 0,
            "access": {"networks": ["127.0.0.0/8"]},
            "rtp": {"ports": f"{ports[0]}-{ports[-1]}"},
        }
        | (sip or {}),
        "telephone": telephone,
    }
    async with running_server(Config.model_validate(sections), ScriptedEngines().engines()) as server:
        await server.engine_set.until_ready()
        port = server.telephone.sip.endpoint.port(hop.Transport.UDP) if server.telephone.sip else None
        assert port is not None
        yield server, port


async def until_idle(server: Server) -> None:
    async with asyncio.timeout(30):
        await server.calls.until_nobody_calls()


async def report(server: Server) -> dict[str, Any]:
    async with aiohttp.ClientSession(server.health_url) as client, client.get("/status") as response:
        telephone: dict[str, Any] = (await response.json())["telephone"]
        return telephone


def recorded(folder: Path) -> int:
    """How much a telephone has written down of what it heard."""
    return sum(path.stat().st_size for path in folder.glob("dump-*-dec.wav"))


def test_sipp_is_answered(tmp_path: Path) -> None:
    async def main() -> None:
        async with answering() as (server, port):
            scenario = await asyncio.to_thread(played, tmp_path / "s", "calls", port, calls=3)
            assert scenario.counts().successful == 3
            await until_idle(server)
            told = (await report(server))["sip"]
            assert (told["calls"], told["registrations"]) == (0, [])
            assert told["messages"]["understood"] >= 9, "INVITE, ACK and BYE of three calls"
            assert (told["messages"]["malformed"], told["messages"]["refused"]) == (0, 0)

    asyncio.run(main())


def test_a_telephone_hears_the_greeting(tmp_path: Path) -> None:
    async def main() -> None:
        async with answering() as (server, port):

            def call() -> Audio:
                with baresip(tmp_path / "b", codecs=("PCMU",)) as phone:
                    phone.call(f"sip:assistant@127.0.0.1:{port}")
                    phone.until("CALL_RTPESTAB")
                    phone.running.until(lambda: recorded(phone.folder) > ENOUGH_BYTES, "it hears nothing")
                    phone.hang_up()
                    return phone.heard()

            heard = await asyncio.to_thread(call)
            await until_idle(server)
            assert heard.level_dbfs() > -30

    asyncio.run(main())


def test_a_telephone_says_who_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        users = [{"name": "alice", "password": "wonderland"}]
        async with answering({"access": {"users": users}}) as (server, port):

            def call() -> None:
                account = ";auth_user=alice;auth_pass=wonderland"
                with baresip(tmp_path / "b", codecs=("PCMU",), account=account) as phone:
                    phone.call(f"sip:assistant@127.0.0.1:{port}")
                    phone.hang_up()

            await asyncio.to_thread(call)
            await until_idle(server)

    asyncio.run(main())


def test_a_call_that_http_places(tmp_path: Path) -> None:
    async def main() -> None:
        with sipp(tmp_path / "s", "is_called") as called:
            async with answering(allowed_destinations=["sip:*@127.0.0.1:*"]) as (server, _):
                headers = {"Authorization": f"Bearer {KEY}"}
                async with aiohttp.ClientSession(server.url, headers=headers) as client:
                    async with client.post("/api/calls", json={"to": called.uri}) as response:
                        assert response.status == 201
                        path = response.headers["Location"]
                    async with asyncio.timeout(30):
                        while (await shown(client, path))["state"] != "answered":  # noqa: ASYNC110 - over HTTP
                            await asyncio.sleep(0.05)
                    async with client.delete(path) as response:
                        assert response.status == 204
                    await until_idle(server)
                    call = await shown(client, path)
                    assert call["state"] == "ended"
            await asyncio.to_thread(called.until_done)

    asyncio.run(main())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_registered_at_a_pbx(tmp_path: Path, transport: Transport) -> None:
    """Kamailio asks everybody for passwords, and stays on the way of all calls."""

    async def main(pbx: Kamailio, phone: Baresip) -> None:
        by = "" if transport == "udp" else ";transport=tcp"
        account = {
            "uri": f"sip:voice@127.0.0.1:{pbx.port}{by}",
            "password": PASSWORD,
            "expires_s": 30,  # less than the PBX allows: 423
        }
        sip = {"accounts": [account], "access": {}, "tcp_port": 0}
        async with answering(sip, allowed_destinations=["sip:*@127.0.0.1:*"]) as (server, _):
            async with asyncio.timeout(30):
                while (await report(server))["sip"]["registrations"][0]["state"] != "registered":  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(phone.call, pbx.uri("voice"))
            await asyncio.to_thread(phone.until, "CALL_RTPESTAB")
            await asyncio.to_thread(phone.hang_up)
            await until_idle(server)

            headers = {"Authorization": f"Bearer {KEY}"}
            async with aiohttp.ClientSession(server.url, headers=headers) as client:
                async with client.post("/api/calls", json={"to": f"{pbx.uri('alice')}{by}"}) as response:
                    assert response.status == 201
                    path = response.headers["Location"]
                await asyncio.to_thread(phone.until, "CALL_ESTABLISHED")
                await asyncio.to_thread(phone.command, "hold")
                await asyncio.to_thread(phone.until, "CALL_REMOTE_SDP", param="answer")
                async with client.delete(path) as response:
                    assert response.status == 204
                await asyncio.to_thread(phone.until, "CALL_CLOSED")
                await until_idle(server)
                call = await shown(client, path)
                assert call["outcome"] == "completed"

    with kamailio(tmp_path / "pbx") as pbx, baresip(tmp_path / "b", registrar=pbx) as phone:
        asyncio.run(main(pbx, phone))
        pbx.until_passed("INVITE", user="voice")
        pbx.until_passed("BYE", user="voice")


async def shown(client: aiohttp.ClientSession, path: str) -> dict[str, Any]:
    async with client.get(path) as response:
        call: dict[str, Any] = await response.json()
        return call
