"""How long people wait for an answer: real WebRTC, real speech, measured at the caller.

    python bench/voice_to_voice.py [--clips 20] [--speech FOLDER] [--url URL] [--json FILE]

Latency runs from the last sample of speech that leaves the caller to the arrival of the first audible packet
(a 20 ms frame above −45 dBFS, three of five frames active). Each clip is a call of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.calibration import Machine, calibrate  # noqa: E402
from bench.clips import Clip, evenly, recorded, synthesised  # noqa: E402
from bench.server_process import RunningServer, server  # noqa: E402
from media.audio import concatenate, silence  # noqa: E402
from media.clock import loop_time_s  # noqa: E402
from signaling.caller import Caller, CallerOptions  # noqa: E402

ANSWER_LIMIT_S = 15.0
STAGES = ("endpoint", "stt", "llm", "tts", "playout")
TARGET_P50_MS = 1500.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One call's one turn.

    Attributes:
        clip: its name.
        has_pause: whether the speaker pauses inside it.
        latency_ms: None where no answer came.
        cut_in: the answer began before the speaker had ended.
        connect_ms: until the call stood.
        stages: duration in ms by name, as the server tells them.
        transcript: what the server heard.
    """

    clip: str
    has_pause: bool
    latency_ms: float | None
    cut_in: bool
    connect_ms: float
    stages: dict[str, float] = field(default_factory=dict)
    transcript: str = ""


def percentile(values: Sequence[float], percent: float) -> float:
    """By linear interpolation between the two nearest."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


async def one_turn(url: str, clip: Clip) -> Turn:
    """Calls, says the clip, waits for the answer, hangs up."""
    options = CallerOptions(session={"greeting": ""})
    async with Caller(url, options) as caller:
        assert caller.setup is not None
        await asyncio.sleep(0.3)
        begun_s = loop_time_s()
        audio = concatenate([clip.audio, silence(0.5, clip.audio.rate_hz)], clip.audio.rate_hz)
        speech_end_s = await caller.say(audio)
        cut_in = caller.first_audible(begun_s) is not None
        answer = None
        if not cut_in:
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_LIMIT_S):
                    answer = await caller.next_audible(speech_end_s)
        await asyncio.sleep(0.1)
        stages: dict[str, float] = {}
        transcript = ""
        for received in caller.events:
            if received.type == "vk.turn.latency":
                stages = {stage["name"]: stage["duration_ms"] for stage in received.event["stages"]}
            if received.type == "conversation.item.input_audio_transcription.completed":
                transcript = f"{transcript} {received.event['transcript']}".strip()
        return Turn(
            clip.name,
            clip.has_pause,
            round((answer.at_s - speech_end_s) * 1000, 1) if answer else None,
            cut_in,
            round(caller.setup.connected_s * 1000, 1),
            stages,
            transcript,
        )


async def measure(url: str, clips: Sequence[Clip]) -> list[Turn]:
    turns = []
    for clip in clips:
        turn = await one_turn(url, clip)
        turns.append(turn)
        shown = "cut in" if turn.cut_in else f"{turn.latency_ms} ms" if turn.latency_ms else "no answer"
        print(f"  {shown:>10}  {clip.name}  “{turn.transcript[:60]}”", flush=True)
    return turns


def summary(turns: Sequence[Turn]) -> dict[str, object]:
    """The figures of a run."""
    answered = [turn for turn in turns if turn.latency_ms is not None]
    fluent = [turn.latency_ms for turn in answered if not turn.has_pause and turn.latency_ms is not None]
    latencies = [turn.latency_ms for turn in answered if turn.latency_ms is not None]
    stages = {
        name: _spread([turn.stages[name] for turn in answered if name in turn.stages]) for name in STAGES
    }
    return {
        "turns": len(turns),
        "answered": len(answered),
        "cut_in": sum(turn.cut_in for turn in turns),
        "voice_to_voice_ms": _spread(latencies),
        "voice_to_voice_without_pauses_ms": _spread(fluent),
        "connect_ms": _spread([turn.connect_ms for turn in turns]),
        "stages_ms": stages,
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {
        "p50": round(statistics.median(values), 1),
        "p95": round(percentile(values, 95), 1),
        "max": round(max(values), 1),
    }


def table(figures: dict[str, object], machine: Machine, running: RunningServer | None) -> str:
    """The figures for people, as Markdown."""
    rows = ["| figure (ms) | p50 | p95 | max |", "|---|---:|---:|---:|"]

    def row(label: str, spread: object) -> None:
        if isinstance(spread, dict):
            rows.append(f"| {label} | {spread['p50']:.0f} | {spread['p95']:.0f} | {spread['max']:.0f} |")

    row("**voice to voice**", figures["voice_to_voice_ms"])
    row("voice to voice, clips without a pause", figures["voice_to_voice_without_pauses_ms"])
    stages = figures["stages_ms"]
    assert isinstance(stages, dict)
    for name in STAGES:
        row(f"of it: {name}", stages[name])
    row("connecting", figures["connect_ms"])
    rows += [
        "",
        f"{figures['turns']} turns, {figures['answered']} answered, {figures['cut_in']} cut in on. "
        f"{machine.cpu}, {machine.cores} cores; calibration: matmul {machine.matmul_ms} ms, "
        f"Python {machine.python_ms} ms; load before {machine.load}.",
    ]
    if running is not None:
        rows.append(f"Ready after {running.ready_s} s; resident {running.resident_mb():.0f} MB.")
    return "\n".join(rows)


def clips_for(folder: Path, limit: int) -> list[Clip]:
    """Recorded ones if they are there."""
    if (folder / "manifest.jsonl").exists():
        return evenly(recorded(folder), limit)
    from server.config import load_config
    from server.engines import build_engines

    print("no recordings at hand: callers are synthesised", flush=True)
    return evenly(asyncio.run(synthesised(build_engines(load_config(None, {})).tts)), limit)


def run(arguments: argparse.Namespace) -> int:
    machine = calibrate()
    clips = clips_for(arguments.speech, arguments.clips)
    with ExitStack() as stack:
        running = None if arguments.url else stack.enter_context(server())
        url = running.url if running else arguments.url
        print(f"{len(clips)} calls to {url}", flush=True)
        turns = asyncio.run(measure(url, clips))
        figures = summary(turns)
        print(table(figures, machine, running))
        if arguments.json:
            document = {
                "machine": machine.as_dict(),
                "figures": figures,
                "turns": [asdict(turn) for turn in turns],
            }
            arguments.json.write_text(json.dumps(document, indent=1))
    spread = figures["voice_to_voice_ms"]
    all_answered = all(turn.latency_ms is not None or turn.cut_in for turn in turns)
    return 0 if all_answered and isinstance(spread, dict) and spread["p50"] < TARGET_P50_MS else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=20, help="how many calls (20)")
    parser.add_argument(
        "--speech",
        type=Path,
        default=ROOT.parent / "shared" / "speech",
        help="folder of recordings with a manifest.jsonl; without one, callers are synthesised",
    )
    parser.add_argument("--url", help="a server that runs already; by default one is started")
    parser.add_argument("--json", type=Path, help="write every turn here too")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
