"""The sections that choose the engines: `model` (speech to text), `llm`, `tts`, `turn_taking`.

`vad.engine` stands in its section in `media`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from yarl import URL

from media.caller_floor import TurnTakingSettings
from media.section import Section
from media.speaking import WritingSettings

AT_AN_ADDRESS = frozenset({"openai", "vllm-realtime"})
"""Engines that are at `base_url`, and not here."""

ON_TORCH = frozenset({"voxtral", "voxtral-realtime", "transformers", "kokoro-torch"})
"""Engines here that compute with torch."""

Threads = int | None
"""Threads of one engine; None takes `performance.threads`."""

TorchDevice = Annotated[str, Field(pattern="^(auto|cpu|cuda(:[0-9]+)?)$")]
"""Where a network computes: `auto`, `cuda`, `cuda:1`, `cpu`."""

WhisperName = Literal["tiny.en", "base"]

PrimaryTag = Annotated[str, Field(pattern="^[a-z]{2,3}$")]
"""A language, as BCP-47 has it."""

# fmt: off
WHISPER_LANGUAGES = (
    "af", "am", "ar", "as", "az", "ba", "be", "bg", "bn", "bo", "br", "bs", "ca", "cs", "cy", "da",
    "de", "el", "en", "es", "et", "eu", "fa", "fi", "fo", "fr", "gl", "gu", "ha", "haw", "he", "hi",
    "hr", "ht", "hu", "hy", "id", "is", "it", "ja", "jw", "ka", "kk", "km", "kn", "ko", "la", "lb",
    "ln", "lo", "lt", "lv", "mg", "mi", "mk", "ml", "mn", "mr", "ms", "mt", "my", "ne", "nl", "nn",
    "no", "oc", "pa", "pl", "ps", "pt", "ro", "ru", "sa", "sd", "si", "sk", "sl", "sn", "so", "sq",
    "sr", "su", "sv", "sw", "ta", "te", "tg", "th", "tk", "tl", "tr", "tt", "uk", "ur", "uz", "vi",
    "yi", "yo", "yue", "zh",
)
# fmt: on
"""What most transcribers behind endpoints know: Whisper's languages."""

VOXTRAL_LANGUAGES = ("de", "en", "es", "fr", "hi", "it", "nl", "pt")
VOXTRAL_REALTIME_LANGUAGES = (*VOXTRAL_LANGUAGES, "ar", "ja", "ko", "ru", "zh")
"""What Mistral's models transcribe, by their model cards."""

VOXTRALS = {
    "voxtral": ("mistralai/Voxtral-Mini-3B-2507", VOXTRAL_LANGUAGES),
    "voxtral-realtime": ("mistralai/Voxtral-Mini-4B-Realtime-2602", VOXTRAL_REALTIME_LANGUAGES),
    "vllm-realtime": ("mistralai/Voxtral-Mini-4B-Realtime-2602", VOXTRAL_REALTIME_LANGUAGES),
}
"""By engine: the model that it is meant for, and what that understands."""

EMBEDDED_TTS = "kokoro-82m-int8"

EMBEDDED_LLM = "smollm2-135m-instruct"
"""The model that `voxtral-kokoro models fetch` fetches for llama.cpp."""


def _base_url(text: str) -> str:
    """Raises: ValueError, in words."""
    url = URL(text.strip())
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("it is written as http://127.0.0.1:8080/v1 or https://api.example.com/v1")
    if url.user is not None or url.password is not None:
        raise ValueError("a key or a password belongs into api_key, not into the address")
    if url.query_string or url.fragment:
        raise ValueError("an address without ? and # is expected: a path follows it")
    for path in ("/chat/completions", "/audio/transcriptions", "/audio/speech"):
        if url.path.rstrip("/").endswith(path):
            raise ValueError(f"leave out {path}: it is added")
    return str(url).rstrip("/")


def _base_urls(value: object) -> object:
    """One address, or those of several places that serve the same. Raises: ValueError, in words."""
    if isinstance(value, str):
        return _base_url(value)
    if not isinstance(value, list | tuple):
        return value
    if not value or not all(isinstance(address, str) for address in value):
        raise ValueError("an address is expected, or a list of them")
    addresses = tuple(_base_url(address) for address in value)
    if len(set(addresses)) < len(addresses):
        raise ValueError("an address stands here twice")
    return addresses


BaseUrls = Annotated[str | tuple[str, ...] | None, BeforeValidator(_base_urls)]
"""Of an OpenAI-compatible endpoint, or of several with the same model, without a slash at the end."""


class EndpointSettings(Section):
    """What each section says of an OpenAI-compatible endpoint.

    Attributes:
        base_url: its address: `/chat/completions` and the like follow it. Several share the work.
        api_key: its bearer token.
        connect_timeout_s: for a connection.
        idle_timeout_s: for each piece of an answer after the first.
        extra_body: further fields of each request; null takes one away.
    """

    base_url: BaseUrls = None
    api_key: SecretStr | None = None
    connect_timeout_s: float = Field(default=3.0, gt=0, le=60)
    idle_timeout_s: float = Field(default=10.0, gt=0, le=600)
    extra_body: dict[str, Any] | None = None

    @field_validator("api_key")
    @classmethod
    def _fits_into_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        """Without the line end that a file or a shell added."""
        text = key.get_secret_value().strip() if key is not None else ""
        if not text:
            return None
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise ValueError("a key consists of printable ASCII characters without spaces")
        return SecretStr(text)

    @property
    def base_urls(self) -> tuple[str, ...]:
        """Its addresses; none where it has none."""
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url or ()

    @property
    def key_text(self) -> str:
        """The key itself; empty for none."""
        return self.api_key.get_secret_value() if self.api_key else ""

    def _require_address(self, engine: str = "openai") -> None:
        """Raises: ValueError."""
        if self.base_url is None:
            raise ValueError(f"engine {engine} needs base_url, for example http://127.0.0.1:8080/v1")


class StandInSettings(Section):
    """What each fallback says besides what an engine does.

    Attributes:
        load: when its model is loaded: at the `start`, or when it is `needed`, since those before it failed
            somebody. Until then it takes no memory.
    """

    load: Literal["start", "needed"] = "start"

    @model_validator(mode="after")
    def _has_something_to_load(self) -> Self:
        engine = getattr(self, "engine", None)
        if self.load == "needed" and engine in AT_AN_ADDRESS:
            raise ValueError(f"engine {engine} is at an address: load is for engines in this server")
        return self


def is_on_need(settings: Section) -> bool:
    """Whether an engine is loaded when it is needed: a fallback may be."""
    return isinstance(settings, StandInSettings) and settings.load == "needed"


class SttBackend(EndpointSettings):
    """What transcribes.

    Attributes:
        engine: `whisper` in this server, on a GPU `voxtral` or `voxtral-realtime`; at an endpoint
            `vllm-realtime`: a vLLM server's `/realtime`, or `openai`: OpenAI's `/audio/transcriptions`.
        name: the model that transcribes English; of an endpoint: the one that transcribes; of Voxtral: a
            hub's repository, or a directory.
        multilingual: of whisper: the model that transcribes every other language, resident too; `none` saves
            its memory.
        partial_interval_s: how often a transcript is made while the caller speaks.
        threads: of whisper: for one transcription; None takes `performance.threads` or, if that is 0, one for
            two cores.
        device: of Voxtral: where to compute.
        load_in_4bit: of voxtral: weights of 4 bits, on a GPU; None: where there is no room for others.
        compile: of voxtral: decode by CUDA graphs, on a GPU; its warm-up takes minutes.
        largest_batch: of Voxtral: transcriptions computed at once.
        languages: of an endpoint and of Voxtral: the languages that it can be told; none stands for
            Whisper's, or Voxtral's.
        transcript_timeout_s: of an endpoint: for a transcript, all tries together.
    """

    engine: Literal["whisper", "voxtral", "voxtral-realtime", "vllm-realtime", "openai"] = "whisper"
    name: str = Field(default="tiny.en", min_length=1, max_length=200)
    multilingual: Literal["base", "none"] = "base"
    partial_interval_s: float = Field(default=0.5, ge=0.1, le=10)
    threads: Threads = Field(default=None, ge=1, le=64)
    device: TorchDevice = "auto"
    load_in_4bit: bool | None = None
    compile: bool = False
    largest_batch: int = Field(default=8, ge=1, le=64)
    languages: tuple[PrimaryTag, ...] = ()
    transcript_timeout_s: float = Field(default=10.0, gt=0, le=600)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.engine in AT_AN_ADDRESS:
            self._require_address(self.engine)
        if self.engine in VOXTRALS and self.name in get_args(WhisperName):
            model, _ = VOXTRALS[self.engine]
            raise ValueError(f"engine {self.engine} needs name, for example {model}, or its directory")
        if self.engine == "whisper" and self.name not in get_args(WhisperName):
            raise ValueError(
                f"whisper's models are tiny.en and base, not {self.name}; "
                "for an endpoint's, set engine to openai"
            )
        return self

    @property
    def endpoint_languages(self) -> tuple[str, ...]:
        """What the endpoint, or Voxtral, can be told."""
        _, languages = VOXTRALS.get(self.engine, ("", WHISPER_LANGUAGES))
        return self.languages or languages


class SttFallback(StandInSettings, SttBackend):
    """What transcribes where others fail."""


class SttSettings(SttBackend):
    """Section `model`: speech to text.

    Attributes:
        language: what callers speak: a primary tag (`en`, `de`), or `auto` to detect it, turn by turn.
        fallbacks: what transcribes where that fails, one after the other.
    """

    language: str = Field(default="en", pattern="^([a-z]{2,3}|auto)$")
    fallbacks: tuple[SttFallback, ...] = ()

    @model_validator(mode="after")
    def _speaks_its_language(self) -> Self:
        if self.engine != "whisper":
            if self.language != "auto" and self.language not in self.endpoint_languages:
                raise ValueError(f"language {self.language} is none of languages")
        elif self.language != "en" and self.name == "tiny.en" and self.multilingual == "none":
            raise ValueError(f"language {self.language} needs a multilingual model: set multilingual to base")
        return self

    @property
    def language_hint(self) -> str | None:
        """What a transcription is told: None detects."""
        return None if self.language == "auto" else self.language


class LlmBackend(EndpointSettings):
    """What thinks of the reply.

    Attributes:
        engine: `llama.cpp` in this server, `transformers` (in it, on torch), or `openai`: an endpoint that
            speaks OpenAI's chat completions.
        name: its model; of transformers: a repository of the model hub, a folder, or a GGUF file.
        device: of transformers: `auto` takes the first GPU, if there is one.
        context_tokens: of those in this server: conversation that one reply may look back on, for each of the
            parallel ones.
        parallel: of those in this server: replies under way at once; further ones wait.
        compile: of transformers: replies go on by CUDA graphs, on a GPU; its warm-up takes longer.
        threads: of llama.cpp: for all replies together; None takes `performance.threads` or, where that is 0,
            one for each core, up to 4; where they spin without end (not on Linux) one less.
        first_token_timeout_s: of an endpoint: for a reply's first word, all tries together.
    """

    engine: Literal["llama.cpp", "transformers", "openai"] = "llama.cpp"
    name: str = Field(default=EMBEDDED_LLM, min_length=1, max_length=200)
    device: TorchDevice = "auto"
    context_tokens: int = Field(default=2048, ge=256, le=131_072)
    parallel: int = Field(default=4, ge=1, le=64)
    compile: bool = False
    threads: Threads = Field(default=None, ge=1, le=64)
    first_token_timeout_s: float = Field(default=10.0, gt=0, le=600)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.engine == "openai":
            self._require_address()
        elif self.engine == "llama.cpp" and self.name != EMBEDDED_LLM:
            raise ValueError(
                f"llama.cpp's model is {EMBEDDED_LLM}; for an endpoint's, set engine to openai, "
                "for another one in this server to transformers"
            )
        return self


class LlmFallback(StandInSettings, LlmBackend):
    """What thinks of the reply where others fail."""


class LlmSettings(WritingSettings, LlmBackend):
    """Section `llm`: what thinks of the reply. How each reply is asked for: `WritingSettings`.

    Attributes:
        fallbacks: what thinks of it where that fails, one after the other.
    """

    fallbacks: tuple[LlmFallback, ...] = ()


class TtsBackend(EndpointSettings):
    """What speaks.

    Attributes:
        engine: `kokoro` in this server, `kokoro-torch` on its GPU for many calls at once, or `openai`: an
            endpoint that speaks OpenAI's `/audio/speech`.
        name: its model.
        voice: which of its voices, where the caller does not choose; of a fallback: where it has not that of
            the call.
        threads: of kokoro: for one clause.
        parallel: of kokoro: clauses spoken at once, of all calls; further ones wait.
        blends: of both kokoros: mixtures of voices that are offered as voices, such as
            `af_heart:0.7+af_bella:0.3`.
        device: of kokoro-torch: where it computes; `auto` is the first GPU, or the CPU.
        batch: of kokoro-torch: clauses, or windows of clauses, of several calls that are made in one step.
        compile: of kokoro-torch: its steps go by CUDA graphs, on a GPU; its warm-up takes longer.
        weights: of kokoro-torch: a folder with the hub's `config.json` and `kokoro-v1_0.pth`; none takes the
            weights of the embedded model.
        voices: of an endpoint: its voices; none asks it.
        voice_language: of an endpoint: what they speak, as a BCP-47 tag, where it does not say so.
        rate_hz: of an endpoint: of the samples that it sends, where it does not say so.
        first_sound_timeout_s: of an endpoint: for a clause's first sound, all tries together.
    """

    engine: Literal["kokoro", "kokoro-torch", "openai"] = "kokoro"
    name: str = Field(default=EMBEDDED_TTS, min_length=1, max_length=200)
    voice: str = "af_heart"
    threads: Threads = Field(default=None, ge=1, le=64)
    parallel: int = Field(default=1, ge=1, le=64)
    blends: tuple[str, ...] = ()
    device: TorchDevice = "auto"
    batch: int = Field(default=8, ge=1, le=64)
    compile: bool = False
    weights: Path | None = None
    voices: tuple[str, ...] = ()
    voice_language: str = Field(default="en-us", pattern="^[a-z]{2,3}(-[a-z]{2,4})?$")
    rate_hz: int = Field(default=24_000, ge=8000, le=96_000)
    first_sound_timeout_s: float = Field(default=10.0, gt=0, le=600)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.engine == "openai":
            self._require_address()
            if self.voices and self.voice not in self.voices:
                raise ValueError(f"voice {self.voice} is none of voices")
        elif self.name != EMBEDDED_TTS:
            raise ValueError(f"kokoro's model is {EMBEDDED_TTS}; for an endpoint's, set engine to openai")
        return self


class TtsFallback(StandInSettings, TtsBackend):
    """What speaks where others fail."""


class TtsSettings(TtsBackend):
    """Section `tts`: the voice.

    Attributes:
        speed: 1 is the voice's own.
        fallbacks: what speaks where that fails, one after the other.
    """

    speed: float = Field(default=1.0, ge=0.5, le=2)
    fallbacks: tuple[TtsFallback, ...] = ()


class TurnEndSettings(TurnTakingSettings):
    """Section `turn_taking`: what judges whether a turn is over. What follows from it: `TurnTakingSettings`.

    Attributes:
        engine: the model that hears whether a turn sounds complete.
    """

    engine: Literal["smart-turn"] = "smart-turn"
