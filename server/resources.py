"""CPU, memory and GPU, looked at by one sampler at its own pace: polls are given the last look."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self, TypeVar

import psutil

from server.gpu_devices import VISIBLE, devices, nvml

_log = logging.getLogger(__name__)

T = TypeVar("T")

_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU.

    Attributes:
        device: what engines call it, `cuda:0`; None for one that they do not see.
        name: for people.
        load: between 0 and 1.
    """

    device: str | None
    name: str
    load: float
    memory_used_mb: float
    memory_total_mb: float


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """One look at a process.

    Attributes:
        cpu_cores: processor cores that it keeps busy: 1.5 is one and a half.
        memory_mb: resident.
        threads: of the process.
        files: open files and sockets.
    """

    cpu_cores: float
    memory_mb: float
    threads: int
    files: int


@dataclass(frozen=True, slots=True)
class ResourceSample:
    """One look at the machine and at the server's processes.

    Attributes:
        process_cpu_cores: processor cores that the server keeps busy, the engine process included.
        process_memory_mb: resident, of both.
        process_threads: of both.
        process_files: open files and sockets of both.
        engine_process: of the above, the engine process's; None where there is none at the moment.
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
    engine_process: ProcessSample | None
    machine_cpu_load: float
    machine_cpu_cores: int
    machine_memory_available_mb: float
    machine_memory_total_mb: float
    gpus: tuple[GpuSample, ...]


class ResourceSampler:
    """Samples every `interval_s` on a thread of its own while the context is open.

    The looks take milliseconds (a GPU driver's, tens of them), which the media path must not feel.

    Args:
        interval_s: its pace.
        engine_process: gives the id of the engine process, None while there is none. Asked on that thread.
        looked: given each sample, on the loop.
    """

    def __init__(
        self,
        interval_s: float,
        engine_process: Callable[[], int | None] = lambda: None,
        looked: Callable[[ResourceSample], None] = lambda _sample: None,
    ) -> None:
        self._interval_s = interval_s
        self._engine_process = engine_process
        self._looked = looked
        self._latest: ResourceSample | None = None

    @property
    def latest(self) -> ResourceSample | None:
        """None until the first look."""
        return self._latest

    async def __aenter__(self) -> Self:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="resources")
        self._probe = await self._on_thread(lambda: _Probe(self._engine_process))
        await self._look()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._on_thread(self._probe.close)
        self._executor.shutdown(wait=True)  # idle by now: returns at once

    async def run(self) -> None:
        """Samples until it is cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self._look()

    async def _look(self) -> None:
        self._latest = await self._on_thread(self._probe.look)
        self._looked(self._latest)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


class _Probe:
    """What looks. Lives on the sampler's thread; psutil's CPU figures count from the look before."""

    def __init__(self, engine_process: Callable[[], int | None]) -> None:
        self._process = psutil.Process()
        self._engine_process_id = engine_process
        self._engine_process: psutil.Process | None = None
        self._process.cpu_percent()
        psutil.cpu_percent()
        self._cores = len(self._process.cpu_affinity()) if hasattr(self._process, "cpu_affinity") else 0
        self._cores = self._cores or psutil.cpu_count() or 1
        self._nvml = nvml()

    def look(self) -> ResourceSample:
        memory = psutil.virtual_memory()
        engines = self._look_at_engines()
        processes = [sample for sample in (_sample(self._process), engines) if sample is not None]
        return ResourceSample(
            process_cpu_cores=round(sum(sample.cpu_cores for sample in processes), 3),
            process_memory_mb=round(sum(sample.memory_mb for sample in processes), 1),
            process_threads=sum(sample.threads for sample in processes),
            process_files=sum(sample.files for sample in processes),
            engine_process=engines,
            machine_cpu_load=round(psutil.cpu_percent() / 100, 3),
            machine_cpu_cores=self._cores,
            machine_memory_available_mb=round(memory.available / _MEGABYTE, 1),
            machine_memory_total_mb=round(memory.total / _MEGABYTE, 1),
            gpus=self._gpus(),
        )

    def _look_at_engines(self) -> ProcessSample | None:
        pid = self._engine_process_id()
        try:
            if self._engine_process is None or self._engine_process.pid != pid:
                self._engine_process = None if pid is None else psutil.Process(pid)
            return None if self._engine_process is None else _sample(self._engine_process)
        except psutil.Error:  # it died a moment ago
            self._engine_process = None
            return None

    def close(self) -> None:
        if self._nvml is not None:
            self._nvml.nvmlShutdown()

    def _gpus(self) -> tuple[GpuSample, ...]:
        library = self._nvml
        if library is None:
            return ()
        try:
            count = library.nvmlDeviceGetCount()
            handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            uuids = [str(library.nvmlDeviceGetUUID(handle)) for handle in handles]
            called = devices(uuids, os.environ.get(VISIBLE))
            return tuple(
                _gpu(library, handle, device) for handle, device in zip(handles, called, strict=True)
            )
        except library.NVMLError as error:
            _log.warning("the GPU cannot be looked at any more", extra={"reason": str(error)})
            self._nvml = None
            return ()


def _sample(process: psutil.Process) -> ProcessSample:
    """Raises: psutil.Error, where the process has ended."""
    with process.oneshot():
        return ProcessSample(
            cpu_cores=round(process.cpu_percent() / 100, 3),
            memory_mb=round(process.memory_info().rss / _MEGABYTE, 1),
            threads=process.num_threads(),
            files=process.num_fds() if hasattr(process, "num_fds") else 0,
        )


def _gpu(nvml: ModuleType, handle: Any, device: str | None) -> GpuSample:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return GpuSample(
        device=device,
        name=str(nvml.nvmlDeviceGetName(handle)),
        load=nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
        memory_used_mb=round(memory.used / _MEGABYTE, 1),
        memory_total_mb=round(memory.total / _MEGABYTE, 1),
    )
