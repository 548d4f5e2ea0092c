"""The GPUs of this machine, as torch will count them, without torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from server.gpu_memory import Gpu

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Found:
    """A GPU as NVIDIA's management library sees it.

    Attributes:
        uuid: `GPU-5b1c…`.
        name: for people.
        total_bytes: of memory.
        free_bytes: of it.
    """

    uuid: str
    name: str
    total_bytes: int
    free_bytes: int


def nvml() -> ModuleType | None:
    """NVIDIA's management library, where both its Python module and a driver are there."""
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        library.nvmlInit()
    except library.NVMLError:
        return None
    return library


def gpus_here(environment: Mapping[str, str]) -> tuple[Gpu, ...] | None:
    """Those that this process may use; None where they cannot be looked at.

    Takes some 10 ms where there is a driver, and next to nothing where there is none.

    Args:
        environment: `os.environ`.
    """
    library = nvml()
    if library is None:
        return None
    try:
        found = []
        for index in range(library.nvmlDeviceGetCount()):
            handle = library.nvmlDeviceGetHandleByIndex(index)
            memory = library.nvmlDeviceGetMemoryInfo(handle)
            uuid, name = library.nvmlDeviceGetUUID(handle), library.nvmlDeviceGetName(handle)
            found.append(Found(str(uuid), str(name), int(memory.total), int(memory.free)))
    except library.NVMLError:
        return None
    finally:
        library.nvmlShutdown()
    return visible(found, environment.get(VISIBLE))


def visible(found: Sequence[Found], chosen: str | None) -> tuple[Gpu, ...] | None:
    """Those that `CUDA_VISIBLE_DEVICES` leaves, in its order; None where it names parts of one (MIG).

    CUDA counts by the bus, like the management library, where `CUDA_DEVICE_ORDER` is `PCI_BUS_ID`
    (`server/environment.py`).

    Args:
        found: all of them.
        chosen: the variable; None for all. What follows a name that there is not is hidden, as CUDA has it.
    """
    kept = _kept([gpu.uuid for gpu in found], chosen)
    if kept is None:
        return None
    gpus = (found[at] for at in kept)
    return tuple(Gpu(index, gpu.name, gpu.total_bytes, gpu.free_bytes) for index, gpu in enumerate(gpus))


def devices(uuids: Sequence[str], chosen: str | None) -> tuple[str | None, ...]:
    """What torch calls each of them, `cuda:0`; None for those that it does not see, or sees parts of (MIG).

    Args:
        uuids: of all of them.
        chosen: as of `visible`.
    """
    names = {at: f"cuda:{index}" for index, at in enumerate(_kept(uuids, chosen) or ())}
    return tuple(names.get(at) for at in range(len(uuids)))


def _kept(uuids: Sequence[str], chosen: str | None) -> list[int] | None:
    """Which of them are left, in CUDA's order; None for parts."""
    if chosen is None:
        return list(range(len(uuids)))
    kept: list[int] = []
    for name in filter(None, (part.strip() for part in chosen.split(","))):
        if name.startswith("MIG"):
            return None
        named = [
            at
            for at, uuid in enumerate(uuids)
            if name == str(at) or (name.startswith("GPU-") and uuid.startswith(name))
        ]
        if len(named) != 1:
            break
        kept.append(named[0])
    return kept
