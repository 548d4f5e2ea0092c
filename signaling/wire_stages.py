"""Where a turn's time went, as every protocol writes it."""

from __future__ import annotations

from media.latency import TurnLatency
from signaling.realtime_base import ToClient


class WireStage(ToClient):
    """A stage of a turn; `media.latency` says how to read it."""

    name: str
    start_ms: float
    duration_ms: float


def stages_to_wire(latency: TurnLatency) -> tuple[WireStage, ...]:
    """All of a turn's stages, to a tenth of a millisecond."""
    return tuple(
        WireStage(name=stage.name, start_ms=round(stage.start_ms, 1), duration_ms=round(stage.duration_ms, 1))
        for stage in latency.stages
    )
