"""An endpoint of SIP over real sockets, in virtual time: strangers send it anything, a decent one calls."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from signaling.sip.endpoint import SipEndpoint
from signaling.sip.errors import SipTimeout, SipTransportFailed
from signaling.sip.hop import Hop, Transport
from signaling.sip.incoming import ServerTransaction
from signaling.sip.messages import Message, parse, top_via
from signaling.sip.outgoing import ClientTransaction
from signaling.sip.settings import SipSettings
from tests import virtual_time
from tests.fuzz.sip_texts import SIP, filled_in
from tests.signaling.sip.sip_texts import ack_of, new_request

BATCH = 24
"""Messages to one endpoint."""
_GRACE_S = 0.0001
_OVER_S = 200.0
"""After so long nothing of any transaction goes on: 64*T1 after the last of them."""

ANSWERS = st.sampled_from([(), (100,), (180, 200), (200,), (183, 302), (404,), (486,), (603,), None])
"""To one request after the other: what is answered; None ignores it."""
PAUSES_S = st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.6, 5.0])
OVER_TCP = st.sampled_from([False, False, False, True])
STEPS = st.lists(st.tuples(SIP, OVER_TCP, PAUSES_S), min_size=BATCH, max_size=BATCH)
ANSWERING = st.lists(ANSWERS, min_size=1, max_size=6)


def check(examples: int) -> None:
    """Tries so many endpoints."""
    phases = (Phase.explicit, Phase.generate, Phase.shrink)

    @settings(max_examples=examples, deadline=None, phases=phases, suppress_health_check=list(HealthCheck))
    @given(STEPS, ANSWERING)
    def the_endpoint_survives(
        steps: list[tuple[bytes, bool, float]], answers: list[tuple[int, ...] | None]
    ) -> None:
        virtual_time.run(_beside_a_decent_one(steps, answers), grace_s=_GRACE_S)

    the_endpoint_survives()


class _Tried:
    """The endpoint that is tried, which answers by its script."""

    def __init__(self, answers: list[tuple[int, ...] | None]) -> None:
        self._answers = answers
        self._asked = 0
        self.tag = "none"
        self.endpoint = SipEndpoint(SipSettings(udp_port=0, tcp_port=0), self._answer, admits=lambda ip: True)

    def place(self, transport: Transport = Transport.UDP) -> tuple[str, int]:
        port = self.endpoint.port(transport)
        assert port is not None
        return ("127.0.0.1", port)

    def _answer(self, server: ServerTransaction) -> None:
        if server.request.headers.get("Subject") == "decent":
            server.respond(server.response(200))
            return
        answer = self._answers[self._asked % len(self._answers)]
        self._asked += 1
        self.tag = server.tag
        if answer is None:
            server.ignore()
            return
        for code in answer or (100, 500):
            server.respond(server.response(code))
        if not server.answered:
            asyncio.get_running_loop().call_later(3.0, _refuse, server)


def _refuse(server: ServerTransaction) -> None:
    """What a user agent does sooner or later."""
    if not server.answered:
        server.respond(server.response(487 if server.cancelled.is_set() else 480))


async def _beside_a_decent_one(
    steps: list[tuple[bytes, bool, float]], answers: list[tuple[int, ...] | None]
) -> None:
    loop = asyncio.get_running_loop()
    raised: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: raised.append(context))
    tried = _Tried(answers)
    decent = SipEndpoint(SipSettings(udp_port=0), lambda server: server.ignore(), admits=lambda ip: True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        sender.setblocking(False)
        port = sender.getsockname()[1]
        async with tried.endpoint, decent, asyncio.TaskGroup() as tasks:
            outgoing = [
                await tried.endpoint.request(new_request(method, f"sip:x@127.0.0.1:{port}"))
                for method in ("INVITE", "OPTIONS")
            ]
            reading = [tasks.create_task(_read(client)) for client in outgoing]
            streams: list[socket.socket] = []
            for at, (message, over_tcp, pause_s) in enumerate(steps):
                asked = outgoing[at % 2].request
                branch = str(top_via(asked).parameters["branch"])
                data = filled_in(message, port=port, tag=tried.tag, branch=branch)
                if over_tcp:
                    streams.append(_stream(tried.place(Transport.TCP), data))
                else:
                    sender.sendto(data[:60_000], tried.place())
                if at == BATCH // 2:
                    outgoing[0].cancel()
                await asyncio.sleep(pause_s)
                while _waiting(sender):
                    pass
            await _call(decent, tried.place())
            await asyncio.wait(reading)
            await asyncio.sleep(_OVER_S)
            assert tried.endpoint.transactions == 0, "a transaction is stuck"
            for stream in streams:
                stream.close()
    assert raised == []


async def _read(client: ClientTransaction) -> None:
    try:
        while (response := await client.next_response()) is not None:
            if 200 <= response.code < 300 and client.request.method == "INVITE":
                client.acknowledge(response, ack_of(client.request, response), client.hop)
    except (SipTimeout, SipTransportFailed):
        pass


def _stream(place: tuple[str, int], data: bytes) -> socket.socket:
    stream = socket.create_connection(place)
    stream.setblocking(False)
    stream.send(data)
    return stream


def _waiting(sender: socket.socket) -> Message | None:
    """A message that came. All that this side sends is well formed."""
    try:
        return parse(sender.recv(70_000))
    except BlockingIOError:
        return None


async def _call(decent: SipEndpoint, place: tuple[str, int]) -> None:
    """A whole exchange: asked, answered, acknowledged."""
    for method in ("OPTIONS", "INVITE"):
        request = new_request(method, f"sip:assistant@127.0.0.1:{place[1]}")
        request.headers.set("Subject", "decent")
        client = await decent.request(request, Hop(Transport.UDP, *place))
        response = await client.final_response()
        assert response.code == 200
        if method == "INVITE":
            client.acknowledge(response, ack_of(client.request, response), client.hop)
