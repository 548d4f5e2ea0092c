"""The sections that choose the engines: `model` (speech to text), `llm`, `tts`, `turn_taking`.

`vad.engine` stands in its section in `media`.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from media.caller_floor import TurnTakingSettings
from media.section import Section
from media.speaking import WritingSettings

Threads = int | None
"""Threads of one engine; None takes `performance.threads`."""

WhisperName = Literal["tiny.en", "base"]


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
        engine: the backend.
        name: its model.
        context_tokens: conversation that one reply may look back on, for each of the parallel ones.
        parallel: replies under way at once; further ones wait.
        threads: for all replies together; None takes `performance.threads` or, where that is 0, one for each
            core, up to 4; where they spin without end (not on Linux) one less.
    """

    engine: Literal["llama.cpp"] = "llama.cpp"
    name: Literal["smollm2-135m-instruct"] = "smollm2-135m-instruct"
    context_tokens: int = Field(default=2048, ge=256, le=131_072)
    parallel: int = Field(default=4, ge=1, le=64)
    threads: Threads = Field(default=None, ge=1, le=64)


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
