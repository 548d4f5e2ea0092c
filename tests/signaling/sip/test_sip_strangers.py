"""What strangers do to connections, and what that does to others'. Real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from server.tls import own_certificate
from signaling.sip.errors import SipTransportFailed
from signaling.sip.hop import Transport
from signaling.sip.settings import SipSettings
from tests.signaling.sip.sip_texts import new_request, request_text
from tests.signaling.sip.test_sip_endpoint import LIMIT_S, Station, stations, with_tls
from tests.signaling.sip.test_sip_endpoint import _asks as asks


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return own_certificate(tmp_path_factory.mktemp("certificate"))


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await main

    asyncio.run(bounded())


def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


@pytest.mark.parametrize("name", ["a" * 70, "a..b"])
def test_a_via_whose_host_is_no_name_harms_nobody_else(
    certificate: tuple[Path, Path], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The response needs a connection to a host whose certificate no name can be looked for in."""

    async def main() -> None:
        caplog.set_level("INFO")

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        listener = await asyncio.start_server(take, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener, stations(with_tls(certificate)) as (station,):
            tls = station.endpoint.port(Transport.TLS)
            _, writer = await asyncio.open_connection("127.0.0.1", tls, ssl=trusting(certificate))
            writer.write(request_text(sent_by=f"{name}:{port}", transport="TLS"))
            server = await station.came.get()
            await _hang_up(writer)
            while station.endpoint.connected:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)
            server.respond(server.response(200))
            while "SIP message not sent" not in caplog.messages:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)
            await _hang_up(await _asks(station, certificate))

    run(main())


async def _asks(station: Station, certificate: tuple[Path, Path]) -> asyncio.StreamWriter:
    """Somebody comes over TLS, asks something, and is answered."""
    tls = station.endpoint.port(Transport.TLS)
    reader, writer = await asyncio.open_connection("127.0.0.1", tls, ssl=trusting(certificate))
    writer.write(request_text(branch=f"z9hG4bK{id(writer)}", transport="TLS"))
    server = await station.came.get()
    server.respond(server.response(200))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 200")
    return writer


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


def test_whoever_begins_to_shake_hands_gives_way_to_others(certificate: tuple[Path, Path]) -> None:
    async def main() -> None:
        async with stations(with_tls(certificate, max_connections=2)) as (station,):
            tls = station.endpoint.port(Transport.TLS)
            known = await _asks(station, certificate)
            silent = [await asyncio.open_connection("127.0.0.1", tls) for _ in range(5)]
            late = await _asks(station, certificate)
            for reader, writer in silent:
                assert await reader.read() == b""
                writer.close()
            assert station.endpoint.counts.refused == 5
            assert station.endpoint.connected == 2
            for writer in (known, late):
                await _hang_up(writer)

    run(main())


def test_handshakes_wait_for_each_other(certificate: tuple[Path, Path]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with stations(with_tls(certificate)) as (station,):
            tls = station.endpoint.port(Transport.TLS)
            began_s = loop.time()
            opening = (asyncio.open_connection("127.0.0.1", tls, ssl=trusting(certificate)) for _ in range(6))
            for _, writer in await asyncio.gather(*opening):
                await _hang_up(writer)
            assert loop.time() - began_s >= 0.1

    run(main())


def test_strangers_do_not_keep_this_side_from_calling() -> None:
    async def main() -> None:
        async with stations(SipSettings(tcp_port=0, max_connections=2), None) as (station, callee):
            port = station.endpoint.port(Transport.TCP)
            strangers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            while station.endpoint.connected < 2:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)
            await station.endpoint.request(new_request("OPTIONS", callee.uri(Transport.TCP)))
            server = await callee.came.get()
            server.respond(server.response(200))
            for _, writer in strangers:
                writer.close()

    run(main())


def test_whoever_was_only_challenged_gives_way_to_others() -> None:
    async def main() -> None:
        async with stations(SipSettings(tcp_port=0, max_connections=2)) as (station,):
            port = station.endpoint.port(Transport.TCP)
            challenged = [await _is_challenged(station, port, at) for at in range(4)]
            for reader, writer in challenged[:2]:
                assert await reader.read() == b""
                writer.close()
            reader, writer = challenged[2]
            writer.write(request_text(branch="z9hG4bK9", transport="TCP"))
            server = await station.came.get()
            server.respond(server.response(200))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 200")
            for _, writer in challenged[2:]:
                writer.close()

    run(main())


async def _is_challenged(
    station: Station, port: int | None, at: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_text(branch=f"z9hG4bK{at}", transport="TCP"))
    server = await station.came.get()
    server.challenge(server.response(401))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 401")
    return reader, writer


def test_whoever_may_no_longer_be_read_is_cut_off() -> None:
    async def main() -> None:
        async with stations(SipSettings(tcp_port=0)) as (station,):
            port = station.endpoint.port(Transport.TCP)
            known, stranger = [await asks(station, port, at, answered=at == 0) for at in range(2)]
            station.admits = False
            for at, (_, writer) in enumerate((known, stranger)):
                writer.write(request_text(branch=f"z9hG4bKagain{at}", transport="TCP"))
            server = await station.came.get()
            server.respond(server.response(200))
            assert (await known[0].readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 200")
            assert await stranger[0].read() == b""
            assert station.came.empty()
            for _, writer in (known, stranger):
                writer.close()

    run(main())


def test_a_connection_that_is_gone_before_it_is_taken_in(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with stations(SipSettings(tcp_port=0)) as (station,):
            for at in range(5):
                sock = socket.create_connection(("127.0.0.1", station.endpoint.port(Transport.TCP)))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()  # a reset, as port scanners have it
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", station.endpoint.port(Transport.TCP)
                )
                writer.write(request_text(branch=f"z9hG4bK{at}", transport="TCP"))
                server = await station.came.get()
                server.respond(server.response(200))
                await reader.readuntil(b"\r\n\r\n")
                writer.close()
        assert not caplog.records

    run(main())


def test_a_sign_of_life_over_a_connection_that_is_gone() -> None:
    async def main() -> None:
        async with stations(None, None) as (caller, callee):
            client = await caller.endpoint.request(new_request("OPTIONS", callee.uri(Transport.TCP)))
            server = await callee.came.get()
            server.respond(server.response(200))
            await client.final_response()
            caller.endpoint.keep_alive(client.hop)
            await callee.endpoint.__aexit__(None, None, None)
            while caller.endpoint.connected:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)
            with pytest.raises(SipTransportFailed):
                caller.endpoint.keep_alive(client.hop)

    run(main())
