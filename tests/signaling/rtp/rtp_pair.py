"""Two ends of a call over real sockets on loopback, in virtual time: minutes take moments."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from media.audio import Audio, concatenate
from media.playout import AudioSettings, Playout
from signaling.rtp.media import RtpMedia
from signaling.rtp.settings import RtpSettings
from signaling.rtp.socket import RtpPorts
from tests import virtual_time
from tests.free_ports import free_ports

RATE_HZ = 16_000


GRACE_S = 0.0002
"""A datagram on loopback is there at once, unless the machine is busy."""

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """A call in virtual time."""
    return virtual_time.run(main, grace_s=GRACE_S)


@dataclass
class Ear:
    """Keeps what it is told."""

    heard: list[Audio] = field(default_factory=list)
    digits: list[str] = field(default_factory=list)
    lacking_samples: int = 0

    def hear(self, audio: Audio) -> None:
        self.heard.append(audio)

    def digit(self, digit: str) -> None:
        self.digits.append(digit)

    @property
    def audio(self) -> Audio:
        return concatenate(self.heard, RATE_HZ)


def buzz(duration_s: float, rate_hz: int = 24_000, pitch_hz: float = 140.0) -> Audio:
    """A voice's spectrum at a steady pitch."""
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    sound = sum(np.sin(2 * np.pi * pitch_hz * n * t + n * n) / n for n in range(1, 20))
    return Audio(np.asarray(4000 * sound, dtype=np.int16), rate_hz)


def playout() -> Playout:
    return Playout(AudioSettings(), lambda _: None, lambda _: None)


@dataclass
class End:
    """One side: its media, what it hears, what it says."""

    media: RtpMedia
    ear: Ear = field(default_factory=Ear)
    voice: Playout = field(default_factory=playout)
    ended: str | None = None
    _said: int = 0

    def say(self, audio: Audio) -> None:
        name = f"r{self._said}"
        self._said += 1
        self.voice.open(name)
        self.voice.append(name, audio)
        self.voice.complete(name)

    async def run(self) -> None:
        self.ended = await self.media.run(self.ear, self.voice)


def settings(**values: Any) -> RtpSettings:
    return RtpSettings(**values)


@asynccontextmanager
async def pair(
    left: RtpSettings | None = None, right: RtpSettings | None = None
) -> AsyncIterator[tuple[End, End]]:
    """Two ends with ports and no agreement."""
    ports = RtpPorts(free_ports(10))
    async with (
        RtpMedia(left or RtpSettings(), ports, "127.0.0.1") as one,
        RtpMedia(right or RtpSettings(), ports, "127.0.0.1") as other,
    ):
        yield End(one), End(other)


@asynccontextmanager
async def calling(*ends: End) -> AsyncIterator[None]:
    """Within it these ends run."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(end.run(), name="rtp end") for end in ends]
        # Each begins, and listens.
        await asyncio.sleep(0)
        yield
        for task in tasks:
            task.cancel()


def agree(caller: End, called: End) -> tuple[str, str]:
    """An offer and its answer."""
    offer = caller.media.offer()
    answer = called.media.answer(offer)
    caller.media.accept(answer)
    return offer, answer


def snr_db(sent: npt.NDArray[np.int16], heard: npt.NDArray[np.int16], most_delay: int) -> float:
    """Of what was heard, at the delay that suits it best; what is heard is a stretch of what was sent."""
    size = min(len(sent), len(heard)) - most_delay
    signal = sent[:size].astype(np.float64)
    return max(
        10 * float(np.log10(np.sum(signal**2) / (1 + np.sum((signal - heard[delay : delay + size]) ** 2))))
        for delay in range(most_delay)
    )


@dataclass
class Received:
    """A packet, taken apart."""

    at_s: float
    marker: bool
    payload_type: int
    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes


class RawPhone(asyncio.DatagramProtocol):
    """A telephone that sends whatever packets it is told to, and keeps what comes."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.datagrams: list[bytes] = []
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.datagrams.append(data)
        _, marked, number, timestamp, ssrc = struct.unpack_from("!BBHLL", data)
        now_s = asyncio.get_running_loop().time()
        self.received.append(
            Received(now_s, bool(marked & 0x80), marked & 0x7F, number, timestamp, ssrc, data[12:])
        )

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there any more."""

    @property
    def port(self) -> int:
        port: int = self._transport.get_extra_info("sockname")[1]
        return port

    def offer(self, *types: int, lines: tuple[str, ...] = (), profile: str = "RTP/AVP") -> str:
        listed = " ".join(map(str, types))
        return "\r\n".join(
            [
                "v=0",
                "o=- 1 1 IN IP4 127.0.0.1",
                "s=-",
                "c=IN IP4 127.0.0.1",
                "t=0 0",
                f"m=audio {self.port} {profile} {listed}",
                "a=rtpmap:96 opus/48000/2",
                "a=rtpmap:101 telephone-event/8000",
                *lines,
                "",
            ]
        )

    def send(
        self,
        to: int,
        number: int,
        timestamp: int,
        payload: bytes,
        *,
        payload_type: int = 0,
        ssrc: int = 77,
        marker: bool = False,
    ) -> None:
        marked = payload_type | (0x80 if marker else 0)
        header = struct.pack("!BBHLL", 0x80, marked, number & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
        self.send_raw(to, header + payload)

    def send_raw(self, to: int, datagram: bytes) -> None:
        self._transport.sendto(datagram, ("127.0.0.1", to))


@asynccontextmanager
async def raw_phone() -> AsyncIterator[RawPhone]:
    loop = asyncio.get_running_loop()
    transport, phone = await loop.create_datagram_endpoint(RawPhone, local_addr=("127.0.0.1", 0))
    try:
        yield phone
    finally:
        transport.close()
        await asyncio.sleep(0)


def port_of(sdp: str) -> int:
    """Of the audio in a description."""
    (line,) = [line for line in sdp.splitlines() if line.startswith("m=audio")]
    return int(line.split()[1])
