"""Whether Kokoro in windows sounds like Kokoro made whole: words, spectrum, level, seams, pauses, word times.

    python bench/kokoro_quality.py [--parts sentences,speeds,voices,pauses] [--json FILE] [--samples FOLDER]

Each of a hundred sentences that nothing was fitted on is spoken in one of five voices, in windows by
predicted statistics and whole, and both are compared and transcribed; some of the sound is left in FOLDER to
be listened to. Then two sentences at other speeds, two in each of the 54 voices, and the pauses between
clauses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

import numpy as np  # noqa: E402
from faster_whisper import WhisperModel  # noqa: E402

from bench.calibration import calibrate  # noqa: E402
from bench.kokoro_sound import (  # noqa: E402
    aligned,
    level_difference_db,
    longest_quiet_s,
    mel_distance_db,
    step_db,
)
from bench.kokoro_speaker import Speaker, Spoken  # noqa: E402
from bench.kokoro_texts import SENTENCES, TWO_CLAUSES, UNFITTED  # noqa: E402
from bench.report import machine_line, markdown, percentile, write_json  # noqa: E402
from bench.word_errors import WordErrors, spoken_words, total, word_errors  # noqa: E402
from media.audio import SPEECH_RATE_HZ, Audio, concatenate  # noqa: E402
from media.audio_file import write_wav  # noqa: E402
from media.engines.kokoro_clause import RATE_HZ  # noqa: E402
from media.engines.kokoro_norms import KokoroNorms  # noqa: E402
from media.engines.kokoro_pauses import final_mark  # noqa: E402
from media.engines.kokoro_voices import VOICE_NAMES, language_of  # noqa: E402
from media.engines.protocols import SpokenWord  # noqa: E402
from media.resampler import resample  # noqa: E402
from server.model_store import ModelStore, default_root  # noqa: E402

VOICES = ("af_heart", "am_michael", "bf_emma", "bm_george", "af_nicole")
PARTS = ("sentences", "speeds", "voices", "pauses")
SPEEDS = (0.5, 0.7, 1.4, 2.0)
SHORT_WORDS = 8
LEVEL_LIMIT_DB = 2.0
STEP_LIMIT_DB = 6.0
"""A seam that bends the waveform twice as sharply as anything near it in the whole counts as a step."""
CUT_EVERY_S = 0.1
SAMPLES_A_VOICE = 2


@dataclass(frozen=True, slots=True)
class Compared:
    """A sentence, in windows and whole.

    Attributes:
        voice: who says it.
        text: what is said.
        speed: as asked for.
        mel_db: mean difference of 80 mel bands.
        level_db: by how much the windows are louder.
        longer_s: by how much they last longer.
        steps_db: of each seam, see `step_db`.
        window_errors: what Whisper mistook of the windows; None where it was not asked.
        whole_errors: of the whole.
        word_starts_ms: where Whisper puts each word's start, less where the windows' times have it.
        cuts_off: of moments at which the sound might be cut, those where the words heard so far, by our times
            and by Whisper's, differ by more than one.
        cuts: how many moments were tried.
    """

    voice: str
    text: str
    speed: float
    mel_db: float
    level_db: float
    longer_s: float
    steps_db: tuple[float, ...]
    window_errors: WordErrors | None = None
    whole_errors: WordErrors | None = None
    word_starts_ms: tuple[float, ...] = ()
    cuts_off: int = 0
    cuts: int = 0


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause between two clauses: spoken one after the other, and in one go."""

    voice: str
    text: str
    mark: str
    by_clause_s: float
    whole_s: float


class Mouth:
    """Kokoro both ways."""

    def __init__(self) -> None:
        self._speaker, self._norms = Speaker(), KokoroNorms()

    def in_windows(self, voice: str, text: str, speed: float = 1.0) -> Spoken:
        prepared = self._speaker.prepare(voice, text, speed)
        return self._speaker.in_windows(prepared, self._norms.predict(voice, prepared.clause))

    def whole(self, voice: str, text: str, speed: float = 1.0) -> Spoken:
        return self._speaker.whole(self._speaker.prepare(voice, text, speed))


class Listener:
    """Whisper, as the server has it."""

    def __init__(self) -> None:
        path = ModelStore(default_root()).path("whisper-tiny.en")
        self._model = WhisperModel(str(path), device="cpu", compute_type="int8", cpu_threads=2)

    def hear(self, audio: Audio) -> tuple[str, list[SpokenWord]]:
        """What is said, and when each word begins and ends."""
        lead_s = 0.3
        samples = resample(audio, SPEECH_RATE_HZ).as_float32()
        padded = np.pad(samples, (round(lead_s * SPEECH_RATE_HZ), SPEECH_RATE_HZ // 2))
        segments, _ = self._model.transcribe(padded, language="en", beam_size=1, word_timestamps=True)
        words = [word for segment in segments for word in segment.words or ()]
        text = "".join(word.word for word in words)
        return text, [SpokenWord(word.word.strip(), word.start - lead_s, word.end - lead_s) for word in words]


def compare(
    mouth: Mouth, listener: Listener | None, voice: str, text: str, speed: float = 1.0
) -> tuple[Compared, Spoken, Spoken]:
    windows, whole = mouth.in_windows(voice, text, speed), mouth.whole(voice, text, speed)
    one, other, cut = aligned(windows.audio.as_float32(), whole.audio.as_float32())
    seams = [seam - cut for seam in windows.seams if 0 < seam - cut < len(one)]
    compared = Compared(
        voice,
        text,
        speed,
        mel_distance_db(one, other),
        level_difference_db(one, other),
        windows.audio.duration_s - whole.audio.duration_s,
        tuple(step_db(one, other, seam) for seam in seams),
        *(_words_heard(listener, text, windows, whole) if listener else ()),
    )
    return compared, windows, whole


def _words_heard(
    listener: Listener, text: str, windows: Spoken, whole: Spoken
) -> tuple[WordErrors, WordErrors, tuple[float, ...], int, int]:
    heard, words = listener.hear(windows.audio)
    starts = tuple(
        (theirs.start_s - ours.start_s) * 1000
        for ours, theirs in zip(windows.words, words, strict=False)
        if len(words) == len(windows.words) and spoken_words(ours.text) == spoken_words(theirs.text)
    )
    moments = np.arange(CUT_EVERY_S, windows.words[-1].end_s, CUT_EVERY_S) if starts else np.zeros(0)
    off = sum(abs(_begun(windows.words, moment) - _begun(words, moment)) > 1 for moment in moments.tolist())
    errors = word_errors(text, heard), word_errors(text, listener.hear(whole.audio)[0])
    return *errors, starts, int(off), len(moments)


def _begun(words: Sequence[SpokenWord], moment_s: float) -> int:
    """How many words are taken for heard: those that were at least half said."""
    return sum((word.start_s + word.end_s) / 2 <= moment_s for word in words)


def pauses(mouth: Mouth) -> Iterator[Pause]:
    """Between the two clauses of each text, by five voices."""
    for voice in VOICES:
        for first, second in TWO_CLAUSES:
            clauses = [mouth.in_windows(voice, text) for text in (first, second)]
            apart = concatenate([clause.audio for clause in clauses], RATE_HZ).as_float32()
            begin_s = clauses[0].audio.duration_s
            later = [
                SpokenWord(word.text, word.start_s + begin_s, word.end_s + begin_s)
                for word in clauses[1].words
            ]
            whole = mouth.whole(voice, f"{first} {second}")
            before_word = len(clauses[0].words)
            yield Pause(
                voice,
                f"{first} {second}",
                final_mark(first),
                longest_quiet_s(apart, [*clauses[0].words, *later], before_word),
                longest_quiet_s(whole.audio.as_float32(), whole.words, before_word),
            )


SOUND_HEADER = (
    "",
    "clauses",
    "mel distance (dB)",
    "level, mean (dB)",
    "level, p95 of the difference",
    "level, largest",
    "beyond ±2 dB",
    "longer, largest (ms)",
    "seams",
    "step, largest (dB)",
    "steps",
)


def sound_row(name: str, compared: Sequence[Compared]) -> list[str]:
    levels = [each.level_db for each in compared]
    steps = [step for each in compared for step in each.steps_db]
    beyond = sum(abs(level) > LEVEL_LIMIT_DB for level in levels)
    return [
        name,
        str(len(compared)),
        f"{np.mean([each.mel_db for each in compared]):.1f}",
        f"{np.mean(levels):+.1f}",
        f"{percentile([abs(level) for level in levels], 95):.1f}",
        f"{max(levels, key=abs):+.1f}",
        str(beyond),
        f"{max((each.longer_s * 1000 for each in compared), key=abs):+.0f}",
        str(len(steps)),
        f"{max(steps, default=0.0):+.1f}",
        str(sum(step > STEP_LIMIT_DB for step in steps)),
    ]


def words_table(compared: Sequence[Compared]) -> str:
    """What Whisper heard of those that it was asked about."""
    rows = []
    for name, chosen in (("all", compared), *((voice, _of(compared, voice)) for voice in VOICES)):
        windows = total(each.window_errors for each in chosen if each.window_errors)
        whole = total(each.whole_errors for each in chosen if each.whole_errors)
        starts = [start for each in chosen for start in each.word_starts_ms]
        cuts = sum(each.cuts for each in chosen)
        off = 100 * sum(each.cuts_off for each in chosen) / max(1, cuts)
        far = percentile([abs(start) for start in starts], 95) if starts else 0.0
        middle = percentile(starts, 50) if starts else 0.0
        rows.append(
            [
                name,
                str(windows.words),
                f"{windows.percent:.1f}",
                f"{whole.percent:.1f}",
                str(len(starts)),
                f"{middle:+.0f}",
                f"{far:.0f}",
                f"{off:.1f} of {cuts}",
            ]
        )
    header = (
        "voice",
        "words",
        "WER in windows (%)",
        "WER whole (%)",
        "words timed",
        "Whisper's start less ours, p50 (ms)",
        "p95 of the difference (ms)",
        "cuts wrong by more than a word (%)",
    )
    return markdown(header, rows)


def pauses_table(measured: Sequence[Pause]) -> str:
    groups = [("all", measured)]
    for mark in dict.fromkeys(pause.mark for pause in measured):
        groups.append((mark, [pause for pause in measured if pause.mark == mark]))
    for voice in VOICES:
        groups.append((voice, [pause for pause in measured if pause.voice == voice]))
    rows = []
    for name, chosen in groups:
        differences = [(pause.by_clause_s - pause.whole_s) * 1000 for pause in chosen]
        rows.append(
            [
                name,
                str(len(chosen)),
                f"{percentile([pause.by_clause_s * 1000 for pause in chosen], 50):.0f}",
                f"{percentile([pause.whole_s * 1000 for pause in chosen], 50):.0f}",
                f"{percentile(differences, 50):+.0f}",
                f"{percentile([abs(difference) for difference in differences], 50):.0f}",
                f"{min(differences):+.0f} … {max(differences):+.0f}",
            ]
        )
    header = (
        "mark or voice",
        "pauses",
        "by clause, p50 (ms)",
        "whole, p50 (ms)",
        "difference, p50 (ms)",
        "p50 of its size (ms)",
        "from … to (ms)",
    )
    return markdown(header, rows)


def _of(compared: Iterable[Compared], voice: str) -> list[Compared]:
    return [each for each in compared if each.voice == voice]


def sentences(mouth: Mouth, listener: Listener, count: int, folder: Path) -> list[Compared]:
    """The first so many of the hundred; leaves some to be listened to, and each that is off in level."""
    folder.mkdir(parents=True, exist_ok=True)
    compared: list[Compared] = []
    for number, text in enumerate(SENTENCES[:count]):
        voice = VOICES[number % len(VOICES)]
        one, windows, whole = compare(mouth, listener, voice, text)
        if len(_of(compared, voice)) < SAMPLES_A_VOICE or abs(one.level_db) > LEVEL_LIMIT_DB:
            write_wav(folder / f"{number:02d} {voice} windows.wav", windows.audio)
            write_wav(folder / f"{number:02d} {voice} whole.wav", whole.audio)
        compared.append(one)
    short = [each for each in compared if len(each.text.split()) <= SHORT_WORDS]
    rows = [sound_row("all", compared), sound_row(f"at most {SHORT_WORDS} words", short)]
    rows += [sound_row(voice, _of(compared, voice)) for voice in VOICES if _of(compared, voice)]
    print(f"{markdown(SOUND_HEADER, rows)}\n\n{words_table(compared)}\n", flush=True)
    return compared


def speeds(mouth: Mouth) -> list[Compared]:
    compared: list[Compared] = []
    for speed in SPEEDS:
        for voice in VOICES[:3]:
            compared += [compare(mouth, None, voice, text, speed)[0] for text in UNFITTED["en-us"]]
    rows = [
        sound_row(f"speed {speed:g}", [each for each in compared if each.speed == speed]) for speed in SPEEDS
    ]
    print(f"{markdown(SOUND_HEADER, rows)}\n", flush=True)
    return compared


def every_voice(mouth: Mouth) -> list[Compared]:
    compared: list[Compared] = []
    for voice in VOICE_NAMES:
        compared += [compare(mouth, None, voice, text)[0] for text in UNFITTED[language_of(voice)]]
    rows = []
    for language in UNFITTED:
        rows.append(sound_row(language, [each for each in compared if language_of(each.voice) == language]))
    print(f"{markdown(SOUND_HEADER, rows)}\n", flush=True)
    return compared


def pauses_between_clauses(mouth: Mouth) -> list[Pause]:
    measured = list(pauses(mouth))
    print(f"{pauses_table(measured)}\n", flush=True)
    return measured


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="which comparisons, of %(default)s")
    parser.add_argument("--sentences", type=int, default=len(SENTENCES), help="how many, of a hundred")
    parser.add_argument("--json", type=Path, help="where to write the figures and every clause's")
    parser.add_argument(
        "--samples", type=Path, default=Path("artifacts/kokoro_quality"), help="for the sound"
    )
    options = parser.parse_args(arguments)
    parts = options.parts.split(",")
    machine, mouth = calibrate(), Mouth()
    compared: list[Compared] = []
    if "sentences" in parts:
        compared += sentences(mouth, Listener(), options.sentences, options.samples)
    if "speeds" in parts:
        compared += speeds(mouth)
    if "voices" in parts:
        compared += every_voice(mouth)
    measured = pauses_between_clauses(mouth) if "pauses" in parts else []
    print(machine_line(machine))
    if options.json:
        rows = [sound_row("all clauses", compared)] if compared else []
        figures = {"sound": [dict(zip(SOUND_HEADER, row, strict=True)) for row in rows]}
        write_json(options.json, machine, figures, [*compared, *measured])
    return 0


if __name__ == "__main__":
    sys.exit(main())
