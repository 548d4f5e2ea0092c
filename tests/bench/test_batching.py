"""The bench of batching: its table, and that it asks what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np

from bench.batching import Round, measured, table
from media.audio import Audio
from media.engines.batcher import BatchCounts
from media.engines.protocols import SpeechChunk, TtsRequest


class HalfSecond:
    """Speaks two chunks of a quarter of a second, in steps of two windows."""

    def __init__(self) -> None:
        self.asked: list[TtsRequest] = []
        self.windows = 0

    @property
    def steps(self) -> dict[str, BatchCounts]:
        return {"window": BatchCounts(self.windows // 2, self.windows)}

    async def speak(self, request: TtsRequest) -> AsyncGenerator[SpeechChunk, None]:
        self.asked.append(request)
        for _ in range(2):
            self.windows += 1
            await asyncio.sleep(0)
            yield SpeechChunk(Audio(np.zeros(6000, np.float32), 24_000))


def test_every_caller_has_its_clauses_spoken() -> None:
    engine: Any = HalfSecond()
    figures, clauses = asyncio.run(measured(engine, 16, callers=4, clauses=2))
    assert len(engine.asked) == len(clauses) == 8
    assert len({(request.text, request.voice) for request in engine.asked}) == 8
    assert {clause.sound_s for clause in clauses} == {0.5}
    assert (figures.batch, figures.callers, figures.rows) == (16, 4, 2.0)
    assert figures.throughput > 0


def test_the_table_sets_one_beside_the_other() -> None:
    lines = table([Round(1, 4, 0.5, 900, 1200, 1.0)], [Round(16, 4, 0.75, 800, 1000, 3.2)]).splitlines()
    assert lines[-1] == "| 4 | 0.50 | 0.75 | × 1.50 | 3.2 | 900 | 1200 | 800 | 1000 |"
