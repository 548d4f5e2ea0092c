"""What telephone calls cost, and how punctual their packets are: SIP, RTP and VAD real, engines scripted.

    python bench/sip_capacity.py [--calls 30] [--seconds 20] [--codec pcmu] [--asyncio] [--json FILE]

So many telephones call the server on loopback, at once and from a process of their own, whose cost is not
counted. First they speak without end; then the server does, and they send a quiet room's noise: who speaks
would interrupt it. CPU is what the server's process used beyond what it uses without calls, in percent of one
core. A packet's lateness is how long after it was due the server got to hand it over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.calibration import Machine, calibrate  # noqa: E402
from bench.capacity import (  # noqa: E402
    IDLE_S,
    TARGET_LATENESS_P99_MS,
    ScriptedServer,
    child,
    lateness_percentile,
)
from bench.report import all_met, write_json  # noqa: E402
from bench.scripted_server import speechlike  # noqa: E402
from bench.server_process import free_port  # noqa: E402
from media.audio import SPEECH_RATE_HZ, Audio  # noqa: E402
from server.event_loop import new_event_loop  # noqa: E402
from signaling.sip_caller import SipCaller, SipCallerOptions  # noqa: E402

LOADS = ("telephones speak", "the server speaks")
SETTLING_S = 5.0
CHUNK_TAKES_S = 0.25
"""The scripted voice speaks at twice the speed of hearing: what thirty voices make at once is a burst that no
engine is capable of."""
UTTERANCE_S = 30.0
NOISE_RMS = 30.0
"""Of 32768: −61 dBFS."""
GREETING = " ".join(f"This is sentence {number}." for number in range(40))
"""Two seconds each, as the scripted voice speaks them."""


@dataclass(frozen=True, slots=True)
class SipLoad:
    """One load and what it cost.

    Attributes:
        name: who speaks.
        calls: at once.
        seconds: measured.
        cpu_percent: of one core, of all calls together, beyond the idle server's.
        packets: that the server was to send.
        lateness_p50_ms: whole milliseconds, rounded down; None where nothing was sent.
        lateness_p99_ms: likewise.
        lateness_max_ms: likewise.
    """

    name: str
    calls: int
    seconds: float
    cpu_percent: float
    packets: int
    lateness_p50_ms: int | None
    lateness_p99_ms: int | None
    lateness_max_ms: int | None


def _server_settings(port: int, greeting: str) -> list[str]:
    settings = {
        "VOXTRAL_KOKORO__SIP__UDP_PORT": str(port),
        "VOXTRAL_KOKORO__SIP__ACCESS": "{networks: [127.0.0.1]}",
        "VOXTRAL_KOKORO__TELEPHONE__GREETING": json.dumps(greeting),
    }
    return [part for pair in settings.items() for part in ("--setting", *pair)]


def room_noise(duration_s: float) -> Audio:
    """Which nobody takes for speech."""
    samples = np.random.default_rng(1).standard_normal(round(duration_s * SPEECH_RATE_HZ)) * NOISE_RMS
    return Audio(samples.astype(np.int16), SPEECH_RATE_HZ)


async def telephones(uri: str, calls: int, codec: str, *, speak: bool) -> None:
    """So many callers; they end with this process's input."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    sound = speechlike(UTTERANCE_S, SPEECH_RATE_HZ) if speak else room_noise(UTTERANCE_S)
    options = SipCallerOptions(codec=codec)  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(SipCaller(uri, options)) for _ in range(calls)]
        async with asyncio.TaskGroup() as tasks:
            speaking = [tasks.create_task(_sound_without_end(caller, sound)) for caller in callers]
            print("standing", flush=True)
            await ended.wait()
            for task in speaking:
                task.cancel()


async def _sound_without_end(caller: SipCaller, sound: Audio) -> None:
    while True:
        await caller.say(sound)
        # Nobody asks what was heard, and calls may be long.
        caller.heard.clear()


def measure(name: str, arguments: argparse.Namespace) -> SipLoad:
    """Starts a server, makes the calls, waits until they stand, and looks for so long at what they cost."""
    speaks = name == LOADS[0]
    port = free_port()
    with ExitStack() as stack:
        options = _server_settings(port, "" if speaks else GREETING)
        options += ["--chunk-takes", str(CHUNK_TAKES_S)]
        options += ["--asyncio"] if arguments.asyncio else []
        server = ScriptedServer(
            stack.enter_context(child(str(ROOT / "bench" / "scripted_server.py"), *options))
        )
        cpu_s = server.cpu_s()
        time.sleep(IDLE_S)
        idle_percent = 100 * (server.cpu_s() - cpu_s) / IDLE_S
        called = [f"sip:bench@127.0.0.1:{port}", "--calls", str(arguments.calls), "--codec", arguments.codec]
        callers = stack.enter_context(
            child(__file__, "--telephones", *called, *(["--speak"] if speaks else []))
        )
        assert callers.stdout is not None
        if callers.stdout.readline().strip() != "standing":
            raise RuntimeError("a telephone did not get through")
        time.sleep(SETTLING_S)
        server.lateness_ms()
        cpu_s, began_s = server.cpu_s(), time.monotonic()
        time.sleep(arguments.seconds)
        used_s, took_s = server.cpu_s() - cpu_s, time.monotonic() - began_s
        lateness = server.lateness_ms()
    return SipLoad(
        name,
        arguments.calls,
        round(took_s, 1),
        round(100 * used_s / took_s - idle_percent, 1),
        lateness.total(),
        lateness_percentile(lateness, 50),
        lateness_percentile(lateness, 99),
        max(lateness, default=None),
    )


def table(loads: list[SipLoad], machine: Machine, codec: str) -> str:
    """The figures for people, as Markdown."""
    rows = [
        "| load | calls | CPU, % of a core | packets | late by, ms: p50 | p99 | max |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for load in loads:
        late = (load.lateness_p50_ms, load.lateness_p99_ms, load.lateness_max_ms)
        shown = " | ".join("" if each is None else f"{each}" for each in late)
        rows.append(f"| {load.name} | {load.calls} | {load.cpu_percent:.1f} | {load.packets} | {shown} |")
    rows += [
        "",
        f"{codec}. {machine.cpu}, {machine.cores} cores; calibration: matmul {machine.matmul_ms} ms, Python "
        f"{machine.python_ms} ms; load before {machine.load}.",
    ]
    return "\n".join(rows)


def bars(loads: list[SipLoad]) -> list[tuple[str, bool]]:
    """What was to be reached, and whether it was: every call's packets left, and in time."""
    reached = []
    for load in loads:
        expected = load.calls * load.seconds * 50
        label = f"{load.name}: {load.packets} packets of {expected:.0f}"
        reached.append((label, load.packets >= 0.98 * expected))
        late_ms = load.lateness_p99_ms
        label = f"{load.name}: packets late by {late_ms} ms (p99), at most {TARGET_LATENESS_P99_MS} ms"
        reached.append((label, late_ms is not None and late_ms <= TARGET_LATENESS_P99_MS))
    return reached


def run(arguments: argparse.Namespace) -> int:
    machine = calibrate()
    loads = [measure(name, arguments) for name in LOADS]
    reached = bars(loads)
    print(table(loads, machine, arguments.codec))
    met = all_met(reached)
    if arguments.json:
        settings = {"asyncio": arguments.asyncio, "codec": arguments.codec}
        write_json(arguments.json, machine, {**settings, "bars": dict(reached)}, loads)
    return 0 if met else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=30, help="calls at once (30)")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds that each load is measured (20)")
    parser.add_argument("--codec", choices=["pcmu", "pcma", "g722", "opus"], default="pcmu", help="(pcmu)")
    parser.add_argument("--asyncio", action="store_true", help="the server on asyncio's own event loop")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--telephones", metavar="URI", help=argparse.SUPPRESS)
    parser.add_argument("--speak", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.telephones:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(
                telephones(arguments.telephones, arguments.calls, arguments.codec, speak=arguments.speak)
            )
        return 0
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
