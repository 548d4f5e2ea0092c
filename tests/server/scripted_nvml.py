"""NVIDIA's management library, as far as it is used here, with GPUs that a test describes.

A module `pynvml` in a folder of its own, which goes before the installed one: what imports it is the real
code, in a process of its own, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

_MODULE = """
import json
from types import SimpleNamespace

GPUS = json.loads({gpus!r})


class NVMLError(Exception):
    pass


def nvmlInit():
    if GPUS is None:
        raise NVMLError("Driver Not Loaded")


def nvmlShutdown():
    pass


def nvmlDeviceGetCount():
    return len(GPUS)


def nvmlDeviceGetHandleByIndex(index):
    return index


def nvmlDeviceGetMemoryInfo(index):
    total, free = (round(1e9 * size) for size in GPUS[index])
    return SimpleNamespace(total=total, free=free, used=total - free)


def nvmlDeviceGetUUID(index):
    return f"GPU-{{index}}a1b"


def nvmlDeviceGetName(index):
    return "NVIDIA L4"


def nvmlDeviceGetUtilizationRates(index):
    return SimpleNamespace(gpu=25, memory=10)
"""


def nvml_with(folder: Path, gpus_gb: Sequence[tuple[float, float]] | None) -> Path:
    """A folder to import from.

    Args:
        folder: where it is made.
        gpus_gb: total and free memory of each; None: there is no driver.
    """
    place = folder / "nvml"
    place.mkdir()
    (place / "pynvml.py").write_text(_MODULE.format(gpus=json.dumps(gpus_gb)))
    return place
