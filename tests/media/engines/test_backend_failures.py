"""What backends raise, in their own words, and what is made of it."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from dataclasses import dataclass

import pytest

from media.engines.backend_failures import DEVICE_LOST, engine_error
from media.engines.inference import InferenceThreads
from media.engines.memory import free_caches
from media.errors import EngineError, EngineOutOfMemory
from server.gpu_devices import gpus_here


class OutOfMemoryError(RuntimeError):
    """As PyTorch's is called."""


class AcceleratorError(RuntimeError):
    """As PyTorch's is called."""


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB"
        ),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA failed with error out of memory"),  # CTranslate2
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."
        ),
        RuntimeError("Failed to allocate memory for requested buffer of size 4194304"),  # ONNX Runtime
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
    ],
)
def test_no_memory_left(error: Exception) -> None:
    failure = engine_error("voxtral", error)
    assert isinstance(failure, EngineOutOfMemory)
    assert (failure.code, failure.retryable) == ("out_of_memory", False)
    assert str(failure).startswith("voxtral: ")
    assert len(str(failure)) > len("voxtral: ")


@pytest.mark.parametrize(
    "error",
    [
        AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDNN_STATUS_EXECUTION_FAILED"),
    ],
)
def test_a_device_that_is_lost(error: Exception) -> None:
    assert engine_error("kokoro", error).code == DEVICE_LOST


def test_anything_else() -> None:
    failure = engine_error("kokoro", RuntimeError("shapes cannot be multiplied"))
    assert (type(failure), failure.code) == (EngineError, "engine_error")
    assert str(failure) == "kokoro: shapes cannot be multiplied"


def test_work_that_finds_no_memory_says_so() -> None:
    def work() -> None:
        raise MemoryError

    async def main() -> None:
        threads = InferenceThreads("engine")
        try:
            await threads.run(work)
        finally:
            await threads.close()

    with pytest.raises(EngineOutOfMemory, match="engine: MemoryError"):
        asyncio.run(main())


def test_what_torch_says_of_a_processor_that_has_no_more() -> None:
    torch = pytest.importorskip("torch")

    async def main() -> None:
        threads = InferenceThreads("engine")
        try:
            await threads.run(lambda: torch.empty(2**50))
        finally:
            await threads.close()

    with pytest.raises(EngineOutOfMemory):
        asyncio.run(main())


@pytest.mark.gpu
@pytest.mark.skipif(not gpus_here(os.environ), reason="no NVIDIA GPU here")
def test_a_gpu_that_was_filled_is_free_again() -> None:
    import torch

    import media.engines.torch_device  # noqa: F401 - what frees a GPU

    def fill() -> None:
        filled = []
        while True:
            filled.append(torch.empty(2**30, dtype=torch.uint8, device="cuda"))

    async def main() -> None:
        threads = InferenceThreads("engine")
        try:
            await threads.run(fill)
        finally:
            await threads.close()

    torch.zeros(1, device="cuda")
    free_before, _ = torch.cuda.mem_get_info()
    with pytest.raises(EngineOutOfMemory):
        asyncio.run(main())
    free_caches()
    assert torch.cuda.mem_get_info()[0] > free_before - 2**28


@dataclass(eq=False)
class Model:
    itself: Model | None = None


def test_an_engine_that_was_spared_the_collector_is_freed_when_it_is_unloaded() -> None:
    model = Model()
    model.itself = model
    freed = weakref.ref(model)
    gc.freeze()
    try:
        del model
        gc.collect()
        assert freed() is not None
        free_caches()
        assert freed() is None
        assert gc.get_freeze_count() > 0  # the rest is spared
    finally:
        gc.unfreeze()


def test_threads_that_were_closed_can_be_opened_again() -> None:
    async def main() -> None:
        threads = InferenceThreads("engine")
        threads.reopen()  # it is
        assert await threads.run(lambda: 1) == 1
        await threads.close()
        with pytest.raises(EngineError, match="is closed"):
            await threads.run(lambda: 2)
        threads.reopen()
        assert await threads.run(lambda: 3) == 3
        await threads.close()

    asyncio.run(main())
