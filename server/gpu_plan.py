"""The configured engines' place on the GPUs: found, or refused, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from media.errors import ConfigError
from media.section import Section
from server.config import Config
from server.engine_settings import is_on_need
from server.gpu_devices import gpus_here
from server.gpu_memory import (
    Gpu,
    ModelNeed,
    kokoro_need,
    llm_need,
    placed,
    voxtral_need,
    voxtral_realtime_need,
)


def needs_of(config: Config) -> tuple[ModelNeed, ...]:
    """What the configured engines want of GPUs, their fallbacks too: also those that are loaded when they are
    needed, since what has failed then may still be there."""
    needs = []
    for section, settings in _backends(config):
        need = _need_of(section, settings, config)
        if need is not None and need.device != "cpu":
            needs.append(replace(need, on_need=is_on_need(settings)))
    return tuple(needs)


def settled(config: Config, environment: Mapping[str, str]) -> Config:
    """The configuration with a GPU for each engine that wants one, and `auto` no more where there are GPUs.

    Where there is no room otherwise, Voxtral is loaded in 4 bits, if that is left open and can be done.
    Where none of the engines wants a GPU, nothing is looked at. Where no GPU can be looked at, the engines
    find out by themselves.

    Args:
        config: all settings.
        environment: `os.environ`.

    Raises:
        ConfigError: an engine fits nowhere. The sentence says which setting to change.
    """
    needs = needs_of(config)
    if not needs:
        return config
    gpus = gpus_here(environment)
    if gpus is None:
        return config
    gpus = tuple(gpu.within(config.performance.gpu_memory_share) for gpu in gpus)
    return fitted(config, gpus, four_bits=find_spec("bitsandbytes") is not None)


def fitted(config: Config, gpus: Sequence[Gpu], *, four_bits: bool) -> Config:
    """As `settled`, with what is known of the machine.

    Args:
        config: all settings.
        gpus: those that there are.
        four_bits: what loads weights of 4 bits is installed.
    """
    try:
        return with_places(config, needs_of(config), gpus)
    except ConfigError:
        small = _in_4_bits(config)
        if not four_bits or small is config:
            raise
        return with_places(small, needs_of(small), gpus)


def with_places(config: Config, needs: Sequence[ModelNeed], gpus: Sequence[Gpu]) -> Config:
    """The configuration with the places of what it needs. Without a GPU, `auto` is the processor."""
    if not gpus:
        needs = [need for need in needs if need.device != "auto"]
    for place in placed(needs, gpus):
        if place.need.device == "auto":
            config = _with(config, place.need.section, device=f"cuda:{place.gpu}")
    return config


def _backends(config: Config) -> Iterator[tuple[str, Any]]:
    """Each engine's settings, with the section that they stand in."""
    for name in ("model", "llm", "tts"):
        section: Any = getattr(config, name)
        yield name, section
        for at, fallback in enumerate(section.fallbacks):
            yield f"{name}.fallbacks.{at}", fallback


def _need_of(section: str, settings: Any, config: Config) -> ModelNeed | None:
    match settings.engine:
        case "voxtral":
            return voxtral_need(
                section,
                settings.name,
                settings.device,
                in_4bit=bool(settings.load_in_4bit),
                batch=settings.largest_batch,
            )
        case "voxtral-realtime":
            # Of a server or an engine host, whichever this will be.
            sessions = max(config.server.max_calls, config.engine_host.max_transcriptions)
            return voxtral_realtime_need(section, settings.name, settings.device, sessions=sessions)
        case "kokoro-torch":
            return kokoro_need(section, settings.device, compiled=settings.compile)
        case "transformers":
            return llm_need(
                section,
                settings.name,
                settings.device,
                context_tokens=settings.context_tokens,
                parallel=settings.parallel,
                compiled=settings.compile,
            )
        case _:
            return None


def _in_4_bits(config: Config) -> Config:
    """With Voxtral's weights so wherever it is left open; else as it is."""
    for section, settings in _backends(config):
        if settings.engine == "voxtral" and settings.load_in_4bit is None:
            config = _with(config, section, load_in_4bit=True)
    return config


def _with(config: Config, section: str, **update: Any) -> Config:
    name, *rest = section.split(".")
    settings: Any = getattr(config, name)
    chosen: Section
    if not rest:
        chosen = settings.model_copy(update=update)
    else:
        fallbacks = list(settings.fallbacks)
        at = int(rest[-1])
        fallbacks[at] = fallbacks[at].model_copy(update=update)
        chosen = settings.model_copy(update={"fallbacks": tuple(fallbacks)})
    return config.model_copy(update={name: chosen})
