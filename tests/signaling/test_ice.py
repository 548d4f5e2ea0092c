"""What is used of aioice's insides is still there."""

from __future__ import annotations

import asyncio
import inspect

import aioice.ice
import psutil
from aioice import stun
from aiortc import RTCConfiguration, RTCPeerConnection

from signaling.ice import LOOPBACK, _get_component_candidates, abort_sockets, loopback_gathered


async def gathered(peer: RTCPeerConnection, loopback: bool) -> str:
    peer.createDataChannel("x")
    with loopback_gathered(loopback):
        await peer.setLocalDescription()
    sdp: str = peer.localDescription.sdp
    return sdp


def test_loopback_is_gathered_where_it_is_wanted() -> None:
    async def main() -> None:
        for wanted in (True, False):
            peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
            assert (f" {LOOPBACK} " in await gathered(peer, wanted)) is wanted
            await peer.close()

    asyncio.run(main())


def test_aioice_still_asks_for_addresses_by_this_name() -> None:
    source = inspect.getsource(aioice.ice.Connection.gather_candidates)
    assert "get_host_addresses(" in source
    assert "use_ipv4=" in source
    assert "use_ipv6=" in source


def test_aioice_still_gathers_by_this_method_and_keeps_what_it_has_by_these_names() -> None:
    """`signaling.ice` takes the method's place, and does itself what it does with host addresses."""
    parameters = inspect.signature(_get_component_candidates).parameters
    assert list(parameters) == ["self", "component", "addresses", "timeout"]
    gathers = inspect.getsource(aioice.ice.Connection.gather_candidates)
    assert "self.get_component_candidates(component=component, addresses=addresses)" in gathers
    connects = inspect.getsource(_get_component_candidates)
    assert (
        "create_datagram_endpoint(\n                    lambda: StunProtocol(self), local_addr=(address, 0)"
        in connects
    )
    assert "self._protocols += host_protocols" in connects
    assert "server_reflexive_candidate(protocol, self.stun_server)" in connects


def test_a_stun_protocol_keeps_what_it_awaits_by_this_name() -> None:
    async def main() -> None:
        protocol = aioice.ice.StunProtocol(aioice.Connection(ice_controlling=True))
        assert protocol.transactions == {}

    asyncio.run(main())


def test_sockets_can_be_taken_from_a_connection() -> None:
    async def main() -> None:
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        await gathered(peer, True)
        assert peer.sctp is not None
        before = len(psutil.Process().net_connections("udp"))
        abort_sockets(peer.sctp.transport.transport)
        await asyncio.sleep(0)
        assert len(psutil.Process().net_connections("udp")) < before
        await peer.close()

    asyncio.run(main())


def test_a_check_without_a_priority_is_one() -> None:
    """As FFmpeg 8.0 sends it: USERNAME, USE-CANDIDATE and the signature are all that it has."""

    async def main() -> None:
        callee, caller = aioice.Connection(ice_controlling=False), aioice.Connection(ice_controlling=True)
        with loopback_gathered(True):
            await callee.gather_candidates()
            await caller.gather_candidates()
        callee.remote_username, callee.remote_password = caller.local_username, caller.local_password
        caller.remote_username, caller.remote_password = callee.local_username, callee.local_password
        await caller.add_remote_candidate(callee.local_candidates[0])
        build_request = caller.build_request

        def poor_request(pair: aioice.ice.CandidatePair, nominate: bool) -> stun.Message:
            request = build_request(pair, nominate=nominate)
            del request.attributes["PRIORITY"]
            return request

        caller.build_request = poor_request
        async with asyncio.timeout(5):
            await asyncio.gather(callee.connect(), caller.connect())
        await asyncio.gather(callee.close(), caller.close())

    asyncio.run(main())
