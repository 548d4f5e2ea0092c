"""What the assistant does when the caller makes a sound while it speaks: yields, or goes on.

    python bench/barge_in.py --speech FOLDER     a server of its own; each event is a call over real WebRTC

In each call the assistant is asked, in writing, for a long story. While it tells it, one event happens: an
interruption, a backchannel, a cough, typing, another noise, or nothing (the control). All is measured at the
caller, from the event's onset (its first audible 10 ms, as it leaves the microphone) to what arrives:

- down: from when on what arrives is at least 20 dB below the level just before, for 100 ms or more;
- silent: the last audible frame, where the assistant stopped;
- held: for how long it was down, where it went on;
- wrong words: by how many words the history differs from what Whisper hears in the audio that arrived.

Without recordings the caller is synthesised, and the noises are generated.

    python bench/barge_in.py --echo              callers without echo cancellation

Then the caller's microphone picks up what their loudspeaker plays, 80 to 300 ms after it arrived. In half of
the calls nobody speaks, and the assistant is listened to for 8 s; in the others somebody interrupts over it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

import numpy as np  # noqa: E402

from bench.barge_in_echo import EchoingRoom  # noqa: E402
from bench.barge_in_events import KINDS, LEAD_S, Event, EventKind, events_for  # noqa: E402
from bench.calibration import Machine, calibrate  # noqa: E402
from bench.history_check import HistoryCheck  # noqa: E402
from bench.report import percentile  # noqa: E402
from bench.server_process import server  # noqa: E402
from media.audio import Audio  # noqa: E402
from signaling.caller import Caller, CallerOptions  # noqa: E402
from signaling.heard import FRAME_S, HeardFrame  # noqa: E402
from signaling.hearing import ReceivedEvent  # noqa: E402

ASKED = "Tell me a long story about the sea."
ANSWER_LIMIT_S = 20.0
LET_SPEAK_S = 1.5
"""The assistant speaks for so long before the event."""
WATCHED_S = 3.0
"""After the event's onset."""
WATCHED_ALONE_S = 8.0
"""Where there is an echo and nobody speaks."""
ECHO_DELAY_S = (0.08, 0.3)
ECHO_GAIN_DB = (-26.0, -8.0)
BEFORE_S = 0.6
"""The level before the event is that of the loudest half of so much."""
DOWN_DB = 20.0
DOWN_FRAMES = 5
DOWN_P95_MS = 150.0
SILENT_P95_MS = 450.0
NOISE_STOPS = 0.05
BACKCHANNEL_STOPS = 0.2
ECHO_KINDS: tuple[EventKind, ...] = ("interruption", "none")
NOISES: tuple[EventKind, ...] = ("cough", "typing", "noise", "none")
SPREAD = {"p50": 50, "p95": 95, "max": 100}

Outcome: TypeAlias = Literal["stopped", "held", "undisturbed", "stopped itself"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """One event, and what came of it.

    Attributes:
        kind, name: of the event.
        outcome: whether the assistant stopped for good, went on after having been held, did not care, or
            had stopped before the event, by its own echo.
        down_ms: from the onset until it was 20 dB down; None if it never was.
        silent_ms: from the onset to the last audible frame, if it stopped.
        told_ms: from the onset until the client was told that it stopped.
        held_ms: for how long it was down, if it went on.
        wrong_words: in the history, if it stopped.
    """

    kind: EventKind
    name: str
    outcome: Outcome
    down_ms: float | None
    silent_ms: float | None = None
    told_ms: float | None = None
    held_ms: float | None = None
    wrong_words: int | None = None


def quiet_stretches(frames: Sequence[HeardFrame], onset_s: float, end_s: float) -> list[tuple[float, float]]:
    """Where what arrives is 20 dB down for 100 ms or longer, from the onset on, in loop time.

    A frame that does not arrive is silent: on WebRTC nothing is sent in silence.
    """
    slots = np.arange(onset_s - BEFORE_S, end_s, FRAME_S)
    levels = np.full(len(slots), -120.0)
    for frame in frames:
        slot = int((frame.at_s - slots[0]) / FRAME_S)
        if 0 <= slot < len(slots):
            levels[slot] = max(levels[slot], frame.audio.level_dbfs())
    after = round(BEFORE_S / FRAME_S)
    loud = float(np.median(np.sort(levels[:after])[after // 2 :]))
    down = np.concatenate([[False], levels[after:] <= loud - DOWN_DB, [False]])
    changes = np.flatnonzero(down[1:] != down[:-1])
    runs = zip(changes[::2], changes[1::2], strict=True)
    return [
        (onset_s + int(start) * FRAME_S, onset_s + int(end) * FRAME_S)
        for start, end in runs
        if end - start >= DOWN_FRAMES
    ]


@dataclass(frozen=True, slots=True)
class Way:
    """How events are tried.

    Attributes:
        url: of the server.
        history: what compares the history with what was heard.
        echo: whether the caller has no echo cancellation.
    """

    url: str
    history: HistoryCheck | None
    echo: bool = False


async def overlap(way: Way, event: Event, number: int) -> Overlap | None:
    """Calls, has the assistant speak, lets the event happen. None where the assistant said too little."""
    options = CallerOptions(session={"greeting": ""})
    async with Caller(way.url, options) as caller:
        if way.echo:
            chance = np.random.default_rng(number)
            delay_s, gain_db = chance.uniform(*ECHO_DELAY_S), chance.uniform(*ECHO_GAIN_DB)
            caller.speak_in(EchoingRoom(caller.heard, delay_s, gain_db, number))
        asked_s = asyncio.get_running_loop().time()
        caller.type_text(ASKED)
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                first = await caller.next_audible(asked_s)
            await asyncio.sleep(max(0.0, first.at_s + LET_SPEAK_S - asyncio.get_running_loop().time()))
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await _until_loud(caller)
        except TimeoutError:
            return Overlap(event.kind, event.name, "stopped itself", None) if _cut(caller) else None
        onset_s = await _happens(caller, event)
        watched_s = WATCHED_ALONE_S if way.echo and event.audio is None else WATCHED_S
        await asyncio.sleep(max(0.0, onset_s + watched_s - asyncio.get_running_loop().time()))
        return _outcome(caller, event, onset_s, way.history)


async def _until_loud(caller: Caller) -> None:
    """Until the assistant is in the middle of a word: a pause of its own would be taken for its yielding."""
    while not all(frame.is_active for frame in caller.heard[-8:]):
        caller.more_heard.clear()
        await caller.more_heard.wait()


async def _happens(caller: Caller, event: Event) -> float:
    """Lets the event happen. Returns the loop time of its onset."""
    if event.audio is None:
        return asyncio.get_running_loop().time()
    # The silence before it goes out as one with it, and its end is told: the sound begins there.
    lead = event.audio.samples[: round(LEAD_S * event.audio.rate_hz)]
    sound = event.audio.samples[len(lead) :]
    async with asyncio.TaskGroup() as tasks:
        silent = tasks.create_task(caller.say(Audio(lead, event.audio.rate_hz)))
        tasks.create_task(caller.say(Audio(sound, event.audio.rate_hz)))
    return silent.result() + event.onset_s - LEAD_S


def _cut(caller: Caller) -> ReceivedEvent | None:
    """The client's being told that the assistant stopped, if it was."""
    return next((one for one in caller.events if one.type == "conversation.item.truncated"), None)


def _outcome(caller: Caller, event: Event, onset_s: float, history: HistoryCheck | None) -> Overlap:
    stretches = quiet_stretches(caller.heard, onset_s, onset_s + WATCHED_S)
    down_ms = round((stretches[0][0] - onset_s) * 1000, 1) if stretches else None
    cut = _cut(caller)
    if cut is not None and (cut.at_s < onset_s or event.audio is None):
        return Overlap(event.kind, event.name, "stopped itself", None)
    if cut is None:
        outcome: Outcome = "held" if stretches else "undisturbed"
        held_ms = round((stretches[0][1] - stretches[0][0]) * 1000, 1) if stretches else None
        return Overlap(event.kind, event.name, outcome, down_ms, held_ms=held_ms)
    again = next(
        (one.at_s for one in caller.events if one.type == "response.created" and one.at_s > cut.at_s),
        onset_s + WATCHED_S,
    )
    told = [frame for frame in caller.heard if frame.at_s < again]
    last = [frame for frame in told if frame.is_active][-1]
    wrong = history.wrong_words(told, str(cut.event.get("transcript", ""))) if history else None
    silent_ms = round((last.at_s - onset_s) * 1000, 1)
    told_ms = round((cut.at_s - onset_s) * 1000, 1)
    return Overlap(
        event.kind, event.name, "stopped", down_ms, silent_ms=silent_ms, told_ms=told_ms, wrong_words=wrong
    )


# The figures


def figures_of(overlaps: Sequence[Overlap]) -> dict[str, dict[str, object]]:
    """By kind of event."""
    return {kind: _figures([one for one in overlaps if one.kind == kind]) for kind in KINDS}


def _figures(overlaps: Sequence[Overlap]) -> dict[str, object]:
    stopped = [one for one in overlaps if one.outcome == "stopped"]
    wrong = [one.wrong_words for one in stopped if one.wrong_words is not None]
    return {
        "events": len(overlaps),
        "stopped": len(stopped),
        "held": sum(one.outcome == "held" for one in overlaps),
        "stopped_itself": sum(one.outcome == "stopped itself" for one in overlaps),
        "down_ms": _spread([one.down_ms for one in overlaps]),
        "silent_ms": _spread([one.silent_ms for one in stopped]),
        "held_ms": _spread([one.held_ms for one in overlaps]),
        "history_right": sum(count <= 1 for count in wrong) if wrong else None,
        "history_checked": len(wrong),
    }


def _spread(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    return {name: round(percentile(known, at), 1) for name, at in SPREAD.items()} if known else None


def table(figures: dict[str, dict[str, object]], machine: Machine) -> str:
    """The figures for people, as Markdown."""
    heads = (
        "event",
        "events",
        "stopped",
        "held",
        "stopped itself",
        "−20 dB after",
        "silent after",
        "held for",
        "history right",
    )
    rows = [f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for kind, found in figures.items():
        if not found["events"]:
            continue
        spreads = [found[name] for name in ("down_ms", "silent_ms", "held_ms")]
        shown = [f"{one['p50']:.0f} / {one['p95']:.0f}" if isinstance(one, dict) else "" for one in spreads]
        right = f"{found['history_right']} of {found['history_checked']}" if found["history_checked"] else ""
        counts = [str(found[name]) for name in ("events", "stopped", "held", "stopped_itself")]
        rows.append(f"| {' | '.join([kind, *counts, *shown, right])} |")
    return "\n".join(
        [
            *rows,
            "",
            "Times in ms, p50 / p95, from the event's onset. Held: 20 dB down for a while, then as before.",
            f"{machine.cpu}, {machine.cores} cores; calibration: matmul {machine.matmul_ms} ms, "
            f"Python {machine.python_ms} ms; load before {machine.load}.",
        ]
    )


def missed(figures: dict[str, dict[str, object]]) -> list[str]:
    """The bars that were not reached."""
    found = []
    interruption = figures["interruption"]
    for name, limit in (("down_ms", DOWN_P95_MS), ("silent_ms", SILENT_P95_MS)):
        spread = interruption[name]
        if isinstance(spread, dict) and spread["p95"] > limit:
            found.append(f"interruptions: {name} p95 is {spread['p95']:.0f}, above {limit:.0f}")
    if interruption["stopped"] != interruption["events"]:
        found.append(f"interruptions: {interruption['stopped']} of {interruption['events']} stopped it")
    for kinds, limit in ((NOISES, NOISE_STOPS), (("backchannel",), BACKCHANNEL_STOPS)):
        events = sum(int(str(figures[kind]["events"])) for kind in kinds)
        stops = sum(int(str(figures[kind][name])) for kind in kinds for name in ("stopped", "stopped_itself"))
        if stops > limit * events:
            found.append(f"{', '.join(kinds)}: {stops} of {events} stopped it")
    return found


async def measure(way: Way, events: Sequence[Event]) -> list[Overlap]:
    """One call an event."""
    overlaps = []
    for number, event in enumerate(events):
        found = await overlap(way, event, number)
        if found is None:
            print(f"  no answer   {event.kind}: {event.name}", flush=True)
            continue
        overlaps.append(found)
        times = (
            f"down {found.down_ms}, silent {found.silent_ms}, held {found.held_ms}, told {found.told_ms} ms"
        )
        times += f"; {found.wrong_words} words off" if found.wrong_words is not None else ""
        print(f"  {found.outcome:>11}  {event.kind}: {event.name}: {times}", flush=True)
    return overlaps


def run(arguments: argparse.Namespace) -> int:
    machine = calibrate()
    kinds: Sequence[str] = (
        arguments.kinds.split(",") if arguments.kinds else ECHO_KINDS if arguments.echo else KINDS
    )
    events = [one for one in events_for(arguments.speech, arguments.events) if one.kind in kinds]
    part, parts = map(int, arguments.part.split("/"))
    events = events[part - 1 :: parts]
    history = HistoryCheck() if arguments.history else None
    with ExitStack() as stack:
        running = None if arguments.url else stack.enter_context(server())
        url = running.url if running else arguments.url
        print(f"{len(events)} calls to {url}", flush=True)
        overlaps = asyncio.run(measure(Way(url, history, arguments.echo), events))
    figures = figures_of(overlaps)
    print(table(figures, machine))
    if arguments.json:
        document = {
            "machine": machine.as_dict(),
            "figures": figures,
            "overlaps": [asdict(one) for one in overlaps],
        }
        arguments.json.write_text(json.dumps(document, indent=1))
    for sentence in missed(figures):
        print(f"not reached: {sentence}", file=sys.stderr)
    return 1 if missed(figures) else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=10, help="how many of each kind (10)")
    parser.add_argument(
        "--speech",
        type=Path,
        default=ROOT.parent / "shared" / "speech",
        help="folder of recordings with a manifest.jsonl; without one, all is synthesised or generated",
    )
    parser.add_argument(
        "--kinds", help=f"only these, between commas (all; with --echo {' and '.join(ECHO_KINDS)})"
    )
    parser.add_argument("--part", default="1/1", help="2/3: of every three events the second (all)")
    parser.add_argument("--echo", action="store_true", help="callers without echo cancellation")
    parser.add_argument("--url", help="a server that runs already; by default one is started")
    parser.add_argument(
        "--history",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare the history with what Whisper hears",
    )
    parser.add_argument("--json", type=Path, help="write every event here too")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
