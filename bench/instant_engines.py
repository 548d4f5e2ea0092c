"""Engines that take no time, and say when they said something; here or in an engine process of their own.

    python -m bench.instant_engines

is what `server.engine_process` starts. Its clock and that of whoever asks are the same: the machine's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import numpy as np

from media.audio import Audio
from media.engines.host import HostedEngines
from media.engines.protocols import (
    LlmDelta,
    LlmRequest,
    SpeechChunk,
    SpokenWord,
    SttOptions,
    Transcript,
    TtsRequest,
    Voice,
)
from server.config import Config

PIECES = 100
"""Of a reply, and of a clause."""

_PACE_S = 0.01
_SPEECH = Audio(np.zeros(4800, np.float32), 24_000)
"""0.2 s: the first that is heard of a clause."""


class _Instant:
    """What all of them do."""

    name = "instant"

    async def start(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""


class SilentVad(_Instant):
    """Hears nobody."""

    def open(self) -> SilentVad:
        return self

    async def push(self, window: Audio) -> float:
        return 0.0

    def reset(self) -> None:
        """Nothing."""


class _TurnEnd(_Instant):
    async def judge(self, turn: Audio) -> float:
        return 0.9


class _Llm(_Instant):
    async def reply(self, request: LlmRequest) -> AsyncGenerator[LlmDelta, None]:
        for _ in range(PIECES):
            await asyncio.sleep(_PACE_S)
            yield LlmDelta(repr(time.monotonic()))
        yield LlmDelta("", "stop")


class _Tts(_Instant):
    rate_hz = 24_000
    voices = (Voice("af_heart", "en-us", "Heart"),)

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        for _ in range(PIECES):
            await asyncio.sleep(_PACE_S)
            now_s = time.monotonic()
            yield SpeechChunk(_SPEECH, (SpokenWord("hello", now_s, now_s),))


class _Session:
    def __init__(self) -> None:
        self._pushed_s = 0.0
        self._aborted = asyncio.Event()

    async def push(self, audio: Audio) -> None:
        self._pushed_s += audio.duration_s

    async def partials(self) -> AsyncGenerator[Transcript, None]:
        await self._aborted.wait()
        return
        yield  # makes it a generator

    async def flush(self) -> Transcript:
        return Transcript("hello", self._pushed_s, "en")

    async def abort(self) -> None:
        self._aborted.set()


class _Stt(_Instant):
    languages = ("en",)

    def open(self, options: SttOptions) -> _Session:
        return _Session()


def instant_engines(_config: Config, _tell: object = None) -> HostedEngines:
    return HostedEngines(_TurnEnd(), _Stt(), _Llm(), _Tts())


if __name__ == "__main__":
    from server.engine_host import main

    main(instant_engines)
