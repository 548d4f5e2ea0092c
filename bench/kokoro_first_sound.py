"""How soon a clause is heard, and whether its sound then runs dry: the engine as the server has it.

    python bench/kokoro_first_sound.py [--threads 1,2] [--clauses 20] [--json FILE]

From the call of `speak()` to its first chunk, which begins with the clause's first sound: pronunciation,
front and first window. The clause is then played in thought: a chunk that comes after the sound before it
has ended leaves a gap.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

from bench.calibration import calibrate  # noqa: E402
from bench.kokoro_speaker import Speaker  # noqa: E402
from bench.kokoro_texts import SENTENCES  # noqa: E402
from bench.report import machine_line, markdown, percentile, write_json  # noqa: E402
from media.engines.kokoro_onnx import KokoroOnnx  # noqa: E402
from media.engines.protocols import TtsRequest  # noqa: E402
from server.model_store import ModelStore, default_root  # noqa: E402

VOICE = "af_heart"
SHORTEST_WORDS, LONGEST_WORDS = 3, 8
TIMES = 3


@dataclass(frozen=True, slots=True)
class Heard:
    """One clause, spoken once.

    Attributes:
        threads: of the engine.
        text: what is said.
        first_ms: from asking to the first chunk.
        all_ms: to the last one.
        sound_ms: how long the clause is.
        chunks: how many there were.
        gap_ms: how long the sound stopped in all.
    """

    threads: int
    text: str
    first_ms: float
    all_ms: float
    sound_ms: float
    chunks: int
    gap_ms: float


async def heard(threads: int, texts: Sequence[str]) -> list[Heard]:
    """Each text a few times, one after the other."""
    store = ModelStore(default_root())
    model = store.path("kokoro-82m-int8") / "kokoro-v1.0.int8.onnx"
    engine = KokoroOnnx(model, store.path("kokoro-voices"), threads=threads)
    await engine.start()
    try:
        return [await _spoken(engine, threads, text) for _ in range(TIMES) for text in texts]
    finally:
        await engine.close()


async def _spoken(engine: KokoroOnnx, threads: int, text: str) -> Heard:
    begun_s = time.perf_counter()
    first_s = sound_s = gap_s = 0.0
    chunks = 0
    async for chunk in engine.speak(TtsRequest(text, VOICE)):
        now_s = time.perf_counter() - begun_s
        first_s = first_s or now_s
        late_s = max(0.0, now_s - (first_s + sound_s + gap_s))
        gap_s += late_s
        sound_s += chunk.audio.duration_s
        chunks += 1
    all_s = time.perf_counter() - begun_s
    return Heard(threads, text, first_s * 1000, all_s * 1000, sound_s * 1000, chunks, gap_s * 1000)


def front_ms(threads: int, texts: Sequence[str]) -> float:
    """The median of pronunciation and front alone."""
    speaker = Speaker(threads=threads)
    spent = []
    for text in (texts[0], *texts):
        begun_s = time.perf_counter()
        speaker.prepare(VOICE, text)
        spent.append((time.perf_counter() - begun_s) * 1000)
    return percentile(spent[1:], 50)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", default="1,2", help="of the engine, to be compared")
    parser.add_argument("--clauses", type=int, default=20, help="how many different ones")
    parser.add_argument("--json", type=Path, help="where to write the figures and every clause's")
    options = parser.parse_args(arguments)
    machine = calibrate()
    short = [text for text in SENTENCES if SHORTEST_WORDS <= len(text.split()) <= LONGEST_WORDS]
    texts = short[: options.clauses]
    rows, everything = [], []
    for threads in map(int, options.threads.split(",")):
        clauses = asyncio.run(heard(threads, texts))
        everything += clauses
        firsts = [each.first_ms for each in clauses]
        rows.append(
            [
                str(threads),
                str(len(clauses)),
                f"{percentile(firsts, 50):.0f}",
                f"{percentile(firsts, 95):.0f}",
                f"{front_ms(threads, texts):.0f}",
                f"{sum(each.all_ms for each in clauses) / sum(each.sound_ms for each in clauses):.2f}",
                str(sum(each.gap_ms > 0 for each in clauses)),
                f"{max(each.gap_ms for each in clauses):.0f}",
            ]
        )
    header = (
        "threads",
        "clauses",
        "first sound, p50 (ms)",
        "p95 (ms)",
        "of it pronunciation and front (ms)",
        "time for a second of sound (s)",
        "clauses with a gap",
        "largest gap (ms)",
    )
    print(f"{markdown(header, rows)}\n\n{machine_line(machine)}")
    if options.json:
        figures = [dict(zip(header, row, strict=True)) for row in rows]
        write_json(options.json, machine, {"first_sound": figures}, everything)
    return 0


if __name__ == "__main__":
    sys.exit(main())
