"""What batching across calls gains a language model on torch: replies to 1 to 8 callers, with and without it.

    python bench/batching_llm.py [--model MODEL] [--callers 1,2,4,8] [--tokens 32] [--device cpu]

Every caller asks for one reply, all of them at once. Without batching they are written one after the other,
each in its turn; with it each step writes a token of every one. The first word's time is from the request to
the first text; throughput is tokens written in a second, all callers together. The model is a hub's
repository, a folder or a GGUF file; by default the embedded one's, for which the `gguf` package must be
installed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

import torch  # noqa: E402

from bench.calibration import calibrate  # noqa: E402
from bench.report import machine_line, markdown, percentile, write_json  # noqa: E402
from media.engines.protocols import ChatMessage, LlmRequest  # noqa: E402
from media.engines.transformers_llm import TransformersLlm  # noqa: E402
from server.model_store import ModelStore, default_root  # noqa: E402

PERSONA = ChatMessage(
    "system", "You are a friendly voice assistant. Answer in one or two short sentences, in plain words."
)
TOPICS = ("ships", "the moon", "bread", "trains", "a fox", "winter", "clocks", "the sea")


@dataclass(frozen=True, slots=True)
class Round:
    """All callers' replies at one setting.

    Attributes:
        parallel: replies that may be written at once; 1 is no batching.
        callers: at once.
        throughput: tokens written in a second.
        rows: of a step, on average.
        first_p50_ms: from the request to the first text.
        first_max_ms: the same, of who waits longest.
    """

    parallel: int
    callers: int
    throughput: float
    rows: float
    first_p50_ms: float
    first_max_ms: float


async def measured(llm: TransformersLlm, parallel: int, callers: int, tokens: int) -> Round:
    firsts: list[float] = []
    written = 0

    async def call(number: int) -> None:
        nonlocal written
        text = f"Tell me about {TOPICS[number % len(TOPICS)]}."
        request = LlmRequest((PERSONA, ChatMessage("user", text)), tokens, 0.0, f"call {number}")
        begun_s, first_s = time.perf_counter(), 0.0
        async for delta in llm.reply(request):
            first_s = first_s or (time.perf_counter() - begun_s if delta.text else 0.0)
            written += delta.output_tokens
        firsts.append(first_s * 1000)

    before, begun_s = llm.batches, time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(call(number), name=f"caller {number}")
    spent_s = time.perf_counter() - begun_s
    rows = (llm.batches.requests - before.requests) / (llm.batches.steps - before.steps)
    return Round(
        parallel,
        callers,
        round(written / spent_s, 1),
        round(rows, 1),
        round(percentile(firsts, 50)),
        round(max(firsts)),
    )


async def rounds(
    model: str | Path, device: str, parallel: int, callers: Sequence[int], tokens: int, *, compiled: bool
) -> list[Round]:
    """One engine for all numbers of callers."""
    llm = TransformersLlm(model, device=device, context_tokens=512, parallel=parallel, compiled=compiled)
    try:
        await llm.start()
        await measured(llm, parallel, 1, 4)
        found: list[Round] = []
        for count in callers:
            found.append(await measured(llm, parallel, count, tokens))
            print(f"  {parallel} at once, {count} callers: {found[-1].throughput} tokens/s", flush=True)
        return found
    finally:
        await llm.close()


def table(without: Sequence[Round], batched: Sequence[Round]) -> str:
    header = (
        "callers",
        "one by one (tokens/s)",
        "batched (tokens/s)",
        "gain",
        "rows a step",
        "first word, one by one, p50 (ms)",
        "longest",
        "batched, p50 (ms)",
        "longest",
    )
    rows = [
        [
            str(one.callers),
            f"{one.throughput:.1f}",
            f"{other.throughput:.1f}",
            f"× {other.throughput / one.throughput:.2f}",
            f"{other.rows:.1f}",
            *(f"{value:.0f}" for each in (one, other) for value in (each.first_p50_ms, each.first_max_ms)),
        ]
        for one, other in zip(without, batched, strict=True)
    ]
    return markdown(header, rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a hub's repository, a folder, or a GGUF file")
    parser.add_argument("--callers", default="1,2,4,8", help="how many at once")
    parser.add_argument("--tokens", type=int, default=32, help="of each reply, at most")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1 or cpu")
    parser.add_argument("--compile", action="store_true", help="by CUDA graphs, on a GPU")
    parser.add_argument("--threads", type=int, default=1, help="of a step on the CPU")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    machine = calibrate()
    callers = [int(count) for count in options.callers.split(",")]
    model = _model(options.model)
    without, batched = (
        asyncio.run(
            rounds(model, options.device, parallel, callers, options.tokens, compiled=options.compile)
        )
        for parallel in (1, max(callers))
    )
    print(f"\n{table(without, batched)}\n\n{machine_line(machine)}")
    if options.json:
        figures = {"one_by_one": list(map(asdict, without)), "batched": list(map(asdict, batched))}
        write_json(options.json, machine, figures, [])
    return 0


def _model(named: str | None) -> str | Path:
    if named is None:
        folder = ModelStore(default_root()).path("smollm2-135m-instruct")
        return folder / "SmolLM2-135M-Instruct.Q4_1.gguf"
    path = Path(named).expanduser()
    return path if path.exists() else named


if __name__ == "__main__":
    sys.exit(main())
