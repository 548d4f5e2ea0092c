"""Endpoints over real sockets on loopback, on asyncio's event loop and on uvloop's."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from media.errors import ConfigError
from server.event_loop import new_event_loop
from server.tls import own_certificate
from signaling.sip.endpoint import SipEndpoint
from signaling.sip.errors import BadMessage, SipTransportFailed
from signaling.sip.fields import format_uri, parse_uri
from signaling.sip.hop import Hop, Transport
from signaling.sip.incoming import ServerTransaction
from signaling.sip.messages import parse, raw_list, to_tag, top_via
from signaling.sip.settings import SipSettings
from signaling.sip.transactions import Timers
from tests import virtual_time
from tests.free_ports import free_tcp_port
from tests.signaling.sip.sip_texts import ack_of, new_request, request_text

LIMIT_S = 20.0


@pytest.fixture(params=[asyncio.new_event_loop, new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a test on a loop."""

    def run_it(main: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(LIMIT_S):
                await main

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(bounded())

    return run_it


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return own_certificate(tmp_path_factory.mktemp("certificate"))


def with_tls(certificate: tuple[Path, Path], **more: Any) -> SipSettings:
    chain, key = certificate
    settings = {"tls_port": 0, "tls_certificate": chain, "tls_key": key, "tls_ca": chain} | more
    return SipSettings.model_validate(settings)


ALL = {"udp_port": 0, "tcp_port": 0}


class Station:
    """An endpoint, and the requests that came to it."""

    def __init__(self, settings: SipSettings | None = None, *, admits: bool = True) -> None:
        self.came: asyncio.Queue[ServerTransaction] = asyncio.Queue()
        self.admits = admits
        self.endpoint = SipEndpoint(
            settings or SipSettings(**ALL),  # type: ignore[arg-type]
            self.came.put_nowait,
            admits=lambda ip: self.admits and ip == "127.0.0.1",
            timers=Timers(t1_s=0.1, trying_s=5.0),
        )

    def uri(self, transport: Transport) -> str:
        scheme = "sips" if transport is Transport.TLS else "sip"
        suffix = "" if transport is Transport.TLS else f";transport={transport.value.lower()}"
        return f"{scheme}:bob@127.0.0.1:{self.endpoint.port(transport)}{suffix}"


@asynccontextmanager
async def stations(*settings: SipSettings | None) -> AsyncIterator[list[Station]]:
    made = [Station(each) for each in settings]
    async with made[0].endpoint:
        if made[1:]:
            async with made[1].endpoint:
                yield made
        else:
            yield made


@pytest.mark.parametrize("transport", list(Transport))
def test_calls_over_each_transport(run: Any, transport: Transport, certificate: tuple[Path, Path]) -> None:
    async def main() -> None:
        settings = with_tls(certificate, **ALL)
        async with stations(settings, settings) as (caller, callee):
            client = await caller.endpoint.request(new_request("INVITE", callee.uri(transport)))
            assert top_via(client.request).transport == transport.value
            server = await callee.came.get()
            assert server.source.transport is transport
            server.respond(server.response(180))
            server.respond(server.response(200))
            codes = [response.code for _ in range(2) if (response := await client.next_response())]
            assert codes == [180, 200]
            response = server.response(200)
            client.acknowledge(response, ack_of(client.request, response), client.hop)
            ack = await server.acknowledged()
            assert ack is not None
            assert to_tag(ack) == server.tag
            # In the dialog: back to where the INVITE came from, which over TCP is the same connection.
            bye = await callee.endpoint.request(
                new_request("BYE", format_uri(caller.endpoint.contact(client.hop))), server.source
            )
            received = await caller.came.get()
            assert received.request.method == "BYE"
            assert received.source.port == callee.endpoint.port(Transport.UDP) or transport.reliable
            received.respond(received.response(200))
            assert (await bye.final_response()).code == 200
            assert bye.hop == server.source
            assert caller.endpoint.counts.malformed == callee.endpoint.counts.malformed == 0

    run(main())


def test_responses_go_back_to_where_the_request_came_from(run: Any) -> None:
    """RFC 3581 with rport; RFC 3261, section 18.2.2, without."""

    async def main() -> None:
        async with stations(SipSettings(udp_port=0)) as (callee,):
            port = callee.endpoint.port(Transport.UDP)
            with _udp() as behind_nat, _udp() as named:
                here = named.getsockname()[1]
                for via, branch, hears in ((";rport", "z9hG4bKa", behind_nat), ("", "z9hG4bKb", named)):
                    text = request_text(via=via, branch=branch, sent_by=f"127.0.0.1:{here}")
                    behind_nat.sendto(text, ("127.0.0.1", port))
                    server = await callee.came.get()
                    server.respond(server.response(200))
                    answer = parse(await asyncio.get_running_loop().sock_recv(hears, 4096))
                    expected = f"rport={behind_nat.getsockname()[1]}" if via else "branch=z9hG4bKb"
                    assert expected in raw_list(answer, "Via")[0]

    run(main())


def _udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


def test_strangers_hear_nothing(run: Any, certificate: tuple[Path, Path]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        station = Station(with_tls(certificate, **ALL), admits=False)
        async with station.endpoint:
            with _udp() as scanner:
                scanner.sendto(request_text(), ("127.0.0.1", station.endpoint.port(Transport.UDP)))
                scanner.sendto(b"junk", ("127.0.0.1", station.endpoint.port(Transport.UDP)))
                for at, transport in enumerate((Transport.TCP, Transport.TLS)):
                    reader, writer = await asyncio.open_connection(
                        "127.0.0.1", station.endpoint.port(transport)
                    )
                    assert await _all(reader) == b""
                    writer.close()
                    assert station.endpoint.counts.refused >= at + 1
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await loop.sock_recv(scanner, 4096)
            assert station.endpoint.counts.refused == 4
            assert station.came.empty()
            assert station.endpoint.counts.malformed == 0, "what a stranger sends is not even read"

    run(main())


async def _all(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


def test_whom_we_call_is_heard_though_they_may_not_call(run: Any) -> None:
    async def main() -> None:
        caller = Station(SipSettings(udp_port=0), admits=False)
        async with caller.endpoint, stations(None) as (callee,):
            client = await caller.endpoint.request(new_request("OPTIONS", callee.uri(Transport.UDP)))
            server = await callee.came.get()
            server.respond(server.response(200))
            assert (await client.final_response()).code == 200

    run(main())


def test_what_is_not_understood_is_counted_and_told_once(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with stations(None) as (station,):
            with _udp() as sender:
                here = ("127.0.0.1", station.endpoint.port(Transport.UDP))
                for datagram in (b"junk", b"\r\n\r\n", b"\x00", b"SIP/2.0 200 OK\r\n\r\n", b"x" * 60_000):
                    sender.sendto(datagram, here)
                sender.sendto(request_text(), here)
                server = await station.came.get()
            server.respond(server.response(200))
            assert (station.endpoint.counts.malformed, station.endpoint.counts.understood) == (3, 1)

    with caplog.at_level(logging.WARNING):
        run(main())
    assert [record.message for record in caplog.records] == ["SIP messages dropped: not understood"]


def test_streams(run: Any) -> None:
    """A ping is answered; messages come one after the other; what is no SIP ends the connection."""

    async def main() -> None:
        async with stations(None) as (station,):
            reader, writer = await asyncio.open_connection("127.0.0.1", station.endpoint.port(Transport.TCP))
            writer.write(b"\r\n\r\n")  # from whoever was never answered: no answer to this either
            first = request_text(branch="z9hG4bKa", transport="TCP")
            second = request_text(branch="z9hG4bKb", transport="TCP")
            writer.write(first + b"OPTIONS bad SIP/2.0\r\n\r\n" + second[:50])
            server = await station.came.get()
            server.respond(server.response(200))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 200 OK\r\n")
            writer.write(second[50:])
            server = await station.came.get()
            server.respond(server.response(404))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"SIP/2.0 404 Not Found\r\n")
            writer.write(b"\r\n\r\n")
            assert await reader.readexactly(2) == b"\r\n"
            assert station.endpoint.counts.malformed == 1
            writer.write(b"\rx")
            assert await _all(reader) == b""
            writer.close()

    run(main())


def test_connections_are_used_again_and_made_anew(run: Any) -> None:
    async def main() -> None:
        async with stations(None, None) as (caller, callee):
            sources = []
            for _ in range(2):
                client = await caller.endpoint.request(new_request("OPTIONS", callee.uri(Transport.TCP)))
                server = await callee.came.get()
                sources.append(server.source)
                server.respond(server.response(200))
                await client.final_response()
            assert sources[0] == sources[1]

    run(main())


def test_a_response_finds_its_way_when_the_connection_is_gone(run: Any) -> None:
    """RFC 3261, section 18.2.2: to the address it came from, at the Via's port."""

    async def main() -> None:
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            answers.put_nowait(await reader.readuntil(b"\r\n\r\n"))
            writer.close()

        listener = await asyncio.start_server(take, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener, stations(None) as (station,):
            _, writer = await asyncio.open_connection("127.0.0.1", station.endpoint.port(Transport.TCP))
            writer.write(request_text(sent_by=f"phone.invalid:{port}", transport="TCP"))
            server = await station.came.get()
            writer.close()
            await writer.wait_closed()
            await _gone(station, server.source)
            server.respond(server.response(200))
            assert (await answers.get()).startswith(b"SIP/2.0 200")

    run(main())


async def _gone(station: Station, hop: Hop) -> None:
    """Returns when the station has noticed that a connection is closed."""

    async def ask() -> None:
        client = await station.endpoint.request(new_request("OPTIONS", "sip:phone.invalid"), hop)
        await client.final_response()

    with pytest.raises(SipTransportFailed):  # nobody answers, until the connection ends
        await ask()


def test_long_requests_go_over_tcp_where_that_is_taken(run: Any) -> None:
    async def main() -> None:
        async with stations(None, None) as (caller, callee):
            udp, tcp = (callee.endpoint.port(each) for each in (Transport.UDP, Transport.TCP))
            # (address, over): by default UDP and TCP have one port; here each has its own.
            for address, over in ((f"sip:bob@127.0.0.1:{tcp}", "TCP"), (f"sip:bob@127.0.0.1:{udp}", "UDP")):
                request = new_request("MESSAGE", address)
                request.body = b"x" * 1200
                client = await caller.endpoint.request(request)
                assert client.hop.transport.value == over
                server = await callee.came.get()
                assert (server.source.transport.value, len(server.request.body)) == (over, 1200)
                server.respond(server.response(200))
                await client.final_response()

    run(main())


def test_whoever_takes_no_tcp_is_not_asked_each_time(run: Any) -> None:
    async def main() -> None:
        async with stations(None, SipSettings(udp_port=0)) as (caller, callee):
            port = callee.endpoint.port(Transport.UDP)

            async def send() -> None:
                request = new_request("MESSAGE", f"sip:bob@127.0.0.1:{port}")
                request.body = b"x" * 1200
                client = await caller.endpoint.request(request)
                assert client.hop.transport is Transport.UDP
                server = await callee.came.get()
                server.respond(server.response(200))
                await client.final_response()

            await send()
            with socket.create_server(("127.0.0.1", port or 0)):  # now it would be taken
                await send()

    run(main())


def test_an_address_that_names_its_transport_is_taken_at_its_word(run: Any) -> None:
    async def main() -> None:
        port = free_tcp_port()
        both = SipSettings(udp_port=port, tcp_port=port)
        async with stations(None, both) as (caller, callee):
            address = f"sip:bob@127.0.0.1:{port}"
            for next_hop, over in (
                (parse_uri(address), "TCP"),
                (parse_uri(f"{address};transport=udp"), "UDP"),
                (Hop(Transport.UDP, "127.0.0.1", port), "UDP"),
            ):
                request = new_request("MESSAGE", address)
                request.body = b"x" * 1200
                client = await caller.endpoint.request(request, next_hop)
                assert client.hop.transport.value == over
                server = await callee.came.get()
                assert (server.source.transport.value, len(server.request.body)) == (over, 1200)
                server.respond(server.response(200))
                await client.final_response()

    run(main())


def test_nobody_is_there(run: Any) -> None:
    async def main() -> None:
        async with stations(None) as (caller,):
            for address in (
                f"sip:bob@127.0.0.1:{free_tcp_port()};transport=tcp",
                "sips:bob@127.0.0.1",
                "sip:bob@127.0.0.1;transport=tls",
                "sip:bob@[::1];transport=tcp",
                f"sip:bob@{'a' * 70}.example",
            ):
                with pytest.raises(SipTransportFailed):
                    await caller.endpoint.request(new_request("OPTIONS", address))
            for address in ("tel:+4930123", "sip:bob@127.0.0.1;transport=sctp"):
                with pytest.raises(BadMessage):
                    await caller.endpoint.request(new_request("OPTIONS", address))

    run(main())


def test_tls_looks_at_names(run: Any, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    async def main() -> None:
        chain, _ = own_certificate(tmp_path)
        async with stations(with_tls(certificate)) as (callee,):
            port = callee.endpoint.port(Transport.TLS)
            other = Station(with_tls(certificate, tls_ca=chain))
            trusting = Station(with_tls(certificate, tls_ca=chain, tls_verify=False))
            async with other.endpoint, trusting.endpoint:
                request = new_request("OPTIONS", f"sips:bob@localhost:{port}")
                with pytest.raises(SipTransportFailed, match="certificate"):
                    await other.endpoint.request(request)
                client = await trusting.endpoint.request(request)
                server = await callee.came.get()
                server.respond(server.response(200))
                assert (await client.final_response()).code == 200
            named = Station(with_tls(certificate))
            async with named.endpoint:
                hop = await named.endpoint.resolve(parse_uri(f"sips:bob@localhost:{port}"))
                assert hop == Hop(Transport.TLS, "127.0.0.1", port or 0, "localhost")
                client = await named.endpoint.request(request, hop)
                (await callee.came.get()).ignore()
                # The same place by its address alone: the connection that there is leads to it.
                by_address = Hop(Transport.TLS, hop.ip, hop.port, hop.ip)
                assert (await named.endpoint.request(request, by_address)).hop == client.hop
                # Somebody else who is said to be there is not taken for granted.
                with pytest.raises(SipTransportFailed):
                    await named.endpoint.request(request, Hop(Transport.TLS, hop.ip, hop.port, "mallory"))

    run(main())


def test_tls_may_ask_callers_for_a_certificate(run: Any, certificate: tuple[Path, Path]) -> None:
    async def main() -> None:
        strict = with_tls(certificate, tls_client_certificates=True)
        async with stations(strict) as (callee,):
            context = ssl.create_default_context(cafile=str(certificate[0]))
            port = callee.endpoint.port(Transport.TLS)
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(request_text(transport="TLS"))
            with suppress(OSError):  # an alert
                assert await reader.read() == b""
            writer.transport.abort()
            assert callee.came.empty()

    run(main())


def test_so_many_connections_and_no_more(run: Any) -> None:
    async def main() -> None:
        async with stations(SipSettings(tcp_port=0, max_connections=2)) as (station,):
            port = station.endpoint.port(Transport.TCP)
            opened = [await _asks(station, port, at) for at in range(2)]
            reader, third = await asyncio.open_connection("127.0.0.1", port)
            assert await _all(reader) == b""
            third.close()
            with pytest.raises(SipTransportFailed, match="max_connections"):
                await station.endpoint.request(new_request("OPTIONS", "sip:a@127.0.0.1:9;transport=tcp"))
            for _, writer in opened:
                writer.close()

    run(main())


def test_whoever_got_no_answer_gives_way_to_others(run: Any) -> None:
    async def main() -> None:
        async with stations(SipSettings(tcp_port=0, max_connections=2)) as (station,):
            port = station.endpoint.port(Transport.TCP)
            known, stranger, late = [await _asks(station, port, at, answered=at != 1) for at in range(3)]
            assert await _all(stranger[0]) == b""
            assert station.endpoint.counts.refused == 1
            for at, (reader, writer) in ((3, known), (4, late)):
                writer.write(request_text(branch=f"z9hG4bK{at}", transport="TCP"))
                server = await station.came.get()
                server.respond(server.response(200))
                await reader.readuntil(b"\r\n\r\n")
            for _, writer in (known, stranger, late):
                writer.close()

    run(main())


async def _asks(
    station: Station, port: int | None, at: int, *, answered: bool = True
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection over which a request came, and was answered or not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_text(branch=f"z9hG4bK{at}", transport="TCP"))
    server = await station.came.get()
    if answered:
        server.respond(server.response(200))
        await reader.readuntil(b"\r\n\r\n")
    else:
        server.ignore()
    return reader, writer


def test_connections_that_are_silent_are_closed() -> None:
    """In virtual time: at once when nothing was ever said, later when something was."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        station = Station(SipSettings(tcp_port=0, idle_timeout_s=100))
        async with station.endpoint:
            port = station.endpoint.port(Transport.TCP)
            for said, lasts_s in ((b"", 32), (b"OPTIONS", 32), (b"\r\n\r\n", 100)):
                sock = socket.create_connection(("127.0.0.1", port))
                sock.setblocking(False)
                began_s = loop.time()
                await loop.sock_sendall(sock, said)
                with suppress(ConnectionResetError):
                    while await loop.sock_recv(sock, 100):
                        pass
                assert loop.time() - began_s == pytest.approx(lasts_s, abs=0.5)
                sock.close()

    virtual_time.run(main(), grace_s=0.002)


def test_how_this_side_is_reached(run: Any) -> None:
    async def main() -> None:
        anywhere = SipSettings(host="0.0.0.0", udp_port=0, tcp_port=0)
        behind = SipSettings(host="0.0.0.0", udp_port=0, advertised_address="203.0.113.9")
        async with stations(anywhere, behind) as (open_to_all, advertised):
            udp, tcp = (Hop(each, "127.0.0.1", 5060) for each in (Transport.UDP, Transport.TCP))
            ports = {each: open_to_all.endpoint.port(each) for each in Transport}
            assert ports[Transport.TLS] is None
            at = format_uri(open_to_all.endpoint.contact(udp, "me"))
            assert at == f"sip:me@127.0.0.1:{ports[Transport.UDP]}"
            at = format_uri(open_to_all.endpoint.contact(tcp))
            assert at == f"sip:127.0.0.1:{ports[Transport.TCP]};transport=tcp"
            at = format_uri(advertised.endpoint.contact(udp))
            assert at == f"sip:203.0.113.9:{advertised.endpoint.port(Transport.UDP)}"
            assert advertised.endpoint.local_ip(udp) == "127.0.0.1"
            with pytest.raises(SipTransportFailed):
                advertised.endpoint.contact(tcp)
            advertised.endpoint.keep_alive(Hop(Transport.UDP, "127.0.0.1", ports[Transport.UDP] or 0))

    run(main())


def test_addresses_of_ipv6(run: Any) -> None:
    if not _has_ipv6():
        pytest.skip("no IPv6 on loopback")

    async def main() -> None:
        settings = SipSettings(host="::1", udp_port=0, tcp_port=0)
        came: asyncio.Queue[ServerTransaction] = asyncio.Queue()
        async with SipEndpoint(settings, came.put_nowait, admits=lambda ip: ip == "::1") as endpoint:
            for transport in (Transport.UDP, Transport.TCP):
                uri = endpoint.contact(Hop(transport, "::1", 5060), "bob")
                assert uri.host == "[::1]"
                client = await endpoint.request(new_request("OPTIONS", format_uri(uri)))
                server = await came.get()
                assert top_via(server.request).parameters["received"] == "::1"
                server.respond(server.response(200))
                assert (await client.final_response()).code == 200
            with pytest.raises(SipTransportFailed, match="family"):
                await endpoint.request(new_request("OPTIONS", "sip:bob@127.0.0.1"))

    run(main())


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_a_port_that_is_taken(run: Any) -> None:
    async def main() -> None:
        async with stations(None) as (station,):
            for field, transport in (("udp_port", Transport.UDP), ("tcp_port", Transport.TCP)):
                settings = SipSettings.model_validate({field: station.endpoint.port(transport)})
                with pytest.raises(ConfigError) as caught:
                    async with Station(settings).endpoint:
                        pass
                assert caught.value.param == f"sip.{field}"

    run(main())


def test_certificates_that_cannot_be_used(run: Any, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "empty.pem").write_text("")
        for settings, param in (
            (with_tls(certificate, tls_key=tmp_path / "none.pem"), "sip.tls_certificate"),
            (with_tls(certificate, tls_ca=tmp_path / "empty.pem"), "sip.tls_ca"),
        ):
            with pytest.raises(ConfigError) as caught:
                async with Station(settings).endpoint:
                    pass
            assert caught.value.param == param

    run(main())


@pytest.mark.parametrize(
    "settings",
    [
        {"tls_port": 5061},
        {"tls_certificate": "a.pem"},
        {"tls_port": 5060, "tcp_port": 5060, "tls_certificate": "a.pem", "tls_key": "a.key"},
        {"udp_port": 70_000},
        {"advertised_address": "0.0.0.0"},
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's, whose text is not ours
        SipSettings.model_validate(settings)
    assert not SipSettings().enabled
    assert SipSettings(udp_port=0).enabled
