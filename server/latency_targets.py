"""How fast a turn should be: section `speech_to_speech.targets` of `config.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from media.latency import TurnLatency
from media.section import Section

MeasureName = Literal["endpoint", "stt", "llm", "tts", "playout", "total", "voice_to_voice"]
"""A stage of a turn; `total`, the engines' stages together; or `voice_to_voice`, the caller's whole wait."""

MEASURES: tuple[MeasureName, ...] = ("endpoint", "stt", "llm", "tts", "playout", "total", "voice_to_voice")

ENGINE_STAGES = frozenset({"stt", "llm", "tts"})


class LatencyTargets(Section):
    """Latency that the performance report compares with, at the 95th percentile.

    Attributes:
        stt_ms: from the end of the turn's speech to its transcript, once transcription is asked for.
        llm_ms: from the transcript to the reply's first clause.
        tts_ms: from the first clause to its first audio.
        total_ms: the three together.
        voice_to_voice_ms: from the end of the caller's speech to the first sound of the reply.
    """

    stt_ms: float = Field(default=100.0, gt=0)
    llm_ms: float = Field(default=50.0, gt=0)
    tts_ms: float = Field(default=150.0, gt=0)
    total_ms: float = Field(default=300.0, gt=0)
    voice_to_voice_ms: float = Field(default=500.0, gt=0)

    def of(self, measure: MeasureName) -> float | None:
        """The target of one measure in ms, where it has one."""
        targets: dict[MeasureName, float] = {
            "stt": self.stt_ms,
            "llm": self.llm_ms,
            "tts": self.tts_ms,
            "total": self.total_ms,
            "voice_to_voice": self.voice_to_voice_ms,
        }
        return targets.get(measure)


def measures_of(turn: TurnLatency) -> dict[MeasureName, float]:
    """What a turn took, in ms by measure. A stage that the turn did not have is absent."""
    measured: dict[MeasureName, float] = {stage.name: stage.duration_ms for stage in turn.stages}
    engines = [stage.duration_ms for stage in turn.stages if stage.name in ENGINE_STAGES]
    if engines:
        measured["total"] = sum(engines)
    if turn.item_id is not None:
        measured["voice_to_voice"] = turn.total_ms
    return measured
