"""What PyTorch has of the GPUs for this process: one pool for each, which its engines share.

PyTorch keeps what was freed, and gives it to whichever engine asks next. A pool for each engine would keep
from the others what one of them does not need at the moment; so there is one, with a limit, and what each
engine's model takes of it for good is noted. Imports no torch: where that was not loaded, there are no pools.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_LIMITED = 1.0
"""From this share on there is no limit."""


@dataclass(frozen=True, slots=True)
class GpuPool:
    """One GPU's.

    Attributes:
        device: `cuda:0`.
        used_bytes: by models and what they work on, at this moment.
        kept_bytes: these, and what was freed and is kept.
        limit_bytes: more is not taken.
        models: what each engine's model takes for good, by the engine's name.
    """

    device: str
    used_bytes: int
    kept_bytes: int
    limit_bytes: int
    models: tuple[tuple[str, int], ...] = ()

    @property
    def idle_bytes(self) -> int:
        """Kept, and used by nothing."""
        return self.kept_bytes - self.used_bytes


class _Ledger:
    """Of this process. PyTorch's allocator, of which it tells, is the process's, too."""

    def __init__(self) -> None:
        self.share = 1.0
        self.limited: set[str] = set()
        self.models: dict[tuple[str, str], int] = {}
        self.lock = threading.Lock()


_ledger = _Ledger()


def take_at_most(share: float) -> None:
    """Limits what is taken of each GPU, by engines that are loaded from now on.

    Args:
        share: of its memory, above 0 and up to 1.
    """
    with _ledger.lock:
        _ledger.share = share
        _ledger.limited.clear()


def limit(device: str) -> None:
    """Has PyTorch keep to it on a GPU, before the first model is there. For threads that loaded torch."""
    with _ledger.lock:
        if device in _ledger.limited or _ledger.share >= _LIMITED:
            return
        _ledger.limited.add(device)
        sys.modules["torch"].cuda.set_per_process_memory_fraction(_ledger.share, device)


def took(engine: str, tensors: Iterable[Any]) -> None:
    """Notes what an engine's model takes for good; again, where that has changed.

    Args:
        engine: its name.
        tensors: of torch's. What they share is counted once, what is on no GPU not at all.
    """
    sizes: dict[tuple[str, str], int] = {}
    seen: set[tuple[str, int]] = set()
    for tensor in tensors:
        storage, device = tensor.untyped_storage(), str(tensor.device)
        if tensor.is_cuda and (device, storage.data_ptr()) not in seen:
            seen.add((device, storage.data_ptr()))
            sizes[engine, device] = sizes.get((engine, device), 0) + storage.nbytes()
    with _ledger.lock:
        _ledger.models.update(sizes)


def gave_back(engine: str) -> None:
    """Notes that an engine's model is gone."""
    with _ledger.lock:
        for key in [key for key in _ledger.models if key[0] == engine]:
            del _ledger.models[key]


def pools() -> tuple[GpuPool, ...]:
    """Of the GPUs that this process's engines use. Takes microseconds; none where torch uses none, or CUDA
    says nothing any more since a device is lost."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return ()
    try:
        return tuple(_pools(torch))
    except RuntimeError:
        return ()


def _pools(torch: Any) -> Iterator[GpuPool]:
    with _ledger.lock:
        models, share = dict(_ledger.models), _ledger.share
    for index in range(torch.cuda.device_count()):
        device = f"cuda:{index}"
        kept = int(torch.cuda.memory_reserved(index))
        if kept:
            total = int(torch.cuda.get_device_properties(index).total_memory)
            its = tuple((engine, size) for (engine, where), size in models.items() if where == device)
            used = int(torch.cuda.memory_allocated(index))
            yield GpuPool(device, used, kept, round(share * total), its)
