"""How well is a caller heard over a telephone's line? On recordings of real speech, and on Kokoro's.

    python bench/phone_hearing.py [--speech FOLDER] [--clips 44] [--turns] [--lines 1,2] [--json FILE]

The same speech comes wideband (16 kHz, as from a browser) and over telephones' lines
(`bench/telephone_line.py`): G.711 with all of its band, a mobile telephone's band, 20 dB quieter, the same as
the server raises it (`telephone.raise_quiet_db`), 12 dB louder and clipped. Counted are the words that the
server's transcriber mistakes, and what its voice-activity engine makes of each 32 ms: missed is what was
speech in the wideband sound, false what was none. With `--turns`, the server's own `Listening` is told the
recordings of `bench/turn_taking.py` in virtual time: pauses cut into, and how long ends are waited for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

from bench.calibration import calibrate  # noqa: E402
from bench.phone_sentences import SENTENCES, VOICES  # noqa: E402
from bench.report import machine_line, markdown, whole, write_json  # noqa: E402
from bench.said import Said, said_clips  # noqa: E402
from bench.spoken_texts import spoken  # noqa: E402
from bench.telephone_line import LINES, Line, in_one_call  # noqa: E402
from bench.turn_taking_figures import Figures, figures, outcome  # noqa: E402
from bench.turn_taking_recordings import Recording, recordings  # noqa: E402
from bench.turn_taking_replay import Delays, Models, Replayer  # noqa: E402
from bench.word_errors import WordErrors, total, word_errors  # noqa: E402
from media.audio import SPEECH_RATE_HZ, Audio, concatenate, silence  # noqa: E402
from server.config import Config, load_config  # noqa: E402

AROUND_S = 0.5
"""Of silence before and after what Kokoro says."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard over one line.

    Attributes:
        line: its name.
        recorded: errors in the words of recordings.
        generated: errors in what Kokoro said.
        missed_percent: windows of speech, by the wideband sound, that are none here.
        false_percent: windows without speech that are some here.
        turns: with `--turns`.
    """

    line: str
    recorded: WordErrors
    generated: WordErrors
    missed_percent: float
    false_percent: float
    turns: Figures | None


def generated_clips(cache: Path) -> list[Said]:
    """Each sentence by two voices."""
    texts = [
        (VOICES[(index + turn * 3) % len(VOICES)], sentence)
        for index, sentence in enumerate(SENTENCES)
        for turn in range(2)
    ]
    still = silence(AROUND_S, SPEECH_RATE_HZ)
    return [
        Said(f"{voice}: {text}", concatenate([still, audio, still], SPEECH_RATE_HZ), text)
        for (voice, text), audio in zip(texts, spoken(texts, cache), strict=True)
    ]


def errors_in(clips: Sequence[Said], heard: Sequence[Audio], models: Models) -> WordErrors:
    return total(
        word_errors(clip.words, models.transcript(audio, "en").text)
        for clip, audio in zip(clips, heard, strict=True)
    )


def windows(audio: Audio, models: Models, config: Config) -> list[bool]:
    return [probability >= config.vad.threshold for probability in models.speech(audio)]


def vad_of(
    clips: Sequence[Said], heard: Sequence[Audio], models: Models, config: Config
) -> tuple[float, float]:
    """How many percent of the windows are missed, and false."""
    missed = false = speech = still = 0
    for clip, audio in zip(clips, heard, strict=True):
        wide, narrow = windows(clip.audio, models, config), windows(audio, models, config)
        for was, is_now in zip(wide, narrow, strict=True):
            speech, still = speech + was, still + (not was)
            missed, false = missed + (was and not is_now), false + (is_now and not was)
    return 100 * missed / max(1, speech), 100 * false / max(1, still)


def turns_over(line: Line, clips: Sequence[Recording], replayer: Replayer, config: Config) -> Figures:
    heard = in_one_call([clip.audio for clip in clips], line, config.telephone.raise_quiet_db)
    phoned = [replace(clip, audio=audio) for clip, audio in zip(clips, heard, strict=True)]
    return figures([outcome(clip, replayer.replay(clip, config.turn_taking)) for clip in phoned])


def table(rows: Sequence[Heard]) -> str:
    header = [
        "line",
        "words mistaken: recordings",
        "Kokoro",
        "windows missed",
        "false",
        "pauses cut into",
        "turn's end, p50 (ms)",
        "p95",
    ]
    return markdown(header, [[row.line, *_cells(row)] for row in rows])


def _cells(row: Heard) -> list[str]:
    cells = [
        f"{row.recorded.percent:.1f} % ({row.recorded.errors} of {row.recorded.words})",
        f"{row.generated.percent:.1f} % ({row.generated.errors} of {row.generated.words})",
        f"{row.missed_percent:.1f} %",
        f"{row.false_percent:.1f} %",
    ]
    if row.turns is None:
        return [*cells, "–", "–", "–"]
    pauses, ends = row.turns.all_pauses, row.turns.ends
    cut = f"{pauses.percent:.0f} % ({pauses.cut} of {pauses.pauses})"
    return [*cells, cut, whole(ends.p50 if ends else None), whole(ends.p95 if ends else None)]


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
    parser.add_argument("--clips", type=int, default=44, help="recordings at most")
    parser.add_argument("--turns", action="store_true", help="turn-taking as well")
    parser.add_argument("--lines", help="only these, by number: 1,2,4; all of them without")
    parser.add_argument("--cache", type=Path, default=Path("artifacts/spoken"), help="for what Kokoro says")
    parser.add_argument("--json", type=Path, help="write every figure here too")
    arguments = parser.parse_args()
    if arguments.turns and not (arguments.speech / "manifest.jsonl").exists():
        parser.error(
            f"{arguments.speech} holds no manifest.jsonl: turn-taking is measured on real recordings"
        )
    machine = calibrate()
    config = load_config(None, {})
    recorded, generated = said_clips(arguments.speech, arguments.clips), generated_clips(arguments.cache)
    turns = [
        clip
        for clip in (recordings(arguments.speech) if arguments.turns else [])
        if (clip.language or "en") == "en"
    ]
    print(f"{len(recorded)} recordings, {len(generated)} sentences, {len(turns)} turns", flush=True)
    numbers = [int(number) for number in (arguments.lines or "").split(",") if number]
    wanted = [LINES[number - 1] for number in numbers] or LINES
    rows = []
    with Models(config) as models:
        replayer = Replayer(models, Delays())
        for line in wanted:
            clips = [*recorded, *generated]
            heard = in_one_call([clip.audio for clip in clips], line, config.telephone.raise_quiet_db)
            missed, false = vad_of(clips, heard, models, config)
            of_turns = turns_over(line, turns, replayer, config) if turns else None
            row = Heard(
                line.name,
                errors_in(recorded, heard[: len(recorded)], models),
                errors_in(generated, heard[len(recorded) :], models),
                missed,
                false,
                of_turns,
            )
            rows.append(row)
            print(f"  {line.name}: {'; '.join(_cells(row))}", flush=True)
    print(table(rows), machine_line(machine), sep="\n\n")
    if arguments.json:
        write_json(arguments.json, machine, {"lines": [asdict(row) for row in rows]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
