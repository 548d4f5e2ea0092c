"""Which backend each engine's name stands for.

An adapter is imported only when it is asked for: a machine without torch never loads one that needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, assert_never

from yarl import URL

from media.engines.gpu_pool import take_at_most
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
from media.engines.wire import EngineEvent
from media.errors import EngineError, VoiceUnavailable
from server.config import Config
from server.engine_settings import (
    AT_AN_ADDRESS,
    EMBEDDED_LLM,
    ON_TORCH,
    EndpointSettings,
    LlmBackend,
    SttBackend,
    TtsBackend,
    is_on_need,
)
from server.model_store import ModelStore, default_root
from server.warm_up import reply_once, speak_once, transcribe_once

if TYPE_CHECKING:
    from media.engines.fallback_order import Beside
    from media.engines.on_need import OnNeed
    from media.engines.openai_endpoint import EndpointOptions, Patience

E = TypeVar("E", bound=Engine)

_DEFAULT_THREADS_LIMIT = 4
"""The small models gain nothing from more, and other calls' engines want cores too."""

Tell: TypeAlias = Callable[[EngineEvent], None]


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
    """The engines that can have a process of their own. Arguments and errors: as `build_engines`.

    Raises:
        EngineError: a package is not installed.
    """
    take_at_most(config.performance.gpu_memory_share)
    store = _store(config)
    try:
        stt, llm, tts = _watched(config, store, tell)
    except ModuleNotFoundError as error:
        raise EngineError(
            f"An engine that was chosen needs the package {error.name}: pip install -e '.[gpu]', or choose "
            "the engines that need none (whisper, llama.cpp, kokoro)."
        ) from error
    from media.engines.watched_turn_end import VERDICTS_LIMIT_S, WatchedTurnEnd

    silence_limit_s = min(VERDICTS_LIMIT_S, config.performance.engine_silence_s)
    if _uses_torch(config):
        from media.engines.torch_device import share_threads

        share_threads(torch_threads_of(config, os.environ))
    turn_end = WatchedTurnEnd(_turn_end(config, store), tell, silence_limit_s)
    return HostedEngines(turn_end=turn_end, stt=stt, llm=llm, tts=tts)


def threads_of(own: int | None, config: Config) -> int:
    """An engine's threads: its section's, or `performance.threads`, or one for each core, up to 4."""
    return own or config.performance.threads or min(_usable_cores(), _DEFAULT_THREADS_LIMIT)


def torch_threads_of(config: Config, environment: Mapping[str, str]) -> int:
    """Those of all engines on torch together, which has one number for a process.

    Where nothing says otherwise, one for each core: a large model on a CPU gains from each. It would be one
    alone, since torch asks MKL, which serves NumPy elsewhere (`server/environment.py`).
    """
    told = config.performance.torch_threads or config.performance.threads
    of_openmp = environment.get("OMP_NUM_THREADS", "")
    return told or (int(of_openmp) if of_openmp.isdecimal() and int(of_openmp) else _usable_cores())


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


def _uses_torch(config: Config) -> bool:
    sections = (config.model, config.llm, config.tts)
    return any(settings.engine in ON_TORCH for section in sections for settings, _ in _in_order(section))


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
    """The three that calls wait for, with what stands in for them. What becomes of them is told."""
    stt = [_placed(config, partial(_stt, config, store), *wanted) for wanted in _in_order(config.model)]
    llm = [_placed(config, partial(_llm, config, store), *wanted) for wanted in _in_order(config.llm)]
    tts = [_placed(config, partial(_tts, config, store), *wanted) for wanted in _in_order(config.tts)]
    from media.engines.fallback import FallbackLlm, FallbackStt, FallbackTts

    voices = [settings.voice for settings, _ in _in_order(config.tts)]
    silence_limit_s = config.performance.engine_silence_s

    async def transcribe(engine: SttEngine, _rank: int) -> None:
        await transcribe_once(engine, config.model.language_hint)

    async def reply(engine: LlmEngine, _rank: int) -> None:
        await reply_once(engine, config.speech_to_speech.instructions)

    async def speak(engine: TtsEngine, rank: int) -> None:
        try:
            await speak_once(engine, voices[rank])
        except VoiceUnavailable as error:
            raise EngineError(str(error), code=error.code) from error

    return (
        FallbackStt(stt, tell, silence_limit_s, transcribe),
        FallbackLlm(llm, tell, silence_limit_s, reply),
        FallbackTts(tts, voices, tell, silence_limit_s, speak),
    )


def _placed(
    config: Config, build: Callable[[Any, bool, str], E], settings: Any, has_next: bool
) -> E | Beside[E] | OnNeed[E]:
    """An engine, or one that is loaded when it is needed; or, of an endpoint with several addresses, one at
    each of them, beside each other."""
    urls = settings.base_urls if settings.engine in AT_AN_ADDRESS else ()
    if len(urls) < 2:
        engine = build(settings, has_next, "")
        if not is_on_need(settings):
            return engine
        from media.engines.on_need import OnNeed

        return OnNeed(engine, config.performance.engine_wait_s)
    from media.engines.fallback_order import Beside

    at_each = ((settings.model_copy(update={"base_url": url}), URL(url).authority) for url in urls)
    return Beside(tuple(build(there, True, place) for there, place in at_each))


def _in_order(section: Any) -> Iterator[tuple[Any, bool]]:
    """A section's own engine and its fallbacks, each with whether another one is ready after it. One that is
    loaded when it is needed is not: it is worth another try or two before that."""
    wanted = (section, *section.fallbacks)
    for at, settings in enumerate(wanted, 1):
        yield settings, at < len(wanted) and not is_on_need(wanted[at])


def _patience(settings: EndpointSettings, first_s: float, has_next: bool) -> Patience:
    """How long an endpoint is waited for. Where another engine can be asked instead, that is done sooner than
    to ask again; but once, at once, since a connection that was kept may have been closed over there."""
    from media.engines.openai_endpoint import Patience

    patience = Patience(settings.connect_timeout_s, first_s, settings.idle_timeout_s)
    return replace(patience, retries_s=(0.02,), longest_retry_after_s=0.1) if has_next else patience


def _endpoint_options(
    settings: EndpointSettings, first_s: float, has_next: bool, place: str
) -> EndpointOptions:
    patience = _patience(settings, first_s, has_next)
    return {"api_key": settings.key_text, "patience": patience, "place": place}


def _stt(config: Config, store: ModelStore, settings: SttBackend, has_next: bool, place: str) -> SttEngine:
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
        case "voxtral":
            from media.engines.voxtral import Voxtral

            return Voxtral(
                settings.name,
                device=settings.device,
                load_in_4bit=bool(settings.load_in_4bit),
                compiled=settings.compile,
                largest_batch=settings.largest_batch,
                partial_interval_s=settings.partial_interval_s,
                languages=settings.endpoint_languages,
            )
        case "voxtral-realtime":
            from media.engines.voxtral_realtime import VoxtralRealtime

            return VoxtralRealtime(
                settings.name,
                device=settings.device,
                largest_batch=settings.largest_batch,
                languages=settings.endpoint_languages,
            )
        case "vllm-realtime":
            from media.engines.vllm_realtime import VllmRealtime

            return VllmRealtime(
                settings.base_urls[0],
                settings.name,
                **_endpoint_options(settings, settings.transcript_timeout_s, has_next, place),
                languages=settings.endpoint_languages,
            )
        case "openai":
            from media.engines.openai_transcription import OpenAiTranscription

            return OpenAiTranscription(
                settings.base_urls[0],
                settings.name,
                languages=settings.endpoint_languages,
                partial_interval_s=settings.partial_interval_s,
                **_endpoint_options(settings, settings.transcript_timeout_s, has_next, place),
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


def _llm(config: Config, store: ModelStore, settings: LlmBackend, has_next: bool, place: str) -> LlmEngine:
    match settings.engine:
        case "llama.cpp":
            from media.engines.llama_cpp import LlamaCpp

            return LlamaCpp(
                store.quickest(settings.name, "SmolLM2-135M-Instruct.Q4_1.gguf"),
                threads=_llm_threads_of(settings.threads, config),
                context_tokens=settings.context_tokens,
                parallel=settings.parallel,
            )
        case "transformers":
            from media.engines.transformers_llm import TransformersLlm

            return TransformersLlm(
                _transformers_model(settings.name, store),
                device=settings.device,
                context_tokens=settings.context_tokens,
                parallel=settings.parallel,
                compiled=settings.compile,
            )
        case "openai":
            from media.engines.openai_chat import OpenAiChat

            return OpenAiChat(
                settings.base_urls[0],
                settings.name,
                **_endpoint_options(settings, settings.first_token_timeout_s, has_next, place),
                extra_body=settings.extra_body,
            )
        case _:
            assert_never(settings.engine)


def _transformers_model(name: str, store: ModelStore) -> str | Path:
    """A file, or a folder, where there is one of that name; else a repository of the model hub."""
    if name == EMBEDDED_LLM:
        return store.path(name) / "SmolLM2-135M-Instruct.Q4_1.gguf"
    path = Path(name).expanduser()
    return path if path.suffix == ".gguf" or path.is_dir() else name


def _tts(config: Config, store: ModelStore, settings: TtsBackend, has_next: bool, place: str) -> TtsEngine:
    match settings.engine:
        case "kokoro":
            from media.engines.kokoro_onnx import KokoroOnnx

            return KokoroOnnx(
                store.path(settings.name) / "kokoro-v1.0.int8.onnx",
                store.path("kokoro-voices"),
                threads=threads_of(settings.threads, config),
                parallel=settings.parallel,
                blends=_blends(settings),
            )
        case "kokoro-torch":
            return _kokoro_torch(settings, config, store)
        case "openai":
            from media.engines.openai_speech import OpenAiSpeech

            return OpenAiSpeech(
                settings.base_urls[0],
                settings.name,
                voice=settings.voice,
                voices=settings.voices,
                language=settings.voice_language,
                rate_hz=settings.rate_hz,
                **_endpoint_options(settings, settings.first_sound_timeout_s, has_next, place),
                extra_body=settings.extra_body,
            )
        case _:
            assert_never(settings.engine)


def _kokoro_torch(settings: TtsBackend, config: Config, store: ModelStore) -> TtsEngine:
    """With the hub's weights where there are any, else with those of the embedded model."""
    from media.engines.kokoro_torch import KokoroTorch
    from media.engines.kokoro_torch_weights import load_hub, load_onnx

    load = (
        partial(load_hub, settings.weights.expanduser())
        if settings.weights is not None
        else partial(load_onnx, store.path(settings.name) / "kokoro-v1.0.int8.onnx")
    )
    return KokoroTorch(
        load,
        store.path("kokoro-voices"),
        device=settings.device,
        batch=settings.batch,
        compiled=settings.compile,
        blends=_blends(settings),
        model_name=settings.name if settings.weights is None else "kokoro-v1_0",
    )


def _blends(settings: TtsBackend) -> tuple[str, ...]:
    """The mixtures of voices that are offered: the configured voice may be one, too."""
    return (*settings.blends, *([settings.voice] if "+" in settings.voice else []))
