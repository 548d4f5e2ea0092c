"""The sampler looks at the real machine."""

from __future__ import annotations

import asyncio
import hashlib

import psutil

from server.resources import ResourceSample, ResourceSampler


def test_it_sees_this_process() -> None:
    async def main() -> ResourceSample:
        async with ResourceSampler(interval_s=60) as sampler:
            assert sampler.latest is not None
            return sampler.latest

    sample = asyncio.run(main())
    assert abs(sample.process_memory_mb * 1e6 - psutil.Process().memory_info().rss) < 50e6
    assert sample.process_threads >= 2
    assert sample.process_files > 0
    assert 0 <= sample.machine_cpu_load <= 1
    assert sample.machine_cpu_cores >= 1
    assert 0 < sample.machine_memory_available_mb <= sample.machine_memory_total_mb


def test_it_looks_again_at_its_own_pace() -> None:
    """CPU that is used between two looks is seen in the second."""
    work = bytes(10_000_000)

    async def main() -> None:
        async with ResourceSampler(interval_s=0.1) as sampler, asyncio.TaskGroup() as tasks:
            first = sampler.latest
            running = tasks.create_task(sampler.run())
            async with asyncio.timeout(60):
                while sampler.latest is first or sampler.latest is None or not _busy(sampler.latest):
                    # On a thread, without Python's lock, which the sampler needs.
                    await asyncio.to_thread(hashlib.sha256, work)
            running.cancel()

    asyncio.run(main())


def _busy(sample: ResourceSample) -> bool:
    return sample.process_cpu_cores > 0.05


def test_gpus_are_reported_where_there_are_any() -> None:
    async def main() -> None:
        async with ResourceSampler(interval_s=60) as sampler:
            assert sampler.latest is not None
            for gpu in sampler.latest.gpus:
                assert 0 <= gpu.load <= 1
                assert gpu.memory_used_mb <= gpu.memory_total_mb

    asyncio.run(main())
