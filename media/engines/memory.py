"""Gives memory that was freed back: to the system, to the GPU's other users."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back_freed() -> None:
    """What a model's loading used and its closing freed stays with glibc otherwise (25-50 MB a model).

    Takes some 10 ms. Does nothing where the C library has no `malloc_trim` (macOS, musl).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def collect_garbage() -> None:
    """Frees what holds itself in cycles, also of what the server has spared the collector: an engine that was
    loaded by then is among that."""
    is_spared = gc.get_freeze_count() > 0
    gc.unfreeze()
    gc.collect()
    if is_spared:
        gc.freeze()


def free_caches() -> None:
    """After an engine was closed: what is only kept for later goes back, so that it can be started again.

    An exception's traceback holds the tensors of every frame that it passed through, in cycles. PyTorch keeps
    what was freed on a GPU for itself, where no other engine finds it. Takes some 100 ms.
    """
    collect_garbage()
    torch_device = sys.modules.get(
        "media.engines.torch_device"
    )  # not imported: where it is not, torch is not
    if torch_device is not None:
        torch_device.give_back_gpu_memory()
    give_back_freed()
