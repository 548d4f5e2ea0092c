"""The sections that choose the engines: `model` (speech to text), `llm`, `tts`, `turn_taking`.

`vad.engine` stands in its section in `media`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator
from yarl import URL

from media.caller_floor import TurnTakingSettings
from media.section import Section
from media.speaking import WritingSettings

Threads = int | None
"""Threads of one engine; None takes `performance.threads`."""

WhisperName = Literal["tiny.en", "base"]

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
        raise ValueError("an address without ? and # is expected: /chat/completions follows it")
    if url.path.rstrip("/").endswith("/chat/completions"):
        raise ValueError("leave out /chat/completions: it is added")
    return str(url).rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_base_url)]
"""Of an OpenAI-compatible endpoint, without a slash at its end."""


class SttSettings(Section):
    """Section `model`: speech to text.

    Attributes:
        engine: the backend.
        name: the model that transcribes English.
        multilingual: the model that transcribes every other language, resident too; `none` saves its memory.
        language: what callers speak: a primary tag (`en`, `de`), or `auto` to detect it, turn by turn.
        partial_interval_s: how often a transcript is made while the caller speaks.
        threads: for one transcription; None takes `performance.threads` or, if that is 0, one for two cores.
    """

    engine: Literal["whisper"] = "whisper"
    name: WhisperName = "tiny.en"
    multilingual: Literal["base", "none"] = "base"
    language: str = Field(default="en", pattern="^([a-z]{2,3}|auto)$")
    partial_interval_s: float = Field(default=0.5, ge=0.1, le=10)
    threads: Threads = Field(default=None, ge=1, le=64)

    @model_validator(mode="after")
    def _speaks_its_language(self) -> Self:
        if self.language != "en" and self.name == "tiny.en" and self.multilingual == "none":
            raise ValueError(f"language {self.language} needs a multilingual model: set multilingual to base")
        return self

    @property
    def language_hint(self) -> str | None:
        """What a transcription is told: None detects."""
        return None if self.language == "auto" else self.language


class LlmSettings(WritingSettings):
    """Section `llm`: what thinks of the reply. How each reply is asked for: `WritingSettings`.

    Attributes:
        engine: `llama.cpp` in this server, or `openai`: an endpoint that speaks OpenAI's chat completions.
        name: its model.
        context_tokens: of llama.cpp: conversation that one reply may look back on, for each of the parallel
            ones.
        parallel: of llama.cpp: replies under way at once; further ones wait.
        threads: of llama.cpp: for all replies together; None takes `performance.threads` or, where that is 0,
            one for each core, up to 4; where they spin without end (not on Linux) one less.
        base_url: of an endpoint: `/chat/completions` follows it.
        api_key: of an endpoint: its bearer token.
        connect_timeout_s: of an endpoint: for a connection.
        first_token_timeout_s: of an endpoint: for a reply's first word, all tries together.
        idle_timeout_s: of an endpoint: for each piece of a reply after it.
        extra_body: of an endpoint: further fields of each request; null takes one away.
    """

    engine: Literal["llama.cpp", "openai"] = "llama.cpp"
    name: str = Field(default=EMBEDDED_LLM, min_length=1, max_length=200)
    context_tokens: int = Field(default=2048, ge=256, le=131_072)
    parallel: int = Field(default=4, ge=1, le=64)
    threads: Threads = Field(default=None, ge=1, le=64)
    base_url: BaseUrl | None = None
    api_key: SecretStr | None = None
    connect_timeout_s: float = Field(default=3.0, gt=0, le=60)
    first_token_timeout_s: float = Field(default=10.0, gt=0, le=600)
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

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.engine == "llama.cpp" and self.name != EMBEDDED_LLM:
            raise ValueError(f"llama.cpp's model is {EMBEDDED_LLM}; for an endpoint's, set engine to openai")
        if self.engine == "openai" and self.base_url is None:
            raise ValueError("engine openai needs base_url, for example http://127.0.0.1:8080/v1")
        return self


class TtsSettings(Section):
    """Section `tts`: the voice.

    Attributes:
        engine: the backend.
        name: its model.
        voice: which of its voices, where the caller does not choose.
        speed: 1 is the voice's own.
        threads: for one clause.
        parallel: clauses spoken at once, of all calls; further ones wait.
    """

    engine: Literal["kokoro"] = "kokoro"
    name: Literal["kokoro-82m-int8"] = "kokoro-82m-int8"
    voice: str = "af_heart"
    speed: float = Field(default=1.0, ge=0.5, le=2)
    threads: Threads = Field(default=None, ge=1, le=64)
    parallel: int = Field(default=1, ge=1, le=64)


class TurnEndSettings(TurnTakingSettings):
    """Section `turn_taking`: what judges whether a turn is over. What follows from it: `TurnTakingSettings`.

    Attributes:
        engine: the model that hears whether a turn sounds complete.
    """

    engine: Literal["smart-turn"] = "smart-turn"
