"""How full the GPUs are while the server runs: told in time, with what to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from media.engines.gpu_pool import GpuPool, pools
from server.faults import Fault, FaultKind, FaultLedger, Recovery, Severity
from server.gpu_memory import MB, Level, ModelNeed, advice, level_of, much_is_idle, pool_advice
from server.resources import ResourceSample

_log = logging.getLogger(__name__)

_SLACK = 0.02
"""A level is left only so far below where it began: memory comes and goes with every reply."""


@dataclass(frozen=True, slots=True)
class Watermarks:
    """From which share of a GPU's memory on it is told.

    PyTorch keeps what it has used once, so a server's GPU fills up in its first busy minutes and stays so.
    What is above 85 % by then leaves less than a large GPU needs for a further call's work, or a small one
    for its longest utterance; above 95 % the next larger batch may fail, and is what makes an engine run out.
    """

    warning: float = 0.85
    critical: float = 0.95


class GpuWatch:
    """Looks at what the sampler saw.

    Args:
        needs: of the configured engines.
        faults: a GPU that is critically full is one of them.
        marks: from when on.
        pools: what the engines' process has of GPUs, as far as that is known.
        give_back: has it give back what it only keeps. Called when a GPU has become critically full.
    """

    def __init__(
        self,
        needs: Sequence[ModelNeed],
        faults: FaultLedger,
        marks: Watermarks = Watermarks(),
        *,
        pools: Callable[[], Sequence[GpuPool]] = pools,
        give_back: Callable[[], None] = lambda: None,
    ) -> None:
        self._pools = pools
        self._give_back = give_back
        self._needs = tuple(needs)
        self._faults = faults
        self._marks = marks
        self._levels: dict[str, Level] = {}
        self._devices: list[dict[str, Any]] = []
        self._advice: list[str] = []

    def look(self, sample: ResourceSample) -> None:
        """Takes note of a look at the machine. A GPU that cannot be looked at any more is full no more."""
        self._devices.clear()
        self._advice.clear()
        gone = set(self._levels)
        pools = {pool.device: pool for pool in self._pools()}
        for gpu in sample.gpus:
            if (device := gpu.device) is None:  # none of the engines is there
                continue
            gone.discard(device)
            share = gpu.memory_used_mb / gpu.memory_total_mb if gpu.memory_total_mb else 0.0
            level = self._level(device, share)
            self._devices.append(
                {
                    "device": device,
                    "name": gpu.name,
                    "used_mb": gpu.memory_used_mb,
                    "total_mb": gpu.memory_total_mb,
                    "share": round(share, 4),
                    "level": level,
                    "pool": _described(pool) if (pool := pools.get(device)) else None,
                }
            )
            total_bytes = round(gpu.memory_total_mb * MB)
            sentence = advice(level, device, share, self._needs_on(device))
            self._advice += [sentence] if sentence is not None else []
            self._advice += pool_advice(pool, total_bytes, level) if pool else []
            is_new = level != self._levels.get(device, "ok")
            if is_new and level == "critical" and pool and much_is_idle(pool, total_bytes):
                self._give_back()
            self._changed_to(level, device, sentence)
        for device in gone:
            self._changed_to("ok", device, None)

    @property
    def report(self) -> dict[str, Any]:
        """For `/status`."""
        return {
            "devices": list(self._devices),
            "engines": [
                {
                    "section": need.section,
                    "what": need.what,
                    "device": need.device,
                    "needs_mb": round(need.size_bytes / MB),
                    "on_need": need.on_need,
                }
                for need in self._needs
            ],
            "recommendations": list(self._advice),
        }

    def _needs_on(self, device: str) -> list[ModelNeed]:
        return [need for need in self._needs if need.device == device or ":" not in need.device]

    def _level(self, device: str, share: float) -> Level:
        marks, before = self._marks, self._levels.get(device, "ok")
        warning = marks.warning - (_SLACK if before != "ok" else 0.0)
        critical = marks.critical - (_SLACK if before == "critical" else 0.0)
        return level_of(share, warning=warning, critical=critical)

    def _changed_to(self, level: Level, device: str, sentence: str | None) -> None:
        before = self._levels.get(device, "ok")
        if level == before:
            return
        self._levels[device] = level
        if sentence is not None:
            _log.warning("a GPU is nearly full", extra={"device": device, "level": level, "reason": sentence})
        if level == "critical":
            self._faults.began(
                Fault(
                    FaultKind.MEMORY,
                    Severity.MEDIUM,
                    Recovery.TELL,
                    "gpu",
                    device,
                    "gpu_memory_critical",
                    sentence or "",
                )
            )
        elif before == "critical":
            self._faults.ended("gpu", device)


def _described(pool: GpuPool) -> dict[str, Any]:
    return {
        "used_mb": round(pool.used_bytes / MB),
        "kept_mb": round(pool.kept_bytes / MB),
        "limit_mb": round(pool.limit_bytes / MB),
        "models_mb": {engine: round(size / MB) for engine, size in pool.models},
    }
