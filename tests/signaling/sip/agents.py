"""User agents that call each other on loopback, in virtual time, and a raw far side that says anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from sipmessage import Request, Response

from media.errors import CallerError, ServerFull
from media.playout import Playout
from signaling.phone.leg import Party, PhoneLeg
from signaling.realtime_session_objects import SessionUpdate
from signaling.rtp.media import RtpMedia
from signaling.rtp.socket import RtpPorts
from signaling.sip.hop import Transport
from signaling.sip.messages import Message, new_branch, parse, serialise
from signaling.sip.session_timer import TimerTerms
from signaling.sip.settings import SipSettings
from signaling.sip.sip_leg import SipLeg
from signaling.sip.transactions import Timers
from signaling.sip.user_agent import SipUserAgent
from tests.free_ports import free_ports
from tests.signaling.rtp.rtp_pair import Ear, playout

LIMIT_S = 100.0
"""Virtual seconds: longer than any timer of SIP's."""


@dataclass
class Taken:
    """A call that somebody takes part in."""

    leg: SipLeg
    ear: Ear = field(default_factory=Ear)
    voice: Playout = field(default_factory=playout)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    why: str = ""

    @property
    def party(self) -> Party:
        return self.leg.party

    async def run(self) -> None:
        try:
            self.why = await self.leg.run(self.ear, self.voice)
        finally:
            self.over.set()


class Desk:
    """Takes calls, as many as it has slots; a `Switchboard` whose conversations are the test's."""

    def __init__(self, tasks: asyncio.TaskGroup, slots: int) -> None:
        self.free = slots
        self.refusal: CallerError | None = None
        self.calls: asyncio.Queue[Taken] = asyncio.Queue()
        self._tasks = tasks

    def admit(self) -> DeskAdmission:
        if self.free <= 0:
            raise ServerFull("All lines are busy.", retry_after_s=5)
        self.free -= 1
        return DeskAdmission(self)

    def start(self, leg: PhoneLeg, update: SessionUpdate | None = None) -> asyncio.Event:
        return self.admit().start(leg, update)

    def take(self, leg: SipLeg, ended: Callable[[], None] = lambda: None) -> Taken:
        taken = Taken(leg)
        self._tasks.create_task(taken.run(), name="conversation").add_done_callback(lambda _: ended())
        self.calls.put_nowait(taken)
        return taken


@dataclass
class DeskAdmission:
    desk: Desk
    call_id: str = "rtc_1"
    settled: bool = False

    def start(self, leg: PhoneLeg, update: SessionUpdate | None = None) -> asyncio.Event:
        if self.desk.refusal is not None:
            self.release()
            raise self.desk.refusal
        self.settled = True
        assert isinstance(leg, SipLeg)
        return self.desk.take(leg, self.free).over

    def free(self) -> None:
        self.desk.free += 1

    def release(self) -> None:
        if not self.settled:
            self.settled = True
            self.free()


@dataclass
class Agent:
    """A user agent and whoever takes its calls."""

    sip: SipUserAgent
    desk: Desk
    port: int

    def uri(self, name: str = "voice") -> str:
        return f"sip:{name}@127.0.0.1:{self.port}"

    async def call(self, to: str, caller: str | None = None) -> Taken:
        leg = await self.sip.dial(to, caller, lambda: None)
        self.desk.take(leg)
        return await self.desk.calls.get()

    async def next_call(self) -> Taken:
        async with asyncio.timeout(LIMIT_S):
            return await self.desk.calls.get()


LOCAL: dict[str, Any] = {"networks": ["127.0.0.0/8"]}


@asynccontextmanager
async def agent(
    *,
    slots: int = 10,
    ports: range | None = None,
    terms: TimerTerms | None = None,
    timers: Timers | None = None,
    may_call: Callable[[str], bool] = lambda target: False,
    **section: Any,
) -> AsyncIterator[Agent]:
    """One user agent; by default everybody on loopback may call it. Nothing of it is left afterwards."""
    settings = SipSettings.model_validate({"udp_port": 0, "access": LOCAL} | section)
    rtp = RtpPorts(ports or free_ports(40))

    def media(address: str, advertised: str | None, far_side: str) -> RtpMedia:
        return RtpMedia(settings.rtp, rtp, address, advertised, far_side)

    async with asyncio.TaskGroup() as tasks:
        desk = Desk(tasks, slots)
        async with SipUserAgent(settings, desk, media, may_call=may_call, terms=terms, timers=timers) as sip:
            port = sip.endpoint.port(Transport.UDP)
            assert port is not None
            yield Agent(sip, desk, port)
        assert sip.calls == 0
        assert not sip._running, "tasks outlived their user agent"
    assert desk.free == slots, "slots were not given back"


async def until(holds: Callable[[], bool]) -> None:
    """Waits for something of which nothing tells."""
    async with asyncio.timeout(LIMIT_S):
        while not holds():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)


class RawPeer(asyncio.DatagramProtocol):
    """A far side whose messages are written by hand."""

    def __init__(self) -> None:
        self.port = 0
        self._came: asyncio.Queue[Message] = asyncio.Queue()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if data.strip():
            self._came.put_nowait(parse(data))

    @property
    def silent(self) -> bool:
        return self._came.empty()

    def send(self, message: Message, port: int) -> None:
        assert self._transport is not None
        self._transport.sendto(serialise(message), ("127.0.0.1", port))

    async def message(self) -> Message:
        async with asyncio.timeout(LIMIT_S):
            return await self._came.get()

    async def response(self, code: int | None = None) -> Response:
        """The next final one, or the next with this code; all others before it are skipped."""
        while True:
            message = await self.message()
            if isinstance(message, Response) and (
                message.code == code if code is not None else message.code >= 200
            ):
                return message

    async def request(self, method: str) -> Request:
        """The next with this method; all messages before it are skipped."""
        while True:
            message = await self.message()
            if isinstance(message, Request) and message.method == method:
                return message

    def invite(self, to_port: int, **headers: str) -> Request:
        """An INVITE from here, without a body."""
        return self.make("INVITE", to_port, **headers)

    def make(self, method: str, to_port: int, *, cseq: int = 1, to_tag: str = "", **headers: str) -> Request:
        """A request of one and the same call, each with a branch of its own."""
        from signaling.sip.fields import parse_uri

        request = Request(method, parse_uri(f"sip:voice@127.0.0.1:{to_port}"))
        tag = f";tag={to_tag}" if to_tag else ""
        for name, value in {
            "Via": f"SIP/2.0/UDP 127.0.0.1:{self.port};branch={new_branch()};rport",
            "From": f'"Raw" <sip:raw@127.0.0.1:{self.port}>;tag=raw',
            "To": f"<sip:voice@127.0.0.1:{to_port}>{tag}",
            "Call-ID": "raw-call",
            "CSeq": f"{cseq} {method}",
            "Contact": f"<sip:raw@127.0.0.1:{self.port}>",
            "Max-Forwards": "70",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }.items():
            request.headers.set(name, value)
        return request


@asynccontextmanager
async def raw_peer() -> AsyncIterator[RawPeer]:
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_datagram_endpoint(RawPeer, local_addr=("127.0.0.1", 0))
    try:
        yield peer
    finally:
        transport.close()
        await asyncio.sleep(0)


def with_sdp(message: Message, port: int = 40_000, direction: str = "sendrecv") -> Message:
    """Gives a message a session description: G.711 and keys."""
    message.headers.set("Content-Type", "application/sdp")
    message.body = (
        "v=0\r\no=raw 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
        f"a={direction}\r\n"
    ).encode()
    return message
