"""Fits how long pauses are waited for, and says how well the fit does on speakers that it has not heard.

    python bench/turn_taking_fit.py [--speech FOLDER] [--languages all]

The witnesses' verdicts and words are gathered once for each pause of 0.25 s and longer, with the real
engines; then a few figures of `media.endpointing.Weighing` are tried, all with the real `Endpointer`. What is
sought: few pauses cut into, where the ends of natural requests are noticed in time. A pause that lasted for
0.5 s might as well have lasted for 1 s, so what counts is not whether this one was cut into but the share of
such pauses that last longer than the wait. Every recording counts twice, as it is and as a call brings it:
the engines' verdicts on the two differ, and what holds for one of them alone is chance.

Held out are whole folders: one speaker, or one recording session, each.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

from bench.report import markdown, percentile, whole  # noqa: E402
from bench.turn_taking_recordings import PauseClass, Recording, as_called, recordings  # noqa: E402
from bench.turn_taking_replay import Delays, Models, Witnesses  # noqa: E402
from media.audio import SPEECH_RATE_HZ, Audio  # noqa: E402
from media.endpointing import FITTED, JUDGE_AGAIN_S, LONGEST, Endpointer, Weighing  # noqa: E402
from media.engines.protocols import VAD_WINDOW_SAMPLES  # noqa: E402
from media.turn import JUDGED_S  # noqa: E402
from media.vad_gate import GatePaused, GateStarted, VadGate, VadSettings  # noqa: E402
from server.config import load_config  # noqa: E402

HEARD_FROM_S = 0.25
"""A shorter pause is over before it is weighed."""

LONGEST_TURN_S = 600.0

MEDIAN_PAUSE_S = 0.8
PAUSE_SPREAD = 0.65
"""Pauses within spontaneous turns, of 0.3 s and longer: about log-normal."""

READ_ALOUD_WEIGHT = 0.2
"""A pause of somebody who reads, against one of somebody who talks."""

AIM_P50_S, AIM_P95_S = 0.43, 0.67

LOWEST = (-5.0, -4.5, -4.2, -4.0, -3.7)
CORNERS = ((-3.5, 2.2), (-3.5, 2.5), (-3.2, 2.3), (-3.2, 2.5), (-2.8, 2.2), (-2.8, 2.5))
SURE = (2.5, 3.0, 3.5)
MARGINS = (1.5, 2.0, 2.5)


@dataclass(frozen=True, slots=True)
class HeardPause:
    """A pause, and what the witnesses say of it.

    Attributes:
        length_s: None for the end of the recording.
        verdicts: of the turn-end engine: when it is asked, from the last speech, and P(complete).
        text: the words; None where the pause is over before.
        spoken_s: how long the turn has lasted.
        late_s: by how much the VAD noticed speech to end later than it did; of the last pause.
    """

    length_s: float | None
    verdicts: tuple[tuple[float, float], ...]
    text: str | None
    spoken_s: float = 0.0
    late_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HeardRecording:
    """A recording's pauses, in order; those beside the manifest's count for the habit alone."""

    recording: Recording
    pauses: tuple[HeardPause, ...]


@dataclass(frozen=True, slots=True)
class Waits:
    """How long pauses of a recording would have been waited for.

    Attributes:
        speaker: its folder.
        inner: of each pause within the turn that counts: its class, its length, and the wait.
        end_s: from the end of speech until the turn would have been ended, of a natural request.
    """

    speaker: str
    inner: tuple[tuple[PauseClass, float, float], ...]
    end_s: float | None


def heard(witnesses: Witnesses, recording: Recording, delays: Delays) -> HeardRecording:
    """Asks the witnesses about every pause, as if no turn were ended in any."""
    settings = VadSettings()
    gate = VadGate(settings)
    changes = [change for p in witnesses.speech(recording.audio) if (change := gate.push(p)) is not None]
    pauses: list[HeardPause] = []
    turn_sample: int | None = None
    for change, after in itertools.zip_longest(changes, changes[1:]):
        match change:
            case GateStarted(sample):
                turn_sample = sample if turn_sample is None else turn_sample
            case GatePaused(sample):
                assert turn_sample is not None
                on_sample = after.start_sample if isinstance(after, GateStarted) else None
                length_s = (on_sample - sample) / SPEECH_RATE_HZ if on_sample is not None else None
                pauses.append(_heard_pause(witnesses, recording, settings, (turn_sample, sample), length_s))
    return HeardRecording(recording, tuple(pauses))


def _heard_pause(
    witnesses: Witnesses,
    recording: Recording,
    settings: VadSettings,
    turn: tuple[int, int],
    length_s: float | None,
) -> HeardPause:
    start, end = turn
    padded = max(0, start - settings.padding_ms * SPEECH_RATE_HZ // 1000)

    def up_to(silence_s: float, longest_s: float) -> Audio:
        windows = math.ceil(silence_s * SPEECH_RATE_HZ / VAD_WINDOW_SAMPLES)
        until = end + windows * VAD_WINDOW_SAMPLES
        since = max(padded, until - round(longest_s * SPEECH_RATE_HZ))
        return Audio(recording.audio.samples[since:until], SPEECH_RATE_HZ)

    hint_s = settings.pause_ms / 1000
    if length_s is not None and length_s < HEARD_FROM_S:
        return HeardPause(length_s, (), None)
    asked = [at_s for at_s in (hint_s, *JUDGE_AGAIN_S) if length_s is None or at_s <= length_s]
    verdicts = tuple((at_s, witnesses.verdict(up_to(at_s, JUDGED_S))) for at_s in asked)
    text = witnesses.transcript(up_to(hint_s, LONGEST_TURN_S), recording.language).text
    late_s = end / SPEECH_RATE_HZ - recording.end_s
    return HeardPause(length_s, verdicts, text, (end - start) / SPEECH_RATE_HZ, late_s)


def waits(known: HeardRecording, weighing: Weighing, patience_s: float, delays: Delays) -> Waits:
    """Plays the pauses to an `Endpointer`."""
    endpointer = Endpointer(patience_s, weighing)
    recording = known.recording
    inner: list[tuple[PauseClass, float, float]] = []
    end_s = None
    for pause in known.pauses:
        wait_s = _wait_s(endpointer, pause, recording.language, delays)
        if pause.length_s is None:
            end_s = wait_s + pause.late_s if recording.is_natural else None
            break
        if recording.pause_class is not None and pause.length_s >= 0.3:
            inner.append((recording.pause_class, pause.length_s, wait_s))
        endpointer.resumed(pause.length_s)
    return Waits(recording.speaker, tuple(inner), end_s)


def _wait_s(endpointer: Endpointer, pause: HeardPause, language: str | None, delays: Delays) -> float:
    """When the turn would have been ended, had the pause lasted."""
    endpointer.paused()
    if pause.text is None:
        return endpointer.wait_s
    hint_s = pause.verdicts[0][0]
    told: list[tuple[float, float | None]] = [(at_s + delays.judge_s, p) for at_s, p in pause.verdicts]
    told = sorted([*told, (hint_s + delays.transcribe_s, None)], key=lambda news: news[0])
    for at_s, verdict in told:
        if endpointer.wait_s <= at_s:
            break
        if verdict is None:
            endpointer.said(pause.text, language or "en", pause.spoken_s)
        elif not endpointer.is_sure:
            endpointer.sounded(verdict)
        ready_s = at_s
    return max(endpointer.wait_s, ready_s)


def lasting(wait_s: float) -> float:
    """The share of pauses within turns that last longer."""
    return 0.5 * math.erfc(math.log(wait_s / MEDIAN_PAUSE_S) / PAUSE_SPREAD / math.sqrt(2))


def cost(of: Sequence[Waits]) -> float:
    """What the fit makes small."""
    ends_s = [each.end_s for each in of if each.end_s is not None]
    total = 0.0
    for pause_class, weight in (("hold", 1.0), ("read-aloud", READ_ALOUD_WEIGHT)):
        shares = [lasting(wait_s) for each in of for kind, _, wait_s in each.inner if kind == pause_class]
        total += weight * sum(shares) / max(1, len(shares))
    late_p50_s = max(0.0, percentile(ends_s, 50) - AIM_P50_S)
    late_p95_s = max(0.0, percentile(ends_s, 95) - AIM_P95_S)
    return total + 2 * late_p50_s + late_p95_s


def candidates() -> Iterator[Weighing]:
    """Few, and round: there are not many pauses to choose by."""
    for low, (corner, wait), sure, margin in itertools.product(LOWEST, CORNERS, SURE, MARGINS):
        yield Weighing(((low, LONGEST), (corner, wait), (sure, 1.0)), margin)


def row(name: str, of: Sequence[Waits]) -> list[str]:
    """The figures of a fit on what it is judged by."""
    cut = []
    for kinds in (("hold",), ("read-aloud",)):
        counted = [wait_s < length_s for each in of for kind, length_s, wait_s in each.inner if kind in kinds]
        cut.append(f"{100 * sum(counted) / max(1, len(counted)):.0f} % ({sum(counted)} of {len(counted)})")
    ends_ms = [each.end_s * 1000 for each in of if each.end_s is not None]
    return [name, *cut, *(whole(percentile(ends_ms, percent)) for percent in (50, 95)), f"{cost(of):.3f}"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", type=Path, default=ROOT.parent / "shared" / "speech")
    parser.add_argument("--languages", default="en", help="en, or en,zh …, or all")
    arguments = parser.parse_args()
    clips = recordings(arguments.speech)
    if arguments.languages != "all":
        clips = [clip for clip in clips if (clip.language or "en") in arguments.languages.split(",")]
    config, delays = load_config(None, {}), Delays()
    patience_s = config.turn_taking.patience_s
    with Models(config) as models:
        known = [heard(models, take, delays) for clip in clips for take in (clip, as_called(clip))]

    def played(weighing: Weighing) -> list[Waits]:
        return [waits(of, weighing, patience_s, delays) for of in known]

    tried = {weighing: played(weighing) for weighing in candidates()}
    best = min(tried, key=lambda weighing: cost(tried[weighing]))
    left_out: list[Waits] = []
    for speaker in sorted({clip.speaker for clip in clips}):
        others = {
            weighing: [of for of in all_waits if of.speaker != speaker]
            for weighing, all_waits in tried.items()
        }
        chosen = min(others, key=lambda weighing: cost(others[weighing]))
        left_out += [of for of in tried[chosen] if of.speaker == speaker]
    header = ["weighing", "cut into: holds", "read aloud", "natural requests, p50 (ms)", "p95", "cost"]
    rows = [
        row("as shipped", played(FITTED)),
        row("fitted to all", tried[best]),
        row("fitted to the other folders", left_out),
    ]
    print(markdown(header, rows), f"Fitted to all: {best}", sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
