"""A small fixed workload, so that figures from different machines can be put side by side."""

from __future__ import annotations

import hashlib
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures were measured on.

    Attributes:
        cpu: its model name.
        cores: that this process may use.
        matmul_ms: median of a 512×512 float32 product on one thread-pool as numpy has it.
        python_ms: median of a fixed loop in pure Python: one core, no vectors.
        load: the 1-minute load average when the bench began: a quiet machine is near 0.
    """

    cpu: str
    cores: int
    matmul_ms: float
    python_ms: float
    load: float

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def calibrate() -> Machine:
    """Takes about a second."""
    rng = np.random.default_rng(0)
    left = rng.standard_normal((512, 512), dtype=np.float32)
    right = rng.standard_normal((512, 512), dtype=np.float32)
    load = os.getloadavg()[0]
    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        matmul_ms=_median_ms(lambda: left @ right),
        python_ms=_median_ms(_python_loop),
        load=round(load, 2),
    )


def _python_loop() -> bytes:
    digest = b""
    for number in range(5000):
        digest = hashlib.sha256(digest + number.to_bytes(4, "big")).digest()
    return digest


def _median_ms(work: Callable[[], object], runs: int = 15) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return round(statistics.median(times), 2)


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
