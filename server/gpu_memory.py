"""Whether the engines fit into the GPUs' memory, told before anything is loaded, and where each of them goes.

Pure: what is there and what is needed come in, places go out, or one sentence that says which setting to
change. A GB is 10^9 bytes here, as with the models' makers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from media.engines.gpu_pool import GpuPool
from media.errors import ConfigError

GB = 1_000_000_000
MB = 1_000_000

GPU_BASE_BYTES = 500 * MB
"""What CUDA, its libraries and their workspaces take of a GPU before the first model is there."""

VOXTRAL_BYTES = 9_350 * MB
"""Voxtral-Mini-3B-2507 in bf16: 4.68 billion parameters, the audio encoder included."""
VOXTRAL_4BIT_BYTES = 4_400 * MB
"""The same in 4 bits, at its peak."""
VOXTRAL_REALTIME_BYTES = 8_860 * MB
"""Voxtral-Mini-4B-Realtime-2602 in bf16."""
VOXTRAL_TOKEN_BYTES = 120 * 1024
"""Keys and values of one token of Voxtral, in bf16."""
VOXTRAL_UTTERANCE_TOKENS = 384 + 200
"""A clip's 375 tokens of audio with its prompt, and the words of 30 s."""
VOXTRAL_REALTIME_SESSION_TOKENS = 1500
"""Two minutes at 12.5 tokens a second: by then a session has found a pause in which it is begun anew."""
KOKORO_BYTES = 900 * MB
"""Kokoro-82M on torch, with its work on a few clauses at once."""
KOKORO_GRAPHS_BYTES = 1_500 * MB
"""What its CUDA graphs work in, and they themselves. An estimate: 84 of them, of up to 1,600
operations."""
LLM_GRAPHS_BYTES = 500 * MB
"""The same of a language model, which has 25 at most."""

Level: TypeAlias = Literal["ok", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        index: as in `cuda:0`.
        name: for people.
        total_bytes: of memory.
        free_bytes: of it, at this moment.
    """

    index: int
    name: str
    total_bytes: int
    free_bytes: int

    @property
    def device(self) -> str:
        return f"cuda:{self.index}"

    def within(self, share: float) -> Gpu:
        """As if no more than this share of its memory were there for us."""
        return replace(self, free_bytes=min(self.free_bytes, round(share * self.total_bytes)))


@dataclass(frozen=True, slots=True)
class ModelNeed:
    """What an engine wants of a GPU.

    Attributes:
        section: of the configuration that chooses it, `model`; `model.fallbacks.0`.
        what: for people, `Voxtral in bf16`.
        size_bytes: weights, and what they work on.
        device: `auto`, `cuda` or `cuda:1`.
        smaller: what makes it smaller, `set model.load_in_4bit to true`; empty where nothing does.
        on_need: it is loaded when it is needed. Its place is kept: what failed before it may still be there.
    """

    section: str
    what: str
    size_bytes: int
    device: str = "auto"
    smaller: str = ""
    on_need: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """A need and the GPU that meets it."""

    need: ModelNeed
    gpu: int


def placed(needs: Sequence[ModelNeed], gpus: Sequence[Gpu]) -> tuple[Placed, ...]:
    """Finds a place for each: those whose GPU is configured first, then the largest where most is free.

    Args:
        needs: none for a CPU.
        gpus: those that there are.

    Raises:
        ConfigError: one fits nowhere, or is to be where no GPU is. The sentence says what to set.
    """
    free = {gpu.index: gpu.free_bytes - GPU_BASE_BYTES for gpu in gpus}
    names = {gpu.index: gpu.device for gpu in gpus}
    by_size = sorted(needs, key=lambda need: (need.device == "auto", -need.size_bytes))
    places: list[Placed] = []
    for need in by_size:
        if need.device == "auto":
            index = max(free, key=free.__getitem__, default=-1)
        else:
            index = int(need.device.partition(":")[2] or 0)
        if index not in free:
            raise _no_gpu(need, names)
        if need.size_bytes > free[index]:
            raise _too_large(need, index, max(0, free[index]), places, free)
        free[index] -= need.size_bytes
        places.append(Placed(need, index))
    return tuple(sorted(places, key=lambda place: needs.index(place.need)))


def _no_gpu(need: ModelNeed, names: Mapping[int, str]) -> ConfigError:
    where = f"there is only {', '.join(names.values())}" if names else "no GPU was found here"
    device = f"{need.section}.device"
    return ConfigError(
        f"{device} is {need.device}, and {where}: set {device} to another, or {need.section}.engine.",
        code="no_gpu",
        param=device,
    )


def _too_large(
    need: ModelNeed, index: int, free_bytes: int, places: Sequence[Placed], free: Mapping[int, int]
) -> ConfigError:
    there = [place.need for place in places if place.gpu == index]
    beside = f" beside {' and '.join(other.what for other in there)}" if there else ""
    remedies = [need.smaller] if need.smaller else []
    if any(other != index and left >= need.size_bytes for other, left in free.items()):
        remedies.append(f"set {need.section}.device to another GPU")
    if there:
        largest = max(there, key=lambda other: other.size_bytes)
        if largest.smaller:
            remedies.append(largest.smaller)
    remedies.append(f"set {need.section}.engine to another")
    return ConfigError(
        f"{need.what} needs {in_gb(need.size_bytes)} and cuda:{index} has {in_gb(free_bytes)} free{beside}: "
        f"{', or '.join(dict.fromkeys(remedies))}.",
        code="gpu_memory_short",
        param=f"{need.section}.device",
    )


def in_gb(size_bytes: int) -> str:
    """`9.4 GB`."""
    return f"{size_bytes / GB:.1f} GB"


# What the models need


def voxtral_need(section: str, model: str, device: str, *, in_4bit: bool, batch: int) -> ModelNeed:
    """Of Voxtral on torch.

    Args:
        section: that chooses it.
        model: a hub's repository, or a directory.
        device: where it is to be.
        in_4bit: its weights have 4 bits.
        batch: utterances that are transcribed at once.
    """
    weights = _own_size(model, VOXTRAL_BYTES)
    if in_4bit:
        weights = weights * VOXTRAL_4BIT_BYTES // VOXTRAL_BYTES
    work = batch * VOXTRAL_UTTERANCE_TOKENS * VOXTRAL_TOKEN_BYTES
    smaller = "" if in_4bit else f"set {section}.load_in_4bit to true"
    return ModelNeed(
        section, f"Voxtral in {'4 bits' if in_4bit else 'bf16'}", weights + work, device, smaller
    )


def voxtral_realtime_need(section: str, model: str, device: str, *, sessions: int) -> ModelNeed:
    """Of Voxtral Realtime on torch, for so many callers at once."""
    weights = _own_size(model, VOXTRAL_REALTIME_BYTES)
    work = sessions * VOXTRAL_REALTIME_SESSION_TOKENS * VOXTRAL_TOKEN_BYTES
    smaller = f"set {section}.engine to voxtral and {section}.load_in_4bit to true"
    return ModelNeed(section, "Voxtral Realtime in bf16", weights + work, device, smaller)


def kokoro_need(section: str, device: str, *, compiled: bool = False) -> ModelNeed:
    """Of Kokoro on torch."""
    if not compiled:
        return ModelNeed(section, "Kokoro", KOKORO_BYTES, device)
    smaller = f"set {section}.compile to false"
    return ModelNeed(section, "Kokoro with CUDA graphs", KOKORO_BYTES + KOKORO_GRAPHS_BYTES, device, smaller)


def llm_need(
    section: str, model: str, device: str, *, context_tokens: int, parallel: int, compiled: bool = False
) -> ModelNeed | None:
    """Of a language model in transformers; None where its size cannot be told.

    Args:
        section: that chooses it.
        model: a hub's repository, a directory, or a GGUF file.
        device: where it is to be.
        context_tokens: of one conversation.
        parallel: conversations whose keys and values are kept.
        compiled: its replies go on by CUDA graphs.
    """
    weights = weights_bytes(model)
    if weights is None:
        return None
    smaller = f"set {section}.name to a smaller model"
    size = weights + context_tokens * parallel * _token_bytes(Path(model).expanduser())
    size += LLM_GRAPHS_BYTES if compiled else 0
    return ModelNeed(section, f"The language model {Path(model).name}", size, device, smaller)


LARGE_TOKEN_BYTES = 150_000
"""Keys and values of one token of a language model whose configuration is not here: Qwen3-4B's and Qwen3-8B's
in bf16. Of others with up to 14 billion parameters it is 23 to 200 KB."""


def _token_bytes(model: Path) -> int:
    """Keys and values of one token in bf16, by the model's own configuration where that is here."""
    try:
        described = json.loads((model / "config.json").read_text())
        heads = described["num_attention_heads"]
        width = described.get("head_dim") or described["hidden_size"] // heads
        kept = described.get("num_key_value_heads") or heads
        return int(2 * 2 * described["num_hidden_layers"] * kept * width)
    except (OSError, ValueError, KeyError, TypeError):
        return LARGE_TOKEN_BYTES


_PARAMETERS = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)(B|M)(?![A-Za-z])", re.IGNORECASE)
"""In a model's name: `Qwen3-4B`, `SmolLM2-135M-Instruct`, `Voxtral-Small-24B-2507`."""


def _own_size(model: str, published_bytes: int) -> int:
    """Of a directory's own weights; of what its maker publishes, what that is known to take."""
    return (weights_bytes(model) or published_bytes) if Path(model).expanduser().is_dir() else published_bytes


_WEIGHTS = ("*.safetensors", "*.bin", "*.pth", "*.gguf")


def weights_bytes(model: str) -> int | None:
    """How much a model's weights take in bf16: its files' size, or what its name says; None where none does.

    Args:
        model: a hub's repository, a directory, or a file.
    """
    path = Path(model).expanduser()
    if path.is_file():
        return _unpacked(path)
    if path.is_dir():
        for pattern in _WEIGHTS:
            if files := list(path.glob(pattern)):
                return sum(_unpacked(file) for file in files)
        return None
    if (named := _PARAMETERS.search(path.name)) is None:
        return None
    count, unit = named.groups()
    return round(float(count) * (1_000_000_000 if unit.upper() == "B" else 1_000_000)) * 2


def _unpacked(file: Path) -> int:
    """A GGUF's weights of 4 or 8 bits are unpacked to 16."""
    size = file.stat().st_size
    return size * 3 if file.suffix == ".gguf" else size


# While it runs


def level_of(share: float, *, warning: float, critical: float) -> Level:
    """How full a GPU is. `share` is between 0 and 1."""
    if share >= critical:
        return "critical"
    return "warning" if share >= warning else "ok"


def advice(level: Level, device: str, share: float, needs: Sequence[ModelNeed]) -> str | None:
    """What to do about a GPU that is so full, in a sentence; None where nothing need be done.

    Args:
        level: of `level_of`.
        device: `cuda:0`.
        share: of its memory that is used.
        needs: of the engines that are configured for it.
    """
    if level == "ok":
        return None
    largest = max(needs, key=lambda need: need.size_bytes, default=None)
    remedy = "stop whatever else uses it"
    if largest is not None and largest.smaller:
        remedy = largest.smaller
    elif largest is not None:
        remedy = f"set {largest.section}.device to another GPU, or server.max_calls to less"
    now = (
        "the next long utterance may find no room" if level == "critical" else "little is left for more calls"
    )
    return f"{device} is {share:.0%} full, and {now}: {remedy}."


_MUCH = 0.1
"""Of a GPU's memory."""
_NEARLY_ALL = 0.9
"""Of what the engines may take."""


def much_is_idle(pool: GpuPool, total_bytes: int) -> bool:
    """Whether PyTorch keeps much of a GPU's memory that nothing uses."""
    return pool.idle_bytes >= _MUCH * total_bytes


def pool_advice(pool: GpuPool, total_bytes: int, level: Level) -> list[str]:
    """What to do about what the engines have of a GPU, in sentences.

    Args:
        pool: theirs.
        total_bytes: of the GPU.
        level: how full it is.
    """
    said = []
    if level != "ok" and much_is_idle(pool, total_bytes):
        said.append(
            f"PyTorch keeps {in_gb(pool.idle_bytes)} of {pool.device} that nothing uses at the moment, and "
            "gives it back once the GPU is critically full: set performance.gpu_memory_share to less, if "
            "others need it before."
        )
    if pool.limit_bytes < total_bytes and pool.used_bytes >= _NEARLY_ALL * pool.limit_bytes:
        said.append(
            f"The engines use {in_gb(pool.used_bytes)} of the {in_gb(pool.limit_bytes)} that they may take "
            f"of {pool.device}: set performance.gpu_memory_share to more, or server.max_calls to less."
        )
    return said
