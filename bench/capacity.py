"""What a call costs, and how punctual its packets are: CPU of the media process, engines scripted, VAD real.

    python bench/capacity.py [--calls 4] [--seconds 20] [--engines-busy] [--asyncio] [--json FILE]

Real WebRTC calls on loopback, each caller a process of its own, whose cost is not counted. First only the
callers send, then the server does too. CPU is what the server's process used beyond what it uses without
calls, in percent of one core for each call. A packet's lateness is how long after it was due the media
process got to hand it over. `--engines-busy` lets Whisper and Kokoro work without a pause beside it, in a
process of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.calibration import Machine, calibrate  # noqa: E402
from bench.report import all_met  # noqa: E402
from bench.scripted_server import speechlike  # noqa: E402
from media.audio import SPEECH_RATE_HZ, Audio  # noqa: E402
from signaling.caller import Caller, CallerOptions  # noqa: E402

IDLE_S = 5.0
SETTLING_S = 2.0
UTTERANCE_S = 60.0
TARGETS_PERCENT = {"callers send": 1.5, "both send": 3.0}
TARGET_LATENESS_P99_MS = 5


@dataclass(frozen=True, slots=True)
class Load:
    """One load and what it cost.

    Attributes:
        name: who sends.
        calls: at once.
        seconds: measured.
        cpu_percent_per_call: of one core, beyond the idle server's.
        packets: that the server was to send.
        lateness_p50_ms: whole milliseconds, rounded down; None where nothing was sent.
        lateness_p99_ms: likewise.
        lateness_max_ms: likewise.
    """

    name: str
    calls: int
    seconds: float
    cpu_percent_per_call: float
    packets: int
    lateness_p50_ms: int | None
    lateness_p99_ms: int | None
    lateness_max_ms: int | None


class ScriptedServer:
    """`bench/scripted_server.py` as a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._usage = psutil.Process(process.pid)
        self.url = str(self._ask()["url"])

    def cpu_s(self) -> float:
        """What it used so far."""
        times = self._usage.cpu_times()
        return times.user + times.system

    def lateness_ms(self) -> Counter[int]:
        """How many frames were so late since this was asked last."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._ask()["lateness_ms"]
        assert isinstance(answer, dict)
        return Counter({int(late_ms): count for late_ms, count in answer.items()})

    def _ask(self) -> dict[str, object]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the scripted server ended")
        answer: dict[str, object] = json.loads(line)
        return answer


@contextmanager
def child(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process of this folder. The end of its input is what ends it."""
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def call(url: str, *, answered: bool) -> None:
    """One caller: speaks without end; asks for a long reply if there is to be one. Ends with its input."""
    detection = {"type": "server_vad", "create_response": False, "interrupt_response": False}
    session = {"greeting": "", "audio": {"input": {"turn_detection": detection}}}
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    utterance = await asyncio.to_thread(speechlike, UTTERANCE_S, SPEECH_RATE_HZ)
    async with Caller(url, CallerOptions(session=session)) as caller, asyncio.TaskGroup() as tasks:
        if answered:
            caller.type_text("Go on.")
            await caller.next_audible(0)
        speaking = tasks.create_task(_speak_without_end(caller, utterance))
        print("standing", flush=True)
        await ended.wait()
        speaking.cancel()


async def _speak_without_end(caller: Caller, utterance: Audio) -> None:
    while True:
        await caller.say(utterance)
        # Nobody asks what was heard, and calls may be long.
        caller.heard.clear()
        caller.events.clear()


def measure(server: ScriptedServer, name: str, calls: int, seconds: float, idle_percent: float) -> Load:
    """Makes the calls, waits until they stand, and looks for so long at what they cost."""
    with ExitStack() as stack:
        callers = [
            stack.enter_context(
                child(__file__, "--caller", server.url, *(["--answered"] * (name == "both send")))
            )
            for _ in range(calls)
        ]
        for caller in callers:
            assert caller.stdout is not None
            if caller.stdout.readline().strip() != "standing":
                raise RuntimeError("a caller did not get through")
        time.sleep(SETTLING_S)
        server.lateness_ms()
        cpu_s, began_s = server.cpu_s(), time.monotonic()
        time.sleep(seconds)
        used_s, took_s = server.cpu_s() - cpu_s, time.monotonic() - began_s
        lateness = server.lateness_ms()
    percent = 100 * used_s / took_s - idle_percent
    return Load(
        name,
        calls,
        round(took_s, 1),
        round(percent / calls, 2),
        lateness.total(),
        lateness_percentile(lateness, 50),
        lateness_percentile(lateness, 99),
        max(lateness, default=None),
    )


def lateness_percentile(counts: Counter[int], percent: float) -> int | None:
    """Of counts by whole milliseconds; None of none."""
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= counts.total() * percent / 100:
            return value
    return None


def table(loads: list[Load], machine: Machine, *, engines_busy: bool) -> str:
    """The figures for people, as Markdown."""
    rows = [
        "| load | calls | CPU per call, % of a core | packets late by, ms: p50 | p99 | max |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for load in loads:
        late = (load.lateness_p50_ms, load.lateness_p99_ms, load.lateness_max_ms)
        shown = " | ".join("" if each is None else f"{each}" for each in late)
        rows.append(f"| {load.name} | {load.calls} | **{load.cpu_percent_per_call:.2f}** | {shown} |")
    engines = "Whisper and Kokoro busy beside it" if engines_busy else "engines idle"
    rows += [
        "",
        f"{engines.capitalize()}. {machine.cpu}, {machine.cores} cores; calibration: matmul "
        f"{machine.matmul_ms} ms, Python {machine.python_ms} ms; load before {machine.load}.",
    ]
    return "\n".join(rows)


def bars(loads: list[Load]) -> list[tuple[str, bool]]:
    """What was to be reached, and whether it was."""
    reached = []
    for load in loads:
        most = TARGETS_PERCENT[load.name]
        label = f"{load.name}: {load.cpu_percent_per_call:.2f} % of a core for each call, at most {most:g} %"
        reached.append((label, load.cpu_percent_per_call <= most))
        if load.lateness_p99_ms is not None:
            late_ms = load.lateness_p99_ms
            label = f"{load.name}: packets late by {late_ms} ms (p99), at most {TARGET_LATENESS_P99_MS} ms"
            reached.append((label, late_ms <= TARGET_LATENESS_P99_MS))
    return reached


def run(arguments: argparse.Namespace) -> int:
    machine = calibrate()
    with ExitStack() as stack:
        options = ["--asyncio"] if arguments.asyncio else []
        server = ScriptedServer(
            stack.enter_context(child(str(ROOT / "bench" / "scripted_server.py"), *options))
        )
        cpu_s = server.cpu_s()
        time.sleep(IDLE_S)
        idle_percent = 100 * (server.cpu_s() - cpu_s) / IDLE_S
        if arguments.engines_busy:
            busy = stack.enter_context(child(str(ROOT / "bench" / "busy_engines.py")))
            assert busy.stdout is not None
            busy.stdout.readline()
        loads = [
            measure(server, name, arguments.calls, arguments.seconds, idle_percent)
            for name in TARGETS_PERCENT
        ]
    reached = bars(loads)
    print(table(loads, machine, engines_busy=arguments.engines_busy))
    met = all_met(reached)
    if arguments.json:
        document = {
            "machine": machine.as_dict(),
            "engines_busy": arguments.engines_busy,
            "asyncio": arguments.asyncio,
            "idle_cpu_percent": round(idle_percent, 2),
            "loads": [asdict(load) for load in loads],
            "bars": dict(reached),
        }
        arguments.json.write_text(json.dumps(document, indent=1))
    return 0 if met else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=4, help="calls at once (4)")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds that each load is measured (20)")
    parser.add_argument("--engines-busy", action="store_true", help="Whisper and Kokoro work beside it")
    parser.add_argument("--asyncio", action="store_true", help="the server on asyncio's own event loop")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--caller", help=argparse.SUPPRESS)
    parser.add_argument("--answered", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.caller:
        asyncio.run(call(arguments.caller, answered=arguments.answered))
        return 0
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
