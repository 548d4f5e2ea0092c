"""How long people wait for an answer: real WebRTC, real speech, measured at the caller.

    python bench/voice_to_voice.py [--clips 20] [--calls 1,2,4] [--transport webrtc realtime ws sip] [--sip]
        [--pipecat]
        [--speech FOLDER] [--json FILE]

Latency runs from the last sample of speech that leaves the caller to the arrival of the first audible packet
(a 20 ms frame above −45 dBFS, three of five frames active). Each clip is a call of its own. With `--calls`,
so many callers call at once, each saying one clip after the other. With `--transport`, each clip is said over
each of these, one after the other: over sockets in pieces of 20 ms, and what comes is heard when a player
without a buffer plays it. `sip` is a telephone: µ-law in RTP, called by SIP; `--sip` puts it beside WebRTC.
With `--pipecat`, Pipecat answers the same clips afterwards with the same models on
the same machine, once as its documentation sets it up and once tuned; the first time, it is installed in an
environment of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.calibration import calibrate  # noqa: E402
from bench.clips import Clip, evenly, recorded, synthesised  # noqa: E402
from bench.pipecat_peer import pipecat  # noqa: E402
from bench.report import Spread, all_met, machine_line, markdown, percentile, spread, whole, write_json  # noqa: E402
from bench.server_process import free_port, server  # noqa: E402
from bench.transports import OPENERS, Call, Transport, stages_told, transcript_told  # noqa: E402
from media.audio import concatenate, silence  # noqa: E402
from media.clock import loop_time_s  # noqa: E402

ANSWER_LIMIT_S = 20.0
SIP_PORT_VARIABLE = "VOXTRAL_KOKORO__SIP__UDP_PORT"
STAGES = ("endpoint", "stt", "llm", "tts", "playout")
OURS = "Voxtral-Kokoro"
NAMES: dict[Transport, str] = {
    "webrtc": OURS,
    "realtime": f"{OURS}, /v1/realtime",
    "ws": f"{OURS}, /ws",
    "sip": f"{OURS}, telephone",
}
TARGET_P50_MS = 500.0
TARGET_P95_MS = 800.0
TARGET_SHARE_OF_PIPECAT = 0.2
TARGET_ADDED_P50_MS = 20.0
TARGET_ADDED_BY_TELEPHONE_P50_MS = 60.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One call's one turn.

    Attributes:
        system: who answered.
        calls: how many there were at once.
        clip: its name.
        has_pause: whether the speaker pauses inside it.
        latency_ms: None where no answer came.
        cut_in: the answer began before the speaker had ended.
        connect_ms: until the call stood.
        stages: duration in ms by name, as our server tells them.
        transcript: what our server heard.
    """

    system: str
    calls: int
    clip: str
    has_pause: bool
    latency_ms: float | None
    cut_in: bool
    connect_ms: float
    stages: dict[str, float] = field(default_factory=dict)
    transcript: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a system at a number of calls at once. All in ms.

    Attributes:
        system: who answered.
        calls: at once.
        turns: that were said.
        answered: after the speaker's end.
        cut_in: answered before it.
        all: voice to voice, of all clips that were answered.
        natural: of those without a pause inside: a request as people make it.
        connect: until the call stood.
        stages: by name.
    """

    system: str
    calls: int
    turns: int
    answered: int
    cut_in: int
    all: Spread | None
    natural: Spread | None
    connect: Spread | None
    stages: Mapping[str, Spread | None]


async def one_turn(system: str, calls: int, call: Call, clip: Clip) -> Turn:
    """Calls, says the clip, waits for the answer, hangs up."""
    async with call() as caller:
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
        return Turn(
            system,
            calls,
            clip.name,
            clip.has_pause,
            round((answer.at_s - speech_end_s) * 1000, 1) if answer else None,
            cut_in,
            round(caller.setup.connected_s * 1000, 1),
            stages_told(caller.events),
            transcript_told(caller.events),
        )


async def measure(ways: Mapping[str, Call], clips: Sequence[Clip], calls: int = 1) -> list[list[Turn]]:
    """Says every clip once to each system, `calls` of them at a time. Returns each system's turns.

    A clip is said to all of them before the next one is, to another of them first each time: whatever the
    machine does besides, and a server remembers of a clip, falls to all alike.
    """
    turns: dict[str, list[Turn]] = {system: [] for system in ways}
    waiting = iter(enumerate(clips))

    async def callers_line() -> None:
        for number, clip in waiting:
            for system in rotated(list(ways), number):
                turn = await one_turn(system, calls, ways[system], clip)
                turns[system].append(turn)
                shown = (
                    "cut in" if turn.cut_in else f"{turn.latency_ms} ms" if turn.latency_ms else "no answer"
                )
                by = f"  ({system})" if len(ways) > 1 else ""
                print(f"  {shown:>10}  {clip.name}  “{turn.transcript[:60]}”{by}", flush=True)

    print(f"{' | '.join(ways)}: {calls} at once, {len(clips)} clips", flush=True)
    async with asyncio.TaskGroup() as lines:
        for number in range(calls):
            lines.create_task(callers_line(), name=f"line {number}")
    return list(turns.values())


def rotated(systems: Sequence[str], by: int) -> list[str]:
    """The same, from another one on."""
    first = by % len(systems)
    return [*systems[first:], *systems[:first]]


def figures_of(turns: Sequence[Turn]) -> Figures:
    """The figures of turns that one system answered at one number of calls."""
    answered = [turn for turn in turns if turn.latency_ms is not None]
    return Figures(
        turns[0].system,
        turns[0].calls,
        len(turns),
        len(answered),
        sum(turn.cut_in for turn in turns),
        spread(turn.latency_ms for turn in answered),
        spread(turn.latency_ms for turn in answered if not turn.has_pause),
        spread(turn.connect_ms for turn in turns),
        {name: spread(turn.stages.get(name) for turn in answered) for name in STAGES},
    )


def table(runs: Sequence[Figures]) -> str:
    """The figures for people: a column for each run."""

    def row(label: str, spread_of: Callable[[Figures], Spread | None], figure: str) -> list[str]:
        spreads = (spread_of(run) for run in runs)
        return [label, *(whole(None if known is None else getattr(known, figure)) for known in spreads)]

    def count(label: str, of: Callable[[Figures], int]) -> list[str]:
        return [label, *(str(of(run)) for run in runs)]

    names = [run.system if run.calls == 1 else f"{run.system}, {run.calls} calls at once" for run in runs]
    rows = [
        row("**natural requests, p50**", lambda run: run.natural, "p50"),
        row("**natural requests, p95**", lambda run: run.natural, "p95"),
        row("natural requests, max", lambda run: run.natural, "max"),
        row("with those that pause inside, p50", lambda run: run.all, "p50"),
        row("with those that pause inside, p95", lambda run: run.all, "p95"),
        row("with those that pause inside, max", lambda run: run.all, "max"),
        row("connecting, p50", lambda run: run.connect, "p50"),
        count("clips", lambda run: run.turns),
        count("answered after the speaker's end", lambda run: run.answered),
        count("cut in on", lambda run: run.cut_in),
    ]
    return markdown(["voice to voice (ms)", *names], rows)


def stages_table(run: Figures) -> str:
    """Where our own time goes."""
    known = [(name, of) for name, of in run.stages.items() if of is not None]
    rows = [[name, whole(of.p50), whole(of.p95), whole(of.max)] for name, of in known]
    return markdown([f"{run.system}: stage (ms)", "p50", "p95", "max"], rows)


def bars(ours: Figures, peers: Sequence[Figures]) -> list[tuple[str, bool]]:
    """What was to be reached, and whether it was."""
    natural = ours.natural
    if natural is None:
        return [("natural requests are answered", False)]
    reached = [
        (f"p50 of natural requests ≤ {TARGET_P50_MS:.0f} ms", natural.p50 <= TARGET_P50_MS),
        (f"p95 of natural requests ≤ {TARGET_P95_MS:.0f} ms", natural.p95 <= TARGET_P95_MS),
    ]
    for peer in peers:
        if peer.natural is not None:
            share = natural.p50 / peer.natural.p50
            label = f"p50 at most a fifth of {peer.system}'s ({share:.2f} of it)"
            reached.append((label, share <= TARGET_SHARE_OF_PIPECAT))
    return reached


@dataclass(frozen=True, slots=True)
class Added:
    """What a transport adds to another, over the clips that were answered over both. In ms.

    Attributes:
        clips: how many.
        p50: the one's median less the other's.
        median: of the clips' differences: most of what makes clips differ is not in it.
    """

    clips: int
    p50: float
    median: float


def added(turns: Sequence[Turn], to: Sequence[Turn]) -> Added | None:
    """What one transport adds to another. None where no clip was answered over both."""
    before = {turn.clip: turn.latency_ms for turn in to if turn.latency_ms is not None}
    pairs = [
        (turn.latency_ms, before[turn.clip])
        for turn in turns
        if turn.latency_ms is not None and turn.clip in before
    ]
    if not pairs:
        return None
    here, there = zip(*pairs, strict=True)
    differences = [one - other for one, other in pairs]
    return Added(
        len(pairs),
        round(percentile(here, 50) - percentile(there, 50), 1),
        round(percentile(differences, 50), 1),
    )


def transport_bars(runs: Sequence[Sequence[Turn]]) -> list[tuple[str, bool]]:
    """What others may add to WebRTC at the same number of calls, and whether they do not add more."""
    reached = []
    for turns in runs:
        system, calls = turns[0].system, turns[0].calls
        webrtc = next((run for run in runs if run[0].system == OURS and run[0].calls == calls), None)
        if webrtc is None or webrtc is turns:
            continue
        more = added(turns, webrtc)
        found = f"{more.p50:+.0f}; median of {more.clips} differences {more.median:+.0f}" if more else "–"
        most_ms = TARGET_ADDED_BY_TELEPHONE_P50_MS if system == NAMES["sip"] else TARGET_ADDED_P50_MS
        label = f"{system} adds less than {most_ms:.0f} ms to WebRTC's p50 ({found})"
        reached.append((label, more is not None and more.p50 < most_ms))
    return reached


def clips_for(folder: Path, limit: int) -> list[Clip]:
    """Recorded ones if they are there."""
    if (folder / "manifest.jsonl").exists():
        return evenly(recorded(folder), limit)
    from server.config import load_config
    from server.engines import build_engines

    print("no recordings at hand: callers are synthesised", flush=True)
    return evenly(asyncio.run(synthesised(build_engines(load_config(None, {})).tts)), limit)


def measure_ours(
    arguments: argparse.Namespace, clips: Sequence[Clip]
) -> tuple[list[list[Turn]], dict[str, Any]]:
    """One run for each number of calls at once and transport, on one server; and its answers begun early."""
    levels = [int(level) for level in arguments.calls.split(",")]
    with ExitStack() as stack:
        # One more: a call that hung up holds its slot for a moment, while the next one begins.
        limit = {"VOXTRAL_KOKORO__SERVER__MAX_CALLS": str(max(levels) + 1)}
        telephone = telephone_settings() if "sip" in arguments.transport and not arguments.url else {}
        running = None if arguments.url else stack.enter_context(server(limit | telephone))
        url = running.url if running else arguments.url
        sip_uri = arguments.sip_uri or f"sip:bench@127.0.0.1:{telephone.get(SIP_PORT_VARIABLE, '5060')}"
        ways = {
            NAMES[transport]: partial(OPENERS[transport], sip_uri if transport == "sip" else url)
            for transport in arguments.transport
        }
        runs = [turns for level in levels for turns in asyncio.run(measure(ways, clips, level))]
        if running is not None:
            print(f"Ready after {running.ready_s} s; resident {running.resident_mb():.0f} MB.")
        early = running.metrics()["answers_begun_early"] if running else {}
    return runs, early


def telephone_settings() -> dict[str, str]:
    """For a server that a telephone on this machine may call, and that says nothing first."""
    return {
        SIP_PORT_VARIABLE: str(free_port()),
        "VOXTRAL_KOKORO__SIP__ACCESS": "{networks: [127.0.0.1]}",
        "VOXTRAL_KOKORO__TELEPHONE__GREETING": '""',
    }


def early_line(early: Mapping[str, Any]) -> str:
    """How often an answer that was begun before the turn was over was the right one, and what it cost."""
    return (
        f"Answers begun early: {early['used']} used ({early['gained_s']:.1f} s of work gained), "
        f"{early['dropped']} dropped ({early['in_vain_s']:.1f} s in vain)."
    )


def measure_pipecat(clips: Sequence[Clip]) -> list[list[Turn]]:
    """One run as documented, one tuned."""
    runs = []
    for name, tuned in (("Pipecat", False), ("Pipecat, tuned", True)):
        with pipecat(tuned=tuned) as peer:
            runs += asyncio.run(measure({name: peer.call}, clips))
    return runs


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=20, help="how many clips (20)")
    parser.add_argument("--calls", default="1", help="how many calls at once, one run each: 1,2,4")
    parser.add_argument(
        "--transport",
        nargs="+",
        choices=list(OPENERS),
        default=["webrtc"],
        help="the ways in; the same clips over each of them (webrtc)",
    )
    parser.add_argument("--pipecat", action="store_true", help="let Pipecat answer too; takes minutes")
    parser.add_argument(
        "--speech",
        type=Path,
        default=ROOT.parent / "shared" / "speech",
        help="folder of recordings with a manifest.jsonl; without one, callers are synthesised",
    )
    parser.add_argument("--url", help="a server of ours that runs already; by default one is started")
    parser.add_argument("--sip", action="store_true", help="the same as --transport webrtc sip")
    parser.add_argument("--sip-uri", help="that server as telephones call it (sip:bench@127.0.0.1:5060)")
    parser.add_argument("--json", type=Path, help="write every turn here too")
    arguments = parser.parse_args()
    if arguments.sip:
        arguments.transport = ["webrtc", "sip"]
    machine = calibrate()
    clips = clips_for(arguments.speech, arguments.clips)
    ours, early = measure_ours(arguments, clips)
    peers = measure_pipecat(clips) if arguments.pipecat else []
    runs = [figures_of(turns) for turns in (*ours, *peers)]
    reached = [*bars(runs[0], runs[len(ours) :]), *transport_bars(ours)]
    # Those of the first number of calls: one for each transport.
    stages = [
        stages_table(run)
        for run in runs
        # A telephone is not told of any.
        if run.system in NAMES.values() and run.calls == runs[0].calls and any(run.stages.values())
    ]
    print(table(runs), *stages, machine_line(machine), sep="\n\n")
    if early:
        print(early_line(early))
    met = all_met(reached)
    if arguments.json:
        figures = {"runs": [asdict(run) for run in runs], "bars": dict(reached), "early": early}
        write_json(arguments.json, machine, figures, [turn for turns in (*ours, *peers) for turn in turns])
    everybody_answered = all(turn.latency_ms is not None or turn.cut_in for turns in ours for turn in turns)
    return 0 if everybody_answered and met else 1


if __name__ == "__main__":
    sys.exit(main())
