"""GPUs, counted as CUDA counts them; and here, where there is probably none."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.gpu_devices import Found, devices, gpus_here, visible
from server.gpu_memory import GB, Gpu
from server.resources import GpuSample, ResourceSample, ResourceSampler
from tests.server.scripted_nvml import nvml_with

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
    assert devices(["GPU-0a1b"], "MIG-5b1c") == (None,)


def test_what_torch_calls_them() -> None:
    uuids = [gpu.uuid for gpu in FOUND]
    assert devices(uuids, None) == ("cuda:0", "cuda:1", "cuda:2")
    assert devices(uuids, "2,0") == ("cuda:1", None, "cuda:0")


def test_looking_takes_no_torch() -> None:
    look = "from server.gpu_devices import gpus_here; gpus_here({})"
    program = f"import sys; {look}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_the_management_library_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.syspath_prepend(nvml_with(tmp_path, [(24, 22.5), (8, 7.6)]))
    assert gpus_here({}) == (
        Gpu(0, "NVIDIA L4", 24 * GB, round(22.5 * GB)),
        Gpu(1, "NVIDIA L4", 8 * GB, round(7.6 * GB)),
    )
    assert gpus_here({"CUDA_VISIBLE_DEVICES": "GPU-1"}) == (Gpu(0, "NVIDIA L4", 8 * GB, round(7.6 * GB)),)

    async def looked() -> ResourceSample | None:
        async with ResourceSampler(interval_s=60) as sampler:
            return sampler.latest

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    sample = asyncio.run(looked())
    assert sample is not None
    assert [gpu.device for gpu in sample.gpus] == [None, "cuda:0"]
    assert sample.gpus[1] == GpuSample("cuda:0", "NVIDIA L4", 0.25, 400.0, 8000.0)
    del sys.modules["pynvml"]


def test_without_a_driver_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.syspath_prepend(nvml_with(tmp_path, None))
    assert gpus_here({}) is None
    del sys.modules["pynvml"]


VOXTRAL = {"VOXTRAL_KOKORO__MODEL__ENGINE": "voxtral", "VOXTRAL_KOKORO__MODEL__LARGEST_BATCH": "1"}


@pytest.mark.parametrize("command", ["serve", "engines"])
def test_what_does_not_fit_is_refused_before_anything_is_loaded(tmp_path: Path, command: str) -> None:
    environment = (
        os.environ | VOXTRAL | {"PYTHONPATH": f"{nvml_with(tmp_path, [(8, 7.6)])}{os.pathsep}{ROOT}"}
    )
    result = subprocess.run(
        [sys.executable, "-m", "server.cli", command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "Voxtral in bf16 needs 9.4 GB and cuda:0 has 7.1 GB free: set model.load_in_4bit to true, or set "
        "model.engine to another.\n"
    )


def test_a_configuration_for_another_machine_is_sound_all_the_same(tmp_path: Path) -> None:
    environment = os.environ | VOXTRAL | {"PYTHONPATH": f"{nvml_with(tmp_path, [(8, 3)])}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "server.cli", "check-config"]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    said = result.stdout.splitlines()
    assert said[:3] == [
        "The configuration is sound.",
        "Profile cpu: voxtral, llama.cpp and kokoro.",
        "Voxtral in bf16 needs 9.4 GB of a GPU.",
    ]
    assert said[3].startswith("Not on this machine: Voxtral in ")


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
