"""Calls over one UDP port, over a range of them, and at advertised addresses: real stacks on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import numpy as np
import psutil
import pytest
from aioice import stun
from pydantic import ValidationError

from media.audio import SPEECH_RATE_HZ, Audio, concatenate
from media.errors import ConfigError
from server.event_loop import new_event_loop
from signaling.caller import Caller, CallerOptions, CallRefused
from signaling.ice import LOOPBACK, gathering_for
from signaling.settings import IceSettings
from tests.free_ports import free_ports
from tests.signaling.scripted_call import ScriptedConversation, serving

ONLY_OWN_ADDRESSES = CallerOptions(ice_servers=())


def run(main: Callable[[], Coroutine[Any, Any, None]], limit_s: float = 30) -> None:
    async def limited() -> None:
        async with asyncio.timeout(limit_s):
            await main()

    # As the server runs: these are the sockets that are not made in asyncio's usual way.
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(limited())


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Another program has the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, port))
        yield


def candidates(sdp: str) -> list[tuple[str, int, str]]:
    """Address, port and type of each."""
    lines = (line.split() for line in sdp.splitlines() if line.startswith("a=candidate:"))
    return [(fields[4], int(fields[5]), fields[7]) for fields in lines]


def ports_of(sdp: str) -> set[int]:
    return {port for _, port, _ in candidates(sdp)}


def udp_ports_bound() -> list[int]:
    return sorted(connection.laddr.port for connection in psutil.Process().net_connections("udp"))


def tone(frequency_hz: float) -> Audio:
    t = np.arange(24_000) / 24_000
    return Audio((9000 * np.sin(2 * np.pi * frequency_hz * t)).astype(np.int16), 24_000)


async def heard_hz(conversation: ScriptedConversation) -> float:
    """The loudest frequency of what was heard, once it is loud."""
    while True:
        heard = concatenate(conversation.heard, SPEECH_RATE_HZ).as_float32()[-SPEECH_RATE_HZ // 2 :]
        if len(heard) and float(np.abs(heard).mean()) > 0.1:
            return float(np.argmax(np.abs(np.fft.rfft(heard))) * SPEECH_RATE_HZ / len(heard))
        conversation.more_heard.clear()
        await conversation.more_heard.wait()


def test_all_calls_share_one_port_and_keep_apart() -> None:
    async def main() -> None:
        (port,) = free_ports(1)
        async with serving(udp_ports=str(port)) as server:
            held = udp_ports_bound()
            assert set(held) == {port}
            async with (
                Caller(server.url, ONLY_OWN_ADDRESSES) as low,
                Caller(server.url, ONLY_OWN_ADDRESSES) as high,
            ):
                assert ports_of(low.answer_sdp) == ports_of(high.answer_sdp) == {port}
                await asyncio.gather(low.next_audible(0), high.next_audible(0))
                async with asyncio.TaskGroup() as speaking:
                    speaking.create_task(low.say(tone(600)))
                    speaking.create_task(high.say(tone(1800)))
                    heard = await asyncio.gather(*map(heard_hz, server.host.conversations))
                assert heard == [pytest.approx(600, abs=20), pytest.approx(1800, abs=20)]
            await server.host.all_free()
            assert udp_ports_bound() == held
            async with Caller(server.url, ONLY_OWN_ADDRESSES) as later:
                await later.next_audible(0)
        assert not udp_ports_bound()

    run(main)


def test_a_caller_who_vanished_leaves_the_shared_port_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.2)
    monkeypatch.setattr("aioice.ice.CONSENT_FAILURES", 2)

    async def main() -> None:
        async with serving(udp_ports=str(free_ports(1)[0])) as server:
            async with (
                Caller(server.url, ONLY_OWN_ADDRESSES) as stays,
                Caller(server.url, ONLY_OWN_ADDRESSES) as vanishes,
            ):
                await asyncio.gather(stays.next_audible(0), vanishes.next_audible(0))
                await vanishes.vanish()
                server.host.freed.clear()
                await server.host.freed.wait()
                arrived = len(stays.heard)
                while len(stays.heard) < arrived + 5:
                    stays.more_heard.clear()
                    await stays.more_heard.wait()

    run(main)


def test_each_call_takes_a_port_of_the_range_and_gives_it_back() -> None:
    async def main() -> None:
        ports = free_ports(2)
        async with serving(udp_ports=f"{ports[0]}-{ports[-1]}") as server:
            async with (
                Caller(server.url, ONLY_OWN_ADDRESSES) as one,
                Caller(server.url, ONLY_OWN_ADDRESSES) as other,
            ):
                assert ports_of(one.answer_sdp) | ports_of(other.answer_sdp) == set(ports)
                assert len(ports_of(one.answer_sdp)) == 1
                await asyncio.gather(one.next_audible(0), other.next_audible(0))
                with pytest.raises(CallRefused, match="UDP ports") as refused:
                    async with Caller(server.url, ONLY_OWN_ADDRESSES):
                        pass
                assert (refused.value.status, refused.value.code) == (503, "udp_ports_used_up")
            await server.host.all_free()
            async with Caller(server.url, ONLY_OWN_ADDRESSES) as next_one:
                await next_one.next_audible(0)

    run(main)


def test_a_port_of_the_range_that_another_program_has_is_passed_over() -> None:
    async def main() -> None:
        ports = free_ports(2)
        with taken(ports[0]):
            async with serving(udp_ports=f"{ports[0]}-{ports[-1]}") as server:
                async with Caller(server.url, ONLY_OWN_ADDRESSES) as caller:
                    assert ports_of(caller.answer_sdp) == {ports[1]}

    run(main)


@pytest.mark.parametrize("count", [1, 2])
def test_ports_that_cannot_be_taken_stop_the_server(count: int) -> None:
    async def main() -> None:
        ports = free_ports(count)
        udp_ports = str(ports[0]) if count == 1 else f"{ports[0]}-{ports[-1]}"
        with ExitStack() as others:
            for port in ports:
                others.enter_context(taken(port))
            with pytest.raises(ConfigError, match=r"set ice\.udp_ports") as refused:
                async with gathering_for(IceSettings(udp_ports=udp_ports)):
                    pass
            assert (refused.value.code, refused.value.param) == ("cannot_listen", "ice.udp_ports")

    run(main)


@pytest.mark.parametrize("udp_ports", ["", "one"])
def test_advertised_addresses_are_offered_besides_the_machines_own(udp_ports: str) -> None:
    async def main() -> None:
        port = free_ports(1)[0] if udp_ports else None
        settings = {
            "udp_ports": str(port or ""),
            "advertised_addresses": ("203.0.113.7", "198.51.100.7", "2001:db8::7"),
        }
        async with serving(**settings) as server:
            async with Caller(server.url, ONLY_OWN_ADDRESSES) as caller:
                offered = candidates(caller.answer_sdp)
                own = {
                    (host, at)
                    for host, at, _ in offered
                    if not host.startswith(("203.", "198.51.", "2001:db8"))
                }
                has_own_ipv6 = any(":" in host for host, _ in own)
                for address in settings["advertised_addresses"][: 3 if has_own_ipv6 else 2]:
                    advertised = {at for host, at, kind in offered if host == address and kind == "host"}
                    family = {
                        at for host, at in own if (":" in host) == (":" in address) and host != LOOPBACK
                    }
                    assert advertised == family, address
                if port is not None:
                    assert ports_of(caller.answer_sdp) == {port}
                await caller.next_audible(0)

    run(main)


@asynccontextmanager
async def stun_server(mapped: tuple[str, int]) -> AsyncIterator[str]:
    """Answers every binding request with one address. Gives its URL."""

    class Answers(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
            request = stun.parse_message(data)
            answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
            answer.attributes["XOR-MAPPED-ADDRESS"] = mapped
            self.transport.sendto(bytes(answer), addr)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Answers, local_addr=(LOOPBACK, 0))
    try:
        yield f"stun:{LOOPBACK}:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()


def test_a_stun_server_is_asked_from_the_chosen_port() -> None:
    async def main() -> None:
        async with stun_server(("203.0.113.9", 7000)) as url:
            settings = {"udp_ports": str(free_ports(1)[0]), "servers": ({"urls": (url,)},)}
            async with serving(**settings) as server, Caller(server.url, ONLY_OWN_ADDRESSES) as caller:
                assert ("203.0.113.9", 7000, "srflx") in candidates(caller.answer_sdp)

    run(main)


@pytest.mark.parametrize(
    ("text", "ports"),
    [("", None), ("40000", range(40_000, 40_001)), (40_000, range(40_000, 40_001)), ("5-7", range(5, 8))],
)
def test_udp_ports_are_read(text: str | int, ports: range | None) -> None:
    assert IceSettings.model_validate({"udp_ports": text}).udp_port_range == ports


@pytest.mark.parametrize("text", ["0", "65536", "40000-40000", "7-5", "udp", "1,2", "5-", True, 1.5])
def test_what_are_no_udp_ports_is_refused(text: object) -> None:
    with pytest.raises(ValidationError, match="udp_ports"):
        IceSettings.model_validate({"udp_ports": text})


@pytest.mark.parametrize("text", ["example.org", "203.0.113.7:4000", "0.0.0.0", "::", "224.0.0.1", ""])
def test_what_is_no_advertised_address_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="advertised_addresses"):
        IceSettings.model_validate({"advertised_addresses": [text]})
