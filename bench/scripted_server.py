"""The server with real signalling, media and voice activity, and engines that cost nothing: for `capacity`.

    python bench/scripted_server.py [--asyncio] [--setting VARIABLE VALUE] [--chunk-takes S]

Prints its URL as a line of JSON. Each line on its standard input is answered with what became of the outgoing
frames since the last one, as JSON; the end of the input ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.environment import prepare_environment, set_thread_switch_interval  # noqa: E402

prepare_environment()

import numpy as np  # noqa: E402

import media.playout  # noqa: E402
from media.audio import Audio  # noqa: E402
from media.engines.protocols import (  # noqa: E402
    Engines,
    LlmDelta,
    LlmRequest,
    SpeechChunk,
    SttOptions,
    Transcript,
    TtsRequest,
    Voice,
)
from media.pacing import Pacer  # noqa: E402
from server.config import Config, load_config  # noqa: E402
from server.engines import build_vad  # noqa: E402
from server.event_loop import new_event_loop  # noqa: E402
from server.serve import running_server  # noqa: E402

CHUNK_S = 0.5
CHUNKS_A_SENTENCE = 4
VOICE_RATE_HZ = 24_000


def speechlike(duration_s: float, rate_hz: int) -> Audio:
    """A buzz in syllables, with a breath every two seconds: what costs codecs as much as speech does."""
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / rate_hz
    buzz = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 25))
    breath = np.random.default_rng(1).standard_normal(len(t)) * 0.1
    syllables = np.clip(np.sin(2 * np.pi * 4 * t) + 0.7, 0, None) * (t % 2.0 < 1.8)
    return Audio((4000 * (buzz + breath) * syllables).astype(np.int16), rate_hz)


@dataclass
class _Free:
    """What all of them do: nothing, at once."""

    name: str = "scripted"

    async def start(self) -> None:
        """Is ready."""

    async def close(self) -> None:
        """Holds nothing."""


class FreeTurnEnd(_Free):
    async def judge(self, turn: Audio) -> float:
        return 0.9


class FreeStt(_Free):
    languages: tuple[str, ...] = ("en",)

    def open(self, options: SttOptions) -> FreeSttSession:
        return FreeSttSession()


class FreeSttSession:
    """Hears the same words whatever was said."""

    def __init__(self) -> None:
        self._pushed_s = 0.0

    async def push(self, audio: Audio) -> None:
        self._pushed_s += audio.duration_s

    async def partials(self) -> AsyncIterator[Transcript]:
        return
        yield

    async def flush(self) -> Transcript:
        return Transcript("words", self._pushed_s, "en")

    async def abort(self) -> None:
        """Holds nothing."""


class TalkativeLlm(_Free):
    """Says a sentence for each token that it is allowed."""

    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        for number in range(request.max_tokens):
            yield LlmDelta(f"This is sentence number {number} of very many. ")
            await asyncio.sleep(0)
        yield LlmDelta("", "stop")


class BuzzingTts(_Free):
    """Speaks every sentence as two seconds of the same buzz; all at once, unless it takes its time."""

    rate_hz: int = VOICE_RATE_HZ
    voices: tuple[Voice, ...] = (Voice("af_heart", "en-us", "Heart"),)
    chunk_takes_s: ClassVar[float] = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._chunk = speechlike(CHUNK_S, VOICE_RATE_HZ)

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        for _ in range(CHUNKS_A_SENTENCE):
            yield SpeechChunk(self._chunk)
            await asyncio.sleep(self.chunk_takes_s)


class _KnownPacer(Pacer):
    """Adds its frames to those of all calls."""

    lateness_of_all_ms: ClassVar[Counter[int]] = Counter()

    def __init__(self, frame_samples: int, rate_hz: int) -> None:
        super().__init__(frame_samples, rate_hz)
        self.lateness_ms = self.lateness_of_all_ms


def scripted_engines(config: Config) -> Engines:
    """Voice activity is real: it runs in the media process, whatever else moves out."""
    return Engines(build_vad(config), FreeTurnEnd(), FreeStt(), TalkativeLlm(), BuzzingTts())


async def serve_until_end_of_input(more: Mapping[str, str]) -> None:
    settings = {"VOXTRAL_KOKORO__SERVER__PORT": "0", "VOXTRAL_KOKORO__SERVER__HEALTH_PORT": "0"}
    config = load_config(None, {**settings, "VOXTRAL_KOKORO__SERVER__MAX_CALLS": "1000", **more})
    set_thread_switch_interval(config.performance.thread_switch_interval_ms)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with running_server(config, scripted_engines(config)) as server:
        await server.engine_set.until_ready()
        print(json.dumps({"url": server.url}), flush=True)
        while await lines.readline():
            print(json.dumps({"lateness_ms": _KnownPacer.lateness_of_all_ms}), flush=True)
            _KnownPacer.lateness_of_all_ms.clear()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--asyncio", action="store_true", help="on asyncio's event loop, not the server's")
    parser.add_argument(
        "--setting", nargs=2, action="append", default=[], help="as an environment variable of the server"
    )
    parser.add_argument(
        "--chunk-takes", type=float, default=0.0, help="seconds for half a second of speech (0: all at once)"
    )
    arguments = parser.parse_args()
    BuzzingTts.chunk_takes_s = arguments.chunk_takes
    media.playout.Pacer = _KnownPacer  # type: ignore[attr-defined]
    loop_factory = asyncio.new_event_loop if arguments.asyncio else new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve_until_end_of_input(dict(arguments.setting)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
