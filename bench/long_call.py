"""Whether a long call stays as it began: 200 turns of one real call, latency, memory and delay of each.

    python bench/long_call.py [--turns 200] [--typed-between 1] [--speech FOLDER] [--json FILE]

A server with its real engines, one caller over real WebRTC. Short questions are spoken, and between two of
them some are typed, so that the conversation soon is longer than what the LLM is shown, and is compacted
many times. An answer is broken off once it has begun to be heard. All is measured at the caller:

- answered: from the last sample of speech that left (or the text) to the first audible packet;
- noticed: from the first sound that left to the event that says so: the way in, and the 96 ms of speech that
  count as such;
- memory: resident, of the server's processes together.

The first turn warms up. Turns 2 to 20 are compared with as many at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.calibration import calibrate  # noqa: E402
from bench.clips import Clip, evenly, recorded, synthesised  # noqa: E402
from bench.report import Spread, all_met, machine_line, markdown, spread, whole, write_json  # noqa: E402
from bench.server_process import RunningServer, server  # noqa: E402
from media.audio import Audio, concatenate, silence  # noqa: E402
from media.clock import loop_time_s  # noqa: E402
from signaling.caller import Caller, CallerOptions  # noqa: E402
from signaling.heard import AUDIBLE_DBFS, FRAME_S, speech_end_s  # noqa: E402
from signaling.hearing import ReceivedEvent  # noqa: E402

LONGEST_QUESTION_S = 2.0
QUESTIONS = 9
"""As many as there are spoken turns from 2 to 20: what is compared was asked the same questions."""
ANSWER_LIMIT_S = 15.0
HEARD_S = 0.4
"""So much of an answer is heard before it is broken off."""
BETWEEN_S = 0.3
TAIL_S = 0.5
"""Silence after a question, so that its last sound leaves the encoder."""
COMPARED = 19
TYPED = (
    "And what would you say about that to somebody who has never heard of it before today?",
    "That is good to know. Which of the two would you rather have if you had to choose one?",
    "My sister asked me the same thing last week, and I did not know what to tell her then.",
    "Let us talk about something else for a while. What do people like to eat in summer?",
    "I see. Then tell me what you would do first if you were in my place and had one day left.",
)

SLOWER_MS = 100.0
"""The answers' median may grow by this, and no more, for turn 200 to be as quick as turn 2."""
LATER_MS = 20.0
"""Likewise the delay inbound: a packet's length."""
GROWN_MB = 60.0
"""What a call may add to the memory between turn 20 and its last one: its history, and allocators' pools."""

Kind = Literal["spoken", "typed"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn.

    Attributes:
        number: from 1.
        kind: how the caller said it.
        answered_ms: None where no answer came, or it began before the speaker had ended.
        noticed_ms: None where it was typed, or was not noticed.
        stages: duration in ms by name, as the server tells them.
        resident_mb: of the server afterwards.
    """

    number: int
    kind: Kind
    answered_ms: float | None
    noticed_ms: float | None
    resident_mb: float
    stages: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """The figures of some turns in a row. All but the memory in ms.

    Attributes:
        first, last: their numbers.
        unanswered: how many had no answer after the speaker's end.
        spoken, typed: until the answer, by kind.
        llm: until its first clause, of all.
        noticed: until speech was noticed.
        resident_mb: median.
    """

    first: int
    last: int
    unanswered: int
    spoken: Spread | None
    typed: Spread | None
    llm: Spread | None
    noticed: Spread | None
    resident_mb: float


def onset_s(audio: Audio) -> float:
    """Where the first sound is that somebody would notice; 0 where there is none."""
    length = round(FRAME_S * audio.rate_hz)
    frames = (Audio(audio.samples[at : at + length], audio.rate_hz) for at in range(0, len(audio), length))
    loud = (index for index, frame in enumerate(frames) if frame.level_dbfs() > AUDIBLE_DBFS)
    return next(loud, 0) * FRAME_S


class LongCall:
    """One call, turn by turn."""

    def __init__(self, caller: Caller, running: RunningServer) -> None:
        self._caller = caller
        self._running = running
        self.turns: list[Turn] = []

    async def speak(self, clip: Clip) -> None:
        """A turn by voice."""
        caller = self._caller
        self._forget()
        audio = concatenate([clip.audio, silence(TAIL_S, clip.audio.rate_hz)], clip.audio.rate_hz)
        end_s = await caller.say(audio)
        begin_s = end_s - speech_end_s(clip.audio) + onset_s(clip.audio)
        cut_in = caller.first_audible(begin_s) is not None
        answered_ms = None if cut_in else await self._answer_ms(end_s)
        started = self._event("input_audio_buffer.speech_started")
        noticed_ms = None if started is None else round((started.at_s - begin_s) * 1000, 1)
        await self._note("spoken", answered_ms, noticed_ms)

    async def type_text(self, text: str) -> None:
        """A turn in writing."""
        self._forget()
        asked_s = loop_time_s()
        self._caller.type_text(text)
        await self._note("typed", await self._answer_ms(asked_s), None)

    async def _answer_ms(self, asked_s: float) -> float | None:
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                first = await self._caller.next_audible(asked_s)
        except TimeoutError:
            return None
        await asyncio.sleep(max(0.0, first.at_s + HEARD_S - loop_time_s()))
        return round((first.at_s - asked_s) * 1000, 1)

    async def _note(self, kind: Kind, answered_ms: float | None, noticed_ms: float | None) -> None:
        """What the turn was like; the rest of its answer is not heard."""
        told = self._event("vk.turn.latency")
        stages = {stage["name"]: stage["duration_ms"] for stage in told.event["stages"]} if told else {}
        self._caller.send_event({"type": "response.cancel"})
        self._caller.send_event({"type": "output_audio_buffer.clear"})
        await asyncio.sleep(BETWEEN_S)
        number = len(self.turns) + 1
        resident_mb = await asyncio.to_thread(self._running.resident_mb)
        self.turns.append(Turn(number, kind, answered_ms, noticed_ms, resident_mb, stages))
        shown = f"{answered_ms:.0f} ms" if answered_ms is not None else "no answer"
        print(f"  {number:>4}  {kind:<6}  {shown:>9}  {resident_mb:.0f} MB", flush=True)

    def _forget(self) -> None:
        """What was heard and told before: a long call would fill the memory with it."""
        self._caller.heard.clear()
        self._caller.events.clear()

    def _event(self, kind: str) -> ReceivedEvent | None:
        return next((event for event in self._caller.events if event.type == kind), None)


async def long_call(
    running: RunningServer, clips: Sequence[Clip], turns: int, typed_between: int
) -> list[Turn]:
    """The whole call."""
    async with Caller(running.url, CallerOptions(session={"greeting": ""})) as caller:
        call = LongCall(caller, running)
        await asyncio.sleep(BETWEEN_S)
        spoken = typed = 0
        while len(call.turns) < turns:
            if len(call.turns) % (1 + typed_between):
                await call.type_text(TYPED[typed % len(TYPED)])
                typed += 1
            else:
                await call.speak(clips[spoken % len(clips)])
                spoken += 1
        return call.turns


def part(turns: Sequence[Turn]) -> Part:
    """The figures of these turns."""
    memory = spread(turn.resident_mb for turn in turns)
    assert memory is not None
    return Part(
        turns[0].number,
        turns[-1].number,
        sum(turn.answered_ms is None for turn in turns),
        spread(turn.answered_ms for turn in turns if turn.kind == "spoken"),
        spread(turn.answered_ms for turn in turns if turn.kind == "typed"),
        spread(turn.stages.get("llm") for turn in turns),
        spread(turn.noticed_ms for turn in turns),
        memory.p50,
    )


def parts(turns: Sequence[Turn]) -> list[Part]:
    """The beginning without the first turn, what lies between, the end."""
    compared = min(COMPARED, (len(turns) - 1) // 2)
    edges = (1, 1 + compared, len(turns) - compared, len(turns))
    return [part(turns[begin:end]) for begin, end in pairwise(edges) if end > begin]


def bars(found: Sequence[Part]) -> list[tuple[str, bool]]:
    """What was to be reached, and whether it was."""
    begin, end = found[0], found[-1]

    def no_more(label: str, before: Spread | None, after: Spread | None, most_ms: float) -> tuple[str, bool]:
        if before is None or after is None:
            return (f"{label}: no figures", False)
        more_ms = after.p50 - before.p50
        return (f"{label}: {more_ms:+.0f} ms, at most {most_ms:+.0f} ms", more_ms <= most_ms)

    grown_mb = end.resident_mb - begin.resident_mb
    reached = [("every turn is answered", not any(each.unanswered for each in found))]
    if begin.spoken is not None:
        reached.append(no_more("p50 of spoken turns", begin.spoken, end.spoken, SLOWER_MS))
        reached.append(no_more("p50 of inbound delay", begin.noticed, end.noticed, LATER_MS))
    if begin.typed is not None:
        reached.append(no_more("p50 of typed turns", begin.typed, end.typed, SLOWER_MS))
    reached.append((f"memory: {grown_mb:+.0f} MB, at most {GROWN_MB:+.0f} MB", grown_mb <= GROWN_MB))
    return reached


def table(found: Sequence[Part]) -> str:
    """The figures for people."""

    def row(label: str, *figures: float | None) -> list[str]:
        return [label, *(whole(figure) for figure in figures)]

    def spread_rows(label: str, spreads: Sequence[Spread | None]) -> list[list[str]]:
        return [
            row(f"{label}, {name}", *(getattr(each, name) if each else None for each in spreads))
            for name in ("p50", "p95")
        ]

    rows = [
        *spread_rows("**spoken turn answered (ms)**", [each.spoken for each in found]),
        *spread_rows("**typed turn answered (ms)**", [each.typed for each in found]),
        *spread_rows("of it the LLM's first clause", [each.llm for each in found]),
        *spread_rows("speech noticed (ms)", [each.noticed for each in found]),
        row("resident memory (MB)", *(each.resident_mb for each in found)),
        row("without an answer", *(each.unanswered for each in found)),
    ]
    return markdown(["turns", *(f"{each.first}–{each.last}" for each in found)], rows)


def clips_for(folder: Path) -> list[Clip]:
    """Short questions: recorded ones if they are there."""
    if (folder / "manifest.jsonl").exists():
        short = [clip for clip in recorded(folder) if clip.audio.duration_s <= LONGEST_QUESTION_S]
        return evenly([clip for clip in short if not clip.has_pause], QUESTIONS)
    from server.config import load_config
    from server.engines import build_engines

    return asyncio.run(synthesised(build_engines(load_config(None, {})).tts))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=200, help="how many turns (200)")
    parser.add_argument("--typed-between", type=int, default=1, help="typed between two spoken ones (1)")
    parser.add_argument(
        "--speech",
        type=Path,
        default=ROOT.parent / "shared" / "speech",
        help="folder of recordings with a manifest.jsonl; without one, callers are synthesised",
    )
    parser.add_argument("--json", type=Path, help="write every turn here too")
    arguments = parser.parse_args()
    machine = calibrate()
    clips = clips_for(arguments.speech)
    with server() as running:
        turns = asyncio.run(long_call(running, clips, arguments.turns, arguments.typed_between))
    found = parts(turns)
    reached = bars(found)
    print(table(found), machine_line(machine), sep="\n\n")
    met = all_met(reached)
    if arguments.json:
        figures = {"parts": [asdict(each) for each in found], "bars": dict(reached)}
        write_json(arguments.json, machine, figures, turns)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
