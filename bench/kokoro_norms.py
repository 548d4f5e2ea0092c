"""Fits what Kokoro needs to be made in windows: `media/engines/kokoro_norms.npz`.

    python bench/kokoro_norms.py [--measured FOLDER]

Every voice speaks eight texts of its language (Japanese and Chinese as phonemes, which need no G2P) at its
own speed, four of them slower or faster too: some 10 minutes on two cores. What was measured is kept in
FOLDER, a file a voice; a run that was broken off goes on there. `bench/kokoro_quality.py` proves what
comes of it, on other texts.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

import numpy as np  # noqa: E402

from bench.kokoro_speaker import Speaker  # noqa: E402
from bench.kokoro_texts import FITTED  # noqa: E402
from media.engines.kokoro_norms import FITTED_FILE, packed_statistics, summary_of, to_bytes  # noqa: E402
from media.engines.kokoro_parts import Floats  # noqa: E402
from media.engines.kokoro_voices import VOICE_NAMES, language_of  # noqa: E402

COMPONENTS = 48
RIDGE = 0.005
OTHER_SPEEDS = ((0, 0.7), (3, 0.7), (5, 1.4), (6, 1.4))
"""Which texts are said at which speeds, counted from another text for each voice."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A voice's clauses: first the texts at the voice's own speed, then the others.

    Attributes:
        summaries: (clauses, 1024).
        statistics: (clauses, channels of all norms).
    """

    summaries: Floats
    statistics: Floats

    @property
    def mean_summary(self) -> Floats:
        mean: Floats = self.summaries[: -len(OTHER_SPEEDS)].mean(axis=0)
        return mean

    @property
    def mean_statistics(self) -> Floats:
        mean: Floats = self.statistics[: -len(OTHER_SPEEDS)].mean(axis=0)
        return mean


def measured(speaker: Speaker, voice: str, folder: Path) -> Measured:
    """From the folder, or else measured and put there."""
    file = folder / f"{voice}.npz"
    if not file.exists():
        texts, number = FITTED[language_of(voice)], VOICE_NAMES.index(voice)
        said = [(text, 1.0) for text in texts]
        said += [(texts[(number + place) % len(texts)], speed) for place, speed in OTHER_SPEEDS]
        summaries, packed = [], []
        for text, speed in said:
            prepared = speaker.prepare(voice, text, speed)
            _, statistics = speaker.samples(prepared)
            summaries.append(summary_of(prepared.clause))
            packed.append(packed_statistics(statistics, speaker.parts.variances))
        np.savez(file, summaries=np.stack(summaries), statistics=np.stack(packed))
        print(f"  {voice}", flush=True)
    with np.load(file) as content:
        return Measured(content["summaries"], content["statistics"])


def write(voices: dict[str, Measured], variances: tuple[bool, ...], channels: list[int]) -> None:
    """Fits and writes the file."""
    mean_summaries = np.stack([each.mean_summary for each in voices.values()])
    mean_statistics = np.stack([each.mean_statistics for each in voices.values()])
    distances = np.concatenate([each.summaries - each.mean_summary for each in voices.values()])
    responses = np.concatenate([each.statistics - each.mean_statistics for each in voices.values()])
    components, slopes = linear_map(distances, responses)
    scores = distances @ components
    usual = mean_statistics.mean(axis=0)
    slope_bytes, slope_steps = to_bytes(slopes)
    voice_bytes, voice_steps = to_bytes((mean_statistics - usual).T)
    np.savez_compressed(
        FITTED_FILE,
        channels=np.array(channels),
        variances=np.array(variances),
        components=components.astype(np.float32),
        limits=np.stack([scores.min(axis=0), scores.max(axis=0)]).astype(np.float32),
        slopes=slope_bytes,
        slope_steps=slope_steps,
        voices=np.array(list(voices)),
        summaries=mean_summaries.astype(np.float16),
        usual_statistics=usual.astype(np.float32),
        statistics=voice_bytes.T,
        statistics_steps=voice_steps.T,
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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--measured", type=Path, default=Path("artifacts/kokoro_norms"), help="for what was measured"
    )
    folder = parser.parse_args(arguments).measured
    folder.mkdir(parents=True, exist_ok=True)
    speaker = Speaker()
    voices = {voice: measured(speaker, voice, folder) for voice in VOICE_NAMES}
    _, statistics = speaker.samples(speaker.prepare(VOICE_NAMES[0], FITTED["en-us"][0]))
    write(voices, speaker.parts.variances, [values.size for values in statistics])
    return 0


if __name__ == "__main__":
    sys.exit(main())
