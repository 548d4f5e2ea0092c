"""What batching across calls gains: Kokoro on torch for 1 to 16 callers, with and without it.

    python bench/batching.py [--callers 1,2,4,8,16] [--clauses 2] [--device cpu] [--compile]
        [--json FILE]

Every caller has one clause spoken after the other, the next as soon as the last is made: all of them at
once, without the pauses of a conversation, is the most that can be asked. Without batching the same engine
makes one clause, or one window of one, in a step. First audio is the time from the call of `speak()` to the
first chunk; throughput is seconds of sound made in a second; a step's rows are the windows that it had in
the mean. Before that, what a row costs in steps of several rows: the network alone. The weights are the
embedded model's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

from bench.batched_steps import step_costs, step_table  # noqa: E402
from bench.calibration import calibrate  # noqa: E402
from bench.kokoro_texts import SENTENCES  # noqa: E402
from bench.report import machine_line, markdown, percentile, write_json  # noqa: E402
from media.engines.kokoro_torch import KokoroTorch  # noqa: E402
from media.engines.kokoro_torch_weights import load_onnx  # noqa: E402
from media.engines.protocols import TtsRequest  # noqa: E402
from media.engines.torch_device import share_threads  # noqa: E402
from server.model_store import ModelStore, default_root  # noqa: E402

VOICES = ("af_heart", "am_michael", "bf_emma", "bm_george")
SHORTEST_WORDS, LONGEST_WORDS = 4, 9
BATCHES = (1, 16)
"""Rows that a step may have: without batching, and with it."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause of one caller."""

    batch: int
    callers: int
    first_ms: float
    sound_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """All callers' clauses at one setting.

    Attributes:
        batch: how many rows a step may have; 1 is no batching.
        callers: at once.
        throughput: seconds of sound made in a second.
        first_p50_ms: from `speak()` to the first chunk.
        first_p95_ms: the same.
        rows: windows in a step, in the mean.
    """

    batch: int
    callers: int
    throughput: float
    first_p50_ms: float
    first_p95_ms: float
    rows: float


async def measured(engine: KokoroTorch, batch: int, callers: int, clauses: int) -> tuple[Round, list[Clause]]:
    texts = [text for text in SENTENCES if SHORTEST_WORDS <= len(text.split()) <= LONGEST_WORDS]
    said: list[Clause] = []

    async def call(number: int) -> None:
        voice = VOICES[number % len(VOICES)]
        for turn in range(clauses):
            text = texts[(number * clauses + turn) % len(texts)]
            said.append(await _clause(engine, TtsRequest(text, voice), batch, callers))

    before = engine.steps["window"]
    begun_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(call(number), name=f"caller {number}")
    spent_s = time.perf_counter() - begun_s
    firsts = [clause.first_ms for clause in said]
    steps = engine.steps["window"]
    figures = Round(
        batch,
        callers,
        round(sum(clause.sound_s for clause in said) / spent_s, 2),
        round(percentile(firsts, 50)),
        round(percentile(firsts, 95)),
        round((steps.requests - before.requests) / (steps.steps - before.steps), 1),
    )
    return figures, said


async def _clause(engine: KokoroTorch, request: TtsRequest, batch: int, callers: int) -> Clause:
    begun_s = time.perf_counter()
    first_s = sound_s = 0.0
    async for chunk in engine.speak(request):
        first_s = first_s or time.perf_counter() - begun_s
        sound_s += chunk.audio.duration_s
    return Clause(batch, callers, first_s * 1000, sound_s)


async def rounds(
    device: str, threads: int, callers: Sequence[int], clauses: int, *, compiled: bool
) -> tuple[list[list[Round]], list[Clause]]:
    """Each number of callers without batching, and at once with it: the machine may be busy by turns.

    Returns:
        The rounds of each of `BATCHES`, and every clause's figures.
    """
    share_threads(threads)
    store = ModelStore(default_root())
    model = store.path("kokoro-82m-int8") / "kokoro-v1.0.int8.onnx"
    engines = [
        KokoroTorch(
            partial(load_onnx, model),
            store.path("kokoro-voices"),
            device=device,
            batch=batch,
            compiled=compiled,
            model_name=model.stem,
        )
        for batch in BATCHES
    ]
    figures: list[list[Round]] = [[] for _ in BATCHES]
    details: list[Clause] = []
    async with contextlib.AsyncExitStack() as stack:
        for engine in engines:
            stack.push_async_callback(engine.close)
            await engine.start()
        for count in callers:
            for batch, engine, own in zip(BATCHES, engines, figures, strict=True):
                one, said = await measured(engine, batch, count, clauses)
                print(f"  {count} callers, batch {batch}: {one.throughput} s/s", flush=True)
                own.append(one)
                details += said
    return figures, details


def table(without: Sequence[Round], batched: Sequence[Round]) -> str:
    header = (
        "callers",
        "throughput, one by one (s/s)",
        "batched (s/s)",
        "gain",
        "rows of a step",
        "first audio, one by one, p50 (ms)",
        "p95",
        "batched, p50 (ms)",
        "p95",
    )
    rows = [
        [
            str(one.callers),
            f"{one.throughput:.2f}",
            f"{other.throughput:.2f}",
            f"× {other.throughput / one.throughput:.2f}",
            f"{other.rows:.1f}",
            *(f"{value:.0f}" for each in (one, other) for value in (each.first_p50_ms, each.first_p95_ms)),
        ]
        for one, other in zip(without, batched, strict=True)
    ]
    return markdown(header, rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--callers", default="1,2,4,8,16", help="how many at once")
    parser.add_argument("--clauses", type=int, default=2, help="of each caller")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1 or cpu")
    parser.add_argument("--compile", action="store_true", help="by CUDA graphs, on a GPU")
    parser.add_argument("--threads", type=int, default=2, help="of a step on the CPU")
    parser.add_argument("--json", type=Path, help="where to write the figures and every clause's")
    options = parser.parse_args(arguments)
    machine = calibrate()
    costs = step_costs(options.device)
    print(f"{step_table(costs)}\n", flush=True)
    callers = [int(count) for count in options.callers.split(",")]
    (without, batched), details = asyncio.run(
        rounds(options.device, options.threads, callers, options.clauses, compiled=options.compile)
    )
    print(f"\n{table(without, batched)}\n\n{machine_line(machine)}")
    if options.json:
        figures = {
            "steps": list(map(asdict, costs)),
            "one_by_one": list(map(asdict, without)),
            "batched": list(map(asdict, batched)),
        }
        write_json(options.json, machine, figures, details)
    return 0


if __name__ == "__main__":
    sys.exit(main())
