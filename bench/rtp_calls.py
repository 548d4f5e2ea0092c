"""What telephone media costs, and how punctual it is: many calls over RTP, without SIP and engines.

    python bench/rtp_calls.py [--calls 30] [--seconds 20] [--codec pcmu] [--srtp] [--asyncio]

One process carries the calls, as the server does: each hears a telephone and speaks to it, all the time. The
telephones are a process of their own, on loopback, whose cost is not counted. CPU is what the first one used,
in percent of one core for each call. A packet's lateness is how long after it was due the process got to send
it; and, where it arrives, how long after the most punctual ones of its call it came.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import struct
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import uvloop

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from media.audio import Audio  # noqa: E402
from media.opus import OpusSettings  # noqa: E402
from media.playout import AudioSettings, Playout  # noqa: E402
from media.telephone_codecs import TELEPHONE_CODECS  # noqa: E402
from signaling.rtp.media import RtpMedia  # noqa: E402
from signaling.rtp.sdp import Crypto  # noqa: E402
from signaling.rtp.settings import CodecName, RtpSettings  # noqa: E402
from signaling.rtp.socket import RtpPorts  # noqa: E402
from signaling.rtp.srtp import SrtpStreams  # noqa: E402

PORTS = range(36_000, 40_000)
SETTLING_S = 2.0
PTIME_S = 0.02
SSRC = 77
_THEIRS = Crypto(1, "AES_CM_128_HMAC_SHA1_80", bytes(range(30)))
_TYPES: dict[CodecName, int] = {"pcmu": 0, "pcma": 8, "g722": 9, "opus": 96}


class _Ear:
    lacking_samples = 0

    def hear(self, audio: Audio) -> None:
        """Somebody else's cost."""

    def digit(self, digit: str) -> None:
        """Nobody presses any."""


class _Phone(asyncio.DatagramProtocol):
    """Notes when each packet came, and its timestamp."""

    def __init__(self) -> None:
        self.came: list[tuple[float, int]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.came.append((time.perf_counter(), struct.unpack_from("!L", data, 4)[0]))

    def error_received(self, exc: Exception) -> None:
        """The calls are over."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--codec", choices=list(_TYPES), default="pcmu")
    parser.add_argument("--srtp", action="store_true")
    parser.add_argument("--asyncio", action="store_true", help="its own loop instead of uvloop")
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    phones = multiprocessing.get_context("spawn").Process(target=_phones, args=(theirs, vars(arguments)))
    phones.start()
    factory = asyncio.new_event_loop if arguments.asyncio else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_calls(ours, arguments))
    phones.join()


async def _calls(phones: Connection, arguments: argparse.Namespace) -> None:
    """The process that is measured."""
    settings = RtpSettings(codecs=(arguments.codec,), srtp="required" if arguments.srtp else "off")
    ports = RtpPorts(PORTS)
    phone_ports: list[int] = await asyncio.to_thread(phones.recv)
    voice = _speech(arguments.seconds + 3 * SETTLING_S, 24_000)
    async with asyncio.TaskGroup() as group:
        tasks, calls, answers = [], [], []
        for port in phone_ports:
            media = RtpMedia(settings, ports, "127.0.0.1")
            await media.__aenter__()
            answers.append(media.answer(_offer(port, arguments.codec, arguments.srtp)))
            playout = Playout(AudioSettings(), lambda _: None, lambda _: None)
            playout.open("r")
            playout.append("r", voice)
            calls.append((media, playout))
            tasks.append(group.create_task(media.run(_Ear(), playout), name="call"))
        phones.send(answers)
        await asyncio.sleep(SETTLING_S)
        process = psutil.Process()
        gc.collect()
        gc.freeze()
        for _, playout in calls:
            playout.pacer.lateness_ms.clear()
        before, began_s = process.cpu_times(), time.perf_counter()
        await asyncio.sleep(arguments.seconds)
        after, took_s = process.cpu_times(), time.perf_counter() - began_s
        for task in tasks:
            task.cancel()
    for media, _ in calls:
        await media.__aexit__(None, None, None)
    used_s = after.user + after.system - before.user - before.system
    lost = sum(media.figures.lost_packets for media, _ in calls)
    heard = sum(media.figures.received_packets for media, _ in calls)
    left_ms = sorted(late for _, playout in calls for late in playout.pacer.lateness_ms.elements())
    lateness_ms = np.sort(np.asarray(await asyncio.to_thread(phones.recv)))
    told = {
        "calls": arguments.calls,
        "codec": arguments.codec,
        "srtp": arguments.srtp,
        "cpu_percent_per_call": round(100 * used_s / took_s / arguments.calls, 2),
        "received": heard,
        "lost": lost,
        "sent": len(lateness_ms),
        "left_late_p50_ms": left_ms[len(left_ms) // 2],
        "left_late_p99_ms": left_ms[len(left_ms) * 99 // 100],
        "left_late_max_ms": left_ms[-1],
        "came_late_p50_ms": round(float(np.percentile(lateness_ms, 50)), 2),
        "came_late_p99_ms": round(float(np.percentile(lateness_ms, 99)), 2),
        "came_late_max_ms": round(float(lateness_ms[-1]), 2),
    }
    print(json.dumps(told))


def _offer(port: int, codec: CodecName, srtp: bool) -> str:
    lines = [
        "v=0",
        "c=IN IP4 127.0.0.1",
        f"m=audio {port} {'RTP/SAVP' if srtp else 'RTP/AVP'} {_TYPES[codec]}",
        "a=rtpmap:96 opus/48000/2",
        *([_THEIRS.line] if srtp else []),
    ]
    return "\r\n".join(lines)


def _speech(duration_s: float, rate_hz: int) -> Audio:
    """Never silent: that would cost nothing."""
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    buzz = sum(np.sin(2 * np.pi * 140 * n * t + n * n) / n for n in range(1, 20))
    return Audio(np.asarray(3000 * buzz, dtype=np.int16), rate_hz)


def _phones(pipe: Connection, arguments: dict[str, Any]) -> None:
    """The other process: all telephones."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_telephone(pipe, arguments))


async def _telephone(pipe: Connection, arguments: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    phones = []
    for _ in range(arguments["calls"]):
        _, phone = await loop.create_datagram_endpoint(_Phone, local_addr=("127.0.0.1", 0))
        phones.append(phone)
    pipe.send([phone.transport.get_extra_info("sockname")[1] for phone in phones])
    answers = await asyncio.to_thread(pipe.recv)
    codec = TELEPHONE_CODECS[arguments["codec"]]
    samples = _speech(1.0, codec.rate_hz).as_int16()
    encoder, size = codec.encoder(OpusSettings()), codec.rate_hz // 50
    payloads = [encoder.encode(samples[at : at + size]) for at in range(0, len(samples), size)]
    async with asyncio.TaskGroup() as group:
        for at, (phone, answer) in enumerate(zip(phones, answers, strict=True)):
            line = next(line for line in answer.splitlines() if line.startswith("m=audio"))
            to = ("127.0.0.1", int(line.split()[1]))
            srtp = SrtpStreams(_THEIRS, _THEIRS) if arguments["srtp"] else None
            offset_s = at * PTIME_S / len(phones)
            speaking = _speak(phone, to, payloads, codec.packets.clock_rate_hz, srtp, offset_s, arguments)
            group.create_task(speaking, name="phone")
    rate_hz = codec.packets.clock_rate_hz
    pipe.send([late for phone in phones for late in _lateness_ms(phone.came, rate_hz)])


async def _speak(
    phone: _Phone,
    to: tuple[str, int],
    payloads: list[bytes],
    clock_rate_hz: int,
    srtp: SrtpStreams | None,
    offset_s: float,
    arguments: dict[str, Any],
) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time() + offset_s
    tick = clock_rate_hz // 50
    for number in range(round((arguments["seconds"] + SETTLING_S) / PTIME_S)):
        await asyncio.sleep(max(0.0, began_s + number * PTIME_S - loop.time()))
        header = struct.pack(
            "!BBHLL", 0x80, _TYPES[arguments["codec"]], number & 0xFFFF, number * tick & 0xFFFFFFFF, SSRC
        )
        packet = header + payloads[number % len(payloads)]
        phone.transport.sendto(packet if srtp is None else srtp.protect(packet), to)


def _lateness_ms(came: list[tuple[float, int]], rate_hz: int) -> list[float]:
    """By how much each came after it should have, going by the most punctual ones (their first hundredth)."""
    settled = came[round(SETTLING_S / PTIME_S) :]
    if len(settled) < 2:
        return []
    timestamps = np.unwrap(np.asarray([timestamp for _, timestamp in settled]), period=1 << 32)
    offsets = np.asarray([at_s for at_s, _ in settled]) - timestamps / rate_hz
    late_ms: list[float] = (1000 * np.maximum(0.0, offsets - np.percentile(offsets, 1))).tolist()
    return late_ms


if __name__ == "__main__":
    main()
