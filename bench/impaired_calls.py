"""Real calls over a bad network, in one process: a server that only listens, and synthetic callers.

All of a call's media goes through a relay of its own. It is put between the two peers by what they tell each
other: the answer names the relay instead of the server, and the caller's own addresses are withheld from the
server, which finds the relay as the one from which the checks come (a peer-reflexive candidate).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler

from bench.delay_probe import Piece
from bench.udp_relay import LOOPBACK, NONE, Impairment, Relay
from media.audio import Audio
from media.clock import loop_time_s
from signaling.caller import Caller, CallerOptions
from signaling.realtime_routes import CALLS_PATH
from tests.signaling.scripted_call import ScriptedConversation, serving

CONNECT_TIMEOUT_S = 30.0

_CANDIDATE = re.compile(r"(a=candidate:\S+ 1 udp \d+ )(\S+) (\d+)( .*)", re.IGNORECASE)


class Ear(ScriptedConversation):
    """A conversation that notes what it hears, and when that was handed to it."""

    pieces: list[Piece]

    def hear(self, audio: Audio) -> None:
        self.pieces.append(Piece(loop_time_s(), audio))


@dataclass(frozen=True, slots=True)
class ImpairedCall:
    """A call that stands.

    Attributes:
        caller: its caller.
        relay: what all its packets go through.
        heard: what the server hears, in order; it grows.
    """

    caller: Caller
    relay: Relay
    heard: list[Piece]

    def heard_between(self, begin_s: float, end_s: float) -> list[Piece]:
        """What was handed over in a span of loop time."""
        return [piece for piece in self.heard if begin_s <= piece.at_s <= end_s]


@dataclass(slots=True)
class _Network:
    """Puts the relays in."""

    stack: AsyncExitStack
    impairment: Impairment
    first_seed: int
    relays: list[Relay] = field(default_factory=list)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if request.path != CALLS_PATH or not isinstance(response, web.Response) or response.status != 201:
            return response
        answer = response.text or ""
        target, template = _loopback_candidate(answer)
        relay = await self.stack.enter_async_context(
            Relay((LOOPBACK, target), self.first_seed + len(self.relays))
        )
        relay.impair(self.impairment)
        self.relays.append(relay)
        lines = [line for line in answer.splitlines() if not line.startswith("a=candidate:")]
        end = "a=end-of-candidates"
        lines = [f"{template.format(relay.port)}\r\n{end}" if line == end else line for line in lines]
        response.text = "\r\n".join(lines) + "\r\n"
        return response


@asynccontextmanager
async def impaired_calls(
    count: int, impairment: Impairment = NONE, first_seed: int = 0
) -> AsyncIterator[list[ImpairedCall]]:
    """So many calls to one server, set up one after the other.

    Args:
        count: of calls.
        impairment: of each network from its first packet on.
        first_seed: of the first call's chances; each further call has the next one.
    """
    async with AsyncExitStack() as stack:
        network = _Network(stack, impairment, first_seed)
        server = await stack.enter_async_context(serving(network.middleware, slots=count, converse=_ear))
        options = CallerOptions(names_candidates=False, ice_servers=(), connect_timeout_s=CONNECT_TIMEOUT_S)
        calls = []
        for _ in range(count):
            caller = await stack.enter_async_context(Caller(server.url, options))
            ear = server.host.conversations[-1]
            assert isinstance(ear, Ear)
            calls.append(ImpairedCall(caller, network.relays[-1], ear.pieces))
        yield calls


def _ear(*arguments: object) -> Ear:
    ear = Ear(*arguments)  # type: ignore[arg-type]
    ear.pieces = []
    return ear


def _loopback_candidate(sdp: str) -> tuple[int, str]:
    """The server's port on loopback, and its candidate with the port left open."""
    for line in sdp.splitlines():
        match = _CANDIDATE.fullmatch(line)
        if match and match[2] == LOOPBACK:
            return int(match[3]), f"{match[1]}{LOOPBACK} {{}}{match[4]}"
    raise ValueError("The answer has no candidate on loopback.")


async def pulsed(relay: Relay, impairment: Impairment, on_s: float, every_s: float) -> None:
    """Impairs a relay again and again, until it is cancelled."""
    while True:
        await asyncio.sleep(every_s - on_s)
        with relay.impaired(impairment):
            await asyncio.sleep(on_s)
