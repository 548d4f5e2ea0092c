"""Two ends of a call over real sockets on loopback, in virtual time: minutes take moments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from media.audio import Audio, concatenate
from media.playout import AudioSettings, Playout
from signaling.rtp.media import RtpMedia
from signaling.rtp.settings import RtpSettings
from signaling.rtp.socket import RtpPorts
from tests.free_ports import free_ports

RATE_HZ = 16_000


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
        10 * float(np.log10(np.sum(signal**2) / np.sum((signal - heard[delay : delay + size]) ** 2)))
        for delay in range(most_delay)
    )
