"""Where torch computes, and in which numbers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from media.engines.gpu_pool import limit
from media.engines.memory import collect_garbage
from media.errors import EngineError


@dataclass(frozen=True, slots=True)
class TorchPlace:
    """A device and what it computes in.

    Attributes:
        device: `cuda:0` or `cpu`.
        dtype: torch's: bfloat16 on GPUs, where half of the memory is half of the time; float32 on CPUs, which
            compute the other more slowly.
    """

    device: str
    dtype: Any

    @property
    def is_cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def loading(self) -> dict[str, Any]:
        """What transformers' `from_pretrained` is told. A GPU's weights go there as they are read: memory
        need not hold them all, and quantised ones are made where they are used."""
        return {"dtype": self.dtype} | ({"device_map": {"": self.device}} if self.is_cuda else {})


def place_of(device: str) -> TorchPlace:
    """The device that `auto`, `cpu`, `cuda` or `cuda:1` stands for.

    Raises:
        EngineError: there is no such GPU, or torch was built without CUDA.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return TorchPlace("cpu", torch.float32)
    if not torch.cuda.is_available():
        raise EngineError(f"torch finds no GPU here, so device {device} is none: set device to cpu or auto.")
    number = int(device.partition(":")[2] or 0)
    if number >= (count := torch.cuda.device_count()):
        raise EngineError(f"There is no GPU {device} here, only {count}: set device to another, or to auto.")
    _set_numerics()
    limit(f"cuda:{number}")
    return TorchPlace(f"cuda:{number}", torch.bfloat16)


def _set_numerics() -> None:
    """How GPUs compute in single precision, which only Kokoro does: convolutions and recurrent layers in TF32
    (10 bits of the mantissa, several times as fast), products of matrices in all 23. These are torch's own
    defaults at present. They hold for the process, and need no GPU to be set."""
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False


def share_threads(threads: int) -> None:
    """How many threads torch computes on, on the CPU: one number for all of this process's engines.

    To be said before any of them computes: a thread that has computed stays with the number of then.
    """
    torch.set_num_threads(threads)


def give_back_gpu_memory() -> None:
    """Returns what torch keeps of models that were dropped: other processes and models can have it then.

    Where the device is lost, CUDA refuses that, too: its memory is gone with it.
    """
    collect_garbage()
    if torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()
