"""The engines: which backend each name stands for, and how far each of them is.

An adapter is imported only when it is asked for: a machine without torch never loads one that needs it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias, assert_never, get_args

from media.clock import thread_time_s
from media.engines.host import HostedEngines
from media.engines.protocols import (
    Engine,
    Engines,
    LlmEngine,
    SttEngine,
    TtsEngine,
    TurnEndEngine,
    VadEngine,
)
from media.engines.wire import CameBack, FellBack
from media.errors import EngineError, VoiceUnavailable
from server.config import Config
from server.engine_settings import EndpointSettings, LlmBackend, SttBackend, TtsBackend
from server.model_store import ModelStore, default_root
from server.warm_up import EngineRole, WarmUp

if TYPE_CHECKING:
    from media.engines.openai_endpoint import Patience

_log = logging.getLogger(__name__)

_DEFAULT_THREADS_LIMIT = 4
"""The small models gain nothing from more, and other calls' engines want cores too."""


ENGINE_ROLES: tuple[EngineRole, ...] = get_args(EngineRole)

Tell: TypeAlias = Callable[[FellBack | CameBack], None]


class EngineState(StrEnum):
    """How far an engine is."""

    ABSENT = "absent"
    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class EngineReport:
    """One engine, for `/status`.

    Attributes:
        role: `stt`.
        name: the backend and its model.
        state: how far it is.
        reason: of a failure, one sentence.
        started_after_s: loading and warming took so long.
    """

    role: EngineRole
    name: str
    state: EngineState
    reason: str | None = None
    started_after_s: float | None = None


def build_engines(config: Config, tell: Tell = lambda _event: None) -> Engines:
    """Makes the configured engines; starts none. Imports their libraries, which takes a second or two.

    Args:
        config: all settings.
        tell: given what becomes of engines that fail.

    Raises:
        ModelMissing: a model's files are absent or truncated.
    """
    hosted = build_hosted_engines(config, tell)
    return Engines(build_vad(config), hosted.turn_end, hosted.stt, hosted.llm, hosted.tts)


def build_vad(config: Config) -> VadEngine:
    """The engine that stays in the media process: its 0.2 ms a window are less than the way elsewhere.

    Raises:
        ModelMissing: its files are absent or truncated.
    """
    return _vad(config, _store(config))


def build_hosted_engines(config: Config, tell: Tell = lambda _event: None) -> HostedEngines:
    """The engines that can have a process of their own. Arguments and errors: as `build_engines`."""
    store = _store(config)
    stt, llm, tts = _watched(config, store, tell)
    return HostedEngines(turn_end=_turn_end(config, store), stt=stt, llm=llm, tts=tts)


class EngineSet:
    """The engines' life: started together, reported on, closed together.

    Args:
        engines: none of them started.
        warm_up: what each does once before it counts as ready.
    """

    def __init__(self, engines: Engines, warm_up: WarmUp) -> None:
        self.engines = engines
        self._warm_up = warm_up
        self._all_ready = asyncio.Event()
        self._reports = {
            role: EngineReport(role, engine.name, EngineState.ABSENT) for role, engine in _by_role(engines)
        }

    @property
    def ready(self) -> bool:
        """Each of them has done its work once."""
        return self._all_ready.is_set()

    @property
    def reports(self) -> tuple[EngineReport, ...]:
        return tuple(self._reports.values())

    async def start(self, roles: Collection[EngineRole] = ENGINE_ROLES) -> None:
        """Loads and warms all of them, or those that were `lost`, side by side.

        Raises:
            EngineError: one failed; the others are given up, and closed by `close`.
            VoiceUnavailable: the configured voice cannot be spoken.
        """
        try:
            async with asyncio.TaskGroup() as starting:
                for role, engine in _by_role(self.engines):
                    if role in roles:
                        starting.create_task(self._start(role, engine), name=f"start {role}")
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures
        self._all_ready.set()

    def lost(self, roles: Collection[EngineRole], reason: str) -> None:
        """These are gone, with their process; nobody is ready until they have been started again."""
        self._all_ready.clear()
        for role, engine in _by_role(self.engines):
            if role in roles:
                self._reports[role] = EngineReport(role, engine.name, EngineState.FAILED, reason)

    async def until_ready(self) -> None:
        """Returns when all of them are ready. Never, if one failed: `start` raises that."""
        await self._all_ready.wait()

    async def close(self) -> None:
        """Frees all of them. May be called at any time, and twice."""
        for _, engine in _by_role(self.engines):
            await engine.close()

    async def _start(self, role: EngineRole, engine: Engine) -> None:
        began_s = thread_time_s()
        self._reports[role] = EngineReport(role, engine.name, EngineState.LOADING)
        try:
            await engine.start()
            self._reports[role] = EngineReport(role, engine.name, EngineState.WARMING)
            await self._warm_up.of(role)
        except (EngineError, VoiceUnavailable) as error:
            self._reports[role] = EngineReport(role, engine.name, EngineState.FAILED, str(error))
            raise
        took_s = round(thread_time_s() - began_s, 2)
        self._reports[role] = EngineReport(role, engine.name, EngineState.READY, started_after_s=took_s)
        _log.info("engine ready", extra={"engine": role, "model": engine.name, "took_s": took_s})


def threads_of(own: int | None, config: Config) -> int:
    """An engine's threads: its section's, or `performance.threads`, or one for each core, up to 4."""
    return own or config.performance.threads or min(_usable_cores(), _DEFAULT_THREADS_LIMIT)


def _stt_threads_of(own: int | None, config: Config) -> int:
    """The same for Whisper: half of them.

    Its decoder gains nothing from a second thread, and on two cores the encoder gains less (20 ms) than the
    turn-end engine and the LLM lose, which work at the same time.
    """
    return own or config.performance.threads or max(1, threads_of(None, config) // 2)


def _llm_threads_of(own: int | None, config: Config) -> int:
    """The same for llama.cpp, whose threads wait for each other within every token.

    On Linux they are OpenMP's, and sleep soon (`server/environment.py`). Elsewhere they may spin without end:
    a core stays free of them, since on two busy cores two such threads make 3 tokens a second, one makes 75.
    """
    spare = 0 if sys.platform == "linux" else 1
    return own or config.performance.threads or max(1, threads_of(None, config) - spare)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _by_role(engines: Engines) -> Iterator[tuple[EngineRole, Engine]]:
    yield "vad", engines.vad
    yield "turn_end", engines.turn_end
    yield "stt", engines.stt
    yield "llm", engines.llm
    yield "tts", engines.tts


def _store(config: Config) -> ModelStore:
    return ModelStore(config.models.directory or default_root())


def _vad(config: Config, store: ModelStore) -> VadEngine:
    match config.vad.engine:
        case "silero":
            from media.engines.silero_vad import SileroVad

            return SileroVad(store.path("silero-vad") / "silero_vad_16k_op15.onnx")
        case _:
            assert_never(config.vad.engine)


def _turn_end(config: Config, store: ModelStore) -> TurnEndEngine:
    match config.turn_taking.engine:
        case "smart-turn":
            from media.engines.smart_turn import SmartTurn

            return SmartTurn(store.path("smart-turn-v3.2") / "smart-turn-v3.2-cpu.onnx")
        case _:
            assert_never(config.turn_taking.engine)


def _watched(config: Config, store: ModelStore, tell: Tell) -> tuple[SttEngine, LlmEngine, TtsEngine]:
    """The three that may be elsewhere, or have others to stand in for them: then their failures are told."""
    stt = [_stt(settings, more, config, store) for settings, more in _in_order(config.model)]
    llm = [_llm(settings, more, config, store) for settings, more in _in_order(config.llm)]
    tts = [_tts(settings, more, config, store) for settings, more in _in_order(config.tts)]
    from media.engines.fallback import FallbackLlm, FallbackStt, FallbackTts

    voices = [settings.voice for settings, _ in _in_order(config.tts)]
    return (
        FallbackStt(stt, tell) if _may_fail(config.model) else stt[0],
        FallbackLlm(llm, tell) if _may_fail(config.llm) else llm[0],
        FallbackTts(tts, voices, tell) if _may_fail(config.tts) else tts[0],
    )


def _may_fail(section: Any) -> bool:
    return section.engine == "openai" or bool(section.fallbacks)


def _in_order(section: Any) -> Iterator[tuple[Any, bool]]:
    """A section's own engine and its fallbacks, each with whether another one comes after it."""
    wanted = (section, *section.fallbacks)
    for at, settings in enumerate(wanted, 1):
        yield settings, at < len(wanted)


def _patience(settings: EndpointSettings, first_s: float, has_next: bool) -> Patience:
    """How long an endpoint is waited for. Where another engine can be asked instead, that is done sooner than
    to ask again; but once, at once, since a connection that was kept may have been closed over there."""
    from media.engines.openai_endpoint import Patience

    patience = Patience(settings.connect_timeout_s, first_s, settings.idle_timeout_s)
    return replace(patience, retries_s=(0.02,), longest_retry_after_s=0.1) if has_next else patience


def _stt(settings: SttBackend, has_next: bool, config: Config, store: ModelStore) -> SttEngine:
    """Of Whisper, English goes to the model of `name`, the rest to the multilingual one, if there is one."""
    match settings.engine:
        case "whisper":
            if settings.name == "base" or settings.multilingual == "none":
                return _whisper(settings.name, settings, config, store)
            from media.engines.stt_by_language import SttByLanguage

            return SttByLanguage(
                english=_whisper(settings.name, settings, config, store),
                multilingual=_whisper(settings.multilingual, settings, config, store),
            )
        case "openai":
            from media.engines.openai_transcription import OpenAiTranscription

            assert settings.base_url is not None  # the settings see to it
            return OpenAiTranscription(
                settings.base_url,
                settings.name,
                languages=settings.endpoint_languages,
                partial_interval_s=settings.partial_interval_s,
                api_key=settings.key_text,
                patience=_patience(settings, settings.transcript_timeout_s, has_next),
                extra_body=settings.extra_body,
            )
        case _:
            assert_never(settings.engine)


def _whisper(name: str, settings: SttBackend, config: Config, store: ModelStore) -> SttEngine:
    from media.engines.whisper import Whisper

    return Whisper(
        store.path(f"whisper-{name}"),
        threads=_stt_threads_of(settings.threads, config),
        model_name=name,
        partial_interval_s=settings.partial_interval_s,
    )


def _llm(settings: LlmBackend, has_next: bool, config: Config, store: ModelStore) -> LlmEngine:
    match settings.engine:
        case "llama.cpp":
            from media.engines.llama_cpp import LlamaCpp

            return LlamaCpp(
                store.quickest(settings.name, "SmolLM2-135M-Instruct.Q4_1.gguf"),
                threads=_llm_threads_of(settings.threads, config),
                context_tokens=settings.context_tokens,
                parallel=settings.parallel,
            )
        case "openai":
            from media.engines.openai_chat import OpenAiChat

            assert settings.base_url is not None  # the settings see to it
            return OpenAiChat(
                settings.base_url,
                settings.name,
                api_key=settings.key_text,
                patience=_patience(settings, settings.first_token_timeout_s, has_next),
                extra_body=settings.extra_body,
            )
        case _:
            assert_never(settings.engine)


def _tts(settings: TtsBackend, has_next: bool, config: Config, store: ModelStore) -> TtsEngine:
    match settings.engine:
        case "kokoro":
            from media.engines.kokoro_onnx import KokoroOnnx

            return KokoroOnnx(
                store.path(settings.name) / "kokoro-v1.0.int8.onnx",
                store.path("kokoro-voices"),
                threads=threads_of(settings.threads, config),
                parallel=settings.parallel,
            )
        case "openai":
            from media.engines.openai_speech import OpenAiSpeech

            assert settings.base_url is not None  # the settings see to it
            return OpenAiSpeech(
                settings.base_url,
                settings.name,
                voice=settings.voice,
                voices=settings.voices,
                language=settings.voice_language,
                rate_hz=settings.rate_hz,
                api_key=settings.key_text,
                patience=_patience(settings, settings.first_sound_timeout_s, has_next),
                extra_body=settings.extra_body,
            )
        case _:
            assert_never(settings.engine)
