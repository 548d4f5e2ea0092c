"""How soon the embedded LLM answers, and how fast it writes: the engine as the server has it.

    python bench/llm_speed.py [FILE.gguf ...] [--times 16] [--json FILE]

Without files: the one that is fetched and the one that is made of it. They take turns, question by question.
What the caller says last is some ten tokens; all before it has been read, as in a call. Alone: to the reply's
first words, and from there for each token. Two at once: a token of both. Nothing else may be at work.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment  # noqa: E402

prepare_environment()

from bench.calibration import calibrate  # noqa: E402
from bench.report import machine_line, markdown, percentile, write_json  # noqa: E402
from media.engines.llama_cpp import LlamaCpp  # noqa: E402
from media.engines.protocols import ChatMessage, LlmRequest  # noqa: E402
from server.engine_settings import EMBEDDED_LLM  # noqa: E402
from server.model_store import ModelStore, default_root  # noqa: E402

TOKENS = 10
SYSTEM = ChatMessage(
    "system",
    "You are a helpful voice assistant. You are on the phone: answer in one or two short sentences of plain "
    "words, without lists, without markup.",
)
SAID = tuple(
    message
    for country in ("France", "Spain", "Italy", "Norway")
    for message in (
        ChatMessage("user", f"What is there to see in {country} in summer, and how do I get there?"),
        ChatMessage("assistant", f"I would go to the coast of {country}, where it is quiet, by train."),
    )
)
HEARD = "Can you book me a"
ENDINGS = (" table for two", " room in Rome", " flight to Oslo", " seat on the train")


@dataclass(frozen=True, slots=True)
class Speeds:
    """One file's times, in ms.

    Attributes:
        first: from asking to the reply's first words.
        token: of each reply alone, for each token after that.
        both: of each pair of replies, for a token of both.
    """

    first: list[float] = field(default_factory=list)
    token: list[float] = field(default_factory=list)
    both: list[float] = field(default_factory=list)


def _request(said: str, tokens: int, conversation: str) -> LlmRequest:
    messages = (SYSTEM, *SAID, ChatMessage("user", said))
    return LlmRequest(messages, tokens, temperature=0.0, conversation=conversation)


async def _times_s(engine: LlamaCpp, request: LlmRequest) -> list[float]:
    """When each piece of the reply was there."""
    times = []
    async with aclosing(engine.reply(request)) as deltas:
        async for delta in deltas:
            if delta.text:
                times.append(time.perf_counter())
    return times


async def _alone(engine: LlamaCpp, ending: str, speeds: Speeds) -> None:
    await _times_s(engine, _request(HEARD, 0, "one"))
    begun_s = time.perf_counter()
    times = await _times_s(engine, _request(HEARD + ending, TOKENS, "one"))
    speeds.first.append((times[0] - begun_s) * 1000)
    speeds.token.append((times[-1] - times[0]) * 1000 / (len(times) - 1))


async def _both(engine: LlamaCpp, ending: str, speeds: Speeds) -> None:
    requests = [_request(HEARD + ending, TOKENS, name) for name in ("one", "two")]
    for request in requests:
        await _times_s(engine, _request(HEARD + ending, 0, request.conversation))
    begun_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for request in requests:
            group.create_task(_times_s(engine, request))
    speeds.both.append((time.perf_counter() - begun_s) * 1000 / TOKENS)


async def measure(files: list[Path], times: int) -> dict[str, Speeds]:
    """Each file's speeds."""
    found = {file.name: Speeds() for file in files}
    async with AsyncExitStack() as stack:
        engines = {}
        for file in files:
            threads = len(os.sched_getaffinity(0))
            engine = LlamaCpp(file, threads=threads, context_tokens=1024, parallel=2)
            stack.push_async_callback(engine.close)
            await engine.start()
            engines[file.name] = engine
        for at in range(times):
            ending = ENDINGS[at % len(ENDINGS)]
            for name, engine in engines.items():
                await _alone(engine, ending, found[name])
                await _both(engine, ending, found[name])
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help="GGUF files to be compared")
    parser.add_argument("--times", type=int, default=16, help="how often each is asked")
    parser.add_argument("--json", type=Path, help="where to write every time")
    options = parser.parse_args(arguments)
    machine = calibrate()
    files = options.files
    if not files:
        store = ModelStore(default_root())
        model = store.catalogue.model(EMBEDDED_LLM)
        files = [store.path(EMBEDDED_LLM) / name for name in (*model.files, *model.made)]
    found = asyncio.run(measure(files, options.times))
    rows = [
        [name, *(f"{percentile(times, 50):.1f}" for times in (speeds.first, speeds.token, speeds.both))]
        for name, speeds in found.items()
    ]
    header = ("file", "first words, p50 (ms)", "a token (ms)", "a token of two replies (ms)")
    print(f"{markdown(header, rows)}\n\n{machine_line(machine)}")
    if options.json:
        write_json(options.json, machine, {name: asdict(speeds) for name, speeds in found.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
