"""Profiles: which engines stand behind `auto` in the sections `model`, `llm` and `tts`.

What a section says itself always wins. `cpu` is the embedded engines; `gpu` Voxtral, Kokoro and a language
model on torch, as large as fit; `remote` OpenAI-compatible endpoints. `auto` is `gpu` where there is one
with room and what it needs is installed, else `cpu`. Only `auto` and `gpu` look at the machine; neither loads
torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

from media.errors import ConfigError
from server.config_sources import Source
from server.engine_settings import VOXTRALS, LlmBackend, SttBackend
from server.gpu_devices import gpus_here
from server.gpu_memory import Gpu, ModelNeed, in_gb, kokoro_need, llm_need, placed, voxtral_need

Profile: TypeAlias = Literal["auto", "cpu", "gpu", "remote"]

SettledProfile: TypeAlias = Literal["cpu", "gpu", "remote"]

AUTO = "auto"

VOXTRAL, _ = VOXTRALS["voxtral"]
LANGUAGE_MODELS = ("Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen2.5-1.5B-Instruct")
"""The first that fits: both answer without thinking aloud first, call tools, and are Apache-2.0."""

_GPU_PACKAGES = ("torch", "transformers", "mistral_common", "kokoro")
_FOUR_BITS = "bitsandbytes"

_SECTIONS = ("model", "llm", "tts")
_BATCH: int = SttBackend.model_fields["largest_batch"].default
_REPLIES: int = LlmBackend.model_fields["parallel"].default
_CONTEXT_TOKENS: int = LlmBackend.model_fields["context_tokens"].default


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides.

    Attributes:
        gpus: those that there are; None where they cannot be looked at.
        missing: packages of the extra `gpu` that are not installed.
        four_bits: what loads weights of 4 bits is installed.
    """

    gpus: tuple[Gpu, ...] | None = None
    missing: tuple[str, ...] = ()
    four_bits: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """A profile, and why, in words that begin with a small letter."""

    profile: SettledProfile
    reason: str


@dataclass(frozen=True, slots=True)
class _OnGpu:
    """Engines for a GPU. `llm` is None for the embedded one."""

    in_4bit: bool = False
    llm: str | None = None

    def needs(self, sections: Collection[str]) -> list[ModelNeed]:
        """What those of these sections take."""
        needs = [
            voxtral_need("model", VOXTRAL, AUTO, in_4bit=self.in_4bit, batch=_BATCH),
            kokoro_need("tts", AUTO),
        ]
        if self.llm is not None:
            thinks = llm_need("llm", self.llm, AUTO, context_tokens=_CONTEXT_TOKENS, parallel=_REPLIES)
            needs += [thinks] if thinks is not None else []
        return [need for need in needs if need.section in sections]


def look(environment: Mapping[str, str]) -> Machine:
    """Looks at this machine: some 10 ms where there is a driver. Nothing is imported.

    Args:
        environment: `os.environ`.
    """
    missing = tuple(name for name in _GPU_PACKAGES if find_spec(name) is None)
    return Machine(gpus_here(environment), missing, find_spec(_FOUR_BITS) is not None)


def with_profile(source: Source, look_at: Callable[[], Machine]) -> tuple[Source, Choice]:
    """The settings with every `auto` of the three sections filled in, and `profile` settled.

    Args:
        source: as it was written.
        look_at: looks at the machine; called only where it decides.

    Raises:
        ConfigError: the profile cannot be followed here.
    """
    values = dict(source.values)
    sections = {name: section for name in _SECTIONS if isinstance(section := values.get(name, {}), dict)}
    wanted = values.get("profile", "cpu")
    on_gpu: _OnGpu | None = None
    if wanted in ("auto", "gpu"):
        machine = look_at()
        open_to_it = [name for name, section in sections.items() if _is_open(name, section)]
        machine = _within(machine, values.get("performance"))
        on_gpu = _largest_that_fits(machine, open_to_it)
        choice = _chosen(wanted, machine, fits=on_gpu is not None)
        values["profile"] = choice.profile
    else:  # what is wrong with another one is told when the settings are validated
        choice = Choice("remote" if wanted == "remote" else "cpu", "it is configured")
    for name, section in sections.items():
        values[name] = _filled(name, section, choice.profile, on_gpu or _OnGpu())
    return Source(values, source.places), choice


def _within(machine: Machine, performance: object) -> Machine:
    """With what of its GPUs the engines may take. A share that cannot be is told when it is validated."""
    wanted = performance.get("gpu_memory_share") if isinstance(performance, dict) else None
    try:
        share = float(wanted if wanted is not None else 1)
    except (TypeError, ValueError):
        return machine
    if machine.gpus is None or not 0 < share <= 1:
        return machine
    return replace(machine, gpus=tuple(gpu.within(share) for gpu in machine.gpus))


def _is_open(name: str, section: Mapping[str, Any]) -> bool:
    """Whether a section leaves its engine to the profile, and that is to be on the GPU."""
    return section.get("engine", AUTO) == AUTO and not (name == "llm" and section.get("base_url"))


def _chosen(wanted: str, machine: Machine, *, fits: bool) -> Choice:
    """Raises: ConfigError: profile gpu, where nothing of it can be."""
    lacks = _lack(machine, fits=fits)
    if wanted == "auto":
        if lacks is not None:
            return Choice("cpu", lacks)
        if machine.gpus is None:
            return Choice("cpu", "no GPU was found here")
        return Choice("gpu", f"there is {_described(machine.gpus)}, and the extra gpu is installed")
    if lacks is not None:
        raise ConfigError(
            f"profile is gpu, and {lacks}: mend that, or set profile to cpu, remote or auto.",
            code="profile_impossible",
            param="profile",
        )
    return Choice("gpu", "it is configured")


def _lack(machine: Machine, *, fits: bool) -> str | None:
    """Why there is no profile gpu here; None where there is one, or that cannot be told."""
    if machine.missing:
        names = ", ".join(machine.missing)
        return f"{names} is not installed (pip install 'voxtral-kokoro[gpu]')"
    if machine.gpus is None:
        return None
    if not machine.gpus:
        return "no GPU was found here"
    if not fits:
        return f"its engines do not fit into {_described(machine.gpus)}"
    return None


def _described(gpus: Sequence[Gpu]) -> str:
    return " and ".join(f"{gpu.name} with {in_gb(gpu.free_bytes)} free" for gpu in gpus)


def _largest_that_fits(machine: Machine, sections: Collection[str]) -> _OnGpu | None:
    """The best engines for these GPUs; where they cannot be looked at, those for the usual one of 16 GB."""
    if machine.gpus is None:
        return _OnGpu(llm=LANGUAGE_MODELS[-1])
    for in_4bit in (False, True) if machine.four_bits else (False,):
        for llm in (*LANGUAGE_MODELS, None):
            engines = _OnGpu(in_4bit, llm)
            try:
                placed(engines.needs(sections), machine.gpus)
            except ConfigError:
                continue
            return engines
    return None


def _filled(name: str, section: Mapping[str, Any], profile: SettledProfile, on_gpu: _OnGpu) -> dict[str, Any]:
    """A section without `auto`: what the profile does not say is left to the settings' own defaults."""
    engine = section.get("engine", AUTO)
    if engine == AUTO:
        by_profile = _by_profile(name, section, profile, on_gpu)
    else:
        by_profile = {"name": VOXTRALS[engine][0]} if engine in VOXTRALS else {}
    said = {key: value for key, value in section.items() if value != AUTO or key not in _FILLED}
    return by_profile | said


_FILLED = ("engine", "name")
"""The settings in which `auto` is the profile's; elsewhere it is a value like any other."""


def _by_profile(
    name: str, section: Mapping[str, Any], profile: SettledProfile, on_gpu: _OnGpu
) -> dict[str, Any]:
    if profile == "remote":
        return {"engine": "openai"}
    if profile == "cpu":
        return {}
    match name:
        case "model":
            return {"engine": "voxtral", "name": VOXTRAL}  # its weights are made fit later
        case "tts":
            return {"engine": "kokoro-torch"}
        case _ if section.get("base_url"):
            return {"engine": "openai"}
        case _ if on_gpu.llm is not None:
            return {"engine": "transformers", "name": on_gpu.llm}
        case _:
            return {}
