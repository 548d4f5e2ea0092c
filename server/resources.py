"""CPU, memory and GPU, looked at by one sampler at its own pace: polls are given the last look."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self, TypeVar

import psutil

_log = logging.getLogger(__name__)

T = TypeVar("T")

_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU. `load` is between 0 and 1."""

    name: str
    load: float
    memory_used_mb: float
    memory_total_mb: float


@dataclass(frozen=True, slots=True)
class ResourceSample:
    """One look at the machine and at this process.

    Attributes:
        process_cpu_cores: processor cores that this process keeps busy: 1.5 is one and a half.
        process_memory_mb: resident.
        process_threads: of this process.
        process_files: open files and sockets of this process.
        machine_cpu_load: of all cores, between 0 and 1.
        machine_cpu_cores: how many this process may use.
        machine_memory_available_mb: what could still be taken without swapping.
        machine_memory_total_mb: what is built in.
        gpus: empty without an NVIDIA driver.
    """

    process_cpu_cores: float
    process_memory_mb: float
    process_threads: int
    process_files: int
    machine_cpu_load: float
    machine_cpu_cores: int
    machine_memory_available_mb: float
    machine_memory_total_mb: float
    gpus: tuple[GpuSample, ...]


class ResourceSampler:
    """Samples every `interval_s` on a thread of its own while the context is open.

    The looks take milliseconds (a GPU driver's, tens of them), which the media path must not feel.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._latest: ResourceSample | None = None

    @property
    def latest(self) -> ResourceSample | None:
        """None until the first look."""
        return self._latest

    async def __aenter__(self) -> Self:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="resources")
        self._probe = await self._on_thread(_Probe)
        self._latest = await self._on_thread(self._probe.look)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._on_thread(self._probe.close)
        self._executor.shutdown(wait=True)  # idle by now: returns at once

    async def run(self) -> None:
        """Samples until it is cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            self._latest = await self._on_thread(self._probe.look)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


class _Probe:
    """What looks. Lives on the sampler's thread; psutil's CPU figures count from the look before."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()
        psutil.cpu_percent()
        self._cores = len(self._process.cpu_affinity()) if hasattr(self._process, "cpu_affinity") else 0
        self._cores = self._cores or psutil.cpu_count() or 1
        self._nvml = _nvml()

    def look(self) -> ResourceSample:
        with self._process.oneshot():
            memory = psutil.virtual_memory()
            return ResourceSample(
                process_cpu_cores=round(self._process.cpu_percent() / 100, 3),
                process_memory_mb=round(self._process.memory_info().rss / _MEGABYTE, 1),
                process_threads=self._process.num_threads(),
                process_files=self._process.num_fds() if hasattr(self._process, "num_fds") else 0,
                machine_cpu_load=round(psutil.cpu_percent() / 100, 3),
                machine_cpu_cores=self._cores,
                machine_memory_available_mb=round(memory.available / _MEGABYTE, 1),
                machine_memory_total_mb=round(memory.total / _MEGABYTE, 1),
                gpus=self._gpus(),
            )

    def close(self) -> None:
        if self._nvml is not None:
            self._nvml.nvmlShutdown()

    def _gpus(self) -> tuple[GpuSample, ...]:
        nvml = self._nvml
        if nvml is None:
            return ()
        try:
            return tuple(
                _gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(index))
                for index in range(nvml.nvmlDeviceGetCount())
            )
        except nvml.NVMLError as error:
            _log.warning("the GPU cannot be looked at any more", extra={"reason": str(error)})
            self._nvml = None
            return ()


def _nvml() -> ModuleType | None:
    """NVIDIA's management library, where both its Python module and a driver are there."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return nvml


def _gpu(nvml: ModuleType, handle: Any) -> GpuSample:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return GpuSample(
        name=str(nvml.nvmlDeviceGetName(handle)),
        load=nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
        memory_used_mb=round(memory.used / _MEGABYTE, 1),
        memory_total_mb=round(memory.total / _MEGABYTE, 1),
    )
