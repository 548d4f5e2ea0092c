"""Kokoro in windows: fits what it needs, and proves that it sounds like Kokoro made whole.

    python bench/kokoro_norms.py --fit     measures all voices (10 minutes) and writes kokoro_norms.npz
    python bench/kokoro_norms.py           compares windows with the whole, on clauses that were not fitted

Distances are between the clause made in windows and the same clause made whole: the mean difference of 80 mel
bands in dB, and the level.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402

from media.engines.g2p import pronounce, unavailable  # noqa: E402
from media.engines.kokoro_clause import RATE_HZ, ClauseSound  # noqa: E402
from media.engines.kokoro_norms import FITTED_FILE, KokoroNorms, packed_statistics, summary_of  # noqa: E402
from media.engines.kokoro_parts import FRAME_SAMPLES, ClauseFeatures, Floats, KokoroParts  # noqa: E402
from media.engines.kokoro_runs import runs_of  # noqa: E402
from media.engines.kokoro_voices import STYLE_ROWS, STYLE_WIDTH, VOICE_NAMES, language_of  # noqa: E402
from media.engines.window_plan import first_window, next_window  # noqa: E402
from server.model_store import ModelStore, default_root  # noqa: E402

COMPONENTS = 8
RIDGE = 0.05
USUAL_COST = 0.6

ENGLISH = (
    "Okay.",
    "Well,",
    "Paris, France.",
    "How can I help you?",
    "I'm sorry to hear that,",
    "The capital of France is Paris.",
    "What would you like to know about it?",
    "When it rains, you should wear a coat and take an umbrella with you.",
)
FITTED_TEXTS = {
    "en-us": ENGLISH,
    "en-gb": ENGLISH,
    "es": (
        "Vale.",
        "Bueno,",
        "Claro que sí.",
        "¿En qué puedo ayudarte?",
        "Lo siento mucho,",
        "La capital de Francia es París.",
        "¿Qué te gustaría saber sobre eso?",
        "Cuando llueve, deberías llevar un abrigo y un paraguas.",
    ),
    "fr": (
        "D'accord.",
        "Eh bien,",
        "Bien sûr.",
        "Comment puis-je vous aider ?",
        "Je suis désolé,",
        "La capitale de la France est Paris.",
        "Que voudriez-vous savoir à ce sujet ?",
        "Quand il pleut, il faut mettre un manteau et prendre un parapluie.",
    ),
    "it": (
        "Va bene.",
        "Allora,",
        "Certo, volentieri.",
        "Come posso aiutarti?",
        "Mi dispiace molto,",
        "La capitale della Francia è Parigi.",
        "Che cosa vorresti sapere?",
        "Quando piove, dovresti mettere un cappotto e prendere l'ombrello.",
    ),
    "pt-br": (
        "Tudo bem.",
        "Bom,",
        "Claro que sim.",
        "Como posso ajudar você?",
        "Sinto muito por isso,",
        "A capital da França é Paris.",
        "O que você gostaria de saber?",
        "Quando chove, você deve usar um casaco e levar um guarda-chuva.",
    ),
    "hi": (
        "ठीक है।",
        "अच्छा,",
        "हाँ, ज़रूर।",
        "मैं आपकी क्या मदद कर सकता हूँ?",
        "मुझे खेद है,",
        "फ़्रांस की राजधानी पेरिस है।",
        "आप इसके बारे में क्या जानना चाहेंगे?",
        "जब बारिश हो, तो आपको कोट पहनना चाहिए और छाता ले जाना चाहिए।",
    ),
}
PROVED_VOICES = ("af_heart", "am_michael", "bf_emma", "bm_george", "af_nicole")
PROVED_TEXTS = (
    "Yes.",
    "No problem.",
    "Hello there.",
    "That is right.",
    "Good morning!",
    "It depends,",
    "Sure, I can help.",
    "Let me think about that for you.",
    "Sure, I can help you with that today.",
    "That sounds like a great idea,",
    "I don't know the answer to that question.",
    "You can boil an egg for ten minutes in hot water,",
    "The moon is the only natural satellite of the earth.",
    "A good book to read is the old man and the sea,",
)


@dataclass(frozen=True, slots=True)
class Whole:
    """A clause that was made whole."""

    sound: ClauseSound
    samples: Floats
    statistics: tuple[Floats, ...]

    @property
    def clause(self) -> ClauseFeatures:
        return self.sound.clause


class Speaker:
    """Kokoro's parts, and its voices' styles."""

    def __init__(self) -> None:
        store = ModelStore(default_root())
        self.parts = KokoroParts.load(store.path("kokoro-82m-int8") / "kokoro-v1.0.int8.onnx", threads=2)
        self.options = ort.RunOptions()
        self._voices = store.path("kokoro-voices")

    def whole(self, voice: str, text: str) -> Whole:
        run = next(iter(runs_of(pronounce(text, language_of(voice)))))
        styles = np.fromfile(self._voices / f"{voice}.bin", np.float32).reshape(STYLE_ROWS, 1, STYLE_WIDTH)
        clause = self.parts.prepare(run.token_ids, styles[len(run.token_ids) - 1], 1.0, self.options)
        samples, norms = self.parts.speak_whole(clause, self.options)
        return Whole(ClauseSound(clause, run, 1.0, 0.0), samples, norms)


def fit(speaker: Speaker) -> None:
    """Measures every voice that speaks here and writes the file."""
    voices, summaries, packed = [], [], []
    channels: list[int] = []
    for voice in VOICE_NAMES:
        if unavailable(language_of(voice)) or language_of(voice) not in FITTED_TEXTS:
            continue
        wholes = [speaker.whole(voice, text) for text in FITTED_TEXTS[language_of(voice)]]
        channels = [values.size for values in wholes[0].statistics]
        voices.append(voice)
        summaries.append(np.stack([summary_of(whole.clause) for whole in wholes]))
        packed.append(
            np.stack([packed_statistics(whole.statistics, speaker.parts.variances) for whole in wholes])
        )
        print(f"  {voice}", flush=True)
    mean_summaries = np.stack([summary.mean(axis=0) for summary in summaries])
    mean_statistics = np.stack([statistic.mean(axis=0) for statistic in packed])
    distances = np.concatenate([one - one.mean(axis=0) for one in summaries])
    responses = np.concatenate([one - one.mean(axis=0) for one in packed])
    components, slopes = linear_map(distances, responses)
    scores = distances @ components
    np.savez_compressed(
        FITTED_FILE,
        channels=np.array(channels),
        variances=np.array(speaker.parts.variances),
        components=components.astype(np.float32),
        limits=np.stack([scores.min(axis=0), scores.max(axis=0)]).astype(np.float32),
        slopes=slopes.astype(np.float16),
        voices=np.array(voices),
        summaries=mean_summaries.astype(np.float16),
        statistics=mean_statistics.astype(np.float16),
    )
    print(f"{FITTED_FILE.name}: {len(voices)} voices, {FITTED_FILE.stat().st_size / 1e6:.1f} MB")


def linear_map(distances: Floats, responses: Floats) -> tuple[Floats, Floats]:
    """Ridge regression of the responses on the distances' first principal components."""
    deviation = distances.std(axis=0) + 1e-6
    _, strengths, directions = np.linalg.svd(distances / deviation, full_matrices=False)
    components = directions[:COMPONENTS].T / deviation[:, None] / strengths[0]
    scores = distances @ components
    gram = scores.T @ scores + RIDGE * np.eye(COMPONENTS)
    return components, np.linalg.solve(gram, scores.T @ responses)


def prove(speaker: Speaker) -> None:
    """Prints how windows differ from the whole."""
    norms = KokoroNorms()
    print(
        "| voice | mel distance (dB) | level, mean (dB) | level, largest | first window (ms) | whole (ms) |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for voice in PROVED_VOICES:
        rows = [_compared(speaker, norms, voice, text) for text in PROVED_TEXTS]
        mels, levels, firsts, wholes = zip(*rows, strict=True)
        print(
            f"| {voice} | {statistics.mean(mels):.1f} | {statistics.mean(levels):+.1f} | "
            f"{max(levels, key=abs):+.1f} | {statistics.median(firsts):.0f} | "
            f"{statistics.median(wholes):.0f} |",
            flush=True,
        )


def _compared(
    speaker: Speaker, norms: KokoroNorms, voice: str, text: str
) -> tuple[float, float, float, float]:
    """Mel distance, level difference, time to the first window and to the whole, the front left out."""
    whole = speaker.whole(voice, text)
    begun_s = time.perf_counter()
    speaker.parts.speak_whole(whole.clause, speaker.options)
    whole_ms = (time.perf_counter() - begun_s) * 1000
    start, end = whole.sound.frames_heard
    statistics_ = norms.predict(voice, whole.clause)
    assert statistics_ is not None
    parts = []
    first_ms = 0.0
    at, size = start, first_window(end - start, USUAL_COST, 0)
    while at < end:
        begun_s = time.perf_counter()
        parts.append(speaker.parts.speak_window(whole.clause, statistics_, at, at + size, speaker.options))
        first_ms = first_ms or (time.perf_counter() - begun_s) * 1000
        at += size
        size = next_window(end - at, USUAL_COST, size)
    made = np.concatenate(parts)
    same = whole.samples[start * FRAME_SAMPLES : end * FRAME_SAMPLES]
    level_db = 10 * float(np.log10(np.mean(np.square(made)) / np.mean(np.square(same))))
    return mel_distance_db(made, same), level_db, first_ms, whole_ms


def mel_distance_db(one: Floats, other: Floats) -> float:
    """The mean absolute difference of their mel spectra, each floored 40 dB or so below full speech."""
    return float(np.mean(np.abs(_mel_db(one) - _mel_db(other))))


def _mel_db(samples: Floats, bands: int = 80, size: int = 1024) -> Floats:
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 4] * np.hanning(size)
    spectrum = np.abs(np.fft.rfft(frames))
    hertz = np.linspace(0, RATE_HZ / 2, size // 2 + 1)
    mels = 2595 * np.log10(1 + hertz / 700)
    edges = np.linspace(0, mels[-1], bands + 2)
    rising = (mels - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - mels) / (edges[2:] - edges[1:-1])[:, None]
    bank = np.clip(np.minimum(rising, falling), 0, None)
    result: Floats = 20 * np.log10(spectrum @ bank.T + 1e-2)
    return result


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fit", action="store_true", help="measure all voices and write the file first")
    speaker = Speaker()
    if parser.parse_args(arguments).fit:
        fit(speaker)
    prove(speaker)
    return 0


if __name__ == "__main__":
    sys.exit(main())
