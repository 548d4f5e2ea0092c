"""The configured engines' place on the GPUs: found, or refused, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from media.section import Section
from server.config import Config
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
    """What the configured engines want of GPUs, their fallbacks too: all of them are loaded."""
    needs = (_need_of(section, settings, config) for section, settings in _backends(config))
    return tuple(need for need in needs if need is not None and need.device != "cpu")


def settled(config: Config, environment: Mapping[str, str]) -> Config:
    """The configuration with a GPU for each engine that wants one, and `auto` no more where there are GPUs.

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
    return config if gpus is None else with_places(config, needs, gpus)


def with_places(config: Config, needs: Sequence[ModelNeed], gpus: Sequence[Gpu]) -> Config:
    """As `settled`, with what is known of the GPUs. Without one, `auto` is the processor."""
    if not gpus:
        needs = [need for need in needs if need.device != "auto"]
    for place in placed(needs, gpus):
        if place.need.device == "auto":
            config = _with_device(config, place.need.section, f"cuda:{place.gpu}")
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
                in_4bit=settings.load_in_4bit,
                batch=settings.largest_batch,
            )
        case "voxtral-realtime":
            # Of a server or an engine host, whichever this will be.
            sessions = max(config.server.max_calls, config.engine_host.max_transcriptions)
            return voxtral_realtime_need(section, settings.name, settings.device, sessions=sessions)
        case "kokoro-torch":
            return kokoro_need(section, settings.device)
        case "transformers":
            return llm_need(
                section,
                settings.name,
                settings.device,
                context_tokens=settings.context_tokens,
                parallel=settings.parallel,
            )
        case _:
            return None


def _with_device(config: Config, section: str, device: str) -> Config:
    name, *rest = section.split(".")
    settings: Any = getattr(config, name)
    chosen: Section
    if not rest:
        chosen = settings.model_copy(update={"device": device})
    else:
        fallbacks = list(settings.fallbacks)
        at = int(rest[-1])
        fallbacks[at] = fallbacks[at].model_copy(update={"device": device})
        chosen = settings.model_copy(update={"fallbacks": tuple(fallbacks)})
    return config.model_copy(update={name: chosen})
