"""A SIP user agent with its calls' media, over real sockets in virtual time: strangers send it anything.

It is called and calls; what comes is of its calls, nearly so, or of nothing. A decent one calls it beside.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

import psutil
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sipmessage import Request

from media.errors import CallerError
from signaling.sip.messages import Message, parse, raw_list, to_tag, top_via
from signaling.sip.session_timer import TimerTerms
from signaling.sip.transactions import Timers
from tests import virtual_time
from tests.free_ports import free_ports
from tests.fuzz.sip_texts import ACK, INVITE, SIP, filled_in
from tests.signaling.sip.agents import LIMIT_S, LOCAL, Agent, agent, until

BATCH = 24
"""Messages to one user agent."""
_GRACE_S = 0.0001
_TIMERS = Timers(t1_s=0.05, linger_s=3.0)
"""Quicker than the standard's, for what a stranger never acknowledges."""
_OVER_S = 40.0
"""After so long nothing of any transaction goes on."""
_TERMS = TimerTerms(interval_s=90, smallest_s=90)

PAUSES_S = st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.05, 0.3, 1.5])
STEPS = st.lists(st.tuples(SIP, PAUSES_S), min_size=BATCH, max_size=BATCH)
OPENINGS = st.sampled_from([(INVITE, ACK), (INVITE, ACK), (INVITE,), ()])
"""What comes first: a call that is there to be disturbed, or none."""
ACCESS = st.sampled_from(
    [LOCAL, LOCAL, LOCAL, {"networks": ["127.0.0.1"], "users": [{"name": "alice", "password": "secret-1"}]}]
)


def check(examples: int) -> None:
    """Tries so many user agents."""
    phases = (Phase.explicit, Phase.generate, Phase.shrink)

    @settings(max_examples=examples, deadline=None, phases=phases, suppress_health_check=list(HealthCheck))
    @given(OPENINGS, STEPS, ACCESS)
    def the_calls_survive(
        opening: tuple[bytes, ...], steps: list[tuple[bytes, float]], access: dict[str, Any]
    ) -> None:
        before = len(psutil.Process().net_connections("inet"))
        steps = [*((message, 0.1) for message in opening), *steps]
        virtual_time.run(_beside_a_call(steps, access, free_ports(60)), grace_s=_GRACE_S)
        assert len(psutil.Process().net_connections("inet")) <= before, "a port was left open"

    the_calls_survive()


class _Stranger:
    """Sends what it is told, and keeps of what comes back what its next messages need."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.port = sock.getsockname()[1]
        self._tag = "none"
        self._branch = "none"

    def send(self, message: bytes, port: int) -> None:
        self._listen()
        data = filled_in(message, port=self.port, tag=self._tag, branch=self._branch)
        self._socket.sendto(data[:60_000], ("127.0.0.1", port))

    def _listen(self) -> None:
        while (came := self._next()) is not None:
            if isinstance(came, Request):
                self._branch = str(top_via(came).parameters["branch"])
            elif raw_list(came, "To"):
                self._tag = to_tag(came) or self._tag

    def _next(self) -> Message | None:
        """All that the user agent sends is well formed."""
        while True:
            try:
                data = self._socket.recv(70_000)
            except BlockingIOError:
                return None
            if data.strip():
                return parse(data)


async def _beside_a_call(steps: list[tuple[bytes, float]], access: dict[str, Any], ports: range) -> None:
    raised: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        stranger = _Stranger(sock)
        async with (
            agent(ports=ports[:20], timers=_TIMERS) as decent,
            agent(ports=ports[20:], terms=_TERMS, timers=_TIMERS, access=access, slots=6) as tried,
            asyncio.TaskGroup() as tasks,
        ):
            calling = await decent.call(tried.uri())
            dialling = tasks.create_task(_dial(tried, f"sip:x@127.0.0.1:{stranger.port}"))
            for message, pause_s in steps:
                stranger.send(message, tried.port)
                await asyncio.sleep(pause_s)
            dialling.cancel()
            assert not calling.over.is_set(), "the decent call has ended"
            heard = len(calling.ear.audio.samples)
            await asyncio.sleep(0.2)
            assert len(calling.ear.audio.samples) > heard, "the decent call is silent"
            calling.leg.hang_up()
            await calling.over.wait()
            while not tried.desk.calls.empty():
                tried.desk.calls.get_nowait().leg.hang_up()
            await until(lambda: tried.sip.calls == 0)
            await asyncio.sleep(_OVER_S)
            assert tried.sip.endpoint.transactions == 0, "a transaction is stuck"
    assert raised == []


async def _dial(tried: Agent, to: str) -> None:
    with suppress(CallerError):
        async with asyncio.timeout(LIMIT_S):
            call = await tried.call(to)
            await call.over.wait()
