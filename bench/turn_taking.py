"""Does the server let people finish, and how long does it wait when they have? On recordings of real speech.

    python bench/turn_taking.py [--speech FOLDER] [--languages all] [--as-called] [--json FILE]
                                [--svg docs/turn_taking.svg]

Each recording is said to the server's own `Listening`, with the real VAD, turn-end engine and transcriber, in
virtual time: verdicts and transcripts come when `--judge-ms` and `--transcribe-ms` say. Counted is in which
pauses inside a turn (0.3 s and longer) the turn would have been ended, and how long after the last sound it
was ended. The same for other policies on the same recordings: a fixed silence, and Smart Turn as Pipecat has
it. `patience_s` is swept to draw the curve; the default's figures are those that count. With `--as-called`,
every recording comes from farther away and through Opus: what is fitted to the recordings as they are shows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

from bench.calibration import calibrate  # noqa: E402
from bench.report import all_met, machine_line, markdown, whole, write_json  # noqa: E402
from bench.turn_taking_curve import Curve, Point, write_curve  # noqa: E402
from bench.turn_taking_figures import CutIns, Figures, Outcome, figures, outcome  # noqa: E402
from bench.turn_taking_peers import smart_turn, timer  # noqa: E402
from bench.turn_taking_recordings import Recording, as_called, recordings  # noqa: E402
from bench.turn_taking_replay import Delays, Models, Replay, Replayer  # noqa: E402
from media.caller_floor import TurnTakingSettings  # noqa: E402
from server.config import load_config  # noqa: E402

PATIENCES_S = (0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)
TIMERS_S = (0.3, 0.5, 0.8, 1.2)
OURS = "Voxtral-Kokoro"
TIMER = "a fixed silence"
SMART_TURN = "Smart Turn, as in Pipecat"

AIM_CUT_PERCENT = 15.0
AIM_ENDS_P50_MS = 800.0
AIM_NATURAL_P50_MS = 450.0
AIM_NATURAL_P95_MS = 700.0
"""Natural requests are to be answered after 500 ms (p50) and 800 ms (p95): what comes after the decision
needs 50 to 100 ms."""

Policy = Callable[[Recording], Replay]


@dataclass(frozen=True, slots=True)
class Run:
    """One policy on all recordings.

    Attributes:
        system: whose.
        setting: which of its settings.
        outcomes: one a recording.
    """

    system: str
    setting: str
    outcomes: tuple[Outcome, ...]


def run_policy(system: str, setting: str, policy: Policy, clips: Sequence[Recording]) -> Run:
    """Replays every recording."""
    run = Run(system, setting, tuple(outcome(clip, policy(clip)) for clip in clips))
    known = figures(run.outcomes)
    print(
        f"  {system}, {setting}: {known.all_pauses.cut} of {known.all_pauses.pauses} pauses cut into",
        flush=True,
    )
    return run


def table(runs: Sequence[Run], default: str) -> str:
    """A row for each policy."""
    header = [
        "policy",
        "cut into: holds",
        "read aloud",
        "all",
        "turn's end, p50 (ms)",
        "p95",
        "natural requests, p50",
        "p95",
    ]
    rows = []
    for run in runs:
        known = figures(run.outcomes)
        is_default = run.system == OURS and run.setting == default
        name = f"**{run.system}, {run.setting} (default)**" if is_default else f"{run.system}, {run.setting}"
        waits = [
            wait for of in (known.ends, known.natural) for wait in ((of.p50, of.p95) if of else (None, None))
        ]
        cut = [_share(of) for of in (known.holds, known.read_aloud, known.all_pauses)]
        rows.append([name, *cut, *map(whole, waits)])
    return markdown(header, rows)


def _share(of: CutIns) -> str:
    return f"{of.percent:.0f} % ({of.cut} of {of.pauses})" if of.pauses else "–"


def bars(ours: Figures) -> list[tuple[str, bool]]:
    """What was to be reached, and whether it was."""
    ends, natural = ours.ends, ours.natural
    if ends is None or natural is None:
        return [("turns' ends are noticed", False)]
    return [
        (
            f"cut into at most {AIM_CUT_PERCENT:.0f} % of holds ({ours.holds.percent:.1f} %)",
            ours.holds.percent <= AIM_CUT_PERCENT,
        ),
        (
            f"cut into at most {AIM_CUT_PERCENT:.0f} % of all pauses ({ours.all_pauses.percent:.1f} %)",
            ours.all_pauses.percent <= AIM_CUT_PERCENT,
        ),
        (f"p50 of turns' ends under {AIM_ENDS_P50_MS:.0f} ms ({ends.p50:.0f})", ends.p50 < AIM_ENDS_P50_MS),
        (
            f"p50 of natural requests within {AIM_NATURAL_P50_MS:.0f} ms ({natural.p50:.0f})",
            natural.p50 <= AIM_NATURAL_P50_MS,
        ),
        (
            f"p95 of natural requests within {AIM_NATURAL_P95_MS:.0f} ms ({natural.p95:.0f})",
            natural.p95 <= AIM_NATURAL_P95_MS,
        ),
    ]


def curve_of(runs: Sequence[Run], system: str, shipped: str | None = None) -> Curve:
    """A system's settings, by the median wait for turns' ends."""
    points = []
    for run in runs:
        known = figures(run.outcomes)
        if run.system == system and known.ends is not None:
            points.append(Point(run.setting, known.ends.p50, known.all_pauses.percent))
    return Curve(system, tuple(points), shipped)


def speaker_rows(run: Run) -> str:
    """The default's figures folder by folder: one speaker, or one recording session, each."""
    rows = []
    for speaker in sorted({of.speaker for of in run.outcomes}):
        known = figures([of for of in run.outcomes if of.speaker == speaker])
        ends = known.ends
        rows.append(
            [
                speaker,
                _share(known.all_pauses),
                str(known.stray),
                whole(ends.p50 if ends else None),
                whole(ends.max if ends else None),
            ]
        )
    return markdown(["speakers", "cut into", "in shorter pauses", "turn's end, p50 (ms)", "max"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--speech",
        type=Path,
        default=ROOT.parent / "shared" / "speech",
        help="folder of recordings with a manifest.jsonl",
    )
    parser.add_argument("--languages", default="en", help="en, or en,zh …, or all")
    parser.add_argument("--patience", help="sweep these values of patience_s: 0.2,0.35 …")
    parser.add_argument("--judge-ms", type=float, default=40.0, help="what a verdict takes")
    parser.add_argument("--transcribe-ms", type=float, default=150.0, help="what a transcript takes")
    parser.add_argument(
        "--digital-silence", action="store_true", help="after a recording, instead of its room"
    )
    parser.add_argument("--as-called", action="store_true", help="every recording as a call brings it")
    parser.add_argument("--json", type=Path, help="write every outcome here too")
    parser.add_argument("--svg", type=Path, help="draw the curve here")
    arguments = parser.parse_args()
    if not (arguments.speech / "manifest.jsonl").exists():
        parser.error(
            f"{arguments.speech} holds no manifest.jsonl: turn-taking is measured on real recordings"
        )
    machine = calibrate()
    clips = recordings(arguments.speech, room=not arguments.digital_silence)
    if arguments.languages != "all":
        clips = [clip for clip in clips if (clip.language or "en") in arguments.languages.split(",")]
    if arguments.as_called:
        clips = [as_called(clip) for clip in clips]
    delays = Delays(arguments.judge_ms / 1000, arguments.transcribe_ms / 1000)
    config = load_config(None, {})
    default_s = config.turn_taking.patience_s
    patiences_s = sorted(
        {*map(float, (arguments.patience or "").split(",") if arguments.patience else PATIENCES_S), default_s}
    )
    print(f"{len(clips)} recordings", flush=True)
    with Models(config) as models:
        replayer = Replayer(models, delays)

        def ours(patience_s: float) -> Policy:
            settings = TurnTakingSettings(patience_s=patience_s)
            return lambda clip: replayer.replay(clip, settings)

        def after(silence_s: float) -> Policy:
            return lambda clip: timer(models, clip, silence_s)

        runs = [
            *(run_policy(OURS, f"{value:g} s", ours(value), clips) for value in patiences_s),
            *(run_policy(TIMER, f"{value:g} s", after(value), clips) for value in TIMERS_S),
            run_policy(SMART_TURN, "3 s at most", lambda clip: smart_turn(models, clip, delays), clips),
        ]
    default = f"{default_s:g} s"
    shipped = next(run for run in runs if (run.system, run.setting) == (OURS, default))
    reached = bars(figures(shipped.outcomes))
    print(table(runs, default), speaker_rows(shipped), machine_line(machine), sep="\n\n")
    met = all_met(reached)
    if arguments.svg:
        curves = [curve_of(runs, OURS, default), curve_of(runs, TIMER), curve_of(runs, SMART_TURN)]
        write_curve(arguments.svg, curves, aim_ms=AIM_ENDS_P50_MS, aim_percent=AIM_CUT_PERCENT)
    if arguments.json:
        told = [
            {"system": run.system, "setting": run.setting, **asdict(figures(run.outcomes))} for run in runs
        ]
        write_json(arguments.json, machine, {"runs": told, "bars": dict(reached)}, shipped.outcomes)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
