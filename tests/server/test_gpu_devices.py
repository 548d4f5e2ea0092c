"""GPUs, counted as CUDA counts them; and here, where there is probably none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.gpu_devices import Found, gpus_here, visible
from server.gpu_memory import GB

ROOT = Path(__file__).resolve().parent.parent.parent
FOUND = [Found(f"GPU-{index}a1b", f"card {index}", 16 * GB, index * GB) for index in range(3)]


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (None, ["card 0", "card 1", "card 2"]),
        ("", []),
        ("2,0", ["card 2", "card 0"]),
        (" 1 ", ["card 1"]),
        ("GPU-2a1b, 1", ["card 2", "card 1"]),
        ("GPU-1", ["card 1"]),
        ("0,7,1", ["card 0"]),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_those_that_the_environment_leaves(chosen: str | None, names: list[str]) -> None:
    gpus = visible(FOUND, chosen)
    assert gpus is not None
    assert [gpu.name for gpu in gpus] == names
    assert [gpu.device for gpu in gpus] == [f"cuda:{index}" for index in range(len(names))]


def test_parts_of_one_are_not_looked_at() -> None:
    assert visible(FOUND, "MIG-5b1c") is None


def test_looking_takes_no_torch() -> None:
    look = "from server.gpu_devices import gpus_here; gpus_here({})"
    program = f"import sys; {look}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


@pytest.mark.gpu
@pytest.mark.skipif(not gpus_here(os.environ), reason="no NVIDIA GPU here")
def test_a_real_one_is_seen_as_torch_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus = gpus_here({})
    assert gpus is not None
    assert len(gpus) == torch.cuda.device_count()
    for gpu in gpus:
        free, total = torch.cuda.mem_get_info(gpu.index)
        assert abs(gpu.total_bytes - total) < 0.1 * total
        assert abs(gpu.free_bytes - free) < 0.1 * total
