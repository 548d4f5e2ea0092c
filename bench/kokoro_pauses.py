"""Fits how long Kokoro pauses after a clause: `media/engines/kokoro_pauses.json`.

    python bench/kokoro_pauses.py

Every voice is given texts of two clauses, and the loudness that the front predicts for them tells how long it
is quiet in between; nothing is spoken, so that it takes some three minutes. What marks do is fitted on all
English voices together (30 of 60 texts each), what the clause's length does for each voice; voices of other
languages have pairs of the texts that their norms were fitted on. `bench/kokoro_quality.py --parts
pauses` proves what comes of it, on other texts, by sound.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

from bench.kokoro_speaker import run_of, style_of  # noqa: E402
from bench.kokoro_texts import FITTED, PAUSES_FITTED  # noqa: E402
from bench.report import markdown, percentile  # noqa: E402
from media.engines.kokoro_clause import RATE_HZ  # noqa: E402
from media.engines.kokoro_parts import DURATIONS, FRAME_SAMPLES, Floats  # noqa: E402
from media.engines.kokoro_pauses import FITTED_FILE, LONGEST_S, MARKS, final_mark  # noqa: E402
from media.engines.kokoro_rewrite import LOUDNESS, multiply_instead_of_convolving  # noqa: E402
from media.engines.kokoro_runs import Run, word_spans  # noqa: E402
from media.engines.kokoro_voices import VOICE_NAMES, language_of  # noqa: E402
from media.engines.onnx import inference_session  # noqa: E402
from media.engines.onnx_graph import OnnxGraph  # noqa: E402
from server.model_store import ModelStore, default_root  # noqa: E402

FRAME_S = FRAME_SAMPLES / RATE_HZ
QUIET_BELOW_LOUD = 8.0
"""In units of the predicted loudness, below its 95th percentile: some 38 dB below the loudest sound."""
LONGER_S = 0.025
"""By so much a pause must be longer than the predicted loudness has it, to be as long as it sounds in one go:
the median of 144 pauses in two voices, whose standard deviation is 0.02."""
BEFORE_FRAMES, AFTER_FRAMES = 40, 64
"""Where a pause is looked for, around the end of the first clause's last sound."""
ROUNDS = 30
RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class Pause:
    """Between two clauses of one run.

    Attributes:
        voice: who says them.
        mark: between them.
        sound_s: how long the first one is, alone.
        pause_s: how long it is quiet.
    """

    voice: str
    mark: str
    sound_s: float
    pause_s: float


def pairs_of(voice: str) -> Sequence[tuple[str, str]]:
    """Texts of two clauses."""
    language = language_of(voice)
    if language.startswith("en"):
        return PAUSES_FITTED[VOICE_NAMES.index(voice) % 2 :: 2]
    texts = FITTED[language]
    return [(text, texts[(at + by) % len(texts)]) for at, text in enumerate(texts) for by in (1, 3, 5)]


class Foresight:
    """The part of the front that tells loudness and durations: a third of its work."""

    def __init__(self) -> None:
        model = ModelStore(default_root()).path("kokoro-82m-int8") / "kokoro-v1.0.int8.onnx"
        graph = OnnxGraph(model.read_bytes())
        multiply_instead_of_convolving(graph)
        part = graph.cut(("tokens", "style", "speed"), (LOUDNESS, DURATIONS))
        self._session = inference_session(part, threads=1)

    def of(self, voice: str, run: Run) -> tuple[Floats, Floats]:
        """The loudness by frame, and where each token begins, in frames."""
        inputs = {
            "tokens": np.array([[0, *run.token_ids, 0]], np.int64),
            "style": style_of(voice, run),
            "speed": np.ones(1, np.float32),
        }
        loudness, durations = self._session.run(None, inputs)
        return loudness.reshape(-1), np.cumsum(durations.reshape(-1)) * 2


def measured(foresight: Foresight, voice: str, first: str, second: str) -> Pause:
    alone = run_of(voice, first)
    start, last = word_spans(alone.words)[0][0], word_spans(alone.words)[-1][1]
    _, begins = foresight.of(voice, alone)
    loudness, begins_in_one = foresight.of(voice, run_of(voice, _joined(first, second)))
    # The first clause's tokens are the same in both.
    return Pause(
        voice,
        final_mark(first.strip("/")),
        float(begins[last + 1] - begins[start]) * FRAME_S,
        quiet_s(loudness, int(begins_in_one[last + 1])) + LONGER_S,
    )


def quiet_s(loudness: Floats, near_frame: int) -> float:
    """The longest run of quiet frames near one."""
    quiet = loudness < np.percentile(loudness, 95) - QUIET_BELOW_LOUD
    longest = length = 0
    for is_quiet in quiet[max(0, near_frame - BEFORE_FRAMES) : near_frame + AFTER_FRAMES]:
        length = length + 1 if is_quiet else 0
        longest = max(longest, length)
    return longest * FRAME_S


def fit(pauses: Sequence[Pause], marks: Sequence[str]) -> npt.NDArray[np.float64]:
    """Least absolute errors: for each voice its two figures, one voice after the other, then the marks'."""
    voices = sorted({pause.voice for pause in pauses})
    rows = np.zeros((len(pauses), 2 * len(voices) + len(marks)))
    for row, pause in zip(rows, pauses, strict=True):
        at = 2 * voices.index(pause.voice)
        row[at : at + 2] = 1.0, min(pause.sound_s, LONGEST_S)
        if pause.mark in marks:
            row[2 * len(voices) + list(marks).index(pause.mark)] = 1.0
    wanted = np.array([pause.pause_s for pause in pauses])
    weights = np.ones(len(pauses))
    found = np.zeros(rows.shape[1])
    for _ in range(ROUNDS):
        weighted = rows * weights[:, None]
        gram = rows.T @ weighted + RIDGE * np.eye(len(found))
        found = np.linalg.solve(gram, weighted.T @ wanted)
        weights = 1 / np.maximum(np.abs(wanted - rows @ found), 0.005)
    return found


def _joined(first: str, second: str) -> str:
    if first.startswith("/"):
        return f"{first[:-1]} {second[1:]}"
    return f"{first} {second}"


def table(pauses: Iterable[Pause], voices: dict[str, tuple[float, float]], marks: dict[str, float]) -> str:
    """What is left unexplained, by mark."""
    left: dict[str, list[float]] = {}
    lengths: dict[str, list[float]] = {}
    for pause in pauses:
        least_s, growth = voices[pause.voice]
        fitted_s = least_s + growth * min(pause.sound_s, LONGEST_S) + marks[pause.mark]
        left.setdefault(pause.mark, []).append((fitted_s - pause.pause_s) * 1000)
        lengths.setdefault(pause.mark, []).append(pause.pause_s * 1000)
    rows = [
        [
            mark,
            str(len(values)),
            f"{percentile(lengths[mark], 50):.0f}",
            f"{percentile(values, 50):+.0f}",
            f"{percentile([abs(value) for value in values], 50):.0f}",
        ]
        for mark, values in left.items()
    ]
    return markdown(
        ("mark", "pauses", "pause, p50 (ms)", "fitted less it, p50 (ms)", "p50 of the difference (ms)"), rows
    )


def main(arguments: list[str] | None = None) -> int:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(arguments)
    foresight = Foresight()
    pauses: list[Pause] = []
    for voice in VOICE_NAMES:
        pauses += [measured(foresight, voice, *pair) for pair in pairs_of(voice)]
        print(f"  {voice}", flush=True)
    # A comma's is the pause that the others are measured against.
    marks = [mark for mark in dict.fromkeys(MARKS.values()) if mark != ","]
    english = [pause for pause in pauses if language_of(pause.voice).startswith("en")]
    longer = {",": 0.0, **dict(zip(marks, fit(english, marks)[-len(marks) :].round(3).tolist(), strict=True))}
    voices: dict[str, tuple[float, float]] = {}
    for voice in VOICE_NAMES:
        own = [
            Pause(voice, "", pause.sound_s, pause.pause_s - longer[pause.mark])
            for pause in pauses
            if pause.voice == voice
        ]
        least_s, growth = fit(own, ()).round(3).tolist()
        voices[voice] = (least_s, growth)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in voices.items())
    marks_line = json.dumps(longer, ensure_ascii=False)
    FITTED_FILE.write_text(f'{{"marks": {marks_line},\n"voices": {{\n{lines}\n}}}}\n')
    print(table(pauses, voices, longer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
