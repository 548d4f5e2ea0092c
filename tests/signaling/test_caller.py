"""The synthetic caller: the servers that it finds, and those that it does not."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aioice import stun
from scripted_call import serving
from webrtc_calls import audible, run

from media.errors import CallerError
from signaling.caller import Caller, CallerOptions, CallRefused
from signaling.hearing import CallFailed


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


def test_a_server_that_is_full_says_so() -> None:
    async def main() -> None:
        async with serving(slots=0) as server:
            with pytest.raises(CallRefused) as refused:
                async with Caller(server.url):
                    raise AssertionError("not reached")
            assert refused.value.status == 503
            assert refused.value.code == "server_full"

    run(main)
